"""Why wav2vec's first target lies three frames ahead: nearer frames share samples with the last one processed."""

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

import sori
import style
from _pretrain import data_folder, sentence
from sori.core.shapes import Float, Tensor
from sori.nn.losses import step_ahead
from sori.nn.negatives import within_clip
from sori.nn.spectral import LogMel, LogMelConfig

_FIELD, _HOP = 465, 160
_STEPS = 12
_BEGIN = 19_200
"""Sample of the sentence at which the picture begins."""
_SHOWN = 2_000


def measure() -> dict[str, Any]:
    """Find later frames by their similarity with the present one, without any training, in noise and in speech."""
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(96_000, generator=generator) for _ in range(20)]
    speech = [sori.read(path) for path in sorted((data_folder() / "english-tiny" / "audio").glob("*.flac"))]
    return {
        "waveform": sentence()[_BEGIN : _BEGIN + _SHOWN].tolist(),
        "noise": _found(noise, generator),
        "speech": _found(speech, generator),
    }


def _found(clips: list[Float[Tensor, " sample"]], generator: torch.Generator) -> list[float]:
    """Return, for each step, the fraction of frames that are more similar than all ten distractors."""
    correct, pairs = torch.zeros(_STEPS), torch.zeros(_STEPS)
    front = LogMel(LogMelConfig(stack=1))
    for clip in clips:
        z, lengths = front(clip[None], torch.tensor([len(clip)]))
        negatives = within_clip(lengths, num_negatives=10, exclusion="fixed", generator=generator)
        z = torch.nn.functional.normalize(z - z.mean(1, keepdim=True), dim=-1)
        ahead = step_ahead(z[:, :, None].expand(-1, -1, _STEPS, -1), z, lengths, negatives, offset=1)
        correct += ahead.correct
        pairs += ahead.pairs
    return [float(one) for one in correct / pairs]


def draw(results: dict[str, Any]) -> None:
    """Draw the frames below the waveform, and the fractions found."""
    made, (frames, found) = style.figure(5.4, rows=2, height_ratios=[1.5, 1])
    _draw_frames(frames, np.array(results["waveform"]))
    steps = range(1, _STEPS + 1)
    for name, colour, marker, place in (
        ("speech", style.BLUE, "o", (1.2, 89)),
        ("noise", style.ORANGE, "s", (1.2, 36)),
    ):
        found.plot(steps, [100 * one for one in results[name]], marker + "-", color=colour)
        found.text(*place, name, color=colour, va="center", fontsize=9)
    found.axhline(100 / 11, color=style.GREY, linestyle=":")
    found.text(12.4, 100 / 11 + 6, "chance level", color=style.GREY, va="center", fontsize=9)
    found.axvspan(0.5, 2.5, color=style.PALE[style.RED], linewidth=0)
    found.set(xlim=(0.5, 14.2), ylim=(0, 100), xlabel="frames ahead (10 ms each)", ylabel="found, %")
    found.set_xticks(list(steps))
    found.set_title("without training: the most similar frame is the right one")
    style.save(made, "wav2vec_overlap")


def _draw_frames(axes: Axes, waveform: np.ndarray) -> None:
    """Draw the waveform and the samples of each frame, from t - 2 to t + 6."""
    milliseconds = np.arange(len(waveform)) / 16
    axes.plot(milliseconds, 1.3 * waveform / np.abs(waveform).max(), color=style.INK, linewidth=0.8)
    kinds = [("in the context", style.GREEN)] * 3 + [("shares samples: no target", style.RED)] * 2
    kinds += [("targets", style.BLUE)] * 4
    for number, (_, colour) in enumerate(kinds):
        begin, top = (number * _HOP) / 16, -2.0 - 0.8 * number
        size = (_FIELD / 16, 0.6)
        axes.add_patch(
            Rectangle((begin, top - 0.6), *size, facecolor=style.PALE[colour], edgecolor=colour, linewidth=1)
        )
        label = "t" if number == 2 else f"t{number - 2:+d}".replace("-", "\N{MINUS SIGN}")
        axes.text(begin + size[0] / 2, top - 0.33, label, ha="center", va="center", fontsize=8)
    end = (2 * _HOP + _FIELD) / 16
    axes.axvline(end, color=style.GREEN, linestyle="--", linewidth=1)
    for number, (name, colour) in ((0, kinds[0]), (3, kinds[3]), (5, kinds[5])):
        place = (number * _HOP + _FIELD) / 16 + 2
        axes.text(place, -2.3 - 0.8 * number, name, color=colour, va="center", fontsize=9)
    axes.set(xlim=(0, 125), ylim=(-9.4, 1.5), xlabel="ms")
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_title("frames of 465 samples, every 160 samples")


def main() -> None:
    """Draw the figure."""
    style.run("wav2vec_overlap", draw, measure)


if __name__ == "__main__":
    main()
