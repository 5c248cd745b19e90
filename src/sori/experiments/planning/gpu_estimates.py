"""Estimate training on a named GPU from its maker's figures, where nothing has been recorded for it.

None of these figures was measured. The time is the number of floating-point operations, divided by an assumed fraction
of the peak. The memory is that of weights, gradients and moments, and of what a layer keeps for its backward pass.
"""

from typing import Any, NamedTuple

import torch

from sori.models import factory
from sori.models.wav2vec2 import Wav2Vec2Config
from sori.nn.conv import ConvConfig

FRACTION_OF_PEAK = 0.1
"""Assumed: not measured with sori on any GPU. The runs of the paper reached 9 % of the 125 TFLOP/s of a V100, by the
operations counted here: 0.35 s for an update of BASE, 0.79 s for one of LARGE (arXiv 2006.11477, section 4.2)."""
SCALING = 0.9
"""Assumed speed of several devices, as a fraction of that of all of them alone."""
LEAST_SECONDS = 0.15
"""Assumed time of a micro-batch that is too small to fill a GPU: the time to start its kernels."""
_BYTES_OF_STATE = 16
"""Memory of a weight: itself, its gradient and two moments, in float32."""
_BYTES_PER_VALUE = 34
"""Kept by a Transformer layer for each value of its input, in 16 bits (Korthikanti et al. 2022, arXiv 2205.05198,
equation 2, without the attention matrix, which is not kept)."""
_RESERVED_GIB = 2.0
"""CUDA itself, and fragmentation."""


class Gpu(NamedTuple):
    """A GPU as its maker describes it."""

    peak_teraflops: float
    """Dense products in bfloat16."""
    gib: float


GPUS = {
    "h100": Gpu(989.0, 80.0),
    "h200": Gpu(989.0, 141.0),
    "a100": Gpu(312.0, 80.0),
    "l40s": Gpu(362.0, 48.0),
    "l4": Gpu(121.0, 24.0),
    "rtx4090": Gpu(165.0, 24.0),
}
"""NVIDIA's published figures (SXM modules)."""


class Size(NamedTuple):
    """What determines the work of a model."""

    num_parameters: int
    flops_per_second: float
    """Floating-point operations of forward and backward pass, for each second of audio."""
    bytes_per_second: float
    """Memory kept for the backward pass, for each second of audio in a micro-batch."""


def size_of(config: Any, crop_seconds: float) -> Size:
    """Return the size of a wav2vec 2.0, without allocating it.

    Args:
        config: settings of the encoder.
        crop_seconds: length of the utterances, with which attention grows.

    Raises:
        ValueError: the encoder is of another kind.
    """
    if not isinstance(config, Wav2Vec2Config):
        raise ValueError(  # noqa: TRY004 - the recipe is the user's
            f"expected a recipe of wav2vec 2.0 for an estimate, got one of {config.kind}, whose operations are not "
            "counted; use --device here on the machine with the GPU"
        )
    with torch.device("meta"):
        system: Any = factory.build(config)
    parameters = sum(one.numel() for one in system.parameters())
    front = sum(one.numel() for one in system.front.parameters())
    frames = 16_000 / system.hop_samples
    # Two operations for a product and a sum, three times: forward, and backward for inputs and for weights.
    flops = 6 * frames * (parameters - front + 2 * config.num_layers * config.dim * crop_seconds * frames)
    kept = frames * config.dim * config.num_layers * _BYTES_PER_VALUE
    if isinstance(config.front, ConvConfig):
        rate, inputs = 16_000.0, 1
        for kernel, stride in zip(config.front.kernels, config.front.strides, strict=True):
            rate /= stride
            flops += 6 * rate * kernel * inputs * config.front.dim
            kept += rate * config.front.dim * 8  # input of the convolution, of the normalisation, and of GELU
            inputs = config.front.dim
    else:
        flops += 6 * frames * front
        kept += frames * config.dim * 100
    return Size(parameters, flops, kept)


def update_seconds(size: Size, gpu: Gpu, *, batch_seconds: float, accumulate: int, devices: int) -> float:
    """Return the estimated time of an update."""
    flops = size.flops_per_second * batch_seconds
    one = max(LEAST_SECONDS, flops / (FRACTION_OF_PEAK * gpu.peak_teraflops * 1e12))
    return one * accumulate / (SCALING if devices > 1 else 1.0)


def memory_gib(size: Size, batch_seconds: float) -> float:
    """Return the estimated memory of a device, with a whole copy of the model."""
    return (size.num_parameters * _BYTES_OF_STATE + size.bytes_per_second * batch_seconds) / 2**30 + _RESERVED_GIB
