"""Discrete units of many utterances as sequences without repetitions, to compare what sounds they have.

With an encoder, these are the units of its quantiser. Without one, they are clusters (k-means) of MFCC of the same
utterances, which need no training.
"""

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from sori.core.log import logger
from sori.core.seeds import Rng, derive
from sori.core.shapes import Float, Int, Tensor
from sori.data.batches.loader import FileReader
from sori.data.manifest import Utterance
from sori.inference.inputs import reason_of
from sori.inference.windows import frames_of
from sori.models.encoders import Quantizing
from sori.nn.quantize import k_means
from sori.nn.spectral import Cepstrum, CepstrumConfig

NUM_CLUSTERS = 100
MFCC = CepstrumConfig(num_cepstra=13, delta_windows=2, pool="mean")
"""13 coefficients, deltas and delta-deltas, every 20 ms."""
_NUM_FITTED = 400
"""Utterances that the clusters are fitted on."""
_MOST_FRAMES = 20_000
_FRAMES_PER_UTTERANCE = 200

Sequences = list[NDArray[np.int32]]
"""Units of an utterance in order, without repetitions, once for each codebook group."""
Compute = Callable[[Float[Tensor, " sample"]], Int[Tensor, "frame group"]]


def by_encoder(encoder: Quantizing, utterances: Sequence[Utterance]) -> Iterator[Sequences | None]:
    """Yield the units of each utterance by an encoder's quantiser; None for one that cannot be read."""
    return map(_as_sequences, of_frames(encoder, utterances))


def of_frames(encoder: Quantizing, utterances: Sequence[Utterance]) -> Iterator[NDArray[np.int32] | None]:
    """Yield the units of all frames of each utterance, `frame group`; None for one that cannot be read.

    Each utterance is processed alone, those of more than 30 s in overlapping windows (`windows.py`).
    """
    device = next(encoder.parameters()).device

    def compute(part: Float[Tensor, " sample"]) -> Int[Tensor, "frame group"]:
        return encoder.units(part[None].to(device), torch.tensor([len(part)], device=device)).data[0]

    return _all(utterances, compute, hop_samples=encoder.hop_samples, field_samples=encoder.field_samples)


def by_clusters(utterances: Sequence[Utterance], *, seed: int) -> Iterator[Sequences | None]:
    """Yield the clusters of MFCC of each utterance, fitted on some of them; None for one that cannot be read.

    Raises:
        ValueError: there is less audio than `NUM_CLUSTERS` frames.
    """
    mfcc = Cepstrum(MFCC).eval()
    fitted, scales = _fit(mfcc, utterances, seed)
    shift = fitted.square().sum(1) / 2

    def compute(part: Float[Tensor, " sample"]) -> Int[Tensor, "frame group"]:
        frames: Tensor = mfcc(part[None], torch.tensor([len(part)])).data[0] * scales
        return (frames @ fitted.T - shift).argmax(1, keepdim=True)

    found = _all(utterances, compute, hop_samples=mfcc.hop_samples, field_samples=mfcc.field_samples)
    return map(_as_sequences, found)


@torch.no_grad()
def _fit(mfcc: Cepstrum, utterances: Sequence[Utterance], seed: int) -> tuple[Tensor, Tensor]:
    """Return cluster centres, and the weight of each dimension: deltas vary more within a sound than coefficients."""
    scales = mfcc.by_kind(torch.tensor([[1.0, 0.5, 0.25]]))[0]
    order = np.random.default_rng(derive(seed, "clusters")).permutation(len(utterances))[:_NUM_FITTED]
    reader, generator, parts = FileReader(utterances), Rng(seed)["clusters"], list[Tensor]()
    for row in order.tolist():
        waveform = _readable(reader, row, mfcc.field_samples)
        if waveform is not None:
            frames = mfcc(waveform[None], torch.tensor([len(waveform)])).data[0]
            parts.append(frames[torch.randperm(len(frames), generator=generator)[:_FRAMES_PER_UTTERANCE]])
    every = torch.cat(parts)[:_MOST_FRAMES] * scales if parts else torch.zeros(0, mfcc.dim)
    return k_means(every, NUM_CLUSTERS, generator=generator), scales


def _readable(reader: FileReader, row: int, field_samples: int) -> Tensor | None:
    num_samples = reader.utterances[row].num_samples
    if num_samples < field_samples:
        return None
    try:
        return reader(row, 0, num_samples)
    except (OSError, ValueError):  # reported when its units are computed
        return None


@torch.no_grad()
def _all(
    utterances: Sequence[Utterance], compute: Compute, *, hop_samples: int, field_samples: int
) -> Iterator[NDArray[np.int32] | None]:
    reader = FileReader(utterances)
    for row, utterance in enumerate(utterances):
        try:
            units = frames_of(
                compute,
                functools.partial(_part, reader, row),
                utterance.num_samples,
                hop_samples=hop_samples,
                field_samples=field_samples,
            )
        except Exception as error:  # noqa: BLE001 - costs this utterance only
            logger.warning("%s is left out: %s", utterance.id, reason_of(error, utterance.path))
            yield None
            continue
        yield units.numpy().astype(np.int32)


def _as_sequences(units: NDArray[np.int32] | None) -> Sequences | None:
    return None if units is None else [without_repetitions(group) for group in units.T]


def _part(reader: FileReader, row: int, first: int, stop: int) -> Float[Tensor, " sample"]:
    return reader(row, first, stop - first)


def without_repetitions(units: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return units without those that are equal to the one before."""
    kept: NDArray[np.int32] = units[np.diff(units, prepend=-1) != 0]
    return kept
