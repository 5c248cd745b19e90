"""Simulate a recording: room, microphone, noise and level."""

import math
from functools import partial

import torch

from sori.core.shapes import Float, Tensor

SAMPLE_RATE = 16_000


def record(
    waveform: Float[Tensor, " sample"], generator: torch.Generator, *, margin_seconds: float = 0.2
) -> Float[Tensor, " longer"]:
    """Add random recording conditions to a clean waveform.

    Reverberation that decays in 0.1 to 0.4 s, 8 to 25 dB below the direct sound; a spectral tilt of up to 2 dB per
    octave around 1 kHz; noise between white and brown, 25 to 45 dB below the speech; a level of -32 to -16 dB.

    Args:
        waveform: 16 kHz mono.
        generator: source of all random numbers.
        margin_seconds: maximum silence before and after.
    """
    uniform = partial(_uniform, generator)
    before, after = (int(SAMPLE_RATE * margin_seconds * uniform(0.3, 1.0)) for _ in range(2))
    response = _response(seconds=uniform(0.1, 0.4), direct_db=uniform(8.0, 25.0), generator=generator)
    noise = torch.randn(len(waveform) + before + after, generator=generator)
    waveform = torch.nn.functional.pad(waveform, (before, after))
    waveform = _filter(waveform, response, db_per_octave=uniform(-2.0, 2.0))
    noise = _filter(noise, None, db_per_octave=uniform(-6.0, 0.0))
    waveform = waveform / waveform.square().mean().sqrt()
    waveform = waveform + noise / noise.square().mean().sqrt() * _amplitude(-uniform(25.0, 45.0))
    waveform = waveform / waveform.square().mean().sqrt() * _amplitude(uniform(-32.0, -16.0))
    waveform = waveform - waveform.mean()  # microphones do not record a constant pressure
    return waveform / waveform.abs().max().clamp(min=1.0)


def _uniform(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _amplitude(decibel: float) -> float:
    return math.pow(10.0, decibel / 20)


def _response(*, seconds: float, direct_db: float, generator: torch.Generator) -> Float[Tensor, " tap"]:
    """Return the impulse response of a room: the impulse, and from 2 ms on noise that decays by 60 dB in `seconds`.

    The total energy of the noise is `direct_db` below the impulse.
    """
    time = torch.arange(int(SAMPLE_RATE * seconds)) / SAMPLE_RATE
    response = torch.randn(len(time), generator=generator) * torch.pow(10.0, -3 * time / seconds)
    response[: SAMPLE_RATE // 500] = 0
    response *= _amplitude(-direct_db) / response.square().sum().sqrt()
    response[0] = 1
    return response


def _filter(
    waveform: Float[Tensor, " sample"], response: Float[Tensor, " tap"] | None, *, db_per_octave: float
) -> Float[Tensor, " sample"]:
    """Apply an impulse response and a spectral tilt that is 0 dB at 1 kHz and constant below 50 Hz."""
    size = 1 << (len(waveform) + (0 if response is None else len(response))).bit_length()
    octaves = torch.log2(torch.fft.rfftfreq(size, 1 / SAMPLE_RATE).clamp(min=50.0) / 1000)
    gain = torch.pow(10.0, octaves * db_per_octave / 20).to(torch.complex64)
    if response is not None:
        gain = gain * torch.fft.rfft(response, size)
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(waveform, size) * gain, size)
    return filtered[: len(waveform)]
