"""Word counts of texts, and texts as numbers."""

import lzma

import numpy as np
import pytest

from sori.data import word_counts as wc
from sori.data.phrases import find_phrases, rewriting

PLAIN, SPACES = wc.TokenConfig(), wc.TokenConfig(tokens="spaces", case="keep")


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return [path]


def test_what_a_word_is(tmp_path):
    files = written(tmp_path / "a.txt", 'He said: "Don\'t!" 3 times -- naïve\u2019s\n\nक्षत्रिय well-known\n')
    assert list(wc.sentences(files, PLAIN)) == [
        ["he", "said", "don't", "times", "naïve\u2019s"],
        ["क्षत्रिय", "well", "known"],
    ]
    assert next(wc.sentences(files, SPACES))[2] == '"Don\'t!"'


def test_counts_are_sorted_and_rare_words_left_out(tmp_path):
    files = written(tmp_path / "a.txt", "b b a a c\nb\n\n#DOC x\n</s> d d\n")
    found = wc.count_words(wc.sentences(files, SPACES), min_count=2, max_words=100)
    assert found.words == ("</s>", "b", "a", "d")
    assert found.counts.tolist() == [3, 3, 2, 2]
    total = wc.write_tokens(wc.sentences(files, SPACES), found.words, tmp_path / "t")
    assert wc.read_tokens(tmp_path / "t").tolist() == [1, 1, 2, 2, 0, 1, 0, 3, 3, 0]
    assert total == 10
    (tmp_path / "w.json").write_text(found.to_json())
    again = wc.read_word_counts(tmp_path / "w.json")
    assert again.words == found.words
    assert (again.counts == found.counts).all()


def test_a_full_table_drops_the_rarest():
    random = np.random.default_rng(0)
    text = [["often", "common", f"w{n}"] for n in random.permutation(5000)]
    found = wc.count_words(text, min_count=1, max_words=300)
    assert found.words[1:3] == ("common", "often")
    assert found.counts[1:3].tolist() == [5000, 5000]
    assert len(found.words) <= 302


def test_one_long_line_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(wc, "_PART_LENGTH", 50)
    words = [f"w{'x' * (n % 7)}" for n in range(1000)]
    with lzma.open(tmp_path / "a.xz", "wt") as file:
        file.write(" ".join(words))
    found = list(wc.sentences([tmp_path / "a.xz"], SPACES))
    assert sum(found, []) == words  # noqa: RUF017 - small
    assert max(map(len, found)) < 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least two words"),
        (b"\n\n \n", "at least two words"),
        (b"word " * 50, "at least two words.*got 1"),
        (b"all different words here", "--system.min-count"),
        (b"caf\xe9 caf\xe9", "Windows-1252"),
        ("text".encode("utf-16"), "UTF-16"),
        (b"\x7fELF\0\0\xff\xfe", "it is not text, or compressed"),
    ],
)
def test_unusable_texts_are_refused(tmp_path, content, message):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        wc.count_words(wc.sentences([path], PLAIN), min_count=5, max_words=100)


def test_damaged_words_are_refused(tmp_path):
    for text in ("{", '{"words": ["a"], "counts": []}', "[]"):
        (tmp_path / "w.json").write_text(text)
        with pytest.raises(ValueError, match="copy it again"):
            wc.read_word_counts(tmp_path / "w.json")


def test_phrases_are_joined_by_score_in_each_pass():
    lines = [["new", "york", "times"]] * 30 + [["new", "house"]] * 3 + [[f"w{n}", f"v{n}"] for n in range(300)]
    found = find_phrases(
        lambda rewrite: lines if rewrite is None else map(rewrite, lines),
        thresholds=(18.0, 18.0), discount=5, max_words=10_000,
    )  # fmt: skip
    total = 30 * 4 + 3 * 3 + 300 * 3
    score = {("new", "york"): 25 / (33 * 30) * total, ("york", "times"): 25 / (30 * 30) * total}
    assert found[0] == {pair for pair, value in score.items() if value > 18} == set(score)
    assert found[1] == {("new_york", "times")}
    assert rewriting(found)(["a", "new", "york", "times", "new", "house"]) == ["a", "new_york_times", "new", "house"]
    assert rewriting([]) is None
