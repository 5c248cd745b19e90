"""Discrete units: the Gumbel product quantiser of wav2vec 2.0 and vq-wav2vec, and the k-means one of the latter."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from sori.core.shapes import Float, Int, Tensor
from sori.nn.clip_norm import ClipNorm, at_least_float32
from sori.nn.lengths import valid


class Quantized(NamedTuple):
    """Chosen codes of a set of frames."""

    vectors: Float[Tensor, "batch masked code"]
    """Chosen entries of all groups side by side."""
    codes: Int[Tensor, "batch masked group"]
    """Which entry of each group."""
    probs: Float[Tensor, "group entry"]
    """softmax of the logits without noise or temperature, averaged over the frames: the soft use of the codebook."""
    hard_probs: Float[Tensor, "group entry"]
    """Share of the frames that chose each entry."""


class GumbelQuantizer(nn.Module):
    """Product quantiser with straight-through Gumbel-softmax choices (Baevski et al. 2020, section 2).

    Args:
        dim: of the frames to quantise.
        num_groups: codebooks, G.
        num_codes: entries in each codebook, V.
        code_dim: of all chosen entries together; divisible by num_groups.
        shared: all groups choose from the same entries.
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
        """Choose a code for each frame, in float32 whatever the autocast.

        Args:
            x: frames.
            temperature: of the softmax that carries the gradient; used with noise only.
            noise: Gumbel noise (see `gumbel_noise`). None: the likeliest code, without gradient to the logits.
        """
        with torch.autocast(x.device.type, enabled=False):
            logits = self.logits(at_least_float32(x)).unflatten(-1, (self.num_groups, self.num_codes))
            probs = logits.softmax(-1).mean((0, 1))
            if noise is None:
                soft = None
                codes = logits.argmax(-1)
            else:
                soft = ((logits + noise.view_as(logits)) / temperature).softmax(-1)
                codes = soft.argmax(-1)
            choice = functional.one_hot(codes, self.num_codes).to(logits.dtype)
            hard_probs = choice.mean((0, 1))
            if soft is not None:  # forward: the hard choice, exactly; backward: the soft one
                choice = choice + (soft - soft.detach())
            codebook = self.codebook.expand(self.num_groups, -1, -1)
            vectors = torch.einsum("btgv,gvd->btgd", choice, codebook).flatten(2)
        return Quantized(vectors, codes, probs, hard_probs)

    @torch.no_grad()
    def start(
        self,
        frames: Float[Tensor, "frame dim"],
        emphasis: Float[Tensor, "group dim"],
        *,
        sharpness: float,
        generator: torch.Generator,
    ) -> None:
        """Let every codebook begin as the clusters of some frames, so that all codes are in use from the first update.

        The logit of a code is the negative squared distance to its cluster, times half the sharpness, but for what all
        codes share. Entries are random projections of the cluster centres: codes that sound alike start alike.

        Args:
            frames: what is going to be quantised; many times as many as codes.
            emphasis: factor on each dimension, for each group, so that the groups divide the sounds differently.
            sharpness: factor on the logits. Codes are drawn with the probabilities that the logits give, whatever the
                temperature; where many are about as likely, no context can tell which one was drawn.
            generator: on the device of the frames.
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
    """Every frame's nearest entries."""

    vectors: Float[Tensor, "batch frame dim"]
    """Nearest entries of all groups side by side; the gradient goes to what was quantised, as if it were these."""
    codes: Int[Tensor, "batch frame group"]
    """Which entry of each group."""
    hard_probs: Float[Tensor, "group entry"]
    """Share of the real frames that each entry is nearest to."""
    codebook_loss: Float[Tensor, ""]
    """Mean squared distance of the entries to what chose them; moves the entries."""
    commitment: Float[Tensor, ""]
    """The same number; moves what is quantised."""


class KMeansQuantizer(nn.Module):
    """Nearest entries with straight-through gradients (Baevski et al. 2020a, section 3.2; van den Oord et al. 2017).

    Args:
        dim: of the frames and of the quantised vectors; divisible by num_groups.
        num_groups: parts of a frame that are quantised each for itself, G.
        num_codes: entries for each group, V.
        shared: all groups choose from the same entries.
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
        """Project, normalise and replace by the nearest entries, in float32 or better.

        Args:
            x: frames.
            lengths: real frames of each clip.
        """
        uneven = int(lengths.min()) < x.shape[1]
        with torch.autocast(x.device.type, enabled=False):
            projected = self.norm(self.projection(at_least_float32(x).transpose(1, 2)), lengths if uneven else None)
            sounds = projected.transpose(1, 2).unflatten(2, (self.num_groups, -1))
            codebook = self.codebook.expand(self.num_groups, -1, -1)
            with torch.no_grad():  # |s|^2, which all entries have in common, is left out
                distances = codebook.square().sum(-1) - 2 * torch.einsum("btgd,gvd->btgv", sounds, codebook)
                codes = distances.argmin(-1)
            groups = torch.arange(self.num_groups, device=x.device)
            entries = codebook[groups, codes]
            real = valid(lengths, x.shape[1])[..., None, None]
            count = lengths.sum() * x.shape[2]
            codebook_loss = (entries - sounds.detach()).masked_fill(~real, 0).square().sum() / count
            commitment = (sounds - entries.detach()).masked_fill(~real, 0).square().sum() / count
            choice = functional.one_hot(codes, self.num_codes).masked_fill(~real, 0).to(sounds.dtype)
            hard_probs = choice.sum((0, 1)) / lengths.sum()
        # forward: the entries, exactly; backward: as if they were what was quantised
        vectors = _StraightThrough.apply(sounds, entries.detach()).flatten(2)  # type: ignore[no-untyped-call]
        return Clustered(vectors, codes, hard_probs, codebook_loss, commitment)


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
    """Centres of clusters by Lloyd's algorithm, from random frames; an empty cluster moves to a random frame.

    Raises:
        ValueError: fewer frames than clusters.
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
    """-log(-log u) for u uniform in (0, 1): minus the logarithm of an exponential draw; on the generator's device."""
    draws = torch.empty(batch_size, num_masked, num_logits, device=generator.device).exponential_(generator=generator)
    return -draws.clamp(min=torch.finfo(draws.dtype).tiny).log()
