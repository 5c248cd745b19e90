"""Words as they sound: where they are spoken, their vectors, and which sound alike."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from torch.nn import functional

from sori.checkpoints import store
from sori.core import distributed
from sori.core.audio import read
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
from sori.models import factory
from sori.models.ctc import Ctc
from sori.models.speech2vec import Speech2Vec
from sori.plots import html_page
from sori.recipes.recipe import SpokenWordRecipe
from sori.runs.tasks.word_segments import locate

_TOGETHER = 16
"""Utterances read at a time."""


class Aligned(NamedTuple):
    """What `align` found."""

    file: Path
    num_words: int
    failed: list[transcribe.Failure]
    """Utterances whose words could not be found."""


class Heard(NamedTuple):
    """Segments and their vectors."""

    segments: list[Segment]
    vectors: Float[Tensor, "segment dim"]
    utterances: dict[str, Utterance]
    """By id."""

    def waveform(self, segment: Segment) -> Float[Tensor, " sample"]:
        """The sound of a segment at 16 kHz."""
        u = self.utterances[segment.utterance]
        end = min(segment.end, u.duration_seconds)
        return read(u.path, start=u.start + segment.start, duration=end - segment.start)


class Neighbour(NamedTuple):
    """A word or a segment that is near."""

    cosine: float
    times_said: int
    """Segments its vector is the mean of."""
    example: Segment
    """The one of them that is nearest to what was asked for."""


@final
class WordVectors:
    """A vector for each word: the mean over its segments, each of length 1, brought to length 1 again (the code's way).

    Args:
        heard: segments with words; those without are left out.
        unit: False: the mean of the vectors as they are (the paper's words).

    Raises:
        ValueError: no segment has a word.
    """

    def __init__(self, heard: Heard, *, unit: bool = True) -> None:
        rows = [row for row, one in enumerate(heard.segments) if one.word is not None]
        if not rows:
            raise ValueError("expected segments with words, got none; pieces of fixed length have no words to average")
        named = np.array([str(heard.segments[row].word) for row in rows])
        words, inverse, counts = np.unique(named, return_inverse=True, return_counts=True)
        chosen = heard.vectors[rows].double()
        chosen = functional.normalize(chosen, dim=-1) if unit else chosen
        total = torch.zeros(len(words), chosen.shape[1], dtype=chosen.dtype)
        mean = total.index_add(0, torch.from_numpy(inverse), chosen) / torch.from_numpy(counts)[:, None]
        self.words: list[str] = words.tolist()
        self.counts: list[int] = counts.tolist()
        self.vectors = (functional.normalize(mean, dim=-1) if unit else mean).float()
        self._places = {word: place for place, word in enumerate(self.words)}

    def vector(self, word: str) -> Float[Tensor, " dim"]:
        """The vector of a word.

        Raises:
            ValueError: the word was never said; names those spelt nearly so.
        """
        if word not in self._places:
            near = difflib.get_close_matches(word, self.words, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"{len(self.words)} words are known"
            raise ValueError(f"no segment holds the word {word!r}; {hint}")
        return self.vectors[self._places[word]]

    def space(self) -> WordSpace:
        """The same, to be searched and written: the word that is said most often first."""
        order = sorted(range(len(self.words)), key=lambda row: -self.counts[row])
        return WordSpace(
            [self.words[row] for row in order], self.vectors.numpy()[order], [self.counts[row] for row in order]
        )

    def save(self, path: Path) -> None:
        """Write a file of word vectors; format and errors as `wordspace.files.write`."""
        vector_files.write(self.space(), path)


def align(model: factory.System, folder: Path) -> Aligned:
    """Find the words of transcribed utterances, and write where they are beside them, `segments.jsonl`.

    Words are written as the recogniser writes: in its case, without punctuation. Utterances without a transcript are
    passed over.

    Args:
        model: a recogniser.
        folder: prepared; written to.

    Raises:
        ValueError: the model is no recogniser, or the words of no utterance were found.
    """
    if not isinstance(model, Ctc) or model.vocabulary is None:
        raise ValueError("expected a recogniser, got a model that writes no text: `sori train ctc_10min` makes one")
    utterances = [u for u in read_manifest(folder) if u.text]
    reader, found, failed = FileReader(utterances), list[Segment](), list[transcribe.Failure]()
    for row, u in enumerate(utterances):
        text = model.vocabulary.normalise(u.text or "")
        try:
            words = align_module.align(model, reader(row, 0, u.num_samples), text).words
        except ValueError as error:
            failed.append(transcribe.Failure(Path(u.path), str(error)))
            continue
        for word in words:
            end = min(word.end, u.duration_seconds)
            if word.start < end:
                found.append(Segment(u.id, round(word.start, 3), round(end, 3), word.text))
    if not found:
        why = f", such as {failed[0].path}: {failed[0].reason}" if failed else ""
        raise ValueError(f"no words were found in {len(utterances)} transcribed utterances of {folder}{why}")
    write_segments(folder / SEGMENTS, found)
    return Aligned(folder / SEGMENTS, len(found), failed)


def hear(
    model: str | Path | Speech2Vec,
    *,
    data: Sequence[Path] = (),
    segments: SegmentConfig | None = None,
    split: str | None = None,
) -> Heard:
    """The vectors of all segments of some recordings.

    Args:
        model: folder, name or loaded system.
        data: prepared folders; none: those the model was trained on.
        segments: where the segments are; None: where they were when the model was trained, or of a loaded system,
            `segments.jsonl` in each folder.
        split: only this split.

    Raises:
        FileNotFoundError: there is no such model, folder or file of segments.
        ValueError: the model makes no vectors of words, or segments and utterances do not belong together.
    """
    if isinstance(model, Speech2Vec):
        system, config, folders = model, segments or SegmentConfig(), list(data)
    else:
        system = needs_words(store.load(model).to(distributed.device()), str(model))
        recipe = SpokenWordRecipe.from_data(store.read(model).provenance["recipe"], origin=f"the recipe of {model}")
        folders = list(data) or [Path(folder) for folder in recipe.corpora]
        config = segments or recipe.segments
        if data and segments is None:
            config = config.model_copy(update={"file": None})  # the file belongs to the data of the training
    utterances, own = locate(folders, config)
    rows = [row for row, u in enumerate(utterances) if own[row] and split in (None, u.split)]
    if not rows:
        known = ", ".join(sorted({u.split or "none" for u in utterances}))
        raise ValueError(f"no utterance of the split {split!r} has segments; splits: {known}")
    rows.sort(key=lambda row: utterances[row].num_samples)
    chosen, ordered = [utterances[row] for row in rows], [own[row] for row in rows]
    vectors = torch.cat(list(_vectors(system.eval(), chosen, ordered))).cpu()
    return Heard([one for each in ordered for one in each], vectors, {u.id: u for u in chosen})


def needs_words(system: factory.System, name: str) -> Speech2Vec:
    """The same system, as what it must be.

    Raises:
        ValueError: it makes no vectors of words.
    """
    if not isinstance(system, Speech2Vec):
        raise ValueError(  # noqa: TRY004 - whoever calls names a model, not a type
            f"expected a model of words, got {name}, which makes vectors of frames; `sori train speech2vec_skipgram` "
            "makes one"
        )
    return system


def batches(
    utterances: Sequence[Utterance], segments: Sequence[Sequence[Segment]], *, together: int = _TOGETHER
) -> Iterator[SegmentBatch]:
    """All segments in order, without pairs."""
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


def nearest_words(heard: Heard, word: str, *, number: int = 10) -> list[Neighbour]:
    """The words whose vectors are nearest to that of a word, nearest first; the word itself comes first of all.

    Raises:
        ValueError: the word was never said.
    """
    require_count("number of neighbours", number)
    known = WordVectors(heard)
    asked = known.vector(word)
    cosines = known.vectors @ asked
    near = functional.normalize(heard.vectors, dim=-1) @ asked
    members: dict[str | None, list[int]] = {}
    for row, one in enumerate(heard.segments):
        members.setdefault(one.word, []).append(row)
    found = []
    for place in cosines.argsort(descending=True)[: number + 1].tolist():
        rows = members[known.words[place]]
        best = rows[int(near[rows].argmax())]
        found.append(Neighbour(float(cosines[place]), known.counts[place], heard.segments[best]))
    return found


def nearest_segments(heard: Heard, place: str, *, number: int = 10) -> list[Neighbour]:
    """The segments whose vectors are nearest to that of one segment, nearest first; itself first of all.

    Args:
        heard: from `hear`.
        place: the segment, as `UTTERANCE@SECONDS`, any time within it.
        number: how many others.

    Raises:
        ValueError: there is no segment at that place.
    """
    require_count("number of neighbours", number)
    name, _, time = place.rpartition("@")
    try:
        seconds = float(time)
    except ValueError:
        raise ValueError(f"expected a segment as UTTERANCE@SECONDS, such as talk-3@1.25, got {place!r}") from None
    own = [row for row, one in enumerate(heard.segments) if one.utterance == name]
    at = [row for row in own if heard.segments[row].start <= seconds < heard.segments[row].end]
    if not at:
        times = ", ".join(f"{heard.segments[row].start:g}-{heard.segments[row].end:g}" for row in own[:20])
        known = f"its segments: {times}" if own else f"there is no utterance {name!r} with segments"
        raise ValueError(f"no segment at {place}; {known}")
    unit = functional.normalize(heard.vectors, dim=-1)
    cosines = unit @ unit[at[0]]
    order = [at[0], *(row for row in cosines.argsort(descending=True).tolist() if row != at[0])]
    return [Neighbour(float(cosines[row]), 1, heard.segments[row]) for row in order[: number + 1]]


def neighbour_page(heard: Heard, asked: str, found: Sequence[Neighbour]) -> str:
    """A web page on which the neighbours can be listened to."""
    first, *others = found
    blocks = [
        html_page.heading(f"What sounds like {first.example.word or asked}", level=1),
        html_page.audio(heard.waveform(first.example)),
        html_page.paragraph(_told(first), soft=True),
    ]
    for one in others:
        blocks += [
            html_page.heading(f"{one.example.word or one.example.utterance}: {one.cosine:.3f}"),
            html_page.audio(heard.waveform(one.example)),
            html_page.paragraph(_told(one), soft=True),
        ]
    return html_page.page(f"Neighbours of {asked}", blocks)


def _told(one: Neighbour) -> str:
    where = f"{one.example.utterance}, {one.example.start:.2f} to {one.example.end:.2f} s"
    return where if one.times_said == 1 else f"{where}; said {one.times_said} times, this one is the nearest"


class Scores(NamedTuple):
    """Whether vectors tell words apart, beside vectors that cost nothing."""

    rows: dict[str, SameDifferent]
    """By what the vectors are: `model`, `untrained` (the same with random weights), `sampled cepstra` (ten frames of
    each segment, equally spaced, side by side), `mean cepstra`."""
    num_segments: int

    def table(self) -> str:
        """As text."""
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
) -> Scores:
    """The same-different test on the words of some recordings.

    Args:
        model: folder, run folder or name.
        data: prepared folders with `segments.jsonl`; none: those the model was trained on.
        split: only this split.
        min_seconds: shorter segments are left out (Carlin et al. 2011: 0.5).
        min_letters: so are shorter words (there: 5).
        across_speakers: count pairs of different speakers only.

    Raises:
        FileNotFoundError, ValueError: as `hear` and `same_different`.
    """
    require_count("min_letters", min_letters, least=0)
    heard = hear(model, data=data, split=split)
    torch.manual_seed(0)
    fresh = Speech2Vec(needs_words(store.load(model), str(model)).config)
    own: dict[str, list[Segment]] = {name: [] for name in heard.utterances}
    for one in heard.segments:
        own[one.utterance].append(one)
    utterances, segments = list(heard.utterances.values()), list(own.values())
    kinds = {
        "model": heard.vectors,
        "untrained": torch.cat(list(_vectors(fresh.eval(), utterances, segments))),
        "sampled cepstra": torch.cat([sampled(fresh.segments(batch)) for batch in batches(utterances, segments)]),
        "mean cepstra": torch.cat([mean(fresh.segments(batch)) for batch in batches(utterances, segments)]),
    }
    kept = [
        row
        for row, one in enumerate(heard.segments)
        if one.word is not None and len(one.word) >= min_letters and one.end - one.start >= min_seconds
    ]
    said = [str(heard.segments[row].word) for row in kept]
    voices = [heard.utterances[heard.segments[row].utterance].speaker for row in kept]
    speakers = voices if across_speakers else None
    tested = {name: same_different(x[kept].numpy(), said, speakers=speakers) for name, x in kinds.items()}
    return Scores(tested, len(kept))


def sampled(x: Frames, *, number: int = 10) -> Float[Tensor, "segment sampled"]:
    """Some equally spaced frames of each segment side by side: what a vector must beat."""
    place = torch.linspace(0, 1, number) * (x.lengths[:, None] - 1)
    return x.data.gather(1, place.round().long()[..., None].expand(-1, -1, x.data.shape[2])).flatten(1)


def mean(x: Frames) -> Float[Tensor, "segment cepstrum"]:
    """The mean of each segment's frames, padding being zero."""
    return x.data.sum(1) / x.lengths[:, None]
