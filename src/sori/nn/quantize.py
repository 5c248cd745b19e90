"""Quantisers into discrete units: Gumbel (wav2vec 2.0 and vq-wav2vec) and k-means (vq-wav2vec)."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from sori.core.shapes import Float, Int, Tensor
from sori.nn.clip_norm import ClipNorm, at_least_float32
from sori.nn.lengths import valid


class Quantized(NamedTuple):
    """Units chosen for a set of frames."""

    vectors: Float[Tensor, "batch masked code"]
    """Chosen codebook entries of all groups, concatenated."""
    units: Int[Tensor, "batch masked group"]
    """Index of the chosen entry of each group."""
    probs: Float[Tensor, "group entry"]
    """Soft codebook use: softmax of the logits without noise or temperature, averaged over the frames."""
    hard_probs: Float[Tensor, "group entry"]
    """Hard codebook use: fraction of the frames that chose each entry."""


class GumbelQuantizer(nn.Module):
    """Product quantiser with straight-through Gumbel-softmax choices (Baevski et al. 2020, section 2).

    Args:
        dim: width of the frames to quantise.
        num_groups: number of codebooks, G.
        num_codes: number of entries in each codebook, V.
        code_dim: width of all chosen entries together; divisible by num_groups.
        shared: whether all groups choose from the same entries.
    """

    def __init__(self, dim: int, *, num_groups: int, num_codes: int, code_dim: int, shared: bool = False) -> None:
        super().__init__()
        if code_dim % num_groups:
            raise ValueError(f"code_dim {code_dim} cannot be divided into {num_groups} groups")
        self.num_groups, self.num_codes = num_groups, num_codes
        self.logits = nn.Linear(dim, num_groups * num_codes)
        self.codebook = nn.Parameter(torch.empty(1 if shared else num_groups, num_codes, code_dim // num_groups))
        nn.init.normal_(self.logits.weight)
        nn.init.zeros_(self.logits.bias)
        nn.init.uniform_(self.codebook)

    def forward(
        self,
        x: Float[Tensor, "batch masked dim"],
        *,
        temperature: float = 1.0,
        noise: Float[Tensor, "batch masked logit"] | None = None,
    ) -> Quantized:
        """Choose a codebook entry of each group for each frame, in float32 regardless of autocast.

        Args:
            x: frames.
            temperature: temperature of the softmax that carries the gradient; used with noise only.
            noise: Gumbel noise (see `gumbel_noise`). None: the most likely entry, without gradient to the logits.
        """
        with torch.autocast(x.device.type, enabled=False):
            logits = self.logits(at_least_float32(x)).unflatten(-1, (self.num_groups, self.num_codes))
            probs = logits.softmax(-1).mean((0, 1))
            if noise is None:
                soft = None
                units = logits.argmax(-1)
            else:
                soft = ((logits + noise.view_as(logits)) / temperature).softmax(-1)
                units = soft.argmax(-1)
            choice = functional.one_hot(units, self.num_codes).to(logits.dtype)
            hard_probs = choice.mean((0, 1))
            if soft is not None:  # forward: the hard choice, exactly; backward: the soft one
                choice = choice + (soft - soft.detach())
            codebook = self.codebook.expand(self.num_groups, -1, -1)
            vectors = torch.einsum("btgv,gvd->btgd", choice, codebook).flatten(2)
        return Quantized(vectors, units, probs, hard_probs)

    @torch.no_grad()
    def start(
        self,
        frames: Float[Tensor, "frame dim"],
        emphasis: Float[Tensor, "group dim"],
        *,
        sharpness: float,
        generator: torch.Generator,
    ) -> None:
        """Initialise every codebook by clustering frames, so that all entries are in use from the first update.

        The logit of an entry is minus the squared distance to its cluster, times half the sharpness, up to a term that
        all entries have in common. Entries are random projections of the cluster centres, so that entries for similar
        frames start similar.

        Args:
            frames: frames to be quantised; many more than entries.
            emphasis: factor on each dimension, for each group, so that the groups divide the frames differently.
            sharpness: factor on the logits. Entries are drawn with the probabilities that the logits give, whatever the
                temperature; where many are about equally likely, the drawn one cannot be predicted from context.
            generator: random generator on the device of the frames.
        """
        scale = emphasis / frames.std(0)
        for group, factors in enumerate(scale):
            rows = slice(group * self.num_codes, (group + 1) * self.num_codes)
            centres = k_means(frames * factors, self.num_codes, generator=generator)
            self.logits.weight[rows] = sharpness * centres * factors
            self.logits.bias[rows] = -sharpness * centres.square().sum(1) / 2
            shape = (centres.shape[1], self.codebook.shape[2])
            directions = torch.randn(shape, generator=generator, device=frames.device)
            entries = (centres - centres.mean(0)) @ directions
            self.codebook[group] = entries / entries.std()


class Clustered(NamedTuple):
    """Nearest codebook entries of a set of frames."""

    vectors: Float[Tensor, "batch frame dim"]
    """Nearest entries of all groups, concatenated; the gradient passes straight through to the quantiser's input."""
    units: Int[Tensor, "batch frame group"]
    """Index of the nearest entry of each group."""
    hard_probs: Float[Tensor, "group entry"]
    """Fraction of the real frames that each entry is nearest to."""
    codebook_loss: Float[Tensor, ""]
    """Mean squared distance of the entries to the vectors that chose them; its gradient goes to the entries."""
    commitment: Float[Tensor, ""]
    """The same value; its gradient goes to the quantised vectors."""


