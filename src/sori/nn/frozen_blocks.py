"""Split an encoder into lower blocks, which stay as pre-trained, and upper ones, which are fine-tuned.

The output of frozen blocks depends on the audio only, so it can be computed once and kept
(`data/batches/frame_cache.py`). It is rounded to bfloat16 in either case: a run with the cache and one without it train
on the same values. As nothing before the split is random, time and channel masks are applied to the frames between the
two parts, as zeros: the learnt mask vector, which replaces frames at the input of the first block, cannot be used.
"""

from typing import Any

import torch
from torch import nn

from sori.core.seeds import Rng
from sori.core.shapes import Bool, Frames, Int, Tensor
from sori.nn.lengths import valid
from sori.nn.mask import MaskConfig, draw_hidden, hide

_PARTS = ("front", "feature_norm", "projection", "input_dropout", "position_norm", "mask_vector", "transformer")
"""Attributes of the encoders that can be split, such as `wav2vec2.Wav2Vec2`."""


def freeze(encoder: Any, num_blocks: int) -> list[nn.Module]:
    """Exclude all parameters below block number `num_blocks` from training.

    Returns:
        The frozen modules; in training they must be in evaluation mode, without dropout.

    Raises:
        ValueError: the encoder has no stack of blocks, or fewer.
    """
    if not all(hasattr(encoder, name) for name in _PARTS):
        raise ValueError(
            f"expected a wav2vec 2.0 with system.frozen_blocks, got a {type(encoder).__name__}, which has no stack of "
            "blocks above its front end; set system.frozen_blocks to 0"
        )
    stack = encoder.transformer
    if num_blocks > len(stack.blocks):
        raise ValueError(
            f"expected at most {len(stack.blocks)} frozen blocks, which the encoder has, got system.frozen_blocks "
            f"{num_blocks}; likely the recipe is for a larger model: freeze about two thirds of the blocks"
        )
    parts = [encoder.front, encoder.feature_norm, encoder.projection, encoder.input_dropout, encoder.position_norm]
    parts += [encoder.positions] if encoder.positions is not None else []
    parts += [stack.dropout, *stack.blocks[:num_blocks]]
    if not getattr(stack, "pre_norm", True):
        parts.append(stack.norm)  # precedes the first block
    for part in parts:
        part.requires_grad_(False)
    encoder.mask_vector.requires_grad_(False)
    return parts


@torch.no_grad()
def lower(encoder: Any, waveform: Tensor, lengths: Int[Tensor, " batch"], *, num_blocks: int) -> Frames:
    """Compute the output of the lowest blocks, "batch frame dim" in bfloat16.

    Args:
        encoder: the encoder; its frozen modules are in evaluation mode.
        waveform: raw amplitude, "batch sample".
        lengths: number of real samples of each utterance.
        num_blocks: number of frozen blocks.

    Raises:
        ValueError: an utterance is shorter than one frame.
    """
    frames = encoder.features(waveform, lengths)
    x = encoder.projection(encoder.feature_norm(frames.data)).float()
    real = _real(frames.lengths, x.shape[1])
    if real is not None:
        x = x.masked_fill(~real.unsqueeze(-1), 0)
    if encoder.positions is not None:
        x = encoder.position_norm(x + encoder.positions(x))
    x = encoder.transformer.lower(x, real, num_blocks=num_blocks)
    return Frames(x.bfloat16(), frames.lengths)


def upper(encoder: Any, frames: Frames, *, num_blocks: int, mask: MaskConfig | None, rng: Rng | None) -> list[Tensor]:
    """Compute the blocks above the frozen ones.

    Args:
        encoder: the encoder.
        frames: output of `lower`, on the encoder's device.
        num_blocks: number of frozen blocks.
        mask: spans of frames and channels to set to zero; None: none.
        rng: generators for the mask and for layerdrop.

    Returns:
        "batch frame dim" each, float32: the frames after the mask, then the output of each block.
    """
    x = frames.data.float()
    masked, channels = draw_hidden(mask, frames.lengths, x.shape[2], rng)
    x = hide(x, masked, channels)
    generator = None if rng is None else Rng(*rng.key)["layerdrop"]
    layers: list[Tensor] = encoder.transformer.upper(
        x, _real(frames.lengths, x.shape[1]), first=num_blocks, generator=generator
    )
    return layers


def _real(lengths: Int[Tensor, " batch"], longest: int) -> Bool[Tensor, "batch frame"] | None:
    """Return which frames are real; None: all are."""
    return valid(lengths, longest) if int(lengths.min()) < longest else None
