"""Read tables of labelled texts or labelled words, and make micro-batches of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from pydantic import Field

from sori.core.batch import TokenBatch
from sori.core.config import Config
from sori.core.seeds import derive
from sori.core.text_files import json_lines, lines
from sori.text.wordpiece import WordPiece

_TOGETHER = 32
"""Batches whose texts are sorted by length together, which reduces padding."""


class LabelledTextsConfig(Config):
    """Settings that turn tables of texts into micro-batches."""

    batch_size: int = Field(default=32, ge=1)
    """Texts in a micro-batch. Paper: 16 or 32."""
    max_tokens: int = Field(default=128, ge=3)
    """Longer texts are truncated at the end."""
    held_out_every: int = Field(default=10, ge=2)
    """In a table without splits, every N-th row is held out for evaluation."""


class LabelledText(NamedTuple):
    """One row of a table."""

    words: tuple[str, ...]
    """The whole text as one element, or its words if each word has a label."""
    second: str
    """The second text of a pair; "" if there is none."""
    labels: tuple[str, ...]
    """One label, or one for each word."""
    split: str | None


class Divided(NamedTuple):
    """Rows to train on, and rows to evaluate on."""

    train: list[LabelledText]
    held_out: list[LabelledText]


def read_labelled(path: Path, *, words: bool) -> list[LabelledText]:
    """Read the rows of a table.

    Columns (first line of a .tsv) or keys (.jsonl): `text`, `label` and optionally `second`, a second text; with
    `words`: `tokens` and `labels`, lists in .jsonl, separated by spaces in .tsv. A column `split` is optional.

    Args:
        path: .tsv or .jsonl; may be compressed (.gz, .xz, .bz2).
        words: whether each word has a label.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a row is damaged, or there are no rows; the message says where.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a table of texts and labels (.tsv or .jsonl), got {path}, which is not a file"
        )
    match [suffix for suffix in path.suffixes if suffix in (".tsv", ".jsonl")]:
        case [*_, ".tsv"]:
            rows = _tsv(path)
        case [*_, ".jsonl"]:
            rows = _jsonl(path)
        case _:
            raise ValueError(f"expected a table named .tsv or .jsonl (or compressed, such as .tsv.xz), got {path}")
    found = [_row(data, words=words, where=f"{path}, line {number}") for number, data in rows]
    if not found:
        raise ValueError(f"{path} contains no rows; expected a text and its label in each row")
    return found


def divide_labelled(rows: Sequence[LabelledText], config: LabelledTextsConfig, *, held_out: Sequence[str]) -> Divided:
    """Divide rows into training and held-out rows.

    Args:
        rows: rows of a table.
        config: `held_out_every` applies to tables without splits.
        held_out: splits whose names begin with one of these are held out.
    """
    if any(row.split for row in rows):
        kept = [(row.split or "").startswith(tuple(held_out)) for row in rows]
    else:
        kept = [number % config.held_out_every == config.held_out_every - 1 for number in range(len(rows))]
    return Divided(
        [row for row, out in zip(rows, kept, strict=True) if not out],
        [row for row, out in zip(rows, kept, strict=True) if out],
    )


def classes_of(rows: Sequence[LabelledText]) -> tuple[str, ...]:
    """Return all different labels, in code point order."""
    return tuple(sorted({label for row in rows for label in row.labels}))


class _Ids(NamedTuple):
    """A text as token ids, `[CLS] ... [SEP]`, with its labels as indices into the list of classes."""

    ids: list[int]
    parts: list[int]
    labels: list[int]


def numbers_of(
    rows: Sequence[LabelledText], wordpiece: WordPiece, *, classes: Sequence[str], max_tokens: int, words: bool
) -> list[_Ids]:
    """Encode texts and labels as numbers.

    Args:
        rows: rows of a table.
        wordpiece: the tokeniser.
        classes: class names in the order of their numbers; other labels become -1.
        max_tokens: longer texts are truncated; in a pair, tokens are removed from the longer text.
        words: whether each word has a label; it is assigned to the first piece of the word, -1 to the other pieces.
    """
    place = {name: number for number, name in enumerate(classes)}
    flat = wordpiece.encode([word for row in rows for word in (*row.words, row.second)])
    found, here = list[_Ids](), 0
    for row in rows:
        pieces, second = flat[here : here + len(row.words)], flat[here + len(row.words)]
        here += len(row.words) + 1
        first = [piece for word in pieces for piece in word]
        labels = [place.get(row.labels[0], -1)]
        if words:
            marks = zip(pieces, row.labels, strict=True)
            labels = [
                -1,
                *(m for word, label in marks for m in [place.get(label, -1), *[-1] * (len(word) - 1)][: len(word)]),
            ]
            first, labels = first[: max_tokens - 2], [*labels[: max_tokens - 1], -1]
        else:
            while len(first) + len(second) > max_tokens - (3 if second else 2):
                (first if len(first) > len(second) else second).pop()
        ids = [wordpiece.cls, *first, wordpiece.sep]
        parts = [0] * len(ids)
        if second:
            ids, parts = [*ids, *second, wordpiece.sep], parts + [1] * (len(second) + 1)
        if words:
            labels += [-1] * (len(ids) - len(labels))
        found.append(_Ids(ids, parts, labels))
    return found


