"""The sheet: what can be read from every layer of an encoder, beside spectra and beside its own untrained self."""

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
from sori.evaluation.codebook_use import CodeUse, code_use
from sori.evaluation.probe_comparison import (
    COLUMNS,
    Line,
    best,
    estimates,
    gains,
    line_data,
    percent,
    points,
)
from sori.evaluation.probe_tasks import ProbeTaskConfig, Questions, Stage, answer, questions, stage
from sori.evaluation.representations import SHORTEST_SAMPLES, WINDOW_TIMING, Timing, hear, layers_of, spectra, units_of
from sori.models import factory
from sori.models.encoders import Encoder, has_units, random_initialisation
from sori.plots.layer_scores import Panel, Point, by_layer

_BYTES_AT_ONCE = 3 << 30
"""Vectors of as many layers as this holds are kept at a time; with more, the recordings are heard again."""
_TITLES = (
    "phones: frames named right",
    "speakers: utterances named right",
    "speakers: frames named right",
    "ABX within speakers: errors",
    "ABX across speakers: errors",
    "letters: wrong on the test",
)


class ProbingConfig(ProbeTaskConfig):
    """What is asked, and of which representations."""

    layers: tuple[int, ...] | None = None
    """None: all of them."""
    untrained: bool = False
    """Also the same configuration with random weights."""
    minutes: float | None = None
    """At most so much of the recordings, whole utterances drawn at random; None: all."""


class Sheet(NamedTuple):
    """All lines; `table`, `markdown` and `to_data` write them."""

    model: str
    lines: list[Line]
    codes: dict[str, CodeUse]
    """Of each codebook, and of all together."""
    notes: list[str]
    """How it was made: parts, chance, what was left out."""
    config: ProbingConfig
    errors: Estimate | None = None
    """Characters that a recogniser made from ten minutes gets wrong (`experiments/low_resource.py`)."""

    def table(self) -> str:
        """For the screen: percents with 95 % intervals; for ABX less is better."""
        gained = self._gained()
        blocks = [text_table.aligned(self._cells()), *([text_table.aligned(gained)] if gained else []), *self._errors()]
        return "\n\n".join(["\n".join(self.notes), *blocks]) + "\n".join(["", *self._code_rows()])

    def markdown(self) -> str:
        """The same as a table of Markdown."""
        listed = "\n".join(f"- {note}" for note in self.notes)
        shown = [self._cells(), *([gained] if (gained := self._gained()) else [])]
        codes = ["\n".join(["```", *self._code_rows()[1:], "```"])] if self.codes else []
        blocks = [f"# {self.model}", listed, *map(text_table.markdown, shown), *self._errors(), *codes]
        return "\n\n".join(blocks) + "\n"

    def to_data(self) -> dict[str, Any]:
        """Plain data for JSON; shares are fractions."""
        return {
            "model": self.model,
            "notes": self.notes,
            "config": self.config.model_dump(mode="json"),
            "lines": [line_data(line) for line in self.lines],
            "best": {kind: one.name for kind in ("trained", "untrained") if (one := best(self.lines, kind))},
            "gains": [
                {
                    "other": one.other,
                    "kind": one.kind,
                    "scores": {name: score.to_data() for name, score in one.scores.items()},
                }
                for one in gains(self.lines)
            ],
            "errors": None if self.errors is None else self.errors.to_data(),
            "codes": {name: use._asdict() for name, use in self.codes.items()},
        }

    def write(self, path: Path) -> None:
        """JSON at the path and Markdown beside it."""
        write_json(path, self.to_data())
        write_text(path.with_suffix(".md"), self.markdown())

    def _cells(self) -> list[list[str]]:
        rows = [estimates(line.answers) for line in self.lines]
        shown = [name for name in COLUMNS if any(name in row for row in rows)]
        cells = [["", "ms", "dim", *shown]]
        for line, row in zip(self.lines, rows, strict=True):
            numbers = [percent(row[name]) if name in row else "-" for name in shown]
            cells.append([line.name, f"{line.frame_ms:g}", str(line.dim), *numbers])
        return cells

    def _gained(self) -> list[list[str]]:
        """What the best layer has over its untrained self and over spectra; empty where there is nothing to compare."""
        mine, found = best(self.lines, "trained"), gains(self.lines)
        shown = [name for name in COLUMNS if any(name in one.scores for one in found)]
        if mine is None or not shown:
            return []
        head = [f"{mine.name}, minus", *shown]
        return [
            head,
            *([one.other, *(points(one.scores[n]) if n in one.scores else "-" for n in shown)] for one in found),
        ]

    def _errors(self) -> list[str]:
        if self.errors is None:
            return []
        return [f"characters wrong on the test, learnt from ten minutes of transcripts: {percent(self.errors)}"]

    def _code_rows(self) -> list[str]:
        if not self.codes:
            return []
        rows = [
            "",
            f"{'codes':12}{'used':>14}{'perplexity':>12}{'PNMI':>8}{'chance':>8}{'phone pur.':>12}{'cluster pur.':>14}",
        ]
        for name, use in self.codes.items():
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
    say: Callable[[str], None] = lambda _: None,
) -> Sheet:
    """Make the sheet of an encoder.

    Args:
        model: as `hub.load` takes it; of a recogniser, its encoder.
        data: prepared folders.
        alignments: as `data.alignments.read_alignments` takes them; without, only speakers are asked for.
        config: questions and layers.
        say: is told what has been done.

    Raises:
        FileNotFoundError, ValueError: model, data or alignments cannot be read, or do not fit each other or the tasks.
    """
    config = config or ProbingConfig()
    if (
        alignments is None
        and (needing := sorted({"phone", "abx"} & set(config.tasks)))
        and "speaker" not in config.tasks
    ):
        raise ValueError(f"{' and '.join(needing)} need to know when each phone is spoken: give --alignments FILE")
    encoder = factory.encoder_of(store.load(model)).to(distributed.device()).eval()
    timing = Timing(encoder.hop_samples, encoder.field_samples)
    every = [one for folder in ([data] if isinstance(data, Path) else data) for one in read_manifest(folder)]
    matched = None if alignments is None else match(every, read_alignments(alignments))
    kept, notes = _kept(every, timing, config)
    known = None if matched is None else [matched.alignments[index] for index in kept]
    asked = questions([every[index] for index in kept], known, config)
    notes += [] if matched is None else [*matched.table().split("\n"), *_about_phones(asked)]
    notes += _about_parts(asked)
    notes += _about_letters(asked)
    layers = range(encoder.config.num_layers + 1) if config.layers is None else config.layers
    lines, at = list[Line](), None
    for fresh in (False, True) if config.untrained else (False,):
        heard = _untrained(encoder, config.seed) if fresh else encoder
        for layer, vectors, at in _each_layer(heard, layers, asked, timing):
            name = f"{'untrained ' if fresh else ''}layer {layer}"
            kind: Literal["trained", "untrained"] = "untrained" if fresh else "trained"
            lines.append(Line(name, kind, layer, timing.hop_samples / 16, vectors.shape[1], answer(at, vectors)))
            say(f"{name} done")
    for where in (timing, WINDOW_TIMING) if timing.hop_samples != WINDOW_TIMING.hop_samples else (timing,):
        lines += _spectra(asked, where)
        say(f"spectra each {where.hop_samples / 16:g} ms done")
    codes = _codes(encoder, asked, timing, say) if matched is not None and "codes" in config.tasks else {}
    return Sheet(str(model), lines, codes, notes + _about_chance(lines), config)


