"""Objectives as pure functions, summed over targets."""

from typing import Literal, NamedTuple

import torch
from torch.nn import functional

from sori.shapes import Float, Int, Tensor

EqualDistractors = Literal["drop", "keep"]


class Contrast(NamedTuple):
    """Sums over all hidden frames of a batch."""

    loss: Float[Tensor, ""]
    num_correct: Int[Tensor, ""]
    share_equal: Float[Tensor, ""]


def contrastive(
    context: Float[Tensor, "batch masked dim"],
    targets: Float[Tensor, "batch masked dim"],
    negatives: Int[Tensor, "batch masked negative"],
    codes: Int[Tensor, "batch masked group"],
    *,
    temperature: float,
    equal: EqualDistractors,
) -> Contrast:
    """-log of the softmax share of the right target among itself and its distractors, by cosine over temperature.

    Baevski et al. 2020, equation 3. A frame counts as correct when no distractor is closer than the target, unless all
    candidates are equally close. Computed in float32 whatever the autocast.

    Args:
        context: predictions c_t.
        targets: q_t; the distractors of an utterance are drawn from its own targets.
        negatives: for each frame, ranks of its distractors among the targets of its utterance.
        codes: discrete identity of each target. A distractor with the code of the target cannot be told from it.
        temperature: kappa.
        equal: what becomes of such distractors. "drop" leaves them out of the softmax, as published; then a model whose
            codes are all the same has loss 0. "keep" leaves them in as ties, so that it scores chance, ln(K + 1).
    """
    with torch.autocast(context.device.type, enabled=False):
        # The cosine of every frame with every target of its utterance is one product; distractors are picked from it.
        c = functional.normalize(context.float(), dim=-1)
        q = functional.normalize(targets.float(), dim=-1)
        logits = torch.bmm(c, q.transpose(1, 2)) / temperature
        positive = logits.diagonal(dim1=1, dim2=2).unsqueeze(-1)
        is_equal = _same_code(codes, negatives)
        negative = logits.gather(2, negatives)
        match equal:
            case "drop":
                negative = negative.masked_fill(is_equal, -torch.inf)
            case "keep":
                negative = torch.where(is_equal, positive, negative)
        candidates = torch.cat([positive, negative], dim=-1)
        loss = (candidates.logsumexp(-1) - positive.squeeze(-1)).sum()
    with torch.no_grad():
        best, worst = negative.amax(-1), negative.amin(-1)
        right = positive.squeeze(-1)
        correct = (right >= best) & (right > worst)
        return Contrast(loss, correct.sum(), is_equal.float().mean(-1).sum())


def perplexity(probs: Float[Tensor, "group entry"]) -> Float[Tensor, ""]:
    """Effective number of entries in use: exp of the entropy of each group, summed over groups; at most G V."""
    return torch.exp(-(probs * torch.log(probs + 1e-7)).sum(-1)).sum()


def diversity(probs: Float[Tensor, "group entry"]) -> Float[Tensor, ""]:
    """Share of the codebook that is not in use, (G V - perplexity) / (G V); Baevski et al. 2020, equation 4."""
    return 1 - perplexity(probs) / probs.numel()


def _same_code(codes: Int[Tensor, "batch masked group"], negatives: Int[Tensor, "batch masked negative"]) -> Tensor:
    """True where a distractor has the code of the target, in every group."""
    same = torch.ones_like(negatives, dtype=torch.bool)
    for group in codes.unbind(-1):
        drawn = group.gather(1, negatives.flatten(1)).view_as(negatives)
        same &= drawn == group[..., None]
    return same
