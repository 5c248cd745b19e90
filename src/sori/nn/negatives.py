"""Distractors: what the right target has to be told from."""

from typing import Literal

import torch

from sori.core.shapes import Int, Tensor

Exclusion = Literal["fixed", "faithful"]
"""Whether a distractor can be the target itself: never, or as in the reference code of wav2vec; see `within_clip`."""


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


Source = Literal["batch", "others", "own"]
"""Whose frames are distractors: those of all utterances of the batch, of all others, of the same utterance only."""


def at_other_times(
    batch_size: int,
    num_frames: int,
    *,
    num_positions: int,
    num_negatives: int,
    source: Source,
    generator: torch.Generator,
) -> Int[Tensor, "batch position negative"]:
    """Distractors for the first frames of every utterance: any frame of `source` but those at the same time.

    Van den Oord et al. 2018, section 3.1 and table 2. The time is `(t + r) mod num_frames` with r uniform in
    1 .. num_frames - 1, so frame t of no utterance is drawn for frame t, while any of those after t can be, of its own
    utterance as well: where the target is one of these, it may be among its own distractors.

    Args:
        batch_size: utterances, of equal length.
        num_frames: of each; all can be drawn.
        num_positions: frames that need distractors, the first ones of each utterance.
        num_negatives: for each of them, with replacement.
        source: whose frames.
        generator: on the host.

    Returns:
        Numbers of frames. With `own`, entry (b, t, n) counts in utterance b; else in the whole batch, frame t of
        utterance b being number `b * num_frames + t`.

    Raises:
        ValueError: when there is no other frame, or no other utterance, to draw from.
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
                    "distractors are to come from other utterances, and the batch holds one alone; raise "
                    "data.batch_seconds, or draw from all with `negatives: batch`"
                )
            whose = torch.randint(batch_size - 1, shape, generator=generator)
            whose = whose + (whose >= torch.arange(batch_size)[:, None, None])
    return whose * num_frames + times


def within_clip(
    lengths: Int[Tensor, " batch"], *, num_negatives: int, exclusion: Exclusion, generator: torch.Generator
) -> Int[Tensor, "batch frame negative"]:
    """Distractors for every frame as a target: frames of the same clip, uniformly and with replacement.

    Schneider et al. 2019, section 2. One frame is left out of each draw, by drawing from one frame fewer and moving up
    what lies at and above it. With "fixed" that is the target. The reference code means to do the same, but makes its
    T N numbers in the order (target, distractor) and reads them in the order (distractor, target): what is left out for
    distractor n of target t is frame floor((n T + t) / N), and the target is drawn as often as any other frame, once
    in T draws. "faithful" repeats that.

    Args:
        lengths: real frames of each clip, on the host.
        num_negatives: N.
        exclusion: see above.
        generator: on the host.

    Returns:
        Indices of frames; of what stands at frames of padding only the range is right.

    Raises:
        ValueError: a clip has fewer than two frames.
    """
    if int(lengths.min()) < 2:
        raise ValueError(
            f"distractors come from other frames of a clip, and one has only {int(lengths.min())}; raise the shortest "
            "length in the data settings (data.min_seconds)"
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
