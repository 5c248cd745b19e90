"""Linear probe against Newton's method in float64, and its invariances."""

import itertools

import numpy as np
import pytest
import torch

from sori.evaluation.bootstrap import FEWEST_SPEAKERS, fraction
from sori.evaluation.linear_probe import Part, ProbeConfig, Rows, fit, probe

EXACT = ProbeConfig(penalties=(1e-2,), max_rounds=500, tolerance=1e-10)


def clouds(num=400, *, dim=5, num_classes=4, spread=1.5, seed=0):
    """Return points around one centre per class, in badly scaled coordinates, float64."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num)
    x = np.random.default_rng(99).standard_normal((num_classes, dim))[labels] * 2 + spread * rng.standard_normal(
        (num, dim)
    )
    return torch.from_numpy(x * 10.0 ** np.arange(dim) + 3), torch.from_numpy(labels)


def newton(x, y, num_classes, penalty):
    """Return the logits of the regularised optimum, in standardised coordinates."""
    x = (x - x.mean(0)) / x.std(0)
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    width = x.shape[1]
    weight, wanted = np.zeros((width, num_classes)), np.eye(num_classes)[y]
    ridge = penalty * np.diag([*[1.0] * (width - 1), 0.0])
    for _ in range(30):
        logits = x @ weight
        probs = np.exp(logits - logits.max(1, keepdims=True))
        probs /= probs.sum(1, keepdims=True)
        slope = x.T @ (probs - wanted) / len(x) + ridge @ weight
        full = np.zeros((num_classes * width, num_classes * width))
        for one in range(num_classes):
            for two in range(num_classes):
                part = probs[:, one] * ((one == two) - probs[:, two])
                block = (x * part[:, None]).T @ x / len(x) + (one == two) * ridge
                full[one * width : (one + 1) * width, two * width : (two + 1) * width] = block
        step = np.linalg.lstsq(full, slope.T.ravel(), rcond=None)[0]
        weight -= step.reshape(num_classes, width).T
    return x @ weight


def test_the_classifier_is_the_optimum():
    x, y = clouds()
    found = fit(Part(x, y), Part(x, y), num_classes=4, config=EXACT)
    logits = (x @ found.weight + found.bias).numpy()
    expected = newton(x.numpy(), y.numpy(), 4, 1e-2)
    # Adding a constant to all logits of a row changes nothing.
    assert np.allclose(logits - logits.mean(1, keepdims=True), expected - expected.mean(1, keepdims=True), atol=1e-5)


def test_shifting_and_scaling_coordinates_changes_nothing():
    x, y = clouds()
    scale, shift = torch.tensor([1e3, -2.0, 0.1, 5.0, 7.0]).double(), torch.arange(5.0).double() * 100
    one = fit(Part(x, y), Part(x, y), num_classes=4, config=EXACT)
    other = fit(Part(x * scale + shift, y), Part(x * scale + shift, y), num_classes=4, config=EXACT)
    assert torch.allclose(other.weight * scale[:, None], one.weight, atol=1e-9)


def test_a_constant_coordinate_is_left_out():
    x, y = clouds()
    more = torch.cat([x, torch.full((len(x), 1), 4.0).double()], dim=1)
    found = fit(Part(more, y), Part(more, y), num_classes=4, config=EXACT)
    assert found.weight[-1].abs().max() == 0
    assert torch.isfinite(found.bias).all()


def test_the_penalty_is_the_one_that_does_best_on_dev():
    """The order of the penalties does not matter."""
    x, y = clouds(40, dim=5, spread=2.5)
    noise = torch.from_numpy(np.random.default_rng(1).standard_normal((2000, 60)))
    dev_x, dev_y = clouds(1000, spread=2.5, seed=5)
    train, dev = (
        Part(torch.cat([part, noise[: len(part)] if rows else noise[-len(part) :]], dim=1), labels)
        for part, labels, rows in ((x, y, True), (dev_x, dev_y, False))
    )
    exact = ProbeConfig(tolerance=1e-6, max_rounds=200)
    accuracies = {}
    for penalty in (1e3, 1e-1, 1e-6):
        config = exact.model_copy(update={"penalties": (penalty,)})
        accuracies[penalty] = fit(train, dev, num_classes=4, config=config).dev_share
    assert min(accuracies.values()) < max(accuracies.values()) - 0.02
    for order in (tuple(accuracies), tuple(accuracies)[::-1]):
        chosen = fit(train, dev, num_classes=4, config=exact.model_copy(update={"penalties": order}))
        assert chosen.dev_share == pytest.approx(max(accuracies.values()), abs=0.01)


def parts_of(y, *, ends=(200, 300)):
    labels = np.asarray(y)
    edges = [0, *ends, len(labels)]
    return tuple(Rows(np.arange(a, b), labels[a:b]) for a, b in itertools.pairwise(edges))


def test_accuracy_chance_and_unseen_classes():
    x, y = clouds(400, spread=0.05)
    y[350:] = 17  # only in the test part, so always an error
    units = np.repeat(np.arange(10), 10)
    found = probe(x.float(), parts_of(y), units=units, speakers=["a"] * 10)
    assert found.accuracy.value == pytest.approx(0.5)
    assert found.accuracy.low < 0.5 < found.accuracy.high
    most_frequent = np.bincount(y[:200]).argmax()
    assert found.majority == float((y[300:] == most_frequent).double().mean())
    assert (found.num_train, found.num_test) == (200, 100)


def test_equal_seeds_give_equal_numbers():
    x, y = clouds(400)
    config = ProbeConfig(max_train_frames=50)
    units = np.arange(100)

    def run(seed):
        return probe(x.float(), parts_of(y), units=units, speakers=["a"] * 100, config=config, seed=seed)

    assert run(0) == run(0)
    assert run(0).num_train == 50
    assert run(0).accuracy.value != run(1).accuracy.value


def test_labels_of_noise_are_at_chance():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((6000, 4))).float()
    y = np.random.default_rng(1).integers(0, 5, 6000)
    parts = parts_of(y, ends=(2000, 3000))
    found = probe(x, parts, units=np.arange(3000), speakers=[None] * 3000)
    assert found.accuracy.value == pytest.approx(0.2, abs=0.03)


def test_unusable_parts_are_refused():
    x, y = clouds(400)
    with pytest.raises(ValueError, match="at least two classes"):
        probe(x, parts_of(y * 0), units=np.arange(100), speakers=[None] * 100)
    with pytest.raises(ValueError, match="test part, got none"):
        probe(x, parts_of(y, ends=(200, 400)), units=np.arange(0), speakers=[])
    with pytest.raises(ValueError, match="dev part, got none"):
        probe(x, parts_of(y, ends=(200, 200)), units=np.arange(200), speakers=[None] * 200)
    x[3] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        probe(x, parts_of(y), units=np.arange(100), speakers=[None] * 100)


def test_intervals_draw_speakers_if_there_are_enough():
    correct, total = np.tile([9.0, 1.0], 50), np.full(100, 10.0)
    together = [f"s{i % (2 * FEWEST_SPEAKERS)}" for i in range(100)]  # each does well or badly throughout
    by_speaker, by_utterance = (
        fraction(correct, total, together, names=range(100)),
        fraction(correct, total, [None] * 100, names=range(100)),
    )
    assert (by_speaker.unit, by_utterance.unit) == ("speakers", "utterances")
    assert by_speaker.value == by_utterance.value == 0.5
    assert by_speaker.high - by_speaker.low > 1.5 * (by_utterance.high - by_utterance.low)
    assert fraction(correct, total, ["a", "b"] * 50, names=range(100)).unit == "utterances"
    # 100 utterances with a standard deviation of 0.4: 0.5 +- 1.96 * 0.04
    assert by_utterance.high - by_utterance.low == pytest.approx(2 * 1.96 * 0.04, rel=0.15)