def _kept(every: Sequence[Utterance], timing: Timing, config: ProbingConfig) -> tuple[list[int], list[str]]:
    """Indices of the utterances that are scored, and what to say about them."""
    shortest = max(timing.field_samples, SHORTEST_SAMPLES)
    kept = [index for index, one in enumerate(every) if one.num_samples >= shortest]
    notes = [f"{len(every) - len(kept)} utterances shorter than a frame left out"] if len(kept) < len(every) else []
    if config.minutes is not None:
        random = np.random.default_rng(derive(config.seed, "sheet", "minutes"))
        order = [kept[place] for place in random.permutation(len(kept))]
        ends = np.cumsum([every[index].duration_seconds for index in order])
        kept = sorted(order[: int(np.searchsorted(ends, 60 * config.minutes, side="right"))])
    if not kept:
        raise ValueError("no utterances are left; give longer ones, or more --minutes")
    hours = sum(every[index].num_samples for index in kept) / SAMPLE_RATE / 3600
    speakers = len({every[index].speaker for index in kept} - {None})
    drawn = "" if config.minutes is None else f" drawn from {len(every):,}"
    return kept, [f"{len(kept):,} utterances{drawn}, {hours:.2f} h, {speakers} named speakers", *notes]


def _untrained(encoder: Encoder, seed: int) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "untrained"))
        fresh = random_initialisation(encoder)
    return fresh.to(next(encoder.parameters()).device).eval()


