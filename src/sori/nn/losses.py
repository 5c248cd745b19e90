"""Training losses as pure functions, summed over targets."""

from typing import Literal, NamedTuple

import torch
from torch.nn import functional

from sori.core.shapes import Float, Int, Tensor

EqualDistractors = Literal["drop", "keep"]


class Contrast(NamedTuple):
    """Sums over all masked frames of a batch."""

    loss: Float[Tensor, ""]
    num_correct: Int[Tensor, ""]
    equal_fraction: Float[Tensor, ""]
    """Fraction of the distractors that are the same unit as the target, summed over frames."""


def contrastive(
    context: Float[Tensor, "batch masked dim"],
    targets: Float[Tensor, "batch masked dim"],
    negatives: Int[Tensor, "batch masked negative"],
    units: Int[Tensor, "batch masked group"],
    *,
    temperature: float,
    equal: EqualDistractors,
) -> Contrast:
    """Return the contrastive loss: -log softmax of the target among itself and its distractors, cosine / temperature.

    Baevski et al. 2020, equation 3. A frame counts as correct if no distractor is closer than the target, unless all
    candidates are equally close. Computed in float32 regardless of autocast.

    Args:
        context: predictions c_t.
        targets: q_t; the distractors of an utterance are drawn from its own targets.
        negatives: for each frame, ranks of its distractors among the targets of its utterance.
        units: discrete unit of each target. A distractor with the same unit cannot be distinguished from the target.
        temperature: kappa.
        equal: treatment of such distractors. "drop" excludes them from the softmax, as published; a model that uses a
            single unit then has loss 0. "keep" counts them as ties, so that such a model has chance loss, ln(K + 1).
    """
    with torch.autocast(context.device.type, enabled=False):
        # One product gives the cosine of every frame with every target of its utterance; distractors are picked there.
        c = functional.normalize(context.float(), dim=-1)
        q = functional.normalize(targets.float(), dim=-1)
        logits = torch.bmm(c, q.transpose(1, 2)) / temperature
        positive = logits.diagonal(dim1=1, dim2=2).unsqueeze(-1)
        is_equal = same_unit(units, negatives)
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


class StepContrast(NamedTuple):
    """Sums over all positions of a batch."""

    loss: Float[Tensor, ""]
    num_correct: Float[Tensor, " step"]
    """For each step; where distractors tie with the target, the probability of picking the target among them."""


def info_nce(
    predictions: Float[Tensor, "group step position dim"],
    targets: Float[Tensor, "group frame dim"],
    positives: Int[Tensor, "step position"],
    negatives: Int[Tensor, "group position negative"],
) -> StepContrast:
    """Return the InfoNCE loss: -log softmax of the right frame among itself and distractors, for several steps ahead.

    Van den Oord et al. 2018, equation 4, with the mean over the dimensions of prediction times frame as logit (the
    paper has the sum; the weights of the predictor can absorb the factor). ln(1 + distractors) minus the mean loss is
    a lower bound of the mutual information in nats (section 2.3). In float32 or wider, regardless of autocast.

    Args:
        predictions: W_k c_t; step k of position t.
        targets: frames z of each group, which targets and distractors are taken from. The cost grows with their
            number: a group is an utterance, or a batch of few utterances.
        positives: for each step and position, the index of the right frame in the group.
        negatives: for each position, the indices of its distractors in the group, the same for all steps.
    """
    with torch.autocast(predictions.device.type, enabled=False):
        p, z = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (predictions, targets))
        # One product scores every prediction against every frame of its group; targets and distractors are picked.
        logits = (p.flatten(1, 2) @ (z / z.shape[-1]).transpose(1, 2)).view(*p.shape[:3], -1)
        right = logits.gather(3, positives[None, :, :, None].expand(len(logits), -1, -1, -1))
        wrong = logits.gather(3, negatives[:, None].expand(-1, logits.shape[1], -1, -1))
        loss = (torch.cat([right, wrong], dim=-1).logsumexp(-1) - right.squeeze(-1)).sum()
    with torch.no_grad():
        ties = 1 + (wrong == right).sum(-1)
        found = (right >= wrong).all(-1) / ties
        return StepContrast(loss, found.sum((0, 2)))


class ViewContrast(NamedTuple):
    """Sums over all views of a batch."""

    loss: Float[Tensor, ""]
    num_correct: Float[Tensor, ""]
    """Views whose nearest neighbour is the other view of the same example; n equally near ones count 1 / n each."""


