"""What a linear classifier reads from frozen vectors: multinomial logistic regression, solved to its optimum.

The vectors are standardised on the training part. For each penalty, strongest first, the regularised mean loss is
minimised by L-BFGS from where the last one ended; the penalty with the most frames right on the dev part is kept. The
problem is convex: the seed only decides which frames are used where there are too many.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from sori.core.config import Config
from sori.core.seeds import derive
from sori.core.shapes import Float, Int, Tensor
from sori.evaluation.bootstrap import Estimate, share

_LEAST_SPREAD = 1e-6
"""Of a dimension that says nothing; it is left at 0."""
_LEAST_VARIANCE = 1e-2
"""Added to that of each direction, where 1 is the mean over directions."""


class ProbeConfig(Config):
    """How the classifier is found."""

    penalties: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5)
    """Halves of these times the squared weights are added to the loss in nats a frame; tried in this order."""
    max_train_frames: int = 100_000
    """Of more, so many are drawn at random."""
    max_rounds: int = 50
    """Of L-BFGS for each penalty."""
    tolerance: float = 1e-4
    """Largest slope, in nats a frame, at which it is done."""


class Part(NamedTuple):
    """Vectors with the numbers of their classes; -1 for a class that the training part does not have."""

    x: Float[Tensor, "row dim"]
    y: Int[Tensor, " row"]


class Linear(NamedTuple):
    """A classifier; `x @ weight + bias` are its logits."""

    weight: Float[Tensor, "dim class"]
    bias: Float[Tensor, " class"]
    penalty: float
    """That did best on the dev part."""
    dev_share: float
    """Of the dev part that it gets right."""

    def predict(self, x: Float[Tensor, "row dim"]) -> Int[Tensor, " row"]:
        """The likeliest class of each vector."""
        return torch.cat([(rows @ self.weight + self.bias).argmax(1) for rows in torch.split(x, 65_536)])


class Probed(NamedTuple):
    """How well classes can be read."""

    accuracy: Estimate
    """Share of the test part's vectors; those whose class was never trained count as wrong."""
    majority: float
    """The same for the training part's most frequent class: chance."""
    dev_share: float
    """Share of the dev part that is right: what representations may be chosen by."""
    penalty: float
    num_train: int
    num_test: int


def fit(train: Part, dev: Part, *, num_classes: int, config: ProbeConfig | None = None) -> Linear:
    """The classifier that does best on the dev part.

    Args:
        train: every class at least once is not needed, but at least two vectors.
        dev: chooses the penalty.
        num_classes: all of them.
        config: penalties and precision.

    Raises:
        ValueError: a part is empty, or vectors are not finite.
    """
    config = config or ProbeConfig()
    for name, part in (("training", train), ("dev", dev)):
        if not len(part.x):
            raise ValueError(f"expected vectors in the {name} part, got none; give more utterances or other splits")
        if not bool(torch.isfinite(part.x).all()):
            raise ValueError(f"the {name} part holds NaN or infinite vectors; the model is damaged or its sound is")
    mean, spread = train.x.mean(0), train.x.std(0, correction=0)
    scale = torch.where(spread > _LEAST_SPREAD, 1 / spread.clamp(min=_LEAST_SPREAD), 0)
    x = (train.x - mean) * scale
    basis = _even(x)
    inner = torch.zeros(x.shape[1] + 1, num_classes, dtype=x.dtype, requires_grad=True)  # the last row: biases
    best: Linear | None = None
    for penalty in config.penalties:
        _descend(x, train.y, basis, inner, penalty, config)
        weight = (basis @ inner.detach()[:-1]) * scale[:, None]
        found = Linear(weight, inner.detach()[-1] - mean @ weight, penalty, 0.0)
        found = found._replace(dev_share=float((found.predict(dev.x) == dev.y).double().mean()))
        if best is None or found.dev_share > best.dev_share:
            best = found
    assert best is not None  # noqa: S101 - there are penalties
    return best


def _even(x: Float[Tensor, "row dim"]) -> Float[Tensor, "dim dim"]:
    """Directions along which the vectors vary alike: in them, the descent takes a fraction of the rounds.

    Weights are searched for as this matrix times something; the problem stays the same, penalty included.
    """
    values, vectors = torch.linalg.eigh((x.T @ x / len(x)).double())
    scaled: Tensor = vectors / (values.clamp(min=0) + _LEAST_VARIANCE).sqrt()
    return scaled.to(x.dtype)


def _descend(x: Tensor, y: Tensor, basis: Tensor, inner: Tensor, penalty: float, config: ProbeConfig) -> None:
    """Minimise in place."""
    solver = torch.optim.LBFGS(
        [inner],
        max_iter=config.max_rounds,
        history_size=10,
        tolerance_grad=config.tolerance,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        with torch.enable_grad():
            solver.zero_grad()
            weight = basis @ inner[:-1]
            loss = functional.cross_entropy(torch.addmm(inner[-1], x, weight), y)
            loss = loss + penalty / 2 * weight.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    solver.step(closure)  # type: ignore[no-untyped-call]


class Rows(NamedTuple):
    """Which vectors are a part, and what they are."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    """Of each of these rows; any whole numbers."""


def probe(
    x: Float[Tensor, "row dim"],
    parts: tuple[Rows, Rows, Rows],
    *,
    units: NDArray[np.int64],
    speakers: Sequence[str | None],
    config: ProbeConfig | None = None,
    seed: int = 0,
) -> Probed:
    """Train on one part, choose on another, score on a third.

    Args:
        x: all vectors.
        parts: train, dev and test.
        units: the utterance of each row of the test part.
        speakers: of each utterance.
        config: of the classifier.
        seed: of the choice of training vectors and of the bootstrap.

    Raises:
        ValueError: a part is empty, or the training part has one class only.
    """
    config = config or ProbeConfig()
    train, dev, test = (_at_most(parts[0], config.max_train_frames, seed), *parts[1:])
    if not len(test.rows):
        raise ValueError("expected vectors in the test part, got none; give more utterances or other splits")
    classes = np.unique(train.labels)
    if len(classes) < 2:
        raise ValueError(f"expected at least two classes in the training part, got {len(classes)}")

    def part(one: Rows) -> Part:
        place = np.searchsorted(classes, one.labels).clip(max=len(classes) - 1)
        numbers = np.where(classes[place] == one.labels, place, -1)
        return Part(x[torch.from_numpy(one.rows)], torch.from_numpy(numbers))

    found = fit(part(train), part(dev), num_classes=len(classes), config=config)
    asked = part(test)
    right = (found.predict(asked.x) == asked.y).numpy().astype(np.float64)
    present, place = np.unique(units, return_inverse=True)
    accuracy = share(
        np.bincount(place, right).astype(np.float64),
        np.bincount(place).astype(np.float64),
        [speakers[i] for i in present],
        names=present.tolist(),
        seed=seed,
    )
    commonest = np.unique(train.labels, return_counts=True)[1].argmax()
    majority = float((test.labels == classes[commonest]).mean())
    return Probed(accuracy, majority, found.dev_share, found.penalty, len(train.rows), len(test.rows))


def _at_most(part: Rows, limit: int, seed: int) -> Rows:
    if len(part.rows) <= limit:
        return part
    random = np.random.default_rng(derive(seed, "probe", "frames"))
    chosen = np.sort(random.choice(len(part.rows), limit, replace=False))
    return Rows(part.rows[chosen], part.labels[chosen])
