"""Which codes the quantiser uses, and when."""

from matplotlib import rc_context
from matplotlib.figure import Figure

from sori.core.shapes import Float, Int, Tensor
from sori.plots.features import draw_frames
from sori.plots.style import BLUE, GREEN, GREY, ORANGE, PURPLE, STYLE, figure

COLOURS = (BLUE, ORANGE, GREEN, PURPLE)


def perplexity(counts: Int[Tensor, " code"]) -> float:
    """The number of equally used codes that would be as hard to guess: exp of the entropy of the counts."""
    share = counts[counts > 0].double() / counts.sum()
    return float((-(share * share.log()).sum()).exp())


@rc_context(STYLE)
def code_use(counts: Int[Tensor, "group code"]) -> Figure:
    """How often each code is chosen, most frequent first, with the perplexity of each group.

    Args:
        counts: choices of each code.
    """
    made, (axes,) = figure([2.3])
    num_groups, num_codes = counts.shape
    for group in range(num_groups):
        share = counts[group].sort(descending=True).values / counts[group].sum()
        label = f"group {group + 1}: perplexity {perplexity(counts[group]):.0f} of {num_codes}"
        axes.plot(range(1, num_codes + 1), 100 * share, color=COLOURS[group % len(COLOURS)], label=label)
    axes.axhline(100 / num_codes, color=GREY, linestyle="--", linewidth=1, label="all codes used alike")
    axes.set(xlabel="code, by frequency", ylabel="share of frames in percent", xlim=(1, num_codes), ylim=(0, None))
    axes.legend()
    return made


@rc_context(STYLE)
def units_over_time(
    frames: Float[Tensor, "frame dim"], codes: Int[Tensor, "step group"], *, num_codes: int, seconds: float
) -> Figure:
    """Features, and below them the code that each group chose for each moment; runs are drawn as lines.

    Args:
        frames: evenly spaced.
        codes: index of the chosen code, from 0; evenly spaced.
        num_codes: of each group.
        seconds: length of both.
    """
    made, (top, below) = figure([1.6, 2.2])
    draw_frames(top, frames, seconds=seconds, name="mel band")
    step = seconds / len(codes)
    for group in range(codes.shape[1]):
        starts = [step * i for i in range(len(codes))]
        ends = [start + step for start in starts]
        colour = COLOURS[group % len(COLOURS)]
        below.hlines(codes[:, group].tolist(), starts, ends, color=colour, linewidth=2.5, label=f"group {group + 1}")
    below.set(xlabel="time in seconds", ylabel="chosen code", ylim=(-2, num_codes + 1), xlim=(0, seconds))
    below.legend(ncols=codes.shape[1], loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)
    return made
