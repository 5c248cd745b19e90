from pathlib import Path

import numpy as np
import pytest

from sori.embeddings import vector_files
from sori.embeddings.space import WordSpace, unit
from sori.plots.word_pairs import parallelism, word_pairs


def parallel(number, *, noise, seed=0):
    random = np.random.default_rng(seed)
    ones = random.standard_normal((number, 20))
    step = random.standard_normal(20)
    return np.stack([ones, ones + step + noise * random.standard_normal((number, 20))], axis=1).astype(np.float32)


def test_parallelism_is_the_mean_cosine_of_two_differences():
    vectors = parallel(6, noise=0.7)
    apart = [two - one for one, two in vectors.astype(np.float64)]
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for i, a in enumerate(apart) for b in apart[:i]]
    assert np.isclose(parallelism(vectors), np.mean(cosines))
    assert parallelism(parallel(6, noise=0)) > 0.999
    unrelated = np.random.default_rng(1).standard_normal((200, 2, 20)).astype(np.float32)
    assert abs(parallelism(unrelated)) < 0.02


def test_the_picture_has_every_word_and_a_line_for_each_pair():
    vectors = parallel(3, noise=0.1)
    made = word_pairs([("a", "b"), ("c", "d"), ("e", "f")], vectors)
    (axes,) = made.axes
    assert {text.get_text() for text in axes.texts} == set("abcdef")
    lines = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 2]
    assert len(lines) == 3
    steps = np.array([line[1] - line[0] for line in lines])
    assert np.allclose(steps, steps.mean(0), atol=0.3), "parallel pairs stay parallel in the plane"
    with pytest.raises(ValueError, match="two pairs of words or more, got 1"):
        word_pairs([("a", "b")], vectors[:1])


def test_the_command(call, tmp_path):
    vectors = unit(parallel(2, noise=0.1).reshape(4, 20))
    vector_files.write(WordSpace(["a", "b", "c", "d"], vectors), tmp_path / "w.vec")
    code, out, err = call("plot", "pairs", tmp_path / "w.vec", "a:b", "c:d", "--into", "p.png")
    assert code == 0, err
    assert "2 pairs" in out
    assert Path("p.png").stat().st_size > 5_000
    for words, message in ((["a:b", "cd"], "got 'cd'"), (["a:b", "c:x"], "no vector of the word 'x'"), ([], "got 0")):
        code, _, err = call("plot", "pairs", tmp_path / "w.vec", *words)
        assert code == 2
        assert message in err
