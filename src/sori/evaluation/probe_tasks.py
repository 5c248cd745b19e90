"""Define the probe tasks for a list of utterances, and run them on a representation."""

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
from sori.evaluation.letter_probe import LetterProbeConfig, LetterProbeResult, Transcripts, probe_letters
from sori.evaluation.linear_probe import ProbeConfig, ProbeResult, Rows, probe
from sori.evaluation.representations import Timing

Task = Literal["phone", "speaker", "abx", "codes", "letters"]
TASKS: tuple[Task, ...] = ("phone", "speaker", "abx", "codes", "letters")
DEFAULT_TASKS: tuple[Task, ...] = ("phone", "speaker", "abx", "codes")
"""All but letters, which need transcripts and about half a minute for each representation."""


class ProbeTaskConfig(Config):
    """Which probe tasks are run, and how."""

    tasks: tuple[Task, ...] = DEFAULT_TASKS
    split_by: SplitBy = "speaker"
    """Whether train, dev and test of the phone probe differ in speakers, or in utterances only."""
    max_phone_seconds: float = 0.5
    """Longer phones count as silence: in forced alignments they are mostly alignment errors."""
    silences: tuple[str, ...] = ()
    """Additional labels for silence or noise."""
    probe: ProbeConfig = ProbeConfig()
    abx: AbxConfig = AbxConfig()
    letters: LetterProbeConfig = LetterProbeConfig()
    seed: int = 0


class ProbeTasks(NamedTuple):
    """The probe tasks, independent of the representation."""

    utterances: list[Utterance]
    config: ProbeTaskConfig
    labels: list[str]
    """Phone labels by number, without silences."""
    phones: list[list[Interval]]
    """Phones of each utterance; empty for an utterance without an alignment."""
    num_long: int
    """Number of phones that count as silence because they are too long."""
    phone_split: Split | None
    speaker_split: Split | None
    abx_plan: Plan | None
    transcripts: tuple[Transcripts, Transcripts, Transcripts] | None
    """Transcripts of train, dev and test."""


class FrameTasks(NamedTuple):
    """The probe tasks at the frames of a representation."""

    tasks: ProbeTasks
    owners: NDArray[np.int64]
    """Utterance of each frame."""
    phones: NDArray[np.int64]
    """Phone at the centre of each frame, -1 for none."""
    spans: NDArray[np.int64]
    """Frame spans of the ABX items."""
    firsts: NDArray[np.int64]
    """First frame of each utterance, and the total number of frames."""
    frame_seconds: float
    """Frame shift."""


class ProbeScores(NamedTuple):
    """Scores of one representation; None for tasks that were not run."""

    phone: ProbeResult | None
    """Phone classification of frames."""
    speaker: ProbeResult | None
    """Speaker classification of utterances, from the mean over frames."""
    speaker_frame: ProbeResult | None
    """Speaker classification of frames."""
    abx: Abx | None
    letters: LetterProbeResult | None


def define_tasks(
    utterances: Sequence[Utterance], alignments: Sequence[Alignment | None] | None, config: ProbeTaskConfig
) -> ProbeTasks:
    """Prepare the configured probe tasks for a list of utterances.

    Args:
        utterances: all utterances to be probed.
        alignments: phone alignment of each utterance, in seconds from its start; None skips all phone tasks.
        config: tasks and their settings.

    Raises:
        ValueError: the utterances cannot be split, see `split`.
    """
    phones, num_long = _phones(alignments or [None] * len(utterances), config)
    labels = sorted({one.label for row in phones for one in row if one.label})
    chosen = [index for index, row in enumerate(phones) if row]
    phone_split = speaker_split = abx_plan = None
    if "phone" in config.tasks and alignments is not None:
        phone_split = split(utterances, chosen, by=config.split_by, seed=config.seed)
    if "speaker" in config.tasks:
        if len({one.speaker for one in utterances}) < 2:
            raise ValueError(
                "expected at least two speakers for the speaker task, got one: leave speaker out of --tasks"
            )
        speaker_split = split(utterances, range(len(utterances)), by="utterance", seed=config.seed)
    if "abx" in config.tasks and alignments is not None:
        names = {one.speaker: number for number, one in enumerate(utterances)}  # one number for each speaker
        if None in names:
            raise ValueError("ABX compares speakers, but some utterances have no speaker; leave abx out of --tasks")
        index = {label: number for number, label in enumerate(labels)}
        rows = [[(one.start, one.end, index.get(one.label, -1)) for one in row] for row in phones]
        items = find_items(rows, [names[one.speaker] for one in utterances], task=config.abx.task)
        abx_plan = plan(items, config.abx, seed=config.seed)
    texts = _transcripts(utterances, config) if "letters" in config.tasks else None
    return ProbeTasks(list(utterances), config, labels, phones, num_long, phone_split, speaker_split, abx_plan, texts)


