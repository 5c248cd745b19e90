"""Plot training curves from the rows of a run's `metrics.jsonl`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter

from sori.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, RED, STYLE, figure

Row = Mapping[str, Any]
_STEP = "correct_{}"
"""Key of the accuracy of predictions by number of frames ahead (CPC, wav2vec, vq-wav2vec)."""


@rc_context(STYLE)
def curves(rows: Sequence[Row], *, reference: Sequence[Sequence[Row]] = ()) -> Figure:
    """Plot loss and chance level, accuracy (also by steps ahead), codebook use, gradient norm and learning rate.

    The x axis is hours of audio processed. Panels without reported values are left out. Warnings, and collapses after
    which the run went back, are vertical lines.

    Args:
        rows: from `training.metrics.read_metrics`.
        reference: reports of healthy runs of the same recipe, drawn behind loss, accuracy and codebook perplexity.

    Raises:
        ValueError: no row is a training report.
    """
    reports = [row for row in rows if row.get("kind") == "train"]
    if not reports:
        raise ValueError(
            "expected training reports, got none; likely the run has not reached its first report yet "
            "(train.log_every), or the file is not the metrics.jsonl of a run"
        )
    evaluations = [row for row in rows if row.get("kind") == "evaluation"]
    names = set().union(*reports)
    panels = [_loss]
    panels += [_fractions] if names & {"correct", "blank_share"} else []
    panels += [_steps_ahead] if _STEP.format(1) in names else []
    panels += [_codebook] if "code_perplexity" in names else []
    panels += [_gradient]
    made, all_axes = figure([2.0] * (len(panels) + bool(evaluations)))
    for draw, axes in zip(panels, all_axes, strict=False):
        draw(axes, reports)
        for number, run in enumerate(reference):
            _draw_reference(axes, run, _COMPARED.get(draw), until=reports[-1]["hours"], named=number == 0)
    if evaluations:
        _evaluations(all_axes[-1], evaluations, reports)
    for axes in all_axes:
        _mark_warnings(axes, rows, reports, named=axes is all_axes[0])
        axes.grid(visible=True, axis="y")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
    all_axes[-1].set_xlabel("hours of audio processed")
    return made


def _loss(axes: Axes, reports: Sequence[Row]) -> None:
    name = "contrastive" if "contrastive" in reports[-1] else "loss"
    _draw(axes, reports, name, color=BLUE, label="contrastive loss" if name == "contrastive" else "loss")
    _draw(axes, reports, "chance", color=ORANGE, linestyle="--", label="chance")
    axes.set_ylabel("nats per target")


def _fractions(axes: Axes, reports: Sequence[Row]) -> None:
    _draw(axes, reports, "correct", scale=100.0, color=GREEN, label="accuracy")
    _draw(axes, reports, "equal_share", scale=100.0, color=RED, linestyle=":", label="distractors equal to the target")
    _draw(
        axes, reports, "blank_share", scale=100.0, color=PURPLE, linestyle="--", label="frames with blank as prediction"
    )
    axes.set(ylabel="percent", ylim=(0, None))


def _steps_ahead(axes: Axes, reports: Sequence[Row]) -> None:
    """Plot accuracy by steps ahead, darkest line nearest; the first and the last are labelled."""
    prefix = _STEP.format("")
    ends = (name.removeprefix(prefix) for row in reports for name in row if name.startswith(prefix))
    number = max(int(end) for end in ends if end.isdigit())
    for k in range(1, number + 1):
        named = {"label": "1 step ahead" if k == 1 else f"{k} steps"} if k in {1, number} else {}
        color = colormaps["viridis"](0.9 * (k - 1) / max(1, number - 1))
        _draw(axes, reports, _STEP.format(k), scale=100.0, color=color, linewidth=0.9, **named)
    axes.set(ylabel="accuracy in percent", ylim=(0, None))


def _codebook(axes: Axes, reports: Sequence[Row]) -> None:
    _draw(axes, reports, "code_perplexity", color=PURPLE, label="codebook perplexity")
    _draw(axes, reports, "max_code_perplexity", color=GREY, linestyle="--", label="uniform use")
    axes.set(ylabel="codebook entries", ylim=(0, None))


def _gradient(axes: Axes, reports: Sequence[Row]) -> None:
    _draw(axes, reports, "grad_norm", color=BLUE, label="gradient norm")
    _draw(axes, reports, "lr", color=ORANGE, linestyle="--", label="learning rate")
    axes.set(yscale="log", ylabel="per update")
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))  # by default a formula, which STYLE does not set


_COMPARED = {_loss: ("contrastive", 1.0), _fractions: ("correct", 100.0), _codebook: ("code_perplexity", 1.0)}
"""Number and scale of each panel that has reference curves."""


def _draw_reference(
    axes: Axes, run: Sequence[Row], what: tuple[str, float] | None, *, until: float, named: bool
) -> None:
    """Draw a healthy run behind the others, as far as this run has come and half as far again."""
    if what is None:
        return
    name, scale = what
    near = [row for row in run if row["hours"] <= 1.5 * until]
    label = {"label": "healthy runs of this recipe"} if named else {}
    _draw(axes, near, name, scale=scale, color=GREY, linewidth=3.0, alpha=0.35, zorder=0, **label)


def _evaluations(axes: Axes, evaluations: Sequence[Row], reports: Sequence[Row]) -> None:
    names = [name for name in set().union(*evaluations) if name not in {"kind", "step"}]
    for name, color in zip(sorted(names), (BLUE, ORANGE, GREEN, PURPLE), strict=False):
        chosen = [row for row in evaluations if row.get(name) is not None]
        axes.plot(_hours(chosen, reports), [row[name] for row in chosen], color=color, marker="o", ms=3, label=name)
    axes.set_ylabel("evaluation")


def _mark_warnings(axes: Axes, rows: Sequence[Row], reports: Sequence[Row], *, named: bool) -> None:
    warnings = [row for row in rows if row.get("kind") in {"warning", "rollback"}]
    for hours, row in zip(_hours(warnings, reports), warnings, strict=True):
        axes.axvline(hours, color=RED, linewidth=0.8, linestyle=":")
        if named:
            text = row["name"].replace("_", " ") if row["kind"] == "warning" else f"back from {row['from_step']}"
            axes.annotate(text, (hours, 1), xycoords=("data", "axes fraction"), color=RED)


def _hours(rows: Sequence[Row], reports: Sequence[Row]) -> list[float]:
    """Return the hours of audio processed at the updates of other rows."""
    steps, hours = [row["step"] for row in reports], [row["hours"] for row in reports]
    return [float(h) for h in np.interp([row["step"] for row in rows], steps, hours)]


def _draw(axes: Axes, reports: Sequence[Row], name: str, *, scale: float = 1.0, **style: Any) -> None:
    """Draw a line through the reports that have this value; draw nothing if none has."""
    points = [(row["hours"], scale * row[name]) for row in reports if row.get(name) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), **style)
