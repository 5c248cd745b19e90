"""Collect the points of the projector page from the vectors of a model.

Points are words, spoken words, frames of an encoder, phones (the mean of their frames), or codebook entries.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.checkpoints import store
from sori.core import distributed
from sori.core.audio import read
from sori.core.config import Config
from sori.core.seeds import derive
from sori.core.shapes import Float, Tensor
from sori.data.manifest import Utterance, read_manifest
from sori.data.sources.alignments import Alignment, is_silence, match, read_alignments
from sori.data.sources.intervals import Interval
from sori.embeddings import loading
from sori.embeddings import spoken_words as spoken
from sori.embeddings.space import WordSpace
from sori.evaluation.representations import SHORTEST_SAMPLES, Timing, compute_representations, layers_of
from sori.models import factory
from sori.models.code_bert import CodeBert
from sori.models.encoders import Encoder, has_units
from sori.models.speech2vec import Speech2VecConfig
from sori.plots.projector_page import Column, Points

Show = Literal["words", "segments", "frames", "phones", "codes"]

_BANDS = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
"""Last ranks of the frequency bands."""
_FRAMES_READ = 4
"""Ratio of frames read to frames shown, so that the frames shown come from many speakers."""
_CONTEXT_SECONDS = 0.15
"""Audio added on both sides of a frame or phone, which is too short to be played alone."""


class ProjectorConfig(Config):
    """Points to show of a model."""

    show: Show | None = None
    """Kind of points. None: words of a file, segments of spoken words, phones if alignments are given, frames if
    recordings are given, otherwise codebook entries."""
    number: int = 10_000
    """Maximum number of points: the most frequent words, or a random sample of others."""
    layer: int | None = None
    """Layer of an encoder; None: the last."""
    split: str | None = None
    """Use only recordings of this split; None: all."""
    seed: int = 0
    """Seed of the random sample."""


def collect(
    source: str | Path,
    *,
    data: Sequence[Path] = (),
    alignments: Path | None = None,
    config: ProjectorConfig | None = None,
) -> Points:
    """Collect the points of a file or model.

    Args:
        source: file of word vectors, run folder, model folder or name.
        data: prepared folders with recordings to process.
        alignments: phone alignments, as for `data.sources.alignments.read_alignments`.
        config: points to show.

    Raises:
        FileNotFoundError, ValueError: source, data or alignments cannot be read, or have no such points.
    """
    config = config or ProjectorConfig()
    if config.number < 2:
        raise ValueError(f"expected 2 points or more, got --number {config.number}")
    if loading.is_text_source(source):
        _require(config.show, ("words",), f"{source} contains word vectors")
        loading.refuse_recordings(str(source), data)
        return _words(loading.load(source, limit=config.number), Path(source).name)
    if isinstance(store.read(source).model.system, Speech2VecConfig):
        _require(config.show, ("segments", "words"), f"{source} computes vectors of spoken words")
        embedded = spoken.embed_segments(source, data=data, split=config.split)
        if config.show == "words":
            return _words(spoken.WordVectors(embedded).space().most_frequent(config.number), Path(source).name)
        return _segments(embedded, Path(source).name, config)
    show: Show = config.show or ("phones" if alignments else "frames" if data else "codes")
    _require(show, ("frames", "phones", "codes"), f"{source} computes frame vectors")
    encoder = factory.encoder_of(store.load(source)).to(distributed.device()).eval()
    if show == "codes":
        return _codes(encoder, str(source), config.number)
    if not data or (show == "phones" and alignments is None):
        missing = "--data PREPARED" if not data else "--alignments FILE"
        raise ValueError(f"{show} need recordings{' and alignments' * (show == 'phones')}: give {missing}")
    return _sounds(encoder, Path(source).name, _recordings(data, alignments, encoder, config), show, config)


def _require(show: Show | None, possible: Sequence[Show], description: str) -> None:
    if show is not None and show not in possible:
        raise ValueError(f"{description}, so it can show {' or '.join(possible)}, not {show}")


def _words(space: WordSpace, name: str) -> Points:
    space = space.most_frequent(len(space))
    edges = [*(edge for edge in _BANDS if edge < len(space)), len(space)]
    starts = [1, *(edge + 1 for edge in edges)]
    bands = [f"{start:,} to {edge:,}" for start, edge in zip(starts, edges, strict=False)]
    ranks = np.searchsorted(np.array(edges), np.arange(1, len(space) + 1))
    details = [f"rank {rank:,}" for rank in range(1, len(space) + 1)]
    if space.counts is not None:
        details = [f"{detail}, {count:,} occurrences" for detail, count in zip(details, space.counts, strict=True)]
    column = Column("frequency rank", [bands[rank] for rank in ranks.tolist()], bands)
    description = [f"The {len(space):,} most frequent words of {name}, coloured by frequency."]
    return Points(f"Words of {name}", description, space.words, details, [column], space.vectors, named=True)


def _sample(number: int, most: int, *name: str | int) -> NDArray[np.int64]:
    """Draw a random sample of at most `most` of `number` rows, in ascending order."""
    random = np.random.default_rng(derive(*name, "projector"))
    return np.sort(random.permutation(number)[:most])


def _segments(embedded: spoken.SpokenSegments, name: str, config: ProjectorConfig) -> Points:
    rows = _sample(len(embedded.segments), config.number, config.seed, "segments").tolist()
    chosen = [embedded.segments[row] for row in rows]
    owners = [embedded.utterances[one.utterance] for one in chosen]
    details = [f"{one.utterance}, {one.start:.2f} to {one.end:.2f} s" for one in chosen]
    columns = [Column("word", [one.word or "" for one in chosen]), *_about(owners)]
    description = [f"{len(rows):,} of {len(embedded.segments):,} spoken segments, placed by their vectors in {name}."]
    return Points(
        f"Spoken words of {name}",
        description,
        [one.word or one.utterance for one in chosen],
        details,
        columns,
        embedded.vectors[rows].numpy(),
        lambda place: embedded.waveform(chosen[place]),
    )


def _about(owners: Sequence[Utterance]) -> Iterator[Column]:
    """Yield a column for each property of utterances that has more than one value."""
    for name in ("speaker", "language", "split"):
        values = [getattr(one, name) or "" for one in owners]
        if len(set(values)) > 1:
            yield Column(name, values)


def _codes(encoder: Encoder, name: str, number: int) -> Points:
    if not has_units(encoder) or isinstance(encoder, CodeBert):  # its codebook is that of its vq-wav2vec model
        raise ValueError(
            f"{name} ({encoder.config.kind}) has no codebook to show; give recordings with --data PREPARED"
        )
    book = encoder.quantizer.codebook.detach().float().cpu().numpy()
    num_groups, num_codes, _ = book.shape
    every = [(group, code) for group in range(num_groups) for code in range(num_codes)]
    every = [every[row] for row in _sample(len(every), number, 0, "codes").tolist()]
    vectors = np.stack([book[group, code] for group, code in every])
    groups = [f"group {group + 1}" for group, _ in every] if num_groups > 1 else ["shared by all groups"] * len(every)
    description = (
        f"Codebook entries of {Path(name).name}: {num_groups} groups of {num_codes}, numbered as by `sori units`. Each "
        "group has its own vector space; only neighbours within a group are meaningful."
    )
    labels = [f"{group + 1}:{code}" for group, code in every]
    return Points(
        f"Codebook entries of {Path(name).name}",
        [description],
        labels,
        [],
        [Column("group", groups)],
        vectors,
        named=True,
    )


class _Recording(NamedTuple):
    utterance: Utterance
    alignment: Alignment | None


def _recordings(
    data: Sequence[Path], alignments: Path | None, encoder: Encoder, config: ProjectorConfig
) -> list[_Recording]:
    """Select utterances long enough for a frame, in random order."""
    every = [one for folder in data for one in read_manifest(folder)]
    known: Sequence[Alignment | None] = [None] * len(every)
    if alignments is not None:
        known = match(every, read_alignments(alignments)).alignments
    shortest = max(encoder.field_samples, SHORTEST_SAMPLES)
    kept = [
        _Recording(one, alignment)
        for one, alignment in zip(every, known, strict=True)
        if one.num_samples >= shortest
        and config.split in (None, one.split)
        and (alignments is None or alignment is not None)
    ]
    if not kept:
        split = "any split" if config.split is None else f"the split {config.split!r}"
        raise ValueError(
            f"no utterances of {split} can be used: they are too short, or without an alignment; give other recordings"
        )
    order = np.random.default_rng(derive(config.seed, "projector", "recordings")).permutation(len(kept))
    return [kept[place] for place in order.tolist()]


class _Sound(NamedTuple):
    """A frame or a phone."""

    utterance: Utterance
    at: Interval

    def waveform(self) -> Float[Tensor, " sample"]:
        """Read its audio, with context on both sides."""
        one = self.utterance
        start = max(0.0, self.at.start - _CONTEXT_SECONDS)
        end = min(one.duration_seconds, self.at.end + _CONTEXT_SECONDS)
        return read(one.path, start=one.start + start, duration=end - start, channel=one.mix)


def _sounds(encoder: Encoder, name: str, recordings: list[_Recording], show: Show, config: ProjectorConfig) -> Points:
    timing = Timing(encoder.hop_samples, encoder.field_samples)
    layer = encoder.config.num_layers if config.layer is None else config.layer
    enough = config.number * (_FRAMES_READ if show == "frames" else 1)
    some, total = list[_Recording](), 0
    for one in recordings:
        if total >= enough:
            break
        some.append(one)
        total += one.utterance.num_samples // timing.hop_samples if show == "frames" else len(_phones(one))
    found = compute_representations(layers_of(encoder, [layer]), [one.utterance for one in some])
    sounds, vectors, first = list[_Sound](), list[NDArray[np.float32]](), 0
    for one, count in zip(some, found.counts.tolist(), strict=True):
        frames = found.vectors[0][first : first + count].numpy()
        first += count
        at, made = (_frames if show == "frames" else _spoken)(one, frames, timing.middles(count))
        sounds += [_Sound(one.utterance, interval) for interval in at]
        vectors.append(made)
    rows = _sample(len(sounds), config.number, config.seed, show).tolist()
    if len(rows) < 2:
        raise ValueError(f"expected 2 {show} or more to show, got {len(rows)}; give longer recordings")
    kept = [sounds[row] for row in rows]
    labels = [one.at.label for one in kept]
    details = [f"{one.utterance.id}, {one.at.start:.2f} to {one.at.end:.2f} s" for one in kept]
    phones = [Column("phone", labels)] if any(labels) else []
    description = [
        f"{len(rows):,} {show} of {len(some):,} utterances, in layer {layer} of {name}"
        + (", each the mean of its frames; silences are left out." if show == "phones" else ".")
        + f" Audio is played with {_CONTEXT_SECONDS:g} s of context on either side."
    ]
    columns = [*phones, *_about([one.utterance for one in kept])]
    chosen = np.concatenate(vectors)[rows]
    labels = labels if phones else [one.utterance.id for one in kept]
    return Points(
        f"{show.capitalize()} of {name}",
        description,
        labels,
        details,
        columns,
        chosen,
        lambda row: kept[row].waveform(),
    )


def _phones(one: _Recording) -> list[Interval]:
    return [] if one.alignment is None else [phone for phone in one.alignment.phones if not is_silence(phone.label)]


def _frames(
    one: _Recording, frames: NDArray[np.float32], middles: NDArray[np.float64]
) -> tuple[list[Interval], NDArray[Any]]:
    """Return the middle of each frame as an interval, labelled with the phone spoken at that time, if any."""
    phones = _phones(one)
    starts = np.array([phone.start for phone in phones])
    places = np.searchsorted(starts, middles, side="right") - 1
    labels = [
        phones[place].label if place >= 0 and middle < phones[place].end else ""
        for place, middle in zip(places.tolist(), middles.tolist(), strict=True)
    ]
    moments = zip(middles.tolist(), labels, strict=True)
    return [Interval(middle, middle, label) for middle, label in moments], frames


def _spoken(
    one: _Recording, frames: NDArray[np.float32], middles: NDArray[np.float64]
) -> tuple[list[Interval], NDArray[Any]]:
    """Return each phone with the mean of its frames (by their middles); a phone without a frame gets the nearest."""
    phones = _phones(one)
    means = np.zeros((len(phones), frames.shape[1]), dtype=np.float32)
    for place, phone in enumerate(phones):
        first, last = np.searchsorted(middles, (phone.start, phone.end)).tolist()
        if first == last:
            first = int(np.abs(middles - (phone.start + phone.end) / 2).argmin())
            last = first + 1
        means[place] = frames[first:last].mean(0)
    return phones, means
