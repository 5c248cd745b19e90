"""Texts with a class, or words with a class each: tables read, and micro-batches of them."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from pydantic import Field

from sori.core.batch import TokenBatch
from sori.core.config import Config
from sori.core.seeds import derive
from sori.data.sources.plain_text import lines
from sori.text.wordpiece import WordPiece

_TOGETHER = 32
"""Batches whose texts are sorted by length, so that little is padded."""


class LabelledTextsConfig(Config):
    """How tables of texts become micro-batches."""

    batch_size: int = Field(default=32, ge=1)
    """Texts in a micro-batch. Paper: 16 or 32."""
    max_tokens: int = Field(default=128, ge=3)
    """Longer texts are cut behind."""
    held_out_every: int = Field(default=10, ge=2)
    """Of a table without splits, every so manieth row is kept for measuring."""


class LabelledText(NamedTuple):
    """One row of a table."""

    words: tuple[str, ...]
    """The whole text as one; or its words, where each has a label."""
    second: str
    """A second text that belongs to it; mostly none, which is ""."""
    labels: tuple[str, ...]
    """One, or one for each word."""
    split: str | None


class Divided(NamedTuple):
    """Rows to learn from, and rows to measure on."""

    train: list[LabelledText]
    held_out: list[LabelledText]


def read_labelled(path: Path, *, words: bool) -> list[LabelledText]:
    """The rows of a table.

    With a head line in .tsv, as the names in .jsonl: `text` and `label`, and if there is a second text `second`; with
    `words`: `tokens` and `labels`, lists in .jsonl, separated by spaces in .tsv. A column `split` is heeded.

    Args:
        path: .tsv or .jsonl; may be packed (.gz, .xz, .bz2).
        words: whether each word has a label.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a column is missing, a row is damaged, or there is none; says where.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a table of texts and labels (.tsv or .jsonl), got {path}, which is no file")
    match [suffix for suffix in path.suffixes if suffix in (".tsv", ".jsonl")]:
        case [*_, ".tsv"]:
            rows = _tsv(path)
        case [*_, ".jsonl"]:
            rows = _jsonl(path)
        case _:
            raise ValueError(f"expected a table called .tsv or .jsonl (or packed, .tsv.xz), got {path}")
    found = [_row(data, words=words, where=f"{path}:{number}") for number, data in rows]
    if not found:
        raise ValueError(f"{path} holds no rows; expected a text and its label in each")
    return found


def divide_labelled(rows: Sequence[LabelledText], config: LabelledTextsConfig, *, held_out: Sequence[str]) -> Divided:
    """What is learnt from and what is measured on.

    Args:
        rows: of a table.
        config: says how often a row is held out of a table without splits.
        held_out: splits whose names begin so are measured on.
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
    """Every label there is, in code point order."""
    return tuple(sorted({label for row in rows for label in row.labels}))


class _Ids(NamedTuple):
    """A text as numbers, `[CLS] ... [SEP]`, with its labels as places in the list of classes."""

    ids: list[int]
    parts: list[int]
    labels: list[int]


def numbers_of(
    rows: Sequence[LabelledText], wordpiece: WordPiece, *, classes: Sequence[str], max_tokens: int, words: bool
) -> list[_Ids]:
    """Texts as numbers.

    Args:
        rows: of a table.
        wordpiece: of the pieces.
        classes: names in the order of their numbers; a label that is not among them becomes -1.
        max_tokens: what is longer is cut; of two texts the longer one, token by token.
        words: whether each word has a label: it stands at its first piece, and -1 at all others.
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
    """A batch of texts, padded to the longest."""

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
    """Micro-batches of texts of like length, a pure function of the seed and the micro-batch's number.

    Each epoch shuffles all texts and leaves out those that do not fill a batch; other ones each time.

    Args:
        rows: as `numbers_of` gives them.
        batch_size: texts in a micro-batch.
        pad: number of the token that fills.
        seed: of the run.

    Raises:
        ValueError: there are fewer texts than a batch has.
    """

    def __init__(self, rows: Sequence[_Ids], *, batch_size: int, pad: int, seed: int) -> None:
        if len(rows) < batch_size:
            raise ValueError(
                f"expected at least one batch of {batch_size} texts, got {len(rows)} to learn from; lower "
                "labelled.batch_size"
            )
        self._rows, self._size, self._pad, self._seed = rows, batch_size, pad, seed
        self._lengths = np.array([len(row.ids) for row in rows])
        self.num_batches = len(rows) // batch_size
        """Micro-batches in an epoch."""

    def __getitem__(self, index: int) -> TokenBatch:
        """Micro-batch `index`; numbers go on through the epochs."""
        epoch, position = divmod(index, self.num_batches)
        draw = np.random.Generator(np.random.Philox(derive(self._seed, epoch, "order")))
        order = draw.permutation(len(self._rows))[: self.num_batches * self._size]
        group = _TOGETHER * self._size
        parts = [order[first : first + group] for first in range(0, len(order), group)]
        order = np.concatenate([part[np.argsort(self._lengths[part], kind="stable")] for part in parts])
        chosen = order.reshape(-1, self._size)[draw.permutation(self.num_batches)[position]]
        return padded([self._rows[row] for row in chosen], pad=self._pad)


def _tsv(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    rows = csv.reader((line.removeprefix("\ufeff") for line in lines(path)), delimiter="\t", quoting=csv.QUOTE_NONE)
    head = next(rows, [])
    for number, row in enumerate(rows, start=2):
        if row and len(row) != len(head):
            raise ValueError(
                f"{path}:{number}: expected {len(head)} columns ({', '.join(head)}), got {len(row)}; a text must not "
                "hold tabs or line ends: .jsonl can"
            )
        if row:
            yield number, dict(zip(head, row, strict=True))


def _jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        try:
            data = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: not readable as JSON: {error}") from None
        if not isinstance(data, dict):
            got = line.strip()[:50]
            raise ValueError(f"{path}:{number}: expected an object with a text and its label, got {got}")  # noqa: TRY004
        yield number, data


def _row(data: dict[str, Any], *, words: bool, where: str) -> LabelledText:
    text, label = ("tokens", "labels") if words else ("text", "label")
    if missing := [name for name in (text, label) if data.get(name) in (None, "")]:
        raise ValueError(
            f"{where}: expected `{text}` and `{label}`, got {', '.join(data) or 'nothing'}, where {missing[0]} is "
            "missing or empty; the first line of a .tsv names its columns"
        )
    split = str(data["split"]) if data.get("split") else None
    if not words:
        return LabelledText((str(data[text]),), str(data.get("second") or ""), (str(data[label]),), split)
    tokens, labels = (v.split() if isinstance(v, str) else [str(x) for x in v] for v in (data[text], data[label]))
    if len(tokens) != len(labels):
        raise ValueError(f"{where}: expected a label for each of {len(tokens)} words, got {len(labels)}")
    return LabelledText(tuple(tokens), "", tuple(labels), split)
