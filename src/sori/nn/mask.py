"""Masks over frames and channels: spans of fixed length at random positions.

Baevski et al. 2020 (wav2vec 2.0), section 3.1; the details of the sampling (without replacement, rounding, short clips,
equal counts) follow fairseq's `compute_mask_indices`.
"""

import torch
from pydantic import Field

from sori.core.config import Config
from sori.core.seeds import Rng
from sori.core.shapes import Bool, Float, Int, Tensor
from sori.nn.lengths import valid


class MaskConfig(Config):
    """Masked spans over time and, in fine-tuning, over channels and mel bands; and the warp of the mel axis there."""

    time_prob: float = Field(default=0.65, ge=0, le=1)
    """Nominal fraction of masked frames: spans times span length over frames; as spans overlap, 0.65 masks 49 %."""
    time_length: int = Field(default=10, ge=1)
    """Number of frames in a span."""
    channel_prob: float = Field(default=0.0, ge=0, le=1)
    """Nominal fraction of channels set to zero; 0 masks none."""
    channel_length: int = Field(default=64, ge=1)
    """Number of channels in a span."""
    band_prob: float = Field(default=0.0, ge=0, le=1)
    """Nominal fraction of mel bands hidden from a front end with convolutions over them (Park et al. 2019)."""
    band_length: int = Field(default=10, ge=1)
    """Number of mel bands in a span."""
    warp: float = Field(default=0.0, ge=0, lt=0.5)
    """Largest change of the mel axis of a front end of log-mel windows, a factor of 1 +- this for each utterance."""


def span_mask(
    lengths: Int[Tensor, " batch"],
    *,
    prob: float,
    span: int,
    min_spans: int,
    equal_counts: bool,
    generator: torch.Generator,
) -> Bool[Tensor, "batch frame"]:
    """Draw masked spans for each utterance.

    The number of spans is `floor(prob * length / span + u)` with `u` uniform in [0, 1): one `u` for a batch of equal
    lengths, else one for each utterance. Starts are drawn without replacement from `0 .. length - span - 1`; in a clip
    too short for that many starts, from `0 .. spans`. Spans are cut at the end of the utterance.

    Args:
        lengths: number of real frames of each utterance, on the host (the draw is the same on every device).
        prob: nominal fraction of masked frames.
        span: number of frames in a span.
        min_spans: minimum number of spans in each utterance.
        equal_counts: unmask random frames until every utterance has as many masked frames as the one with fewest.
        generator: random generator on the host.

    Returns:
        True where a frame is masked, on the host; padding is never masked.
    """
    longest = int(lengths.max())
    num_draws = 1 if bool((lengths == longest).all()) else len(lengths)
    rounding = torch.rand(num_draws, generator=generator)
    num_spans = (prob * lengths / span + rounding).floor().long().clamp(min=min_spans)
    num_starts = torch.where(lengths - span <= num_spans, num_spans + 1, lengths - span)

    width = max(longest, int(num_starts.max()))
    starts = _choose(valid(num_starts, width), num_spans, generator)
    begun = starts.long().cumsum(1)
    ended = torch.zeros_like(begun)
    ended[:, span:] = begun[:, :-span]
    hidden = (begun > ended)[:, :longest] & valid(lengths, longest)
    if equal_counts:
        hidden = equalise_counts(hidden, generator=generator)
    return hidden


def equalise_counts(chosen: Bool[Tensor, "batch frame"], *, generator: torch.Generator) -> Bool[Tensor, "batch frame"]:
    """Deselect random frames until every utterance has as many as the one with fewest."""
    return _choose(chosen, chosen.sum(1).min().expand(len(chosen)), generator)


def masked_positions(mask: Bool[Tensor, "batch frame"]) -> Int[Tensor, "batch masked"]:
    """Return the indices of the masked frames in ascending order.

    Raises:
        ValueError: if utterances have different numbers of masked frames.
    """
    counts = mask.sum(1)
    if bool((counts != counts[0]).any()):
        raise ValueError(f"utterances have different numbers of masked frames ({counts.tolist()}); use equal_counts")
    return mask.long().argsort(dim=1, descending=True, stable=True)[:, : int(counts[0])]


