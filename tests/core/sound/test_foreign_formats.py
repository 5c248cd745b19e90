"""What phones, websites and dictation machines record: small files of other encoders, and a matrix of encoders.

The files in `samples/` hold one second of a 440 Hz tone. They were made with ffmpeg 5.1 and PyAV 18.1.
"""

import itertools
import shutil
import subprocess
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import torch

from sori.core import audio
from sori.core.sound import decoders
from sori.core.sound.sound_suffixes import SOUND_SUFFIXES, is_sound_name

SAMPLES = sorted((Path(__file__).parent / "samples").iterdir())
SECONDS = 2.3


def loudest_frequency(waveform):
    spectrum = np.abs(np.fft.rfft(waveform.numpy() * np.hanning(len(waveform))))
    return spectrum.argmax() * audio.SAMPLE_RATE / len(waveform)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_small_files_of_other_encoders(path):
    info, whole = audio.info(path), audio.read(path)
    assert len(whole) == info.num_samples
    assert abs(info.num_frames / info.sample_rate - 1) < 0.085  # a frame of the codec, and the delay of the encoder
    assert loudest_frequency(whole) == pytest.approx(440, abs=2)
    assert 0.15 < float(whole.square().mean().sqrt()) < 0.35
    assert is_sound_name(path.name)
    for start, duration in ((0.5, 0.25), (0.1, 0.3), (0.0, 0.2)):
        assert torch.equal(
            audio.read(path, start=start, duration=duration), whole[round(start * 16_000) :][: round(duration * 16_000)]
        )


def test_without_pyav_the_message_names_the_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ValueError, match="expected the package av"):
        decoders._pyav()


@pytest.mark.parametrize(
    "content", [b"#EXTM3U\nhttp://127.0.0.1:9/a.mp3\n", b"ffconcat version 1.0\nfile /etc/passwd\n"]
)
@pytest.mark.parametrize("suffix", [".m4a", ".webm", ".mp3", ".wav"])
def test_playlists_lead_nowhere(tmp_path, content, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content * 30)
    with pytest.raises(ValueError, match="wrongly named: the content is text"):
        audio.read(path)


def test_films_without_sound_say_so(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=1)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        film.mux([*stream.encode(av.VideoFrame(16, 16, "yuv420p")), *stream.encode(None)])
    with pytest.raises(ValueError, match=r"a\.mp4: .*no sound"):
        audio.read(path)


@pytest.mark.parametrize("name", ["phone.m4a", "browser.webm", "dictation.wma", "voice.amr", "film.mp4"])
def test_cut_off_files_are_read_as_far_as_they_go_or_named(tmp_path, name):
    whole = next(sample for sample in SAMPLES if sample.name == name)
    for fraction in (0.3, 0.6, 0.9):
        path = tmp_path / f"{fraction}{whole.suffix}"
        path.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * fraction)])
        try:
            assert len(audio.read(path)) < 17_000
        except ValueError as error:
            assert path.name in str(error)  # noqa: PT017 - either way is right


FFMPEG = {
    "mp3": ("mp3", "libmp3lame"),
    "m4a": ("mp4", "aac"),
    "aac": ("adts", "aac"),
    "alac.m4a": ("mp4", "alac"),
    "ogg": ("ogg", "libvorbis"),
    "opus": ("ogg", "libopus"),
    "webm": ("webm", "libopus"),
    "wma": ("asf", "wmav2"),
    "flac": ("flac", "flac"),
    "wav": ("wav", "pcm_s16le"),
    "spx": ("ogg", "libspeex"),
    "aiff": ("aiff", "pcm_s16be"),
    "adpcm.wav": ("wav", "adpcm_ima_wav"),
    "ac3": ("ac3", "ac3"),
}
OTHERS = {
    "lame": "lame --quiet {source} {target}",
    "lame -V": "lame --quiet -V 6 -t {source} {target}",
    "oggenc": "oggenc -Q -o {target} {source}",
    "opusenc": "opusenc --quiet {source} {target}",
    "sox gsm": "sox {source} -r 8000 -c 1 -e gsm-full-rate {target}",
    "sox flac": "sox {source} {target}",
    "sox au": "sox {source} -e mu-law {target}",
}
SUFFIXES = {
    "lame": "mp3",
    "lame -V": "mp3",
    "oggenc": "ogg",
    "opusenc": "opus",
    "sox gsm": "wav",
    "sox flac": "flac",
    "sox au": "au",
}
RATES = (8_000, 16_000, 22_050, 48_000)
LONGEST_FRAME = 0.27
"""Seconds: MP3 and AAC at 8 kHz, with the delay of the encoder where the file does not state it."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Speech-like noise at each rate, with one channel and with two different ones."""
    folder = tmp_path_factory.mktemp("sources")
    rng = np.random.default_rng(0)
    for rate, channels in itertools.product(RATES, (1, 2)):
        time = np.arange(round(SECONDS * rate)) / rate
        both = np.stack([np.sin(2 * np.pi * pitch * time) * np.sin(9 * time) for pitch in (300, 500)][:channels], 1)
        both = 0.3 * both + 0.01 * rng.standard_normal(both.shape)
        soundfile.write(folder / f"{rate}-{channels}.wav", both, rate, subtype="PCM_16")
    return folder


