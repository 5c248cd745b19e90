"""Synthesise speech from text with espeak-ng.

The engine is GPL-3 and therefore an optional extra: `pip install 'sori[synth]'` installs the library and its data in
one wheel (espeakng-loader); without it, the `espeak-ng` program is used if it is installed.
"""

import ctypes
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soxr
import torch

from sori.core.shapes import Float, Tensor

SAMPLE_RATE = 16_000
ENGINE_RATE = 22_050
"""Sampling rate of espeak-ng in Hz."""
DIALECTS = ("en", "en-us", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbcwmd", "en-gb-x-gbclan", "en-us-nyc")
"""espeak-ng's names of its varieties of English."""
VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "croak", "klatt", "klatt2"),
    *("klatt3", "klatt4", "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Henrique", "Hugo"),
    *("Jacky", "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Reed", "adam", "anika", "announcer", "antonio"),
    *("aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward", "gustave", "ian", "iven", "john"),
    *("linda", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro"),
    *("shelby", "steph", "travis", "victor", "whisper", "zac"),
)
"""espeak-ng's voice variants (vocal tract and source) that remain intelligible."""

# Constants of speak_lib.h.
_SYNCHRONOUS, _DO_NOT_EXIT, _UTF8, _CHARACTERS = 2, 0x8000, 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_NOISE_SEED = 1  # of the noise in breathy voices; without it, the library takes the time of its start
_LONGEST_DATA_PATH = 120  # the library truncates its data path at 160 characters, including file names

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


class Voice(NamedTuple):
    """Settings of a synthetic voice."""

    dialect: str = "en-us"
    """One of espeak-ng's languages, for English `DIALECTS`; any other of its 141 voices works too (`ko`, `sw`, ...)."""
    variant: str = "m1"
    """One of `VARIANTS`."""
    words_per_minute: int = 175
    """80 to 450."""
    pitch: int = 50
    """0 to 99."""
    pitch_range: int = 50
    """0 (monotone) to 99."""

    @property
    def name(self) -> str:
        """Name for files and reports, such as `en-us-f2-150`."""
        return f"{self.dialect}-{self.variant}-{self.words_per_minute}"


def voices(count: int, *, seed: int, dialects: tuple[str, ...] = DIALECTS) -> list[Voice]:
    """Draw different voices; the first `len(VARIANTS)` of them have different variants.

    Args:
        count: number of voices.
        seed: decides the voices and their order.
        dialects: dialects to draw from.
    """
    draw = np.random.default_rng(seed)
    return [
        Voice(
            dialect=str(draw.choice(dialects)),
            variant=variant,
            words_per_minute=int(draw.integers(145, 195)),
            pitch=int(draw.integers(30, 71)),
            pitch_range=int(draw.integers(30, 71)),
        )
        for variant in _shuffled_names(VARIANTS, count, draw)
    ]


def _shuffled_names(names: tuple[str, ...], count: int, draw: np.random.Generator) -> Iterator[str]:
    for start in range(0, count, len(names)):
        yield from (names[i] for i in draw.permutation(len(names))[: count - start])


def speak(text: str, voice: Voice = Voice()) -> Float[Tensor, " sample"]:  # noqa: B008 - immutable
    """Synthesise a sentence.

    The library keeps some state between calls (the phase of slow variations of pitch), so equal samples need equal
    calls in equal order from a new process. The program `espeak-ng` draws the noise of breath anew in each call.

    Args:
        text: the sentence in normal spelling; digits are read out.
        voice: the voice.

    Returns:
        16 kHz mono, -1 to 1.

    Raises:
        ModuleNotFoundError: neither the extra `synth` nor the program `espeak-ng` is installed.
        ValueError: the engine does not have the voice, or produces no sound for this text.
    """
    waveform = _engine()(text, voice)
    if not waveform.size or not waveform.any():
        raise ValueError(
            f"expected a text that can be spoken; espeak-ng produces no sound for {text!r} in {voice.dialect!r}"
        )
    at_16_khz = soxr.resample(waveform.astype(np.float32) / 32768, ENGINE_RATE, SAMPLE_RATE)
    return torch.from_numpy(at_16_khz).clamp(-1, 1)


@cache
def _engine() -> Callable[[str, Voice], Any]:
    try:
        import espeakng_loader
    except ModuleNotFoundError:
        if shutil.which("espeak-ng") is None:
            raise ModuleNotFoundError(
                "speech synthesis needs espeak-ng: `pip install 'sori[synth]'`, or install the program "
                "(Debian, Ubuntu: `apt install espeak-ng`; macOS: `brew install espeak-ng`)"
            ) from None
        logging.getLogger("sori").warning(
            "the extra `synth` is not installed: using the program espeak-ng, slower and without Voice.pitch_range"
        )
        return _speak_by_program
    return _Library(espeakng_loader.get_library_path(), espeakng_loader.get_data_path())


class _Library:
    """libespeak-ng through ctypes; one per process, because the library's state is global."""

    def __init__(self, library: str, data: str) -> None:
        if len(data) > _LONGEST_DATA_PATH:
            self._folder = tempfile.TemporaryDirectory(prefix="espeak")  # lives as long as this object
            short = Path(self._folder.name) / "espeak-ng-data"
            short.symlink_to(data, target_is_directory=True)
            data = str(short)
        self._lib = ctypes.CDLL(library)
        if self._lib.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _DO_NOT_EXIT) != ENGINE_RATE:
            raise ValueError(f"espeak-ng fails to start with its data in {data}; reinstall espeakng-loader")
        self._pieces: list[bytes] = []
        self._callback = _Callback(self._take)  # kept, because the library calls it until the process ends
        self._lib.espeak_SetSynthCallback(self._callback)
        self._lib.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]

    def __call__(self, text: str, voice: Voice) -> Any:
        if self._lib.espeak_SetVoiceByName(f"{voice.dialect}+{voice.variant}".encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {voice.dialect!r}; English ones: {', '.join(DIALECTS)}")
        for which, value in ((_RATE, voice.words_per_minute), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            self._lib.espeak_SetParameter(which, value, 0)
        data = text.encode() + b"\0"
        self._pieces.clear()
        self._lib.espeak_ng_SetRandSeed(_NOISE_SEED)
        self._lib.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, _CHARACTERS, 0, _UTF8, None, None)
        self._lib.espeak_Synchronize()
        return np.frombuffer(b"".join(self._pieces), dtype=np.int16)

    def _take(self, waveform: int | None, num_samples: int, _events: Any) -> int:
        if waveform and num_samples > 0:
            self._pieces.append(ctypes.string_at(waveform, 2 * num_samples))
        return 0


def _speak_by_program(text: str, voice: Voice) -> Any:
    command = ["espeak-ng", "--stdout", "-v", f"{voice.dialect}+{voice.variant}", "-s", str(voice.words_per_minute)]
    command += ["-p", str(voice.pitch), "--stdin"]  # there is no option for the range before version 1.52
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=False)  # noqa: S603 - own arguments
    if done.returncode != 0:
        raise ValueError(f"espeak-ng rejects voice {voice.dialect!r}: {done.stderr.decode(errors='replace').strip()}")
    return np.frombuffer(done.stdout[44:], dtype="<i2")  # 44 bytes of header, whose length field is not set in a stream