def pick(
    x: Float[Tensor, "batch frame dim"], positions: Int[Tensor, "batch masked"]
) -> Float[Tensor, "batch masked dim"]:
    """Return the frames at the given positions of each utterance."""
    return x.gather(1, positions.unsqueeze(-1).expand(-1, -1, x.shape[2]))


def fine_tuning_masks(
    config: MaskConfig, lengths: Int[Tensor, " batch"], num_channels: int, generator: torch.Generator
) -> tuple[Bool[Tensor, "batch frame"] | None, Bool[Tensor, "batch dim"] | None]:
    """Draw frame and channel masks for fine-tuning (Baevski et al. 2020, appendix B); None where the rate is 0.

    Unlike in pre-training, utterances may have different numbers of masked frames.
    """

    def draw(lengths: Tensor, prob: float, span: int, min_spans: int) -> Tensor | None:
        if not prob:
            return None
        return span_mask(lengths, prob=prob, span=span, min_spans=min_spans, equal_counts=False, generator=generator)

    masked = draw(lengths.cpu(), config.time_prob, config.time_length, 2)
    channels = draw(torch.full((len(lengths),), num_channels), config.channel_prob, config.channel_length, 0)
    device = lengths.device
    return None if masked is None else masked.to(device), None if channels is None else channels.to(device)


def _choose(
    allowed: Bool[Tensor, "batch place"], counts: Int[Tensor, " batch"], generator: torch.Generator
) -> Bool[Tensor, "batch place"]:
    """Choose `counts[b]` places uniformly, without replacement, among those allowed in row b."""
    scores = torch.rand(allowed.shape, generator=generator).masked_fill(~allowed, 2.0)
    ranks = scores.argsort(1).argsort(1)
    return ranks < counts[:, None]


def draw_hidden(
    mask: MaskConfig | None, lengths: Int[Tensor, " batch"], num_channels: int, rng: Rng | None
) -> tuple[Bool[Tensor, "batch frame"] | None, Bool[Tensor, "batch channel"] | None]:
    """Draw `fine_tuning_masks` from `rng["mask"]` on the host; without a mask configuration, mask nothing.

    Raises:
        ValueError: if a mask is configured and there is no `rng`.
    """
    if mask is None:
        return None, None
    if rng is None:
        raise ValueError("masks are drawn at random; pass rng as well")
    return fine_tuning_masks(mask, lengths, num_channels, Rng(*rng.key)["mask"])


def mel_changes(
    mask: MaskConfig | None, lengths: Int[Tensor, " batch"], num_mels: int, rng: Rng | None
) -> tuple[Float[Tensor, " batch"] | None, Bool[Tensor, "batch mel"] | None]:
    """Draw a factor on the mel axis and hidden bands for each utterance, on the host; None where the rate is 0.

    Raises:
        ValueError: if changes are configured and there is no `rng`.
    """
    if mask is None or not (mask.warp or mask.band_prob):
        return None, None
    if rng is None:
        raise ValueError("changes of the mel axis are drawn at random; pass rng as well")
    host, number = Rng(*rng.key), len(lengths)
    warp = bands = None
    if mask.warp:
        warp = (1 + mask.warp * (2 * torch.rand(number, generator=host["warp"]) - 1)).to(lengths.device)
    if mask.band_prob:
        each = torch.full((number,), num_mels)
        bands = span_mask(
            each,
            prob=mask.band_prob,
            span=mask.band_length,
            min_spans=0,
            equal_counts=False,
            generator=host["bands"],
        ).to(lengths.device)
    return warp, bands


def hide(
    z: Float[Tensor, "batch frame dim"],
    masked: Bool[Tensor, "batch frame"] | None,
    channels: Bool[Tensor, "batch dim"] | None,
) -> Float[Tensor, "batch frame dim"]:
    """Set masked frames and channels to zero (there is no learnt mask vector)."""
    if masked is not None:
        z = z.masked_fill(masked.unsqueeze(-1), 0)
    return z if channels is None else z.masked_fill(channels.unsqueeze(1), 0)