def padded(rows: Sequence[_Ids], *, pad: int) -> TokenBatch:
    """Return a batch of texts, padded to the longest."""

    def block(lists: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
        filled = torch.full((len(lists), max(map(len, lists))), fill)
        for place, values in zip(filled, lists, strict=True):
            place[: len(values)] = torch.tensor(values)
        return filled

    return TokenBatch(
        block([row.ids for row in rows], pad),
        block([row.parts for row in rows], 0),
        torch.tensor([len(row.ids) for row in rows]),
        block([row.labels for row in rows], -1),
    )


@final
class LabelledBatches:
    """Micro-batches of texts of similar length, a pure function of the seed and the micro-batch's number.

    Each epoch shuffles all texts and leaves out those that do not fill a batch, different ones in each epoch.

    Args:
        rows: from `numbers_of`.
        batch_size: texts in a micro-batch.
        pad: id of the padding token.
        seed: seed of the run.

    Raises:
        ValueError: there are fewer texts than one batch needs.
    """

    def __init__(self, rows: Sequence[_Ids], *, batch_size: int, pad: int, seed: int) -> None:
        if len(rows) < batch_size:
            raise ValueError(
                f"expected at least one batch of {batch_size} texts, got {len(rows)} to train on; lower "
                "labelled.batch_size"
            )
        self._rows, self._size, self._pad, self._seed = rows, batch_size, pad, seed
        self._lengths = np.array([len(row.ids) for row in rows])
        self.num_batches = len(rows) // batch_size
        """Micro-batches in an epoch."""

    def __getitem__(self, index: int) -> TokenBatch:
        """Return micro-batch `index`, numbered consecutively over all epochs."""
        epoch, position = divmod(index, self.num_batches)
        draw = np.random.Generator(np.random.Philox(derive(self._seed, epoch, "order")))
        order = draw.permutation(len(self._rows))[: self.num_batches * self._size]
        group = _TOGETHER * self._size
        parts = [order[first : first + group] for first in range(0, len(order), group)]
        order = np.concatenate([part[np.argsort(self._lengths[part], kind="stable")] for part in parts])
        chosen = order.reshape(-1, self._size)[draw.permutation(self.num_batches)[position]]
        return padded([self._rows[row] for row in chosen], pad=self._pad)


def _tsv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = (line.rstrip("\r\n").split("\t") for line in lines(path))
    head = next(rows, [])
    for number, row in enumerate(rows, start=2):
        if row == [""]:
            continue
        if len(row) != len(head):
            raise ValueError(
                f"{path}, line {number}: expected {len(head)} columns ({', '.join(head)}), got {len(row)}; a text in a "
                ".tsv must not contain tabs or line ends; use .jsonl for such texts"
            )
        yield number, dict(zip(head, row, strict=True))


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, data in json_lines(path):
        if not isinstance(data, dict):
            raise ValueError(  # noqa: TRY004 - user's
                f"{path}, line {number}: expected an object with a text and its label, got {str(data)[:50]}"
            )
        yield number, data


def _row(data: dict[str, Any], *, words: bool, where: str) -> LabelledText:
    text, label = ("tokens", "labels") if words else ("text", "label")
    if missing := [name for name in (text, label) if data.get(name) in (None, "")]:
        raise ValueError(
            f"{where}: expected `{text}` and `{label}`, got {', '.join(data) or 'no columns'}; {missing[0]} is "
            "missing or empty; the first line of a .tsv must contain the column names"
        )
    split = str(data["split"]) if data.get("split") else None
    if not words:
        return LabelledText((str(data[text]),), str(data.get("second") or ""), (str(data[label]),), split)
    tokens, labels = (v.split() if isinstance(v, str) else [str(x) for x in v] for v in (data[text], data[label]))
    if len(tokens) != len(labels):
        raise ValueError(f"{where}: expected a label for each of {len(tokens)} words, got {len(labels)}")
    return LabelledText(tuple(tokens), "", tuple(labels), split)
