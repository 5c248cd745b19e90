"""Linear probe: multinomial logistic regression on frozen vectors, solved to its optimum.

The vectors are standardised on the training part. For each penalty, strongest first, L-BFGS minimises the regularised
mean loss, starting from the previous solution; the penalty with the highest dev accuracy is kept. The problem is
convex: the seed only affects which frames are sampled if there are too many.
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
from sori.evaluation.bootstrap import Estimate, fraction

_LEAST_SPREAD = 1e-6
"""Dimensions with a smaller standard deviation are set to 0."""
_LEAST_VARIANCE = 1e-2
"""Added to the variance of each direction, relative to a mean of 1 over all directions."""


class ProbeConfig(Config):
    """Optimisation of the classifier."""

    penalties: tuple[float, ...] = (1e-2, 1e-3, 1e-4, 1e-5)
    """L2 penalties in the order tried: half of it times the squared weights is added to the loss (nats a frame)."""
    max_train_frames: int = 100_000
    """Maximum number of training frames; if there are more, a random sample is used."""
    max_rounds: int = 50
    """Maximum number of L-BFGS iterations for each penalty."""
    tolerance: float = 1e-4
    """Largest gradient component, in nats a frame, at which L-BFGS stops."""


class Part(NamedTuple):
    """Vectors and their class numbers; -1 for a class that does not occur in the training part."""

    x: Float[Tensor, "row dim"]
    y: Int[Tensor, " row"]


class Linear(NamedTuple):
    """A linear classifier with logits `x @ weight + bias`."""

    weight: Float[Tensor, "dim class"]
    bias: Float[Tensor, " class"]
    penalty: float
    """Penalty with the highest dev accuracy."""
    dev_share: float
    """Accuracy on the dev part."""

    def predict(self, x: Float[Tensor, "row dim"]) -> Int[Tensor, " row"]:
        """Return the most likely class of each vector."""
        return torch.cat([(rows @ self.weight + self.bias).argmax(1) for rows in torch.split(x, 65_536)])


class ProbeResult(NamedTuple):
    """Result of a linear probe."""

    accuracy: Estimate
    """Accuracy on the test part; vectors whose class does not occur in training count as errors."""
    majority: float
    """Chance level: test accuracy of always predicting the most frequent training class."""
    dev_share: float
    """Accuracy on the dev part, for choosing a representation."""
    penalty: float
    num_train: int
    num_test: int


def fit(train: Part, dev: Part, *, num_classes: int, config: ProbeConfig | None = None) -> Linear:
    """Return the classifier with the highest dev accuracy over all penalties.

    Args:
        train: at least two vectors; not every class has to occur.
        dev: vectors to choose the penalty on.
        num_classes: total number of classes.
        config: penalties and optimisation.

    Raises:
        ValueError: a part is empty, or vectors are not finite.
    """
    config = config or ProbeConfig()
    for name, part in (("training", train), ("dev", dev)):
        if not len(part.x):
            raise ValueError(f"expected vectors in the {name} part, got none; give more utterances or other splits")
        if not bool(torch.isfinite(part.x).all()):
            raise ValueError(f"expected finite vectors in the {name} part, got NaN or infinity; is the model damaged?")
    mean, spread = train.x.mean(0), train.x.std(0, correction=0)
    scale = torch.where(spread > _LEAST_SPREAD, 1 / spread.clamp(min=_LEAST_SPREAD), 0)
    x = (train.x - mean) * scale
    basis = _whitening(x)
    inner = torch.zeros(x.shape[1] + 1, num_classes, dtype=x.dtype, requires_grad=True)  # the last row: biases
    best: Linear | None = None
    for penalty in config.penalties:
        _minimise(x, train.y, basis, inner, penalty, config)
        weight = (basis @ inner.detach()[:-1]) * scale[:, None]
        found = Linear(weight, inner.detach()[-1] - mean @ weight, penalty, 0.0)
        found = found._replace(dev_share=float((found.predict(dev.x) == dev.y).double().mean()))
        if best is None or found.dev_share > best.dev_share:
            best = found
    assert best is not None  # noqa: S101 - there are penalties
    return best


def _whitening(x: Float[Tensor, "row dim"]) -> Float[Tensor, "dim dim"]:
    """Return a preconditioner that whitens the vectors, so that L-BFGS needs a fraction of the iterations.

    The weights are parametrised as this matrix times the free parameters; the problem stays the same, with its penalty.
    """
    values, vectors = torch.linalg.eigh((x.T @ x / len(x)).double())
    scaled: Tensor = vectors / (values.clamp(min=0) + _LEAST_VARIANCE).sqrt()
    return scaled.to(x.dtype)


def _minimise(x: Tensor, y: Tensor, basis: Tensor, inner: Tensor, penalty: float, config: ProbeConfig) -> None:
    """Minimise the regularised loss over `inner`, in place."""
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
    """Row numbers and labels of a part."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    """Label of each row; any integers."""


def probe(
    x: Float[Tensor, "row dim"],
    parts: tuple[Rows, Rows, Rows],
    *,
    units: NDArray[np.int64],
    speakers: Sequence[str | None],
    config: ProbeConfig | None = None,
    seed: int = 0,
) -> ProbeResult:
    """Train a linear probe, choose its penalty on the dev part, and return its accuracy on the test part.

    Args:
        x: all vectors.
        parts: train, dev and test.
        units: utterance of each row of the test part.
        speakers: speaker of each utterance.
        config: optimisation of the classifier.
        seed: seed of the sample of training vectors and of the bootstrap.

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
    scored = part(test)
    right = (found.predict(scored.x) == scored.y).numpy().astype(np.float64)
    present, place = np.unique(units, return_inverse=True)
    accuracy = fraction(
        np.bincount(place, right).astype(np.float64),
        np.bincount(place).astype(np.float64),
        [speakers[i] for i in present],
        names=present.tolist(),
        seed=seed,
    )
    most_frequent = np.unique(train.labels, return_counts=True)[1].argmax()
    majority = float((test.labels == classes[most_frequent]).mean())
    return ProbeResult(accuracy, majority, found.dev_share, found.penalty, len(train.rows), len(test.rows))


def _at_most(part: Rows, limit: int, seed: int) -> Rows:
    if len(part.rows) <= limit:
        return part
    random = np.random.default_rng(derive(seed, "probe", "frames"))
    chosen = np.sort(random.choice(len(part.rows), limit, replace=False))
    return Rows(part.rows[chosen], part.labels[chosen])
