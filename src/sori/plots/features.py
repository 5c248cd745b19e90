"""Plot input features, and the frames masked in pre-training."""

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sori.core.shapes import Bool, Float, Tensor
from sori.plots.signal import draw_waveform
from sori.plots.style import HEAT, ORANGE, STYLE, figure


def draw_frames(axes: Axes, frames: Float[Tensor, "frame dim"], *, seconds: float, name: str) -> None:
    """Draw feature vectors as columns of an image from 0 to `seconds`; colours span the central 98 % of the values."""
    low, high = frames.float().quantile(0.01).item(), frames.float().quantile(0.99).item()
    axes.imshow(
        frames.T.float().numpy(),
        origin="lower",
        aspect="auto",
        cmap=HEAT,
        extent=(0.0, seconds, 0.0, float(frames.shape[1])),
        vmin=low,
        vmax=high,
        interpolation="nearest",
    )
    axes.set(ylabel=name)


@rc_context(STYLE)
def features(
    waveform: Float[Tensor, " sample"], frames: Float[Tensor, "frame dim"], *, name: str = "mel band"
) -> Figure:
    """Plot a waveform and its features over the same time axis.

    Args:
        waveform: 16 kHz.
        frames: features, evenly spaced over the waveform.
        name: name of the feature axis.
    """
    made, (top, below) = figure([1.3, 2.3])
    draw_waveform(top, waveform)
    draw_frames(below, frames, seconds=len(waveform) / 16_000, name=name)
    below.set(xlabel="time in seconds")
    return made


@rc_context(STYLE)
def masking(
    frames: Float[Tensor, "frame dim"], masked: Bool[Tensor, " step"], *, seconds: float, name: str = "mel band"
) -> Figure:
    """Plot features with the masked spans covered, as in pre-training.

    Args:
        frames: features, evenly spaced.
        masked: True for masked frames; may be coarser than `frames` (one entry per encoder frame).
        seconds: duration of both.
        name: name of the feature axis.
    """
    made, (axes,) = figure([2.3])
    draw_frames(axes, frames, seconds=seconds, name=name)
    step = seconds / len(masked)
    for start, end in _runs(masked):
        axes.axvspan(start * step, end * step, facecolor="#dcdee2", edgecolor=ORANGE, hatch="///", linewidth=0)
    axes.set(xlabel="time in seconds")
    axes.set_title(f"{100 * masked.float().mean().item():.0f}% of the frames are masked (hatched)")
    return made


def _runs(masked: Bool[Tensor, " step"]) -> list[tuple[int, int]]:
    """Return start and end of each run of True."""
    edges = masked.int().diff(prepend=masked.new_zeros(1).int(), append=masked.new_zeros(1).int())
    starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
