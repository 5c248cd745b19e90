"""Discrete targets: the Gumbel product quantiser of wav2vec 2.0 (and vq-wav2vec)."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from sori.shapes import Float, Int, Tensor


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
    """

    def __init__(self, dim: int, *, num_groups: int, num_codes: int, code_dim: int) -> None:
        super().__init__()
        if code_dim % num_groups:
            raise ValueError(f"code_dim {code_dim} cannot be divided into {num_groups} groups")
        self.num_groups, self.num_codes = num_groups, num_codes
        self.logits = nn.Linear(dim, num_groups * num_codes)
        self.codebook = nn.Parameter(torch.empty(num_groups, num_codes, code_dim // num_groups))
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
            logits = self.logits(x.float()).unflatten(-1, (self.num_groups, self.num_codes))
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
            vectors = torch.einsum("btgv,gvd->btgd", choice, self.codebook).flatten(2)
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
