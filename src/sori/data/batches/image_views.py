"""Random views of images, as operations on whole batches: crop, flip, colour distortion.

Chen et al. 2020, appendix A, with the details of its code: brightness is a factor (the code's second version), the
colour changes are applied in random order, and values are clamped to 0 and 1 after each. There is no blur, which the
paper omits for small images.
"""

import math
from typing import NamedTuple

import torch
from pydantic import Field
from torch.nn import functional

from sori.core.config import Config
from sori.core.shapes import Bool, Float, Int, Tensor

_TRIES = 10
"""Boxes drawn for each image, of which the first that fits is used; if none fits, the whole image."""
_GREY = (0.2989, 0.5870, 0.1140)


class ImageViewsConfig(Config):
    """Strength of the random changes of a view."""

    size: int = Field(default=32, ge=1)
    """Side length of a view in pixels."""
    min_area: float = Field(default=0.08, gt=0, le=1)
    """Smallest area of a crop as a fraction of the image; uniform up to 1, with aspect ratios from 3:4 to 4:3."""
    flip_prob: float = Field(default=0.5, ge=0, le=1)
    """Fraction of views that are mirrored."""
    colour: float = Field(default=0.5, ge=0)
    """Strength s of the colour distortion; 0: none. Paper: 1, for CIFAR-10 0.5."""
    colour_prob: float = Field(default=0.8, ge=0, le=1)
    """Fraction of views with colour distortion."""
    grey_prob: float = Field(default=0.2, ge=0, le=1)
    """Fraction of greyscale views; with strength 0, none."""


class ImageDraws(NamedTuple):
    """All random values for one view of each image."""

    boxes: Float[Tensor, "batch edge"]
    """Left, top, width and height of each crop, as fractions of the image."""
    flipped: Bool[Tensor, " batch"]
    order: Int[Tensor, "batch change"]
    """Order of brightness (0), contrast (1), saturation (2) and hue (3)."""
    factors: Float[Tensor, "batch change"]
    """Factors of brightness, contrast and saturation; turns that are added to the hue."""
    grey: Bool[Tensor, " batch"]


def draw(config: ImageViewsConfig, batch_size: int, generator: torch.Generator) -> ImageDraws:
    """Draw the random values for one view of each image."""

    def uniform(low: float, high: float, *more: int) -> Tensor:
        return low + (high - low) * torch.rand(batch_size, *more, generator=generator)

    area = uniform(config.min_area, 1.0, _TRIES)
    ratio = uniform(math.log(3 / 4), math.log(4 / 3), _TRIES).exp()
    sides = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], dim=-1)
    sides = torch.cat([sides, torch.ones(batch_size, 1, 2)], dim=1)
    first = (sides <= 1).all(-1).long().argmax(1)
    sides = sides[torch.arange(batch_size), first]
    corners = uniform(0.0, 1.0, 2) * (1 - sides)
    s = config.colour
    factors = torch.cat([uniform(max(0.0, 1 - 0.8 * s), 1 + 0.8 * s, 3), uniform(-0.2 * s, 0.2 * s, 1)], dim=1)
    changed = uniform(0.0, 1.0) < config.colour_prob
    return ImageDraws(
        torch.cat([corners, sides], dim=1),
        uniform(0.0, 1.0) < config.flip_prob,
        uniform(0.0, 1.0, 4).argsort(1),
        torch.where(changed[:, None], factors, torch.tensor([1.0, 1.0, 1.0, 0.0])),
        uniform(0.0, 1.0) < (config.grey_prob if s else 0.0),
    )


def view(
    images: Float[Tensor, "batch 3 height width"], draws: ImageDraws, *, size: int
) -> Float[Tensor, "batch 3 size size"]:
    """Return one view of each image.

    Args:
        images: red, green and blue, values 0 to 1.
        draws: from `draw`.
        size: side length in pixels.
    """
    x = crop(images, draws.boxes, draws.flipped, size=size)
    changes = (_brighten, _contrast, _saturate, _turn_hue)
    for turn in range(len(changes)):
        for number, change in enumerate(changes):
            neutral = 0.0 if change is _turn_hue else 1.0
            rows = ((draws.order[:, turn] == number) & (draws.factors[:, number] != neutral)).nonzero().flatten()
            if len(rows):
                x[rows] = change(x[rows], draws.factors[rows, number, None, None, None]).clamp(0, 1)
    return torch.where(draws.grey[:, None, None, None], _grey(x).expand_as(x), x)


def crop(
    images: Float[Tensor, "batch 3 height width"],
    boxes: Float[Tensor, "batch edge"],
    flipped: Bool[Tensor, " batch"],
    *,
    size: int,
) -> Float[Tensor, "batch 3 size size"]:
    """Crop boxes and resize them by cubic interpolation; pixels at the border are repeated beyond it."""
    left, top, width, height = boxes.unbind(1)
    zero = torch.zeros_like(left)
    mirror = torch.where(flipped, -1.0, 1.0)
    across = torch.stack([mirror * width, zero, 2 * left + width - 1], dim=1)
    down = torch.stack([zero, height, 2 * top + height - 1], dim=1)
    grid = functional.affine_grid(torch.stack([across, down], dim=1), [len(images), 3, size, size], align_corners=False)
    taken = functional.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return taken.clamp(0, 1)


def _brighten(x: Tensor, factor: Tensor) -> Tensor:
    return x * factor


def _contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Scale the difference from the mean of each colour."""
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * factor + mean


def _saturate(x: Tensor, factor: Tensor) -> Tensor:
    hue, saturation, value = to_hsv(x)
    return from_hsv(hue, (saturation * factor[:, 0]).clamp(0, 1), value)


def _turn_hue(x: Tensor, turn: Tensor) -> Tensor:
    hue, saturation, value = to_hsv(x)
    return from_hsv((hue + turn[:, 0]) % 1, saturation, value)


def _grey(x: Tensor) -> Tensor:
    return (x * x.new_tensor(_GREY)[:, None, None]).sum(1, keepdim=True)


def to_hsv(x: Float[Tensor, "batch 3 height width"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return hue (0 to 1, red is 0), saturation and value of each pixel."""
    red, green, blue = x.unbind(1)
    value, least = x.amax(1), x.amin(1)
    spread = value - least
    safe = torch.where(spread > 0, spread, 1)
    sixths = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    return (sixths / 6) % 1, spread / torch.where(value > 0, value, 1), value


def from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Float[Tensor, "batch 3 height width"]:
    """Return red, green and blue."""
    colours = []
    for shift in (5, 3, 1):
        k = (shift + 6 * hue) % 6
        colours.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(colours, dim=1)
