"""Residual networks over images (He et al. 2016) of any width; for small images, the stem of SimCLR's appendix B.9."""

from typing import Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from sori.core.config import Config
from sori.core.shapes import Float, Tensor
from sori.nn.batch_norm import BatchNorm

_BLOCKS = {10: (1, 1, 1, 1), 18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class ResNetConfig(Config):
    """Size of the network."""

    depth: Literal[10, 18, 50] = 18
    """Number of layers; 50 has blocks of three convolutions, the others of two."""
    width: float = Field(default=1.0, gt=0, le=1000)
    """Factor on the number of channels of every layer, 64 in the first."""
    stem: Literal["small", "large"] = "small"
    """`small`: a 3x3 convolution of stride 1, for 32x32 images. `large`: 7x7 with stride 2, then 3x3 max pooling with
    stride 2, for 224x224 images."""


class ResNet(nn.Module):
    """Compute one vector for each image: four stages, each at half the resolution of the last, then mean pooling.

    Names and shapes of the tensors are those of torchvision. The scale after the last convolution of each block is
    initially 0, so that each block starts as its shortcut, as in SimCLR's code.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        wide = round(64 * config.width)
        large = config.stem == "large"
        self.conv1 = _conv(3, wide, 7 if large else 3, stride=2 if large else 1)
        self.bn1 = BatchNorm(wide)
        made = _Deep if config.depth == 50 else _Plain
        inside, dim = wide, wide
        for stage, count in enumerate(_BLOCKS[config.depth], start=1):
            blocks = []
            for number in range(count):
                blocks.append(made(dim, inside, stride=2 if stage > 1 and number == 0 else 1))
                dim = inside * made.EXPANSION
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            inside *= 2
        self.dim = dim

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch dim"]:
        """Return a vector for each image."""
        # With channels last, the convolutions of a narrow network take two thirds of the time.
        images = images.contiguous(memory_format=torch.channels_last)
        x = functional.relu(self.bn1(self.conv1(images)))
        if self.config.stem == "large":
            x = functional.max_pool2d(x, 3, stride=2, padding=1)
        for stage in (1, 2, 3, 4):
            x = getattr(self, f"layer{stage}")(x)
        return x.mean((2, 3))


class _Plain(nn.Module):
    """Two 3x3 convolutions with a shortcut around them."""

    EXPANSION = 1

    def __init__(self, dim: int, inside: int, *, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(dim, inside, 3, stride=stride), BatchNorm(inside)
        self.conv2, self.bn2 = _conv(inside, inside, 3), BatchNorm(inside, first_scale=0.0)
        self.downsample = _shortcut(dim, inside, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class _Deep(nn.Module):
    """A 3x3 convolution between two 1x1 ones, with a shortcut around them; the stride is that of the 3x3."""

    EXPANSION = 4

    def __init__(self, dim: int, inside: int, *, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(dim, inside, 1), BatchNorm(inside)
        self.conv2, self.bn2 = _conv(inside, inside, 3, stride=stride), BatchNorm(inside)
        self.conv3, self.bn3 = _conv(inside, 4 * inside, 1), BatchNorm(4 * inside, first_scale=0.0)
        self.downsample = _shortcut(dim, 4 * inside, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _conv(dim: int, out: int, kernel: int, *, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(dim, out, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _shortcut(dim: int, out: int, stride: int) -> nn.Module:
    """Return the identity, or a 1x1 convolution where block and input differ in shape."""
    if stride == 1 and dim == out:
        return nn.Identity()
    return nn.Sequential(_conv(dim, out, 1, stride=stride), BatchNorm(out))
