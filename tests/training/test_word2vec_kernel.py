"""Compare the compiled training with a plain float64 reference."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from sori.data.word_counts import WordCounts
from sori.models.word2vec import Word2Vec, Word2VecConfig
from sori.training.word2vec_kernel import train_piece, workspace_for
from sori.training.word2vec_loop import learner

_spec = importlib.util.spec_from_file_location("word2vec_reference", Path(__file__).parent / "word2vec_reference.py")
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)


def text_of(num_words, length, *, seed=0):
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, num_words)
    tokens = random.choice(np.arange(1, num_words), length, p=weights / weights.sum()).astype(np.int32)
    tokens[random.random(length) < 0.08] = 0
    return tokens


def system_of(tokens, config):
    counts = np.bincount(tokens)
    system = Word2Vec(config, WordCounts(("</s>", *(f"w{n}" for n in range(1, len(counts)))), counts))
    system.start(0)
    return system


@pytest.mark.parametrize(("negatives", "hierarchical"), [(5, False), (0, True), (3, True), (1, False)])
@pytest.mark.parametrize(
    ("architecture", "updates", "divide"),
    [("skipgram", "exact", False), ("skipgram", "shared", False), ("cbow", "exact", False), ("cbow", "exact", True)],
)
@pytest.mark.parametrize("dim", [5, 48])
def test_training_equals_the_reference(architecture, updates, negatives, hierarchical, divide, dim):
    tokens = text_of(30, 600)
    config = Word2VecConfig(
        architecture=architecture, updates=updates, negatives=negatives, hierarchical=hierarchical,
        divide_error=divide, dim=dim, window=4, sample=0.02, min_count=1,
    )  # fmt: skip
    system = system_of(tokens, config)
    system.inputs.data *= 20  # far enough from zero that every term matters, some beyond the limit of the logits
    for matrix in (system.outputs, system.inner):
        if matrix is not None:
            matrix.data.normal_(std=0.5)
    slow = {name: matrix.detach().double().numpy().copy() for name, matrix in system.named_parameters()}
    fast = learner(system)
    workspace = workspace_for(fast.shape, fast.rows, fast.tables)
    for piece, alpha in enumerate((0.2, 0.05)):
        train_piece(tokens, 77 + piece, alpha, fast.tables, fast.shape, workspace)
        reference.learn(tokens, 77 + piece, float(np.float32(alpha)), fast.tables, config, slow)
    for name, matrix in system.named_parameters():
        np.testing.assert_allclose(matrix.numpy(), slow[name], atol=3e-4, rtol=1e-3, err_msg=name)
        assert np.abs(slow[name]).max() < 100
    assert not any(rows[:, dim:].any() for rows in fast.rows)


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
def test_the_initial_loss_is_at_chance_level(architecture):
    tokens = text_of(3000, 5000)
    for config, chance in (
        (Word2VecConfig(architecture=architecture, min_count=1), 6 * np.log(2)),
        (Word2VecConfig(architecture=architecture, min_count=1, negatives=0, hierarchical=True), None),
    ):
        fast = learner(system_of(tokens, config))
        workspace = workspace_for(fast.shape, fast.rows, fast.tables)
        train_piece(tokens, 0, 0.0, fast.tables, fast.shape._replace(loss_every=1), workspace)
        found = workspace.loss[0] / workspace.loss[1]
        if chance is None:
            steps = np.diff(fast.tables.starts)
            assert steps.min() * np.log(2) < found < steps.max() * np.log(2)
        else:  # noise that equals the word is left out, rarely
            assert chance - 0.05 < found <= chance + 1e-6


def test_pairs_for_each_centre():
    # radius uniform on 1 to window: twice its mean, away from the edges of a sentence
    tokens = np.tile(np.arange(1, 901, dtype=np.int32), 10)
    config = Word2VecConfig(updates="exact", sample=0, min_count=1, window=5)
    fast = learner(system_of(tokens, config))
    workspace = workspace_for(fast.shape, fast.rows, fast.tables)
    train_piece(tokens, 0, 0.0, fast.tables, fast.shape._replace(loss_every=1), workspace)
    assert workspace.loss[1] / len(tokens) == pytest.approx(6, rel=0.02)


def test_texts_without_pairs_change_nothing():
    config = Word2VecConfig(min_count=1)
    system = system_of(text_of(10, 100), config)
    before = system.inputs.clone()
    fast = learner(system)
    workspace = workspace_for(fast.shape, fast.rows, fast.tables)
    for tokens in ([], [0, 0, 0], [3], [3, 0, 4, 0]):
        train_piece(np.array(tokens, dtype=np.int32), 0, 0.1, fast.tables, fast.shape, workspace)
    assert (system.inputs == before).all()
