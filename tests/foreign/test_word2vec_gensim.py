"""Tests of Word2Vec against gensim on the same small text: equally good at separating kinds of words."""

import numpy as np
import pytest
import torch
from gensim.models import Word2Vec as Gensim

from sori import recipes
from sori.checkpoints import store
from sori.runs import run

pytestmark = pytest.mark.foreign


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Return words of 40 kinds; the kind of the next word depends on the kind alone."""
    random = np.random.default_rng(0)
    names = [[f"{chr(97 + k // 26)}{chr(97 + k % 26)}{chr(97 + n)}" for n in range(10)] for k in range(40)]
    steps = random.dirichlet(np.full(40, 0.1), 40)
    lines = []
    for _ in range(8000):
        kind, line = random.integers(40), []
        for _ in range(12):
            line.append(names[kind][random.integers(10)])
            kind = random.choice(40, p=steps[kind])
        lines.append(line)
    path = tmp_path_factory.mktemp("texts") / "a.txt"
    path.write_text("\n".join(map(" ".join, lines)))
    return path, lines


def purity(words, vectors):
    """Return how often the nearest word is of the same kind (its first two letters)."""
    unit = torch.nn.functional.normalize(torch.as_tensor(vectors), dim=1)
    near = (unit @ unit.T).fill_diagonal_(-1).argmax(1)
    return np.mean([words[i][:2] == words[j][:2] for i, j in enumerate(near.tolist())])


@pytest.mark.parametrize(
    ("architecture", "updates", "hierarchical"),
    [
        ("skipgram", "shared", False),
        ("skipgram", "exact", False),
        ("cbow", "shared", False),
        ("skipgram", "shared", True),
    ],
)
def test_as_good_as_gensim(text, tmp_path, architecture, updates, hierarchical):
    path, lines = text
    lr = 0.05 if architecture == "cbow" else 0.025
    theirs = Gensim(
        lines, vector_size=32, window=3, sg=int(architecture == "skipgram"), negative=0 if hierarchical else 5,
        hs=int(hierarchical), sample=1e-2, min_count=1, epochs=5, alpha=lr, workers=1, seed=1,
    )  # fmt: skip
    ours = recipes.by_name("word2vec_smoke").override(
        {
            "system.architecture": architecture, "system.updates": updates, "system.hierarchical": hierarchical,
            "system.negatives": 0 if hierarchical else 5, "system.dim": 32, "system.sample": 1e-2, "epochs": 5,
            "lr": lr,
        }
    )  # fmt: skip
    system = store.load(run.train(ours, into=tmp_path / "run", data=path).folder)
    expected = purity(theirs.wv.index_to_key, theirs.wv.vectors)
    assert expected > 0.3
    assert purity(system.words[1:], system.vectors[1:]) > expected - 0.06