class KMeansQuantizer(nn.Module):
    """Nearest-entry quantiser with straight-through gradients (Baevski et al. 2020a, §3.2; van den Oord et al. 2017).

    Args:
        dim: width of the frames and of the quantised vectors; divisible by num_groups.
        num_groups: number of parts of a frame that are quantised separately, G.
        num_codes: number of entries for each group, V.
        shared: whether all groups choose from the same entries.
    """

    def __init__(self, dim: int, *, num_groups: int, num_codes: int, shared: bool = False) -> None:
        super().__init__()
        if dim % num_groups:
            raise ValueError(f"dim {dim} cannot be divided into {num_groups} groups")
        self.num_groups, self.num_codes = num_groups, num_codes
        self.projection = nn.Conv1d(dim, dim, 1, groups=num_groups, bias=False)
        self.norm = ClipNorm(dim, num_groups=num_groups)
        self.codebook = nn.Parameter(torch.empty(1 if shared else num_groups, num_codes, dim // num_groups))
        nn.init.normal_(self.codebook, std=0.01)

    def forward(self, x: Float[Tensor, "batch frame dim"], lengths: Int[Tensor, " batch"]) -> Clustered:
        """Project, normalise and replace by the nearest entries, in float32 or wider.

        Args:
            x: frames.
            lengths: number of real frames of each clip.
        """
        uneven = int(lengths.min()) < x.shape[1]
        with torch.autocast(x.device.type, enabled=False):
            projected = self.norm(self.projection(at_least_float32(x).transpose(1, 2)), lengths if uneven else None)
            projected_groups = projected.transpose(1, 2).unflatten(2, (self.num_groups, -1))
            codebook = self.codebook.expand(self.num_groups, -1, -1)
            with torch.no_grad():  # without |s|^2, which all entries have in common
                distances = codebook.square().sum(-1) - 2 * torch.einsum("btgd,gvd->btgv", projected_groups, codebook)
                units = distances.argmin(-1)
            groups = torch.arange(self.num_groups, device=x.device)
            entries = codebook[groups, units]
            real = valid(lengths, x.shape[1])[..., None, None]
            count = lengths.sum() * x.shape[2]
            codebook_loss = (entries - projected_groups.detach()).masked_fill(~real, 0).square().sum() / count
            commitment = (projected_groups - entries.detach()).masked_fill(~real, 0).square().sum() / count
            choice = functional.one_hot(units, self.num_codes).masked_fill(~real, 0).to(projected_groups.dtype)
            hard_probs = choice.sum((0, 1)) / lengths.sum()
        # forward: exactly the entries; backward: the identity
        vectors = _StraightThrough.apply(projected_groups, entries.detach()).flatten(2)  # type: ignore[no-untyped-call]
        return Clustered(vectors, units, hard_probs, codebook_loss, commitment)


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, value: Tensor) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ANN001, ARG004
        return value.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]  # noqa: ANN001, ARG004
        return gradient, None


def k_means(
    frames: Float[Tensor, "frame dim"], num_clusters: int, *, generator: torch.Generator, num_rounds: int = 15
) -> Float[Tensor, "cluster dim"]:
    """Return cluster centres by Lloyd's algorithm from random frames; empty clusters move to a random frame.

    Raises:
        ValueError: if there are fewer frames than clusters.
    """
    if len(frames) < num_clusters:
        raise ValueError(f"{num_clusters} clusters need at least as many frames, got {len(frames)}; give more audio")

    def some_frames() -> Tensor:
        return frames[torch.randperm(len(frames), generator=generator, device=frames.device)[:num_clusters]]

    centres = some_frames()
    for _ in range(num_rounds):
        nearest = (frames @ centres.T - centres.square().sum(1) / 2).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, frames)
        counts = torch.bincount(nearest, minlength=num_clusters).unsqueeze(1)
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), some_frames())
    return centres


def gumbel_noise(
    batch_size: int, num_masked: int, *, num_logits: int, generator: torch.Generator
) -> Float[Tensor, "batch masked logit"]:
    """Draw Gumbel noise, -log(-log u) for u uniform in (0, 1), from exponential draws on the generator's device."""
    draws = torch.empty(batch_size, num_masked, num_logits, device=generator.device).exponential_(generator=generator)
    return -draws.clamp(min=torch.finfo(draws.dtype).tiny).log()
