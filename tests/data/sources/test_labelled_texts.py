"""Tables of texts with labels: read, divided, cut, batched; errors that name the row."""

import json
import lzma

import pytest
import torch

from sori.data.sources.labelled_texts import (
    LabelledBatches,
    LabelledText,
    LabelledTextsConfig,
    classes_of,
    divide_labelled,
    numbers_of,
    padded,
    read_labelled,
)
from sori.text.wordpiece import SPECIAL, WordPiece

WORDPIECE = WordPiece([*SPECIAL, "a", "b", "c", "##c", "d"])
CLS, SEP = WORDPIECE.cls, WORDPIECE.sep


def text(words, label="x", second="", split=None):
    return LabelledText((words,), second, (label,), split)


def test_tables_of_both_kinds_and_compressed(tmp_path):
    (tmp_path / "t.tsv").write_text('label\ttext\tsplit\ngood\tit\'s "a" b\ttrain\nbad\tc\tdev\n', encoding="utf-8")
    expected = [text('it\'s "a" b', "good", split="train"), text("c", "bad", split="dev")]
    assert read_labelled(tmp_path / "t.tsv", words=False) == expected
    rows = [{"text": r.words[0], "label": r.labels[0], "split": r.split} for r in expected]
    packed = lzma.compress("\n".join(map(json.dumps, rows)).encode())
    (tmp_path / "t.jsonl.xz").write_bytes(packed)
    assert read_labelled(tmp_path / "t.jsonl.xz", words=False) == expected


def test_words_with_labels(tmp_path):
    (tmp_path / "t.tsv").write_text("tokens\tlabels\na b\tO B\n")
    (tmp_path / "t.jsonl").write_text('{"tokens": ["a", "b"], "labels": ["O", "B"]}\n')
    for name in ("t.tsv", "t.jsonl"):
        assert read_labelled(tmp_path / name, words=True) == [LabelledText(("a", "b"), "", ("O", "B"), None)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.tsv", "text\tlabel\na\n", r"t\.tsv, line 2: expected 2 columns"),
        ("t.tsv", "text\tclass\na\tb\n", "`label`"),
        ("t.tsv", "text\tlabel\n", "no rows"),
        ("t.jsonl", "{\n", r"t\.jsonl, line 1 is not JSON"),
        ("t.jsonl", "[1]\n", "an object"),
        ("t.csv", "a,b\n", "named .tsv or .jsonl"),
    ],
)
def test_damaged_tables_are_refused(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_labelled(tmp_path / name, words=False)


def test_unequal_words_and_labels_and_missing_files_are_refused(tmp_path):
    (tmp_path / "t.jsonl").write_text('{"tokens": ["a", "b"], "labels": ["O"]}\n')
    with pytest.raises(ValueError, match="a label for each of 2 words, got 1"):
        read_labelled(tmp_path / "t.jsonl", words=True)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_labelled(tmp_path / "nowhere.tsv", words=True)


def test_rows_are_divided_by_split_or_every_nth_is_held_out():
    rows = [text("a", split=split) for split in ("train", "dev", "test-b", None)]
    assert [len(part) for part in divide_labelled(rows, LabelledTextsConfig(), held_out=("dev", "test"))] == [2, 2]
    plain = [text(str(number)) for number in range(25)]
    found = divide_labelled(plain, LabelledTextsConfig(held_out_every=10), held_out=("dev",))
    assert [row.words[0] for row in found.held_out] == ["9", "19"]
    assert classes_of([text("a", "z"), text("b", "y")]) == ("y", "z")


def test_texts_become_numbers():
    options = {"classes": ("x", "y"), "max_tokens": 6, "words": False}
    (one, two, long, pair) = numbers_of(
        [text("a cc", "y"), text("b", "?"), text("a b c d a b c d"), text("a b c", second="d d")], WORDPIECE, **options
    )
    assert one == ([CLS, 5, 7, 8, SEP], [0] * 5, [1])
    assert two.labels == [-1]
    assert long.ids == [CLS, 5, 6, 7, 9, SEP]
    assert pair.ids == [CLS, 5, 6, SEP, 9, SEP]
    assert pair.parts == [0, 0, 0, 0, 1, 1]


def test_labels_of_words_are_assigned_to_first_pieces():
    row = LabelledText(("a", "cc", "d"), "", ("x", "y", "x"), None)
    options = {"classes": ("x", "y"), "words": True}
    (whole,) = numbers_of([row], WORDPIECE, max_tokens=10, **options)
    assert whole == ([CLS, 5, 7, 8, 9, SEP], [0] * 6, [-1, 0, 1, -1, 0, -1])
    (cut,) = numbers_of([row], WORDPIECE, max_tokens=4, **options)
    assert cut == ([CLS, 5, 7, SEP], [0] * 4, [-1, 0, 1, -1])


def test_batches_hold_every_text_once_an_epoch():
    rows = numbers_of(
        [text("a " * (1 + number % 7), str(number)) for number in range(22)],
        WORDPIECE,
        classes=[str(number) for number in range(22)],
        max_tokens=12,
        words=False,
    )
    batches = LabelledBatches(rows, batch_size=4, pad=0, seed=1)
    seen = [torch.cat([batches[n].labels[:, 0] for n in range(epoch * 5, epoch * 5 + 5)]).tolist() for epoch in (0, 1)]
    assert all(len(set(epoch)) == 20 for epoch in seen)
    assert seen[0] != seen[1]
    again = LabelledBatches(rows, batch_size=4, pad=0, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(again[7], batches[7], strict=True))
    waste = sum(int(batches[n].ids.numel() - batches[n].lengths.sum()) for n in range(5))
    assert waste < 0.2 * sum(int(batches[n].lengths.sum()) for n in range(5))


def test_padding():
    rows = numbers_of([text("a"), text("a b c")], WORDPIECE, classes=("x",), max_tokens=9, words=False)
    batch = padded(rows, pad=0)
    assert batch.lengths.tolist() == [3, 5]
    assert batch.ids[0].tolist() == [CLS, 5, SEP, 0, 0]


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match=r"labelled\.batch_size"):
        LabelledBatches([], batch_size=4, pad=0, seed=0)
