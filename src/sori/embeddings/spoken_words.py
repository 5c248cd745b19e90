"""Spoken words: alignment, segment vectors, and acoustic neighbours."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from torch.nn import functional

from sori.checkpoints import store
from sori.core import distributed
from sori.core.audio import SAMPLE_RATE, read
from sori.core.batch import SegmentBatch
from sori.core.counts import require_count
from sori.core.shapes import Float, Frames, Tensor
from sori.data.batches.loader import FileReader
from sori.data.batches.segment_pairs import SegmentConfig, borders, read_waveforms
from sori.data.manifest import Utterance, read_manifest
from sori.data.word_segments import SEGMENTS, Segment, write_segments
from sori.embeddings import vector_files
from sori.embeddings.space import WordSpace
from sori.evaluation.same_different import SameDifferent, same_different
from sori.inference import align as align_module
from sori.inference import transcribe
from sori.inference.inputs import reason_of
from sori.models import factory
from sori.models.ctc import Ctc
from sori.models.speech2vec import Speech2Vec
from sori.plots import html_page
from sori.recipes.recipe import SpokenWordRecipe
from sori.runs.tasks.word_segments import locate

_TOGETHER = 16
"""Utterances in a batch."""


class Aligned(NamedTuple):
    """Result of `align`."""

    file: Path
    num_words: int
    failed: list[transcribe.FailedRecording]
    """Utterances that could not be aligned."""


class SpokenSegments(NamedTuple):
    """Segments and their vectors."""

    segments: list[Segment]
    vectors: Float[Tensor, "segment dim"]
    utterances: dict[str, Utterance]
    """Utterances by id."""

    def waveform(self, segment: Segment) -> Float[Tensor, " sample"]:
        """Read the audio of a segment at 16 kHz."""
        u = self.utterances[segment.utterance]
        end = min(segment.end, u.duration_seconds)
        return read(u.path, start=u.start + segment.start, duration=end - segment.start, channel=u.mix)


class Neighbour(NamedTuple):
    """A word or a segment near a query."""

    cosine: float
    num_segments: int
    """Number of segments that its vector is the mean of."""
    example: Segment
    """Segment of the word that is nearest to the query."""


@final
class WordVectors:
    """A vector for each word: the normalised mean of its normalised segment vectors (as in the authors' code).

    Args:
        embedded: segments and their vectors; segments without a word are left out.
        unit: whether to normalise; False: the plain mean (as described in the paper).

    Raises:
        ValueError: no segment has a word.
    """

    def __init__(self, embedded: SpokenSegments, *, unit: bool = True) -> None:
        rows = [row for row, one in enumerate(embedded.segments) if one.word is not None]
        if not rows:
            raise ValueError("expected segments with words, got none; segments of fixed length have no words")
        named = np.array([str(embedded.segments[row].word) for row in rows])
        words, inverse, counts = np.unique(named, return_inverse=True, return_counts=True)
        chosen = embedded.vectors[rows].double()
        chosen = functional.normalize(chosen, dim=-1) if unit else chosen
        total = torch.zeros(len(words), chosen.shape[1], dtype=chosen.dtype)
        mean = total.index_add(0, torch.from_numpy(inverse), chosen) / torch.from_numpy(counts)[:, None]
        self.words: list[str] = words.tolist()
        self.counts: list[int] = counts.tolist()
        self.vectors = (functional.normalize(mean, dim=-1) if unit else mean).float()
        self._places = {word: place for place, word in enumerate(self.words)}

    def vector(self, word: str) -> Float[Tensor, " dim"]:
        """Return the vector of a word.

        Raises:
            ValueError: the word has no segment; the message names words with a similar spelling.
        """
        if word not in self._places:
            near = difflib.get_close_matches(word, self.words, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{len(self.words)} words have segments"
            raise ValueError(f"there is no segment of the word {word!r}; {hint}")
        return self.vectors[self._places[word]]

    def space(self) -> WordSpace:
        """Return the word vectors as a `WordSpace`, the most frequent word first."""
        order = sorted(range(len(self.words)), key=lambda row: -self.counts[row])
        return WordSpace(
            [self.words[row] for row in order], self.vectors.numpy()[order], [self.counts[row] for row in order]
        )

    def save(self, path: Path) -> None:
        """Write a file of word vectors; for formats and errors see `vector_files.write`."""
        vector_files.write(self.space(), path)


def align(model: factory.System, folder: Path) -> Aligned:
    """Align the words of transcribed utterances and write their times to `segments.jsonl` in the prepared folder.

    Words are normalised as in the recogniser's output: its case, no punctuation. Utterances without a transcript are
    skipped.

    Args:
        model: a recogniser.
        folder: prepared folder, to which the file is written.

    Raises:
        ValueError: the model is not a recogniser, or no utterance could be aligned.
    """
    if not isinstance(model, Ctc) or model.vocabulary is None:
        raise ValueError(
            "expected a recogniser, got a model without an output vocabulary: `sori train ctc_10min` trains one"
        )
    utterances = [u for u in read_manifest(folder) if u.text]
    reader, found, failed = FileReader(utterances), list[Segment](), list[transcribe.FailedRecording]()
    for row, u in enumerate(utterances):
        text = model.vocabulary.normalise(u.text or "")
        try:
            words = align_module.align(model, reader(row, 0, u.num_samples), text, sample_rate=SAMPLE_RATE).words
        except Exception as error:  # noqa: BLE001 - costs this recording only
            failed.append(transcribe.FailedRecording(Path(u.path), reason_of(error, u.path)))
            continue
        for word in words:
            end = min(word.end, u.duration_seconds)
            if word.start < end:
                found.append(Segment(u.id, round(word.start, 3), round(end, 3), word.text))
    if not found:
        reason = f", such as {failed[0].path}: {failed[0].reason}" if failed else ""
        raise ValueError(f"no words could be aligned in {len(utterances)} transcribed utterances of {folder}{reason}")
    write_segments(folder / SEGMENTS, found)
    return Aligned(folder / SEGMENTS, len(found), failed)


def embed_segments(
    model: str | Path | Speech2Vec,
    *,
    data: Sequence[Path] = (),
    segments: SegmentConfig | None = None,
    split: str | None = None,
) -> SpokenSegments:
    """Compute the vectors of all segments of recordings.

    Args:
        model: folder, name or loaded system.
        data: prepared folders; empty: those the model was trained on.
        segments: where the segments are stored; None: as in training or, for a loaded system, `segments.jsonl` in each
            folder.
        split: use only this split.

    Raises:
        FileNotFoundError: there is no such model, folder or file of segments.
        ValueError: the model is not a Speech2Vec model, or segments and utterances do not match.
    """
    if isinstance(model, Speech2Vec):
        system, config, folders = model, segments or SegmentConfig(), list(data)
    else:
        system = require_speech2vec(store.load(model).to(distributed.device()), str(model))
        recipe = SpokenWordRecipe.from_data(store.read(model).provenance["recipe"], origin=f"the recipe of {model}")
        folders = list(data) or [Path(folder) for folder in recipe.corpora]
        config = segments or recipe.segments
        if data and segments is None:
            config = config.model_copy(update={"file": None})  # the file belongs to the training data
    utterances, own = locate(folders, config)
    rows = [row for row, u in enumerate(utterances) if own[row] and split in (None, u.split)]
    if not rows:
        known = ", ".join(sorted({u.split or "none" for u in utterances}))
        raise ValueError(f"no utterance of the split {split!r} has segments; splits: {known}")
    rows.sort(key=lambda row: utterances[row].num_samples)
    chosen, ordered = [utterances[row] for row in rows], [own[row] for row in rows]
    vectors = torch.cat(list(_vectors(system.eval(), chosen, ordered))).cpu()
    return SpokenSegments([one for each in ordered for one in each], vectors, {u.id: u for u in chosen})


def require_speech2vec(system: factory.System, name: str) -> Speech2Vec:
    """Return the system as a `Speech2Vec` model.

    Raises:
        ValueError: it is a model of another kind.
    """
    if not isinstance(system, Speech2Vec):
        raise ValueError(  # noqa: TRY004 - the caller passes the name of a model, not a type
            f"expected a model of spoken words, got {name}, which computes frame vectors; "
            "`sori train speech2vec_skipgram` trains one"
        )
    return system


def batches(
    utterances: Sequence[Utterance], segments: Sequence[Sequence[Segment]], *, together: int = _TOGETHER
) -> Iterator[SegmentBatch]:
    """Yield batches of all segments, in order and without skip-gram pairs."""
    reader = FileReader(utterances)
    num_samples = np.array([u.num_samples for u in utterances], dtype=np.int64)
    for first in range(0, len(utterances), together):
        rows = np.arange(first, min(first + together, len(utterances)))
        chosen = segments[first : first + together]
        owner = np.repeat(np.arange(len(rows)), [len(own) for own in chosen])
        flat = [one for own in chosen for one in own]
        yield SegmentBatch(
            *read_waveforms(reader, rows, num_samples),
            torch.from_numpy(owner),
            *borders(flat, num_samples[rows[owner]]),
            torch.zeros(0, 2, dtype=torch.long),
        )


def _vectors(
    system: Speech2Vec, utterances: Sequence[Utterance], segments: Sequence[Sequence[Segment]]
) -> Iterator[Tensor]:
    device = next(system.parameters()).device
    with torch.no_grad():
        for batch in batches(utterances, segments):
            yield system.vectors(batch.to(device))


def nearest_words(embedded: SpokenSegments, word: str, *, number: int = 10) -> list[Neighbour]:
    """Find the words whose vectors are nearest to that of a word, nearest first, beginning with the word itself.

    Raises:
        ValueError: the word has no segment.
    """
    require_count("number of neighbours", number)
    known = WordVectors(embedded)
    query = known.vector(word)
    cosines = known.vectors @ query
    near = functional.normalize(embedded.vectors, dim=-1) @ query
    members: dict[str | None, list[int]] = {}
    for row, one in enumerate(embedded.segments):
        members.setdefault(one.word, []).append(row)
    found = []
    for place in cosines.argsort(descending=True)[: number + 1].tolist():
        rows = members[known.words[place]]
        best = rows[int(near[rows].argmax())]
        found.append(Neighbour(float(cosines[place]), known.counts[place], embedded.segments[best]))
    return found


def nearest_segments(embedded: SpokenSegments, place: str, *, number: int = 10) -> list[Neighbour]:
    """Find the segments whose vectors are nearest to that of a segment, nearest first, beginning with the segment.

    Args:
        embedded: from `embed_segments`.
        place: segment, as `UTTERANCE@SECONDS` with any time within it.
        number: number of other segments.

    Raises:
        ValueError: there is no segment at that time.
    """
    require_count("number of neighbours", number)
    name, _, time = place.rpartition("@")
    try:
        seconds = float(time)
    except ValueError:
        raise ValueError(f"expected a segment as UTTERANCE@SECONDS, such as talk-3@1.25, got {place!r}") from None
    own = [row for row, one in enumerate(embedded.segments) if one.utterance == name]
    at = [row for row in own if embedded.segments[row].start <= seconds < embedded.segments[row].end]
    if not at:
        times = ", ".join(f"{embedded.segments[row].start:g}-{embedded.segments[row].end:g}" for row in own[:20])
        known = f"its segments: {times}" if own else f"there is no utterance {name!r} with segments"
        raise ValueError(f"no segment at {place}; {known}")
    unit = functional.normalize(embedded.vectors, dim=-1)
    cosines = unit @ unit[at[0]]
    order = [at[0], *(row for row in cosines.argsort(descending=True).tolist() if row != at[0])]
    return [Neighbour(float(cosines[row]), 1, embedded.segments[row]) for row in order[: number + 1]]


def neighbour_page(embedded: SpokenSegments, query: str, found: Sequence[Neighbour]) -> str:
    """Write a web page on which the neighbours can be played."""
    first, *others = found
    blocks = [
        html_page.heading(f"Acoustic neighbours of {first.example.word or query}", level=1),
        html_page.audio(embedded.waveform(first.example)),
        html_page.paragraph(_describe(first), soft=True),
    ]
    for one in others:
        blocks += [
            html_page.heading(f"{one.example.word or one.example.utterance}: {one.cosine:.3f}"),
            html_page.audio(embedded.waveform(one.example)),
            html_page.paragraph(_describe(one), soft=True),
        ]
    return html_page.page(f"Neighbours of {query}", blocks)


def _describe(one: Neighbour) -> str:
    where = f"{one.example.utterance}, {one.example.start:.2f} to {one.example.end:.2f} s"
    return where if one.num_segments == 1 else f"{where}; {one.num_segments} segments, this one is the nearest"


class SameDifferentScores(NamedTuple):
    """Results of the same-different test for a model and its baselines."""

    rows: dict[str, SameDifferent]
    """Results by kind of vectors: `model`, `untrained` (random-initialisation baseline), `sampled cepstra` (ten equally
    spaced frames of each segment, concatenated), `mean cepstra`."""
    num_segments: int

    def table(self) -> str:
        """Format the scores as text."""
        one = self.rows["model"]
        lines = [f"{self.num_segments} segments; {one.num_same} of {one.num_pairs} pairs are of the same word"]
        lines += [f"{name:16} average precision {row.average_precision:6.2%}" for name, row in self.rows.items()]
        return "\n".join([*lines, f"{'chance':16} average precision {one.chance:6.2%}"])


def score(
    model: str | Path,
    *,
    data: Sequence[Path] = (),
    split: str | None = None,
    min_seconds: float = 0.0,
    min_letters: int = 1,
    across_speakers: bool = False,
) -> SameDifferentScores:
    """Run the same-different test on the words of recordings.

    Args:
        model: folder, run folder or name.
        data: prepared folders with `segments.jsonl`; empty: those the model was trained on.
        split: use only this split.
        min_seconds: minimum length of a segment (Carlin et al. 2011: 0.5).
        min_letters: minimum number of letters of a word (Carlin et al. 2011: 5).
        across_speakers: whether to use only pairs of different speakers.

    Raises:
        FileNotFoundError, ValueError: as `embed_segments` and `same_different`.
    """
    require_count("min_letters", min_letters, least=0)
    embedded = embed_segments(model, data=data, split=split)
    torch.manual_seed(0)
    fresh = Speech2Vec(require_speech2vec(store.load(model), str(model)).config)
    own: dict[str, list[Segment]] = {name: [] for name in embedded.utterances}
    for one in embedded.segments:
        own[one.utterance].append(one)
    utterances, segments = list(embedded.utterances.values()), list(own.values())
    kinds = {
        "model": embedded.vectors,
        "untrained": torch.cat(list(_vectors(fresh.eval(), utterances, segments))),
        "sampled cepstra": torch.cat([sampled(fresh.segments(batch)) for batch in batches(utterances, segments)]),
        "mean cepstra": torch.cat([mean(fresh.segments(batch)) for batch in batches(utterances, segments)]),
    }
    kept = [
        row
        for row, one in enumerate(embedded.segments)
        if one.word is not None and len(one.word) >= min_letters and one.end - one.start >= min_seconds
    ]
    words = [str(embedded.segments[row].word) for row in kept]
    speakers = [embedded.utterances[embedded.segments[row].utterance].speaker for row in kept]
    groups = speakers if across_speakers else None
    results = {name: same_different(x[kept].numpy(), words, speakers=groups) for name, x in kinds.items()}
    return SameDifferentScores(results, len(kept))


def sampled(x: Frames, *, number: int = 10) -> Float[Tensor, "segment sampled"]:
    """Concatenate equally spaced frames of each segment, as a baseline."""
    place = torch.linspace(0, 1, number) * (x.lengths[:, None] - 1)
    return x.data.gather(1, place.round().long()[..., None].expand(-1, -1, x.data.shape[2])).flatten(1)


def mean(x: Frames) -> Float[Tensor, "segment cepstrum"]:
    """Return the mean of each segment's frames; padding must be zero."""
    return x.data.sum(1) / x.lengths[:, None]