def check(path, *, least_rate):
    info, whole = audio.info(path), audio.read(path)
    assert len(whole) == info.num_samples
    assert abs(info.num_frames / info.sample_rate - SECONDS) < LONGEST_FRAME * 8_000 / min(least_rate, 16_000)
    assert float(whole.square().mean().sqrt()) > 0.05
    for start, duration in ((1.7, 0.4), (0.2, 0.7)):
        first, stop = round(start * 16_000), round((start + duration) * 16_000)
        assert torch.equal(audio.read(path, start=start, duration=duration), whole[first:stop])


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("suffix", FFMPEG)
def test_every_codec_of_ffmpeg(sources, tmp_path, suffix, channels, streamed):
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg")
    container, coding = FFMPEG[suffix]
    for rate in RATES:
        target = tmp_path / f"{rate}.{suffix}"
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-i",
            sources / f"{rate}-{channels}.wav",
            "-c:a",
            coding,
            "-f",
            container,
        ]
        if streamed and container == "mp4":
            command += ["-movflags", "frag_keyframe+empty_moov"]
        made = subprocess.run([*command, "-" if streamed else target], check=False, capture_output=True)
        if b"Unknown encoder" in made.stderr:
            pytest.skip(f"ffmpeg without {coding}")
        assert made.returncode == 0, made.stderr
        if streamed:
            target.write_bytes(made.stdout)
        check(target, least_rate=rate)


@pytest.mark.parametrize(
    ("container", "flags", "delay"),
    [
        ("mp4", "faststart", 0),
        ("mp4", "frag_keyframe+empty_moov+delay_moov", 0),
        ("mp4", "frag_keyframe+empty_moov", 1024),
        ("adts", None, 1024),
    ],
)
def test_the_delay_of_the_encoder_is_removed_where_the_file_states_it(tmp_path, container, flags, delay):
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg")
    click = np.zeros(3 * 16_000)
    click[20_000:20_400] = 0.5 * np.sin(0.3 * np.arange(400))
    soundfile.write(tmp_path / "click.wav", click, 16_000)
    options = ["-movflags", flags] if flags else []
    command = ["ffmpeg", "-v", "error", "-i", tmp_path / "click.wav", "-c:a", "aac", *options, "-f", container]
    subprocess.run([*command, tmp_path / "click.m4a"], check=True)
    found = audio.read(tmp_path / "click.m4a").numpy()
    assert np.correlate(found, click[19_900:20_500]).argmax() - 19_900 == pytest.approx(delay, abs=2)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", OTHERS)
def test_other_encoders(sources, tmp_path, name, channels):
    program = name.split()[0]
    if shutil.which(program) is None:
        pytest.skip(f"no {program}")
    for rate in RATES:
        target = tmp_path / f"{rate}.{SUFFIXES[name]}"
        command = OTHERS[name].format(source=sources / f"{rate}-{channels}.wav", target=target)
        subprocess.run(command.split(), check=True, capture_output=True)
        check(target, least_rate=8_000 if "gsm" in name else rate)


def test_all_commands_share_one_list():
    assert {".wav", ".mp3", ".m4a", ".amr", ".wma", ".webm", ".mp4", ".3gp", ".spx"} <= SOUND_SUFFIXES
    assert not is_sound_name("._a.wav")
    assert not is_sound_name("a.txt")
