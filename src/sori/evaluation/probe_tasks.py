"""The questions that every representation of the same utterances is asked, and its answers."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sori.core.audio import SAMPLE_RATE
from sori.core.config import Config
from sori.core.shapes import Float, Tensor
from sori.data.labels import choose_minutes
from sori.data.manifest import Utterance
from sori.data.sources.alignments import Alignment, is_silence
from sori.data.sources.intervals import Interval, labels_at
from sori.evaluation.abx import Abx, AbxConfig, Plan, find_items, plan, score, spans_of
from sori.evaluation.data_split import Split, SplitBy, split
from sori.evaluation.letter_probe import Letters, LettersConfig, Prediction, read_letters
from sori.evaluation.linear_probe import ProbeConfig, Probed, Rows, probe
from sori.evaluation.representations import Timing

Task = Literal["phone", "speaker", "abx", "codes", "letters"]
TASKS: tuple[Task, ...] = ("phone", "speaker", "abx", "codes", "letters")
USUAL: tuple[Task, ...] = ("phone", "speaker", "abx", "codes")
"""All but letters, which need transcripts and half a minute for each representation."""


class ProbeTaskConfig(Config):
    """What is asked, of what."""

    tasks: tuple[Task, ...] = USUAL
    split_by: SplitBy = "speaker"
    """What is kept apart where phones are read: whole speakers, or only utterances."""
    max_phone_seconds: float = 0.5
    """Longer ones count as silence: in forced alignments these are mostly mistakes."""
    silences: tuple[str, ...] = ()
    """Further labels that stand for silence or noise."""
    probe: ProbeConfig = ProbeConfig()
    abx: AbxConfig = AbxConfig()
    letters: LettersConfig = LettersConfig()
    seed: int = 0


class Questions(NamedTuple):
    """What does not depend on the representation."""

    utterances: list[Utterance]
    config: ProbeTaskConfig
    labels: list[str]
    """Of the phones by their numbers; silences have none."""
    phones: list[list[Interval]]
    """Of each utterance; empty where nothing is known."""
    num_long: int
    """Phones that counted as silence for being too long."""
    phone_split: Split | None
    speaker_split: Split | None
    planned: Plan | None
    told: tuple[Prediction, Prediction, Prediction] | None
    """Transcripts of each part."""


class Stage(NamedTuple):
    """The questions at given frames."""

    questions: Questions
    owners: NDArray[np.int64]
    """The utterance of each frame."""
    phones: NDArray[np.int64]
    """The phone at the middle of each frame, -1 for none."""
    spans: NDArray[np.int64]
    """Frames of the items of ABX."""
    firsts: NDArray[np.int64]
    """The first frame of each utterance, and the end."""
    frame_seconds: float
    """From one frame to the next."""


class Answers(NamedTuple):
    """Of one representation; None where it was not asked."""

    phone: Probed | None
    """Which phone a frame is."""
    speaker: Probed | None
    """Who says an utterance, from the mean of its frames."""
    speaker_frame: Probed | None
    """Who is heard in a frame."""
    abx: Abx | None
    letters: Letters | None


def questions(
    utterances: Sequence[Utterance], alignments: Sequence[Alignment | None] | None, config: ProbeTaskConfig
) -> Questions:
    """What the configuration asks of these utterances.

    Args:
        utterances: all that are scored.
        alignments: of each, in seconds from its beginning; None: there are none, and nothing is asked about phones.
        config: see there.

    Raises:
        ValueError: the parts cannot be made, see `split`.
    """
    phones, num_long = _phones(alignments or [None] * len(utterances), config)
    labels = sorted({one.label for row in phones for one in row if one.label})
    chosen = [index for index, row in enumerate(phones) if row]
    phone_split = speaker_split = planned = None
    if "phone" in config.tasks and alignments is not None:
        phone_split = split(utterances, chosen, by=config.split_by, seed=config.seed)
    if "speaker" in config.tasks:
        if len({one.speaker for one in utterances}) < 2:
            raise ValueError(
                "there is only one speaker, who need not be told from others: leave speaker out of --tasks"
            )
        speaker_split = split(utterances, range(len(utterances)), by="utterance", seed=config.seed)
    if "abx" in config.tasks and alignments is not None:
        names = {one.speaker: number for number, one in enumerate(utterances)}  # one number for each speaker
        if None in names:
            raise ValueError("ABX compares speakers, but some utterances name none; leave it out of --tasks")
        index = {label: number for number, label in enumerate(labels)}
        rows = [[(one.start, one.end, index.get(one.label, -1)) for one in row] for row in phones]
        items = find_items(rows, [names[one.speaker] for one in utterances], task=config.abx.task)
        planned = plan(items, config.abx, seed=config.seed)
    told = _told(utterances, config) if "letters" in config.tasks else None
    return Questions(list(utterances), config, labels, phones, num_long, phone_split, speaker_split, planned, told)


def _told(utterances: Sequence[Utterance], config: ProbeTaskConfig) -> tuple[Prediction, Prediction, Prediction]:
    spoken = [index for index, one in enumerate(utterances) if one.text and one.text.strip()]
    if not spoken:
        raise ValueError("letters need transcripts, and no utterance has one; leave letters out of --tasks")
    parts = split(utterances, spoken, by=config.split_by, seed=config.seed)
    train = [utterances[index] for index in parts.train]
    if sum(one.duration_seconds for one in train) > 60 * config.letters.minutes:
        few = {one.id for one in choose_minutes(train, config.letters.minutes, seed=config.seed)}
        parts = parts._replace(train=[index for index in parts.train if utterances[index].id in few])

    def told(rows: list[int]) -> Prediction:
        return Prediction(rows, [utterances[row].text or "" for row in rows], [utterances[row].speaker for row in rows])

    return told(parts.train), told(parts.dev), told(parts.test)


def _phones(alignments: Sequence[Alignment | None], config: ProbeTaskConfig) -> tuple[list[list[Interval]], int]:
    """Phones of each utterance, silences with empty labels; and how many were too long."""
    rows, num_long = list[list[Interval]](), 0
    for alignment in alignments:
        row = []
        for one in () if alignment is None else alignment.phones:
            silent = is_silence(one.label) or one.label in config.silences
            too_long = not silent and one.seconds > config.max_phone_seconds
            num_long += too_long
            row.append(one._replace(label="") if silent or too_long else one)
        rows.append(row)
    return rows, num_long


def stage(asked: Questions, counts: NDArray[np.int64], timing: Timing) -> Stage:
    """The questions at the frames of some representation.

    Args:
        asked: from `questions`.
        counts: frames of each utterance.
        timing: where they lie.
    """
    index = {label: number for number, label in enumerate(asked.labels)}
    middles = {row: timing.middles(int(count)) for row, count in enumerate(counts)}
    phones = [labels_at(row, middles[number], index) for number, row in enumerate(asked.phones)]
    spans = np.zeros((0, 2), dtype=np.int64)
    if asked.planned is not None:
        spans = spans_of(asked.planned.chosen, middles, np.cumsum(counts) - counts)
    owners = np.repeat(np.arange(len(counts)), counts)
    firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Stage(asked, owners, np.concatenate(phones), spans, firsts, timing.hop_samples / SAMPLE_RATE)


def answer(at: Stage, vectors: Float[Tensor, "frame dim"], plain: Float[Tensor, "frame dim"] | None = None) -> Answers:
    """What can be read from one representation.

    Args:
        at: the questions.
        vectors: of all frames of all utterances.
        plain: of the same frames, for the questions about speakers; None: the same.
    """
    asked, config = at.questions, at.questions.config
    speakers = [one.speaker for one in asked.utterances]
    phone = speaker = speaker_frame = abx = letters = None
    if asked.phone_split is not None:
        parts = _parts(asked.phone_split, at.owners, at.phones)
        units = at.owners[parts[2].rows]
        phone = probe(vectors, parts, units=units, speakers=speakers, config=config.probe, seed=config.seed)
    if asked.speaker_split is not None:
        heard = vectors if plain is None else plain
        numbers = np.unique(np.array(speakers, dtype=str), return_inverse=True)[1].astype(np.int64)
        every = np.arange(len(speakers))
        parts = _parts(asked.speaker_split, every, numbers)
        means = _means(heard, at.owners, len(speakers))
        speaker = probe(means, parts, units=parts[2].rows, speakers=speakers, config=config.probe, seed=config.seed)
        parts = _parts(asked.speaker_split, at.owners, numbers[at.owners])
        units = at.owners[parts[2].rows]
        speaker_frame = probe(heard, parts, units=units, speakers=speakers, config=config.probe, seed=config.seed)
    if asked.planned is not None:
        abx = score(asked.planned, vectors.numpy(), at.spans, seed=config.seed)
    if asked.told is not None:

        def of_utterance(row: int) -> Tensor:
            return vectors[at.firsts[row] : at.firsts[row + 1]]

        letters = read_letters(
            of_utterance, asked.told, frame_seconds=at.frame_seconds, config=config.letters, seed=config.seed
        )
    return Answers(phone, speaker, speaker_frame, abx, letters)


def _parts(parts: Split, owners: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[Rows, Rows, Rows]:
    """Rows of each part that have a label."""
    found = []
    for part in (parts.train, parts.dev, parts.test):
        wanted = np.zeros(int(owners.max()) + 1, dtype=bool)
        wanted[part] = True
        rows = np.flatnonzero(wanted[owners] & (labels >= 0))
        found.append(Rows(rows, labels[rows]))
    return found[0], found[1], found[2]


def _means(vectors: Tensor, owners: NDArray[np.int64], num: int) -> Tensor:
    place = torch.from_numpy(owners)
    sums = torch.zeros(num, vectors.shape[1], dtype=torch.float64).index_add_(0, place, vectors.double())
    return (sums / torch.bincount(place, minlength=num)[:, None]).float()
