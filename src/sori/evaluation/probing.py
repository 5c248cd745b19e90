"""Probe every layer of an encoder, against log-mel, MFCC and random-initialisation baselines: the probing report."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from sori.checkpoints import store
from sori.core import distributed
from sori.core.audio import SAMPLE_RATE
from sori.core.files import write_json, write_text
from sori.core.seeds import derive
from sori.core.shapes import Tensor
from sori.data.manifest import Utterance, read_manifest
from sori.data.sources.alignments import match, read_alignments
from sori.evaluation import text_table
from sori.evaluation.bootstrap import Estimate
from sori.evaluation.codebook_use import CodebookUse, codebook_use
from sori.evaluation.probe_comparison import (
    COLUMNS,
    ProbedRepresentation,
    best,
    estimates,
    gains,
    heading,
    percent,
    points,
    representation_data,
)
from sori.evaluation.probe_tasks import (
    FrameTasks,
    ProbeTaskConfig,
    ProbeTasks,
    define_tasks,
    evaluate_representation,
    tasks_at_frames,
)
from sori.evaluation.representations import (
    SHORTEST_SAMPLES,
    WINDOW_TIMING,
    Timing,
    compute_representations,
    layers_of,
    mfcc_and_log_mel,
    units_of,
)
from sori.models import factory
from sori.models.encoders import Encoder, has_units, random_initialisation
from sori.plots.layer_scores import Panel, Point, by_layer

_BYTES_AT_ONCE = 3 << 30
"""Memory for the vectors of all layers; if it does not suffice, the recordings are encoded in several passes."""
_TITLES = (
    "phones: frame accuracy",
    "speakers: utterance accuracy",
    "speakers: frame accuracy",
    "ABX within speakers: error rate",
    "ABX across speakers: error rate",
    "letters: CER on test",
)
_KINDS: tuple[Literal["trained"], Literal["untrained"]] = ("trained", "untrained")


class ProbingConfig(ProbeTaskConfig):
    """Which probe tasks are run, and on which representations."""

    layers: tuple[int, ...] | None = None
    """Layers to probe; None: all."""
    untrained: bool = False
    """Whether to also probe the same architecture with randomly initialised weights."""
    minutes: float | None = None
    """Maximum amount of speech, as whole utterances drawn at random; None: all."""


class ProbingReport(NamedTuple):
    """Scores of all representations; `table`, `markdown` and `to_data` format them."""

    model: str
    representations: list[ProbedRepresentation]
    codebooks: dict[str, CodebookUse]
    """Use of each codebook, and of all jointly."""
    notes: list[str]
    """Conditions: splits, chance levels, what was left out."""
    config: ProbingConfig
    errors: Estimate | None = None
    """CER of a recogniser fine-tuned on ten minutes of transcripts (`experiments/low_resource.py`)."""

    def table(self) -> str:
        """Return the report as text: percentages with 95 % intervals. Lower is better for ABX and CER."""
        gained = self._gain_cells()
        tables = [text_table.aligned(cells) for cells in (self._cells(), gained) if cells]
        blocks = [*tables, *self._error_lines()]
        return "\n\n".join(["\n".join(self.notes), *blocks]) + "\n".join(["", *self._codebook_rows()])

    def markdown(self) -> str:
        """Return the report as Markdown."""
        listed = "\n".join(f"- {note}" for note in self.notes)
        shown = [self._cells(), *([gained] if (gained := self._gain_cells()) else [])]
        codebooks = ["\n".join(["```", *self._codebook_rows()[1:], "```"])] if self.codebooks else []
        blocks = [
            f"# Probing report: {self.model}",
            listed,
            *map(text_table.markdown, shown),
            *self._error_lines(),
            *codebooks,
        ]
        return "\n\n".join(blocks) + "\n"

    def to_data(self) -> dict[str, Any]:
        """Return plain data for JSON; rates are fractions."""
        return {
            "model": self.model,
            "notes": self.notes,
            "config": self.config.model_dump(mode="json"),
            "lines": [representation_data(one) for one in self.representations],
            "best": {kind: one.name for kind in ("trained", "untrained") if (one := best(self.representations, kind))},
            "gains": [
                {
                    "other": one.other,
                    "kind": one.kind,
                    "scores": {name: score.to_data() for name, score in one.scores.items()},
                }
                for one in gains(self.representations)
            ],
            "errors": None if self.errors is None else self.errors.to_data(),
            "codes": {name: use._asdict() for name, use in self.codebooks.items()},
        }

    def write(self, path: Path) -> None:
        """JSON at the path and Markdown beside it."""
        write_json(path, self.to_data())
        write_text(path.with_suffix(".md"), self.markdown())

    def _cells(self) -> list[list[str]]:
        rows = [estimates(one.scores) for one in self.representations]
        shown = [name for name in COLUMNS if any(name in row for row in rows)]
        cells = [["", "ms", "dim", *map(heading, shown)]]
        for one, row in zip(self.representations, rows, strict=True):
            numbers = [percent(row[name]) if name in row else "-" for name in shown]
            cells.append([one.name, f"{one.frame_ms:g}", str(one.dim), *numbers])
        return cells

    def _gain_cells(self) -> list[list[str]]:
        """Return the gains of the best layer over the baselines; empty if there is nothing to compare."""
        layer, found = best(self.representations, "trained"), gains(self.representations)
        shown = [name for name in COLUMNS if any(name in one.scores for one in found)]
        if layer is None or not shown:
            return []
        head = [f"{layer.name}, minus", *map(heading, shown)]
        return [
            head,
            *([one.other, *(points(one.scores[n]) if n in one.scores else "-" for n in shown)] for one in found),
        ]

    def _error_lines(self) -> list[str]:
        if self.errors is None:
            return []
        return [f"CER on test after fine-tuning on ten minutes of transcripts: {percent(self.errors)}"]

    def _codebook_rows(self) -> list[str]:
        if not self.codebooks:
            return []
        names = f"{'codebook':12}{'used':>14}{'perplexity':>12}{'PNMI':>8}{'chance':>8}"
        rows = ["", f"{names}{'phone pur.':>12}{'cluster pur.':>14}"]
        for name, use in self.codebooks.items():
            rows.append(
                f"{name:12}{f'{use.num_used:,} of {use.num_codes:,}':>14}{use.perplexity:12.1f}{use.pnmi:8.3f}"
                f"{use.chance_pnmi:8.3f}{use.phone_purity:12.1%}{use.cluster_purity:14.1%}"
            )
        return rows


def probe(
    model: str | Path,
    data: Path | Sequence[Path],
    alignments: Path | None = None,
    *,
    config: ProbingConfig | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> ProbingReport:
    """Probe an encoder and return the report.

    Args:
        model: as `checkpoints.store.load` takes it; of a recogniser, the encoder is probed.
        data: prepared folders.
        alignments: as `read_alignments` takes them; without them, only the speaker tasks are run.
        config: probe tasks and layers.
        progress: called with a message after each step.

    Raises:
        FileNotFoundError, ValueError: model, data or alignments cannot be read, or do not fit each other or the tasks.
    """
    config = config or ProbingConfig()
    if (
        alignments is None
        and (missing := sorted({"phone", "abx"} & set(config.tasks)))
        and "speaker" not in config.tasks
    ):
        raise ValueError(f"{' and '.join(missing)} need phone alignments: give --alignments FILE")
    encoder = factory.encoder_of(store.load(model)).to(distributed.device()).eval()
    timing = Timing(encoder.hop_samples, encoder.field_samples)
    every = [one for folder in ([data] if isinstance(data, Path) else data) for one in read_manifest(folder)]
    matched = None if alignments is None else match(every, read_alignments(alignments))
    kept, notes = _kept(every, timing, config)
    known = None if matched is None else [matched.alignments[index] for index in kept]
    tasks = define_tasks([every[index] for index in kept], known, config)
    notes += [] if matched is None else [*matched.table().split("\n"), *_about_phones(tasks)]
    notes += _about_splits(tasks)
    notes += _about_letters(tasks)
    layers = range(encoder.config.num_layers + 1) if config.layers is None else config.layers
    found = list[ProbedRepresentation]()
    for kind in _KINDS if config.untrained else _KINDS[:1]:
        probed = encoder if kind == "trained" else _randomly_initialised(encoder, config.seed)
        for layer, vectors, at in _each_layer(probed, layers, tasks, timing):
            name = f"layer {layer}" if kind == "trained" else f"random initialisation, layer {layer}"
            scores = evaluate_representation(at, vectors)
            found.append(ProbedRepresentation(name, kind, layer, timing.hop_samples / 16, vectors.shape[1], scores))
            progress(f"{name} done")
    for where in (timing, WINDOW_TIMING) if timing.hop_samples != WINDOW_TIMING.hop_samples else (timing,):
        found += _acoustic_baselines(tasks, where)
        progress(f"MFCC and log-mel at {where.hop_samples / 16:g} ms done")
    use = _codebook_use(encoder, tasks, timing, progress) if matched is not None and "codes" in config.tasks else {}
    return ProbingReport(str(model), found, use, notes + _about_chance(found), config)


def _kept(every: Sequence[Utterance], timing: Timing, config: ProbingConfig) -> tuple[list[int], list[str]]:
    """Return the indices of the utterances to probe, and notes about them."""
    shortest = max(timing.field_samples, SHORTEST_SAMPLES)
    kept = [index for index, one in enumerate(every) if one.num_samples >= shortest]
    num_short = len(every) - len(kept)
    notes = [f"{num_short} utterances shorter than a frame were left out"] if num_short else []
    if config.minutes is not None:
        random = np.random.default_rng(derive(config.seed, "sheet", "minutes"))
        order = [kept[place] for place in random.permutation(len(kept))]
        ends = np.cumsum([every[index].duration_seconds for index in order])
        kept = sorted(order[: int(np.searchsorted(ends, 60 * config.minutes, side="right"))])
    if not kept:
        raise ValueError("no utterances are left; give longer utterances, or more --minutes")
    hours = sum(every[index].num_samples for index in kept) / SAMPLE_RATE / 3600
    speakers = len({every[index].speaker for index in kept} - {None})
    drawn = "" if config.minutes is None else f" drawn from {len(every):,}"
    return kept, [f"{len(kept):,} utterances{drawn}, {hours:.2f} h, {speakers} named speakers", *notes]


def _randomly_initialised(encoder: Encoder, seed: int) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "untrained"))
        fresh = random_initialisation(encoder)
    return fresh.to(next(encoder.parameters()).device).eval()


def _each_layer(
    encoder: Encoder, layers: Sequence[int], tasks: ProbeTasks, timing: Timing
) -> Iterator[tuple[int, Tensor, FrameTasks]]:
    """Yield the vectors of each layer; each pass over the recordings computes as many layers as fit into memory."""
    num_frames = sum(one.num_samples for one in tasks.utterances) // timing.hop_samples
    at_once = max(1, _BYTES_AT_ONCE // (4 * num_frames * encoder.config.dim))
    at = None
    for first in range(0, len(layers), at_once):
        some = layers[first : first + at_once]
        found = compute_representations(layers_of(encoder, some), tasks.utterances)
        at = at or tasks_at_frames(tasks, found.counts, timing)
        for place, layer in enumerate(some):
            yield layer, found.vectors[place], at


def _acoustic_baselines(tasks: ProbeTasks, timing: Timing) -> list[ProbedRepresentation]:
    vectors, counts = compute_representations(mfcc_and_log_mel(timing), tasks.utterances)
    at = tasks_at_frames(tasks, counts, timing)
    ms = timing.hop_samples / 16
    return [
        ProbedRepresentation(
            f"{name}, {ms:g} ms",
            "spectrum",
            None,
            ms,
            normalised.shape[1],
            evaluate_representation(at, normalised, speaker_vectors=unnormalised),
        )
        for name, normalised, unnormalised in (("mfcc", vectors[0], vectors[1]), ("log-mel", vectors[2], vectors[3]))
    ]


def _codebook_use(
    encoder: Encoder, tasks: ProbeTasks, timing: Timing, progress: Callable[[str], None]
) -> dict[str, CodebookUse]:
    if not has_units(encoder):
        progress("no units: this model has no quantiser")
        return {}
    found = compute_representations(units_of(encoder), tasks.utterances)
    phones = tasks_at_frames(tasks._replace(abx_plan=None), found.counts, timing).phones
    units = found.vectors[0].long().numpy()
    num_codes, num_groups = encoder.config.num_codes, units.shape[1]
    seed = tasks.config.seed
    use = {
        f"group {group + 1}": codebook_use(units[:, group], phones, num_codes=num_codes, seed=seed)
        for group in range(num_groups)
    }
    if num_groups > 1:
        joint = units @ num_codes ** np.arange(num_groups)
        use["together"] = codebook_use(joint, phones, num_codes=num_codes**num_groups, seed=seed)
    return use


def _about_phones(tasks: ProbeTasks) -> list[str]:
    phones = [one for row in tasks.phones for one in row]
    spoken = [one for one in phones if one.label]
    silent = sum(one.seconds for one in phones if not one.label)
    minutes = sum(one.seconds for one in spoken) / 60
    too_long = f"{tasks.num_long:,} phones longer than {tasks.config.max_phone_seconds:g} s"
    return [
        f"{len(spoken):,} phones of {len(tasks.labels)} classes, {minutes:.1f} min",
        f"left out: {silent / 60:.1f} min of silence, including {too_long}",
    ]


def _about_splits(tasks: ProbeTasks) -> list[str]:
    notes = []
    for name, parts in (("phones", tasks.phone_split), ("speakers", tasks.speaker_split)):
        if parts is not None:
            sizes = f"{len(parts.train):,}, {len(parts.dev):,} and {len(parts.test):,} utterances"
            notes.append(f"{name}: train, dev and test are {sizes} ({parts.about})")
    if tasks.abx_plan is not None:
        notes.append(f"ABX: task {tasks.config.abx.task}, {len(tasks.abx_plan.chosen):,} items; chance is 50 %")
    return notes


def _about_letters(tasks: ProbeTasks) -> list[str]:
    if tasks.transcripts is None:
        return []
    train, dev, test = tasks.transcripts
    minutes = sum(tasks.utterances[row].duration_seconds for row in train.rows) / 60
    training = f"trained on {minutes:.1f} min ({len(train.rows):,} utterances)"
    sizes = f"dev and test are {len(dev.rows):,} and {len(test.rows):,} utterances"
    return [f"letters: a small CTC head on frozen vectors, {training}; {sizes}"]


def _about_chance(representations: Sequence[ProbedRepresentation]) -> list[str]:
    first = representations[0].scores
    known = (("phone", first.phone), ("speaker", first.speaker), ("speaker/frame", first.speaker_frame))
    chances = [f"{name} {found.majority:.1%}" for name, found in known if found is not None]
    return [f"chance level (most frequent class of the training part): {', '.join(chances)}"] if chances else []


def draw(report: ProbingReport) -> Figure:
    """Draw each measure by layer, with MFCC and log-mel at the frame shift of the model and chance as levels.

    Raises:
        ValueError: the report has no scores.
    """
    frame_ms = report.representations[0].frame_ms
    chances = {"abx within": 0.5, "abx across": 0.5}
    first = report.representations[0].scores
    for name, one in zip(COLUMNS, (first.phone, first.speaker, first.speaker_frame), strict=False):
        if one is not None:
            chances[name] = one.majority
    panels = []
    for name, title in zip(COLUMNS, _TITLES, strict=True):
        scores = [(one, estimates(one.scores)) for one in report.representations]
        found = [(one, row[name]) for one, row in scores if name in row]
        if not found:
            continue
        trained, untrained = (
            [Point(one.layer or 0, e.value, e.low, e.high) for one, e in found if one.kind == kind]
            for kind in ("trained", "untrained")
        )
        levels = {one.name: e.value for one, e in found if one.kind == "spectrum" and one.frame_ms == frame_ms}
        chance = {"chance": chances[name]} if name in chances else {}  # CER has no chance level: empty output is 100 %
        panels.append(Panel(title, trained, untrained, levels | chance))
    if not panels:
        raise ValueError("no probe task with scores by layer was run, so there is nothing to draw; add one to --tasks")
    return by_layer(panels)
