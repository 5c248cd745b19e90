"""Tests of Word2Vec: one step against autograd, training, storage."""

import gzip

import numpy as np
import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.data.word_counts import WordCounts
from sori.models import factory
from sori.models.word2vec import Word2Vec, Word2VecConfig
from sori.runs import run
from sori.training.word2vec_kernel import train_piece, workspace_for
from sori.training.word2vec_loop import learner

FOUR = WordCounts(("</s>", "a", "b", "c"), np.array([1, 4, 3, 2]))


def one_step(config, tokens):
    """Return the change of every matrix by a piece, and the matrices before."""
    system = Word2Vec(config, FOUR)
    torch.manual_seed(3)
    for matrix in system.parameters():
        matrix.data.normal_()
    before = {name: matrix.clone() for name, matrix in system.named_parameters()}
    fast = learner(system)
    train_piece(
        np.array(tokens, np.int32), 0, 1e-3, fast.tables, fast.shape, workspace_for(fast.shape, fast.rows, fast.tables)
    )
    return {name: (matrix - before[name]) / 1e-3 for name, matrix in system.named_parameters()}, before, fast.tables


def tree_loss(h, inner, tables, word):
    steps = range(tables.starts[word], tables.starts[word + 1])
    signs = [1 - 2 * int(tables.bits[step]) for step in steps]
    return -sum(
        torch.nn.functional.logsigmoid(s * (inner[tables.nodes[n]] @ h)) for s, n in zip(signs, steps, strict=True)
    )


@pytest.mark.parametrize("architecture", ["skipgram", "cbow"])
def test_a_step_is_the_gradient(architecture):
    config = Word2VecConfig(
        architecture=architecture, negatives=0, hierarchical=True, dim=4, window=1, sample=0, min_count=1
    )
    # Learning rate times gradient is tiny: the second centre sees nearly the same matrices.
    found, before, tables = one_step(config, [1, 2, 0])
    leaves = {name: matrix.clone().requires_grad_() for name, matrix in before.items()}
    loss = sum(tree_loss(leaves["inputs"][i], leaves["inner"], tables, o) for i, o in ((2, 1), (1, 2)))
    loss.backward()
    for name, change in found.items():
        torch.testing.assert_close(change, -leaves[name].grad, atol=2e-2, rtol=2e-2)


def test_cbow_adds_the_whole_error_to_every_word():
    # a b c with window 1: b is predicted from the mean of a and c
    settings = {"architecture": "cbow", "negatives": 0, "hierarchical": True, "dim": 4, "window": 1, "min_count": 1}
    whole, before, tables = one_step(Word2VecConfig(**settings, sample=0), [1, 2, 3])
    divided, _, _ = one_step(Word2VecConfig(**settings, sample=0, divide_error=True), [1, 2, 3])
    inputs = before["inputs"].clone().requires_grad_()
    tree_loss((inputs[1] + inputs[3]) / 2, before["inner"], tables, 2).backward()
    torch.testing.assert_close(whole["inputs"][3] - divided["inputs"][3], -inputs.grad[3], atol=2e-2, rtol=2e-2)
    b = before["inputs"].clone().requires_grad_()
    (tree_loss(b[2], before["inner"], tables, 1) + tree_loss(b[2], before["inner"], tables, 3)).backward()
    torch.testing.assert_close(whole["inputs"][2], -b.grad[2], atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(
    "changes", [{}, {"updates": "exact"}, {"architecture": "cbow"}, {"negatives": 0, "hierarchical": True}]
)
def test_words_with_the_same_neighbours_become_alike(tmp_path, changes):
    random = np.random.default_rng(0)
    groups = [["cat", "dog"], ["eats", "bites"], ["bread", "meat"], ["on", "under"], ["table", "chair"]]
    lines = [" ".join(group[random.integers(2)] for group in groups) for _ in range(4000)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    recipe = recipes.by_name("word2vec_smoke").override({f"system.{k}": v for k, v in changes.items()} | {"lr": 0.05})
    made = run.train(recipe, into=tmp_path / "run", data=tmp_path / "a.txt")
    system = store.load(made.folder)
    for one, other in groups:
        assert torch.cosine_similarity(system.vector(one), system.vector(other), dim=0) > 0.9
    unit = torch.nn.functional.normalize(system.vectors[1:], dim=1)
    nearest = (unit @ unit.T).fill_diagonal_(-1).argmax(1).tolist()
    twins = {word: twin for one, other in groups for word, twin in ((one, other), (other, one))}
    assert {word: system.words[1 + near] for word, near in zip(system.words[1:], nearest, strict=True)} == twins


def test_kept_and_loaded(tmp_path):
    system = Word2Vec(Word2VecConfig(dim=7), FOUR)
    system.start(5)
    assert system.vectors.abs().max() <= 0.5 / 7
    assert not system.outputs.any()
    store.save(system, tmp_path / "model")
    again = store.load(tmp_path / "model")
    assert again.words == ["</s>", "a", "b", "c"]
    assert again.counts == [1, 4, 3, 2]
    assert torch.equal(again.vectors, system.vectors)
    assert "words: 4" in store.describe(tmp_path / "model")
    with pytest.raises(ValueError, match="word vectors of text"):
        factory.encoder_of(again)


def test_unknown_words_name_the_nearest():
    system = Word2Vec(Word2VecConfig(), WordCounts(("</s>", "house", "horse"), np.array([1, 9, 8])))
    with pytest.raises(ValueError, match=r"did you mean ho.se"):
        system.vector("hoose")


def test_settings_that_train_nothing_are_refused():
    with pytest.raises(ValueError, match="trains nothing"):
        Word2VecConfig(negatives=0)


def test_from_the_command_line(call, tmp_path):
    with gzip.open(tmp_path / "a.gz", "wt") as file:
        file.write("a b c d e f g\n" * 300)
    code, _, screen = call(
        "train", "word2vec_smoke", "--data", tmp_path / "a.gz", "--into", "run", "--system.dim", "8", "--epochs=2"
    )
    assert code == 0, screen
    assert "epoch 2.00 of 2" in screen
    assert "8 distinct words" in screen
    code, out, _ = call("show", "run")
    assert "words: 8" in out
    assert "dim: 8" in out
    code, _, screen = call("train", "word2vec_smoke", "--data", tmp_path / "a.gz", "--into", "run", "--epochs", "2")
    assert (code, "system.dim: 8, now 16" in screen) == (2, True)
    for words, message in (
        (["--init", "run"], "starts from random vectors"),
        (["--seeds", "2"], "leave it out"),
        (["--epochz", "2"], "did you mean epochs"),
        (["--data", tmp_path / "none"], "does not exist"),
    ):
        code, _, screen = call("train", "word2vec_smoke", "--data", tmp_path / "a.gz", "--into", "other", *words)
        assert code == 2
        assert message in screen
    code, _, screen = call("train", "word2vec_smoke", "--into", "third")
    assert "needs texts" in screen
