"""Plot the use of a codebook, and the units over time."""

from matplotlib import rc_context
from matplotlib.figure import Figure

from sori.core.shapes import Float, Int, Tensor
from sori.plots.features import draw_frames
from sori.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, STYLE, figure

COLOURS = (BLUE, ORANGE, GREEN, PURPLE)


def perplexity(counts: Int[Tensor, " unit"]) -> float:
    """Return the exponential of the entropy of the counts: the effective number of codebook entries."""
    frequency = counts[counts > 0].double() / counts.sum()
    return float((-(frequency * frequency.log()).sum()).exp())


@rc_context(STYLE)
def codebook_use(counts: Int[Tensor, "group unit"]) -> Figure:
    """Plot the frequency of each unit, the most frequent first, with the perplexity of each group.

    Args:
        counts: number of frames of each unit.
    """
    made, (axes,) = figure([2.3])
    num_groups, num_codes = counts.shape
    for group in range(num_groups):
        frequencies = counts[group].sort(descending=True).values / counts[group].sum()
        label = f"group {group + 1}: perplexity {perplexity(counts[group]):.0f} of {num_codes}"
        axes.plot(range(1, num_codes + 1), 100 * frequencies, color=COLOURS[group % len(COLOURS)], label=label)
    axes.axhline(100 / num_codes, color=GREY, linestyle="--", linewidth=1, label="uniform use")
    axes.set(xlabel="unit, by frequency", ylabel="percent of frames", xlim=(1, num_codes), ylim=(0, None))
    axes.legend()
    return made


@rc_context(STYLE)
def units_over_time(
    frames: Float[Tensor, "frame dim"], units: Int[Tensor, "step group"], *, num_codes: int, seconds: float
) -> Figure:
    """Plot features, and below them the unit of each group over time as horizontal lines.

    Args:
        frames: features, evenly spaced.
        units: index of the codebook entry, from 0; evenly spaced.
        num_codes: number of entries in each group.
        seconds: duration of both.
    """
    made, (top, below) = figure([1.6, 2.2])
    draw_frames(top, frames, seconds=seconds, name="mel band")
    step = seconds / len(units)
    for group in range(units.shape[1]):
        starts = [step * i for i in range(len(units))]
        ends = [start + step for start in starts]
        colour = COLOURS[group % len(COLOURS)]
        below.hlines(units[:, group].tolist(), starts, ends, color=colour, linewidth=2.5, label=f"group {group + 1}")
    below.set(xlabel="time in seconds", ylabel="unit", ylim=(-2, num_codes + 1), xlim=(0, seconds))
    below.legend(ncols=units.shape[1], loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)
    return made
