import subprocess
import sys
import time
import wave

import pytest
import torch

from sori.synth import Voice, speak, voice, voices


def test_a_sentence_is_a_few_seconds_of_audio_at_16_khz():
    sound = speak("The old captain sold seven yellow boats near the quiet river.", Voice("en-us", "f2"))
    assert sound.dtype == torch.float32
    assert 2.5 < len(sound) / 16_000 < 4.5
    assert 0.05 < float(sound.abs().max()) <= 1


def test_faster_speech_is_shorter_and_another_voice_sounds_different():
    text = "Every student carried a wooden chair."
    slow, fast = (speak(text, Voice(words_per_minute=speed)) for speed in (120, 240))
    assert 1.5 < len(slow) / len(fast) < 2.5
    low, high = (speak(text, Voice("en-us", "m3", pitch=pitch, pitch_range=0)) for pitch in (10, 90))
    assert _fundamental(high) > 1.5 * _fundamental(low)


def _fundamental(sound: torch.Tensor) -> float:
    """The pitch between 50 and 500 Hz, from the strongest ripple of the logarithmic spectrum (cepstrum)."""
    ripples = torch.fft.irfft(torch.fft.rfft(sound).abs().log().clamp(min=-5))
    shortest, longest = 16_000 // 500, 16_000 // 50
    return 16_000 / (shortest + int(ripples[shortest:longest].argmax()))


@pytest.mark.parametrize(("dialect", "text"), [("ko", "안녕하세요"), ("sw", "habari ya asubuhi"), ("de", "guten Tag")])
def test_other_languages(dialect, text):
    assert len(speak(text, Voice(dialect))) > 8_000


def test_every_english_voice_exists():
    for dialect in voice.DIALECTS:
        speak("yes", Voice(dialect))
    lengths = {variant: len(speak("yes, seven", Voice("en", variant))) for variant in voice.VARIANTS}
    assert min(lengths.values()) > 8_000
    assert len(set(lengths.values())) > 20  # an unknown variant would be spoken like the voice without one


def test_voices_differ_and_depend_on_the_seed_only():
    some = voices(len(voice.VARIANTS), seed=3)
    assert len({each.variant for each in some}) == len(voice.VARIANTS)
    assert some == voices(len(voice.VARIANTS), seed=3)
    assert some != voices(len(voice.VARIANTS), seed=4)
    assert voices(5, seed=3) != voices(5, seed=5)
    assert len(voices(200, seed=0)) == 200


def test_unknown_voices_and_empty_texts_are_refused():
    with pytest.raises(ValueError, match="no voice 'klingon-9'"):
        speak("hello", Voice("klingon-9"))
    with pytest.raises(ValueError, match="produces no sound for ''"):
        speak("")


def test_without_the_extra_the_error_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    voice._engine.cache_clear()
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sori\[synth\]'.*apt install espeak-ng"):
        speak("hello")
    voice._engine.cache_clear()


def test_without_the_extra_the_program_is_used_with_a_warning(monkeypatch, tmp_path, caplog):
    recorded = tmp_path / "recorded.wav"
    with wave.open(str(recorded), "wb") as file:
        file.setparams((1, 2, 22_050, 0, "NONE", ""))
        file.writeframes((torch.sin(torch.arange(22_050) / 10) * 9_000).short().numpy().tobytes())
    program = tmp_path / "espeak-ng"
    program.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat > {tmp_path}/text\ncat {recorded}\n')
    program.chmod(0o755)
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    voice._engine.cache_clear()
    sound = speak("hello there", Voice("en-us", "f3", 150, 40, 60))
    voice._engine.cache_clear()
    assert len(sound) == 16_000
    assert float(sound.abs().max()) == pytest.approx(9_000 / 32_768, rel=0.02)
    assert (tmp_path / "text").read_text() == "hello there"
    assert "-v en-us+f3 -s 150 -p 40 --stdin" in (tmp_path / "arguments").read_text()
    assert "using the program espeak-ng" in caplog.text


def test_equal_calls_from_a_new_process_give_equal_samples_without_errors():
    # The last four have breath, whose noise the library would draw from the seconds of the clock.
    script = (
        "import hashlib; from sori.synth import *\n"
        "for name in ('m1', 'klatt', 'Alicia', 'f3', 'sandro', 'victor'):\n"
        "    print(name, hashlib.sha256(speak('good morning', Voice(variant=name)).numpy().tobytes()).hexdigest())"
    )
    runs = []
    for pause in (1.1, 0):
        runs.append(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True))
        time.sleep(pause)
    assert runs[0].stdout.splitlines() == runs[1].stdout.splitlines()
    assert not runs[0].stderr


def test_a_long_installation_path_works(tmp_path):
    import espeakng_loader

    deep = tmp_path / ("a" * 90) / ("b" * 90)
    deep.mkdir(parents=True)
    (deep / "espeak-ng-data").symlink_to(espeakng_loader.get_data_path(), target_is_directory=True)
    script = (
        "import sys, espeakng_loader\n"
        "espeakng_loader.get_data_path = lambda: sys.argv[1]\n"
        "from sori.synth import speak\nprint(len(speak('good morning')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(deep / "espeak-ng-data")], capture_output=True, check=True, text=True
    )
    assert int(run.stdout) > 8_000
