"""Word vectors of files and runs, and the commands that query them."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from sori.embeddings import loading, vector_files
from sori.embeddings.space import WordSpace


@pytest.fixture
def royal(tmp_path):
    """Vectors in a plane whose axes are royalty and sex."""
    rows = {
        "king": (1, 1),
        "queen": (1, -1),
        "man": (0, 1),
        "woman": (0, -1),
        "apple": (-1, -0.2),
        "Prince": (0.9, 1.2),
    }
    path = tmp_path / "royal.vec"
    vector_files.write(WordSpace(list(rows), np.array(list(rows.values()), dtype=np.float32)), path)
    return path


def rows_of(out):
    return [line.split("\t") for line in out.splitlines()]


def test_a_sum_and_a_word(call, royal):
    code, out, _ = call("words", royal, "king - man + woman", "--number", 2)
    assert code == 0
    assert rows_of(out)[0] == ["0.960", "-", "queen"]  # (0.707, -1.293) beside (1, -1)
    assert len(rows_of(out)) == 2
    _, apart, _ = call("words", royal, "king", "-", "man", "+", "woman", "--number", 2)
    assert apart == out
    code, out, _ = call("words", royal, "-king", "--number", 1)
    assert (code, rows_of(out)[0][2]) == (0, "apple")
    _, out, _ = call("words", royal, "king", "--limit", 3)
    assert [row[2] for row in rows_of(out)] == ["man", "queen"]
    assert "without recordings" in call("words", "neighbours", royal, "king")[2]
    code, _, err = call("words", royal, "kong")
    assert code == 2
    assert "did you mean king" in err


def test_each_line_of_standard_input_is_an_expression(call, royal, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("king - man + woman\n\nkong\nman\n"))
    code, out, err = call("words", royal, "--number", 1)
    assert code == 0
    assert [row[2] for row in rows_of(out)] == ["queen", "Prince"]
    assert err.count("there is no vector of the word 'kong'") == 1


def test_evaluate_and_rewrite_a_file(call, royal, tmp_path):
    (tmp_path / "q.txt").write_text(": royal\nMAN king WOMAN queen\nman king woman apple\nman king pear queen\n")
    (tmp_path / "s.txt").write_text("king prince 9\nking queen 5\nking apple 1\nking pear 3\n")
    code, out, _ = call("words", "evaluate", royal, "--analogies", "q.txt", "--similar", "s.txt")
    assert code == 0
    assert "royal       1         2     50.0%" in out
    assert "67% of 3" in out
    assert "s.txt: rho 1.000 on 3 of 4 pairs" in out
    _, out, _ = call("words", "evaluate", royal, "--similar", "s.txt", "s.txt")
    assert out.count("s.txt: rho") == 2
    _, out, _ = call("words", "evaluate", royal, "--analogies", "q.txt", "--keep-case")
    assert "33% of 3" in out
    _, out, _ = call("words", "evaluate", royal, "--analogies", "q.txt", "--restrict", 5, "--method", "multiply")
    assert "among the 5 most frequent" in out
    code, _, err = call("words", "evaluate", royal)
    assert code == 2
    assert "expected lists to evaluate on" in err
    assert call("words", "vectors", royal, "--into", "some.bin", "--limit", 2)[1].startswith("some.bin\t2 words, 2 dim")
    assert vector_files.read(tmp_path / "some.bin").words == ["king", "queen"]


def test_frequent_words_are_used_in_any_order_of_the_file():
    rows = np.array([(0, -1), (1, -1), (0, 1), (1, 1), (5, 1)], dtype=np.float32)
    space = WordSpace(["woman", "queen", "man", "king", "rare"], rows, [5, 5, 5, 5, 1])
    assert space.most_frequent(4).words == ["woman", "queen", "man", "king"]
    assert loading.evaluate(space, restrict=4, similar=()).analogies is None
    with pytest.raises(ValueError, match="4 words or more"):
        loading.evaluate(space, restrict=3)


def test_sources_without_word_vectors_are_refused(call, royal, encoder_run, tmp_path):
    with pytest.raises(ValueError, match="which has none"):
        loading.load(encoder_run)
    with pytest.raises(ValueError, match="contains word vectors of text"):
        loading.load(royal, data=[tmp_path])
    code, _, err = call("words", "no-such-run", "king")
    assert code == 2
    assert "no model called" in err


def test_a_word2vec_run_can_be_queried_evaluated_written_and_plotted(call, tmp_path):
    random = np.random.default_rng(0)
    groups = [["king", "queen", "crown"], ["apple", "pear", "plum"]]
    chosen = [groups[side] for side in random.integers(0, 2, 3000)]
    text = "\n".join(" ".join(random.choice(group, 8)) for group in chosen)
    (tmp_path / "t.txt").write_text(text)
    changes = ["--epochs", 5, "--system.min-count", 1, "--system.sample", 0]
    code, _, err = call("train", "word2vec_smoke", "--data", tmp_path / "t.txt", "--into", "r", *changes)
    assert code == 0, err
    code, out, _ = call("words", "r", "king", "--number", 2)
    assert code == 0
    assert {row[2] for row in rows_of(out)} == {"queen", "crown"}
    assert int(rows_of(out)[0][1]) == text.split().count(rows_of(out)[0][2])
    code, out, _ = call("words", "vectors", "r", "--into", "w.bin")
    assert f"of {3000 * 8 + 3000:,} in text" in out, "words and sentence ends"
    assert vector_files.read(Path("w.bin")).words == loading.load("r").words
    (tmp_path / "s.txt").write_text("king queen 9\nking pear 1\napple plum 8\n")
    code, out, err = call("words", "evaluate", "r", "--similar", tmp_path / "s.txt")
    assert code == 0, err
    assert "s.txt" in out
    assert "without recordings" in call("words", "neighbours", "r", "king")[2]
    code, out, err = call("plot", "projector", "r", "--into", "p.html")
    assert code == 0, err
    assert "queen" in Path("p.html").read_text()
