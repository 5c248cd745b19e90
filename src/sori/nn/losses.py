"""Objectives as pure functions, summed over targets."""

from typing import Literal, NamedTuple

import torch
from torch.nn import functional

from sori.core.shapes import Float, Int, Tensor

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
        is_equal = same_code(codes, negatives)
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
    """For each step; where distractors tie with the target, the chance of picking the target among them."""


def info_nce(
    predictions: Float[Tensor, "group step position dim"],
    targets: Float[Tensor, "group frame dim"],
    positives: Int[Tensor, "step position"],
    negatives: Int[Tensor, "group position negative"],
) -> StepContrast:
    """-log of the softmax share of the right frame among itself and distractors, for predictions several steps ahead.

    Van den Oord et al. 2018, equation 4, with the mean over the dimensions of prediction times frame as logit (the
    paper's sum, but for a factor that the weights of the predictor can take up). ln(1 + distractors) minus the mean
    loss is a lower bound of the mutual information in nats (section 2.3). In float32 at least, whatever the autocast.

    Args:
        predictions: W_k c_t; step k of position t.
        targets: the frames z of each group, among which target and distractors are found. The work grows with their
            number: a group is an utterance, or a batch of few utterances.
        positives: for each step and position, the right frame of the group.
        negatives: for each position, its distractors in the group, the same for all steps.
    """
    with torch.autocast(predictions.device.type, enabled=False):
        p, z = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (predictions, targets))
        # Every prediction with every frame of its group is one product; target and distractors are picked from it.
        logits = (p.flatten(1, 2) @ (z / z.shape[-1]).transpose(1, 2)).view(*p.shape[:3], -1)
        right = logits.gather(3, positives[None, :, :, None].expand(len(logits), -1, -1, -1))
        wrong = logits.gather(3, negatives[:, None].expand(-1, logits.shape[1], -1, -1))
        loss = (torch.cat([right, wrong], dim=-1).logsumexp(-1) - right.squeeze(-1)).sum()
    with torch.no_grad():
        ties = 1 + (wrong == right).sum(-1)
        found = (right >= wrong).all(-1) / ties
        return StepContrast(loss, found.sum((0, 2)))


class ViewContrast(NamedTuple):
    """Sums over all views of a batch, each asked once for the other view of what it shows."""

    loss: Float[Tensor, ""]
    num_correct: Float[Tensor, ""]
    """Views whose nearest neighbour is their other view; of n that are equally near, each counts 1 / n."""


def nt_xent(
    views: Float[Tensor, "batch view dim"],
    everyone: Float[Tensor, "all view dim"],
    *,
    temperature: float,
    offset: int = 0,
) -> ViewContrast:
    """-log of the softmax share of a view's other view among all other views, by cosine over temperature.

    Chen et al. 2020, equation 1, summed over both directions of all pairs: divided by the count, which is the number of
    views (2N), it is the L of the paper's algorithm 1. In float32 at least, whatever the autocast.

    Args:
        views: two of each example, projected.
        everyone: the views among which the other one is to be found: these, and with several processes those of all of
            them (`distributed.gather_rows`).
        temperature: tau.
        offset: where `views` begin in `everyone`.
    """
    num, total = len(views), len(everyone)
    with torch.autocast(views.device.type, enabled=False):
        wide = torch.promote_types(views.dtype, torch.float32)
        # All first views, then all second ones: view v of example b is row v * total + offset + b of the candidates.
        asked, candidates = (
            functional.normalize(x.to(wide).transpose(0, 1).flatten(0, 1), dim=-1) for x in (views, everyone)
        )
        own = offset + torch.arange(num, device=views.device)
        itself, other = torch.cat([own, own + total]), torch.cat([own + total, own])
        logits = (asked @ candidates.T / temperature).scatter(1, itself[:, None], -torch.inf)
        right = logits.gather(1, other[:, None])
        loss = (logits.logsumexp(1) - right.squeeze(1)).sum()
    with torch.no_grad():
        found = (right >= logits).all(1) / (logits == right).sum(1)
        return ViewContrast(loss, found.sum())


class Ahead(NamedTuple):
    """Sums over all pairs of a context and a later target, and counts for each step ahead."""

    loss: Float[Tensor, ""]
    pairs: Int[Tensor, " step"]
    """How many were summed."""
    correct: Int[Tensor, " step"]
    """Pairs whose target scores higher than all of its distractors."""


def step_ahead(
    predictions: Float[Tensor, "batch frame step dim"],
    targets: Float[Tensor, "batch frame dim"],
    lengths: Int[Tensor, " batch"],
    negatives: Int[Tensor, "batch frame negative"],
    *,
    offset: int,
) -> Ahead:
    """Tell later frames from others by the sign of a dot product, for several steps ahead.

    Schneider et al. 2019, section 2, with the weight of the distractors equal to their number:
    -log sigma(z_s . h_k(c_t)) - sum_n log sigma(-z_n . h_k(c_t)), s = t + offset + k, summed over all k = 0 .. K - 1
    and all t with s inside the clip; a target has the same distractors for all steps. In float32 whatever the autocast.

    Args:
        predictions: h_k(c_t).
        targets: z.
        lengths: real frames of each clip.
        negatives: for each frame as a target, the frames of its distractors.
        offset: of the first target.

    Raises:
        ValueError: no clip is long enough for a pair.
    """
    num_steps, num_targets = predictions.shape[2], targets.shape[1] - offset
    if int(lengths.max()) <= offset:
        raise ValueError(
            f"the first frame to be predicted lies {offset} frames ahead, and the longest clip has "
            f"{int(lengths.max())} frames; raise the shortest length in the data settings (data.min_seconds)"
        )
    with torch.autocast(targets.device.type, enabled=False):
        wide = torch.promote_types(targets.dtype, torch.float32)
        # For every target, what was predicted of it from K places; then all of it meets all candidates in one product.
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
        return Ahead(loss, pairs.sum((0, 1)), correct.sum((0, 1)))


def perplexity(probs: Float[Tensor, "group entry"]) -> Float[Tensor, ""]:
    """Effective number of entries in use: exp of the entropy of each group, summed over groups; at most G V."""
    return torch.exp(-(probs * torch.log(probs + 1e-7)).sum(-1)).sum()


def diversity(probs: Float[Tensor, "group entry"]) -> Float[Tensor, ""]:
    """Share of the codebook that is not in use, (G V - perplexity) / (G V); Baevski et al. 2020, equation 4."""
    return 1 - perplexity(probs) / probs.numel()


def same_code(codes: Int[Tensor, "batch masked group"], negatives: Int[Tensor, "batch masked negative"]) -> Tensor:
    """True where a distractor has the code of the target, in every group."""
    same = torch.ones_like(negatives, dtype=torch.bool)
    for group in codes.unbind(-1):
        drawn = group.gather(1, negatives.flatten(1)).view_as(negatives)
        same &= drawn == group[..., None]
    return same
