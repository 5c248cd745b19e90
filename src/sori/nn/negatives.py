"""Distractors: what the right target has to be told from."""

import torch

from sori.shapes import Int, Tensor


def within_utterance(
    batch_size: int, num_masked: int, *, num_negatives: int, generator: torch.Generator
) -> Int[Tensor, "batch masked negative"]:
    """Distractors for every frame to be guessed: others of these in its utterance, uniformly and with replacement.

    Baevski et al. 2020, section 3.2. Entry (b, t, k) is a rank among these frames of utterance b, never t itself:
    drawn from one frame fewer, and moved up by one at and above t.

    Raises:
        ValueError: when there is no other frame to draw from.
    """
    if num_masked < 2:
        raise ValueError(
            f"contrast needs at least 2 frames in every utterance, got {num_masked}: "
            "the shortest clip of the batch is too short for the mask, or wholly hidden; raise the shortest length in "
            "the data settings"
        )
    shape = (batch_size, num_masked, num_negatives)
    drawn = torch.randint(num_masked - 1, shape, generator=generator)
    return drawn + (drawn >= torch.arange(num_masked)[:, None])