def nt_xent(
    views: Float[Tensor, "batch view dim"],
    all_views: Float[Tensor, "all view dim"],
    *,
    temperature: float,
    offset: int = 0,
) -> ViewContrast:
    """Return the NT-Xent loss: -log softmax of a view's pair among all other views, cosine / temperature.

    Chen et al. 2020, equation 1, summed over both directions of all pairs. Divided by the number of views (2N), it is L
    of the paper's algorithm 1. In float32 or wider, regardless of autocast.

    Args:
        views: two of each example, projected.
        all_views: candidates: `views` itself, or the views of all processes (`distributed.gather_rows`).
        temperature: tau.
        offset: row of `all_views` at which `views` begin.
    """
    num, total = len(views), len(all_views)
    with torch.autocast(views.device.type, enabled=False):
        wide = torch.promote_types(views.dtype, torch.float32)
        # All first views, then all second ones: view v of example b is row v * total + offset + b of the candidates.
        queries, candidates = (
            functional.normalize(x.to(wide).transpose(0, 1).flatten(0, 1), dim=-1) for x in (views, all_views)
        )
        own = offset + torch.arange(num, device=views.device)
        itself, other = torch.cat([own, own + total]), torch.cat([own + total, own])
        logits = (queries @ candidates.T / temperature).scatter(1, itself[:, None], -torch.inf)
        right = logits.gather(1, other[:, None])
        loss = (logits.logsumexp(1) - right.squeeze(1)).sum()
    with torch.no_grad():
        found = (right >= logits).all(1) / (logits == right).sum(1)
        return ViewContrast(loss, found.sum())


class StepAhead(NamedTuple):
    """Sums over all pairs of a context and a later target, and counts for each step ahead."""

    loss: Float[Tensor, ""]
    pairs: Int[Tensor, " step"]
    """Number of pairs that were summed."""
    correct: Int[Tensor, " step"]
    """Pairs whose target scores higher than all of its distractors."""


def step_ahead(
    predictions: Float[Tensor, "batch frame step dim"],
    targets: Float[Tensor, "batch frame dim"],
    lengths: Int[Tensor, " batch"],
    negatives: Int[Tensor, "batch frame negative"],
    *,
    offset: int,
) -> StepAhead:
    """Return the loss of classifying later frames against distractors by logistic regression, for several steps ahead.

    Schneider et al. 2019, section 2, with the weight of the distractors equal to their number:
    -log sigma(z_s . h_k(c_t)) - sum_n log sigma(-z_n . h_k(c_t)), s = t + offset + k, summed over all k = 0 .. K - 1
    and all t with s inside the clip; a target has the same distractors for all steps. In float32 or wider, regardless
    of autocast.

    Args:
        predictions: h_k(c_t).
        targets: z.
        lengths: number of real frames of each clip.
        negatives: for each frame as a target, the indices of its distractors.
        offset: frames from a context to its first target.

    Raises:
        ValueError: if no clip is long enough for a pair.
    """
    num_steps, num_targets = predictions.shape[2], targets.shape[1] - offset
    if int(lengths.max()) <= offset:
        raise ValueError(
            f"the first frame to predict is {offset} frames ahead, but the longest clip has only "
            f"{int(lengths.max())} frames; raise the shortest length in the data settings (data.min_seconds)"
        )
    with torch.autocast(targets.device.type, enabled=False):
        wide = torch.promote_types(targets.dtype, torch.float32)
        # For every target, gather its predictions from K positions; one product scores these against all candidates.
        steps = predictions.to(wide)[:, :num_targets].unbind(2)
        shifts = [functional.pad(x, (0, 0, k, 0))[:, :num_targets] for k, x in enumerate(steps)]
        own = torch.arange(targets.shape[1], device=targets.device).expand(len(targets), -1)
        candidates = torch.cat([own.unsqueeze(2), negatives], dim=2)[:, offset:]
        firsts = targets.shape[1] * torch.arange(len(targets), device=targets.device)
        rows = (candidates + firsts[:, None, None]).flatten()
        drawn = targets.to(wide).flatten(0, 1).index_select(0, rows)
        drawn = drawn.view(-1, candidates.shape[2], drawn.shape[1])
        logits = torch.bmm(torch.stack(shifts, dim=2).flatten(0, 1), drawn.transpose(1, 2))
        logits = logits.view(len(targets), num_targets, num_steps, -1)
        place = torch.arange(num_targets, device=targets.device)
        begun = place[:, None] >= torch.arange(num_steps, device=targets.device)
        pairs = begun & (place + offset < lengths[:, None]).unsqueeze(2)
        right, others = logits[..., 0], logits[..., 1:]
        losses = functional.softplus(-right) + functional.softplus(others).sum(-1)
        loss = losses.masked_fill(~pairs, 0).sum()
    with torch.no_grad():
        correct = (right > others.amax(-1)) & pairs
        return StepAhead(loss, pairs.sum((0, 1)), correct.sum((0, 1)))


def perplexity(probs: Float[Tensor, "group entry"]) -> Float[Tensor, ""]:
    """Return the effective number of entries in use: exp of each group's entropy, summed over groups; at most G V."""
    return torch.exp(-(probs * torch.log(probs + 1e-7)).sum(-1)).sum()


def diversity(probs: Float[Tensor, "group entry"]) -> Float[Tensor, ""]:
    """Return the unused fraction of the codebook, (G V - perplexity) / (G V); Baevski et al. 2020, equation 4."""
    return 1 - perplexity(probs) / probs.numel()


def same_unit(units: Int[Tensor, "batch masked group"], negatives: Int[Tensor, "batch masked negative"]) -> Tensor:
    """Return True where a distractor has the same codebook entry as the target in every group."""
    same = torch.ones_like(negatives, dtype=torch.bool)
    for group in units.unbind(-1):
        drawn = group.gather(1, negatives.flatten(1)).view_as(negatives)
        same &= drawn == group[..., None]
    return same