def _each_layer(
    encoder: Encoder, layers: Sequence[int], asked: Questions, timing: Timing
) -> Iterator[tuple[int, Tensor, Stage]]:
    """Vectors of each layer; the recordings are heard once for as many layers as fit into memory."""
    num_frames = sum(one.num_samples for one in asked.utterances) // timing.hop_samples
    at_once = max(1, _BYTES_AT_ONCE // (4 * num_frames * encoder.config.dim))
    at = None
    for first in range(0, len(layers), at_once):
        some = layers[first : first + at_once]
        heard = hear(layers_of(encoder, some), asked.utterances)
        at = at or stage(asked, heard.counts, timing)
        for place, layer in enumerate(some):
            yield layer, heard.vectors[place], at


def _spectra(asked: Questions, timing: Timing) -> list[Line]:
    heard = hear(spectra(timing), asked.utterances)
    at = stage(asked, heard.counts, timing)
    ms = timing.hop_samples / 16
    return [
        Line(f"{name}, {ms:g} ms", "spectrum", None, ms, vectors.shape[1], answer(at, vectors, plain))
        for name, vectors, plain in (
            ("mfcc", heard.vectors[0], heard.vectors[1]),
            ("log-mel", heard.vectors[2], heard.vectors[3]),
        )
    ]


def _codes(encoder: Encoder, asked: Questions, timing: Timing, say: Callable[[str], None]) -> dict[str, CodeUse]:
    if not has_units(encoder):
        say("no codes: this model has no quantiser")
        return {}
    heard = hear(units_of(encoder), asked.utterances)
    phones = stage(asked._replace(planned=None), heard.counts, timing).phones
    codes = heard.vectors[0].long().numpy()
    num_codes, num_groups = encoder.config.num_codes, codes.shape[1]
    seed = asked.config.seed
    found = {
        f"group {group + 1}": code_use(codes[:, group], phones, num_codes=num_codes, seed=seed)
        for group in range(num_groups)
    }
    if num_groups > 1:
        joint = codes @ num_codes ** np.arange(num_groups)
        found["together"] = code_use(joint, phones, num_codes=num_codes**num_groups, seed=seed)
    return found


def _about_phones(asked: Questions) -> list[str]:
    phones = [one for row in asked.phones for one in row]
    spoken = [one for one in phones if one.label]
    silent = sum(one.seconds for one in phones if not one.label)
    minutes = sum(one.seconds for one in spoken) / 60
    too_long = f"{asked.num_long:,} phones longer than {asked.config.max_phone_seconds:g} s"
    return [
        f"{len(spoken):,} phones of {len(asked.labels)} kinds, {minutes:.1f} min",
        f"left out: {silent / 60:.1f} min of silence, and in it {too_long}",
    ]


def _about_parts(asked: Questions) -> list[str]:
    notes = []
    for name, parts in (("phones", asked.phone_split), ("speakers", asked.speaker_split)):
        if parts is not None:
            sizes = f"{len(parts.train):,}, {len(parts.dev):,} and {len(parts.test):,} utterances"
            notes.append(f"{name}: train, dev and test are {sizes} ({parts.about})")
    if asked.planned is not None:
        notes.append(f"ABX: task {asked.config.abx.task}, {len(asked.planned.chosen):,} items; chance is 50 %")
    return notes


def _about_letters(asked: Questions) -> list[str]:
    if asked.told is None:
        return []
    train, dev, test = asked.told
    minutes = sum(asked.utterances[row].duration_seconds for row in train.rows) / 60
    learnt = f"learnt from {minutes:.1f} min ({len(train.rows):,} utterances)"
    return [
        f"letters: a small head on frozen vectors, {learnt}, dev and test are {len(dev.rows):,} and {len(test.rows):,}"
    ]


def _about_chance(lines: Sequence[Line]) -> list[str]:
    first = lines[0].answers
    known = (("phone", first.phone), ("speaker", first.speaker), ("speaker/frame", first.speaker_frame))
    chances = [f"{name} {found.majority:.1%}" for name, found in known if found is not None]
    return [f"always the most frequent class of the training part: {', '.join(chances)}"] if chances else []


def draw(sheet: Sheet) -> Figure:
    """Each measure by layer, spectra at the model's own frames and chance as levels."""
    frame_ms = sheet.lines[0].frame_ms
    chances = {"abx within": 0.5, "abx across": 0.5}
    first = sheet.lines[0].answers
    for name, one in zip(COLUMNS, (first.phone, first.speaker, first.speaker_frame), strict=False):
        if one is not None:
            chances[name] = one.majority
    panels = []
    for name, title in zip(COLUMNS, _TITLES, strict=True):
        found = [(line, estimates(line.answers)[name]) for line in sheet.lines if name in estimates(line.answers)]
        if not found:
            continue
        trained, untrained = (
            [Point(line.layer or 0, e.value, e.low, e.high) for line, e in found if line.kind == kind]
            for kind in ("trained", "untrained")
        )
        levels = {line.name: e.value for line, e in found if line.kind == "spectrum" and line.frame_ms == frame_ms}
        guess = {"chance": chances[name]} if name in chances else {}  # of letters, who writes nothing has all wrong
        panels.append(Panel(title, trained, untrained, levels | guess))
    if not panels:
        raise ValueError("nothing was asked that differs by layer, so there is nothing to draw")
    return by_layer(panels)