def _transcripts(
    utterances: Sequence[Utterance], config: ProbeTaskConfig
) -> tuple[Transcripts, Transcripts, Transcripts]:
    spoken = [index for index, one in enumerate(utterances) if one.text and one.text.strip()]
    if not spoken:
        raise ValueError("letters need transcripts, and no utterance has one; leave letters out of --tasks")
    parts = split(utterances, spoken, by=config.split_by, seed=config.seed)
    train = [utterances[index] for index in parts.train]
    if sum(one.duration_seconds for one in train) > 60 * config.letters.minutes:
        few = {one.id for one in choose_minutes(train, config.letters.minutes, seed=config.seed)}
        parts = parts._replace(train=[index for index in parts.train if utterances[index].id in few])

    def part(rows: list[int]) -> Transcripts:
        chosen = [utterances[row] for row in rows]
        return Transcripts(rows, [one.text or "" for one in chosen], [one.speaker for one in chosen])

    return part(parts.train), part(parts.dev), part(parts.test)


def _phones(alignments: Sequence[Alignment | None], config: ProbeTaskConfig) -> tuple[list[list[Interval]], int]:
    """Return the phones of each utterance, silences with empty labels, and the number of phones that are too long."""
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


def tasks_at_frames(tasks: ProbeTasks, counts: NDArray[np.int64], timing: Timing) -> FrameTasks:
    """Place the probe tasks at the frames of a representation.

    Args:
        tasks: from `define_tasks`.
        counts: number of frames of each utterance.
        timing: frame shift and receptive field.
    """
    index = {label: number for number, label in enumerate(tasks.labels)}
    middles = {row: timing.middles(int(count)) for row, count in enumerate(counts)}
    phones = [labels_at(row, middles[number], index) for number, row in enumerate(tasks.phones)]
    spans = np.zeros((0, 2), dtype=np.int64)
    if tasks.abx_plan is not None:
        spans = spans_of(tasks.abx_plan.chosen, middles, np.cumsum(counts) - counts)
    owners = np.repeat(np.arange(len(counts)), counts)
    firsts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return FrameTasks(tasks, owners, np.concatenate(phones), spans, firsts, timing.hop_samples / SAMPLE_RATE)


def evaluate_representation(
    at: FrameTasks, vectors: Float[Tensor, "frame dim"], speaker_vectors: Float[Tensor, "frame dim"] | None = None
) -> ProbeScores:
    """Run the probe tasks on one representation.

    Args:
        at: from `tasks_at_frames`.
        vectors: frames of all utterances, one utterance after the other.
        speaker_vectors: representation of the same frames for the speaker tasks; None: `vectors`.
    """
    tasks, config = at.tasks, at.tasks.config
    speakers = [one.speaker for one in tasks.utterances]
    phone = speaker = speaker_frame = abx = letters = None
    if tasks.phone_split is not None:
        parts = _parts(tasks.phone_split, at.owners, at.phones)
        units = at.owners[parts[2].rows]
        phone = probe(vectors, parts, units=units, speakers=speakers, config=config.probe, seed=config.seed)
    if tasks.speaker_split is not None:
        inputs = vectors if speaker_vectors is None else speaker_vectors
        numbers = np.unique(np.array(speakers, dtype=str), return_inverse=True)[1].astype(np.int64)
        every = np.arange(len(speakers))
        parts = _parts(tasks.speaker_split, every, numbers)
        means = _means(inputs, at.owners, len(speakers))
        speaker = probe(means, parts, units=parts[2].rows, speakers=speakers, config=config.probe, seed=config.seed)
        parts = _parts(tasks.speaker_split, at.owners, numbers[at.owners])
        units = at.owners[parts[2].rows]
        speaker_frame = probe(inputs, parts, units=units, speakers=speakers, config=config.probe, seed=config.seed)
    if tasks.abx_plan is not None:
        abx = score(tasks.abx_plan, vectors.numpy(), at.spans, seed=config.seed)
    if tasks.transcripts is not None:

        def of_utterance(row: int) -> Tensor:
            return vectors[at.firsts[row] : at.firsts[row + 1]]

        letters = probe_letters(
            of_utterance, tasks.transcripts, frame_seconds=at.frame_seconds, config=config.letters, seed=config.seed
        )
    return ProbeScores(phone, speaker, speaker_frame, abx, letters)


def _parts(parts: Split, owners: NDArray[np.int64], labels: NDArray[np.int64]) -> tuple[Rows, Rows, Rows]:
    """Return the labelled rows of each part."""
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
