"""Sampling of distractors (negatives) for contrastive losses."""

from typing import Literal

import torch

from sori.core.shapes import Int, Tensor

Exclusion = Literal["fixed", "faithful"]
"""Whether a distractor can be the target itself: never, or as in wav2vec's reference code; see `within_clip`."""


def within_utterance(
    batch_size: int, num_masked: int, *, num_negatives: int, generator: torch.Generator
) -> Int[Tensor, "batch masked negative"]:
    """Draw distractors for every masked frame from the other masked frames of its utterance, with replacement.

    Baevski et al. 2020, section 3.2. Entry (b, t, k) is a rank among the masked frames of utterance b, never t itself:
    it is drawn uniformly from one frame fewer, and increased by one at and above t.

    Raises:
        ValueError: if there is no other frame to draw from.
    """
    if num_masked < 2:
        raise ValueError(
            f"contrast needs at least 2 frames in every utterance, got {num_masked}: "
            "the shortest clip of the batch is too short for the mask, or wholly masked; raise the shortest length in "
            "the data settings"
        )
    shape = (batch_size, num_masked, num_negatives)
    drawn = torch.randint(num_masked - 1, shape, generator=generator)
    return drawn + (drawn >= torch.arange(num_masked)[:, None])


Source = Literal["batch", "others", "own"]
"""Utterances that distractors come from: all of the batch, all other ones, or the same utterance only."""


def at_other_times(
    batch_size: int,
    num_frames: int,
    *,
    num_positions: int,
    num_negatives: int,
    source: Source,
    generator: torch.Generator,
) -> Int[Tensor, "batch position negative"]:
    """Draw distractors for the first frames of every utterance: any frame of `source` except those at the same time.

    Van den Oord et al. 2018, section 3.1 and table 2. The time is `(t + r) mod num_frames` with r uniform in
    1 .. num_frames - 1. Frame t of any utterance is thus never drawn for frame t, but every later frame can be, also of
    the same utterance; a target among these may be one of its own distractors.

    Args:
        batch_size: number of utterances, of equal length.
        num_frames: number of frames of each; all can be drawn.
        num_positions: number of frames that need distractors, the first ones of each utterance.
        num_negatives: number of distractors for each of them, with replacement.
        source: utterances that distractors come from.
        generator: random generator on the host.

    Returns:
        Frame indices. With `own`, entry (b, t, n) is an index in utterance b; else in the whole batch, where frame t of
        utterance b has index `b * num_frames + t`.

    Raises:
        ValueError: if there is no other frame, or no other utterance, to draw from.
    """
    if num_frames < 2:
        raise ValueError(
            f"contrast needs at least 2 frames in every utterance, got {num_frames}: the crops are too short; raise "
            "data.min_seconds and data.max_crop_seconds"
        )
    shape = (batch_size, num_positions, num_negatives)
    moved = torch.randint(1, num_frames, shape, generator=generator)
    times = (torch.arange(num_positions)[:, None] + moved) % num_frames
    match source:
        case "own":
            return times
        case "batch":
            whose = torch.randint(batch_size, shape, generator=generator)
        case "others":
            if batch_size < 2:
                raise ValueError(
                    "distractors should come from other utterances, but the batch has only one; raise "
                    "data.batch_seconds, or draw from all utterances with `negatives: batch`"
                )
            whose = torch.randint(batch_size - 1, shape, generator=generator)
            whose = whose + (whose >= torch.arange(batch_size)[:, None, None])
    return whose * num_frames + times


def within_clip(
    lengths: Int[Tensor, " batch"], *, num_negatives: int, exclusion: Exclusion, generator: torch.Generator
) -> Int[Tensor, "batch frame negative"]:
    """Draw distractors for every frame as a target from the frames of its clip, uniformly and with replacement.

    Schneider et al. 2019, section 2. Each draw excludes one frame: it is drawn from one frame fewer, and increased by
    one at and above the excluded frame. With "fixed" the target is excluded. The reference code intends the same, but
    generates its T N numbers in the order (target, distractor) and reads them in the order (distractor, target). The
    frame it excludes for distractor n of target t is floor((n T + t) / N), and the target is drawn as often as any
    other frame, once in T draws. "faithful" reproduces that.

    Args:
        lengths: number of real frames of each clip, on the host.
        num_negatives: N.
        exclusion: see above.
        generator: random generator on the host.

    Returns:
        Frame indices; those for padding frames are in range but meaningless.

    Raises:
        ValueError: if a clip has fewer than two frames.
    """
    if int(lengths.min()) < 2:
        raise ValueError(
            f"distractors come from other frames of a clip, but one clip has only {int(lengths.min())} frame(s); raise "
            "the shortest length in the data settings (data.min_seconds)"
        )
    count = lengths[:, None, None]
    target, number = torch.arange(int(lengths.max()))[:, None], torch.arange(num_negatives)
    match exclusion:
        case "fixed":
            left_out = target.expand(len(lengths), -1, num_negatives)
        case "faithful":
            left_out = (number * count + target) // num_negatives
    drawn = torch.randint(2**62, left_out.shape, generator=generator) % (count - 1)
    return drawn + (drawn >= left_out)
