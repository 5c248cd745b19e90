"""Encode texts as numbers once, store them in the run folder, and read them through memory maps."""

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import regex
from numpy.typing import NDArray

from sori.core import distributed
from sori.core.folders import whole_folder
from sori.data.sources.plain_text import paragraphs
from sori.text.wordpiece import WordPiece

_IDS, _SENTENCES, _DOCUMENTS = "ids.bin", "sentences.npy", "documents.npy"
_LONGEST = 128
_TOGETHER = 4096
# A sentence-final mark, closing quotes and brackets, then space; Chinese and Japanese marks need no space.
_END = regex.compile(r"""(?<=[.!?…]["'”’»)\]]*)\s+|(?<=[。！？][」』”）]*)\s*(?=[^\s」』”）。！？])""")  # noqa: RUF001

DType = np.dtype[np.uint16] | np.dtype[np.int32]


class Tokens(NamedTuple):
    """Texts as numbers."""

    ids: NDArray[np.uint16] | NDArray[np.int32]
    """Word pieces of all sentences, one after another."""
    sentences: NDArray[np.int64]
    """Start of each sentence in `ids`, and the end of the last one."""
    documents: NDArray[np.int64]
    """Start of each document in `sentences`, and the end of the last one."""


def sentences(paragraph: str) -> list[str]:
    """Split a paragraph where a sentence-final mark is followed by a space, which includes abbreviations."""
    return [part for part in _END.split(paragraph) if part]


def store(paths: Iterable[str | Path], wordpiece: WordPiece, place: Path) -> Tokens:
    """Return the tokens of texts; encode and store them unless they have been stored before.

    A sentence of more than 128 pieces is divided into several sentences.

    Args:
        paths: as for `plain_text.paragraphs`.
        wordpiece: the tokeniser.
        place: folder of the token files; it is created if necessary.

    Raises:
        FileNotFoundError, ValueError: there are no texts, they cannot be read, or contain fewer than two sentences.
    """
    dtype: DType = np.dtype(np.uint16) if len(wordpiece) <= np.iinfo(np.uint16).max + 1 else np.dtype(np.int32)
    if not place.is_dir() and distributed.rank() == 0:
        with whole_folder(place) as fresh:
            _write(paragraphs(paths), wordpiece, fresh, dtype)
    distributed.barrier()
    return Tokens(
        np.memmap(place / _IDS, dtype=dtype, mode="r"),
        np.load(place / _SENTENCES),
        np.load(place / _DOCUMENTS),
    )


def _write(lines: Iterable[str], wordpiece: WordPiece, folder: Path, dtype: DType) -> None:
    begins, documents, length = array("q", [0]), array("q", [0]), 0
    with (folder / _IDS).open("wb") as file:
        for chunk in _chunks(lines):
            rows = iter(wordpiece.encode([text for text in chunk if text]))
            for text in chunk:
                if not text:
                    if documents[-1] < len(begins) - 1:
                        documents.append(len(begins) - 1)
                    continue
                row = next(rows)
                for first in range(0, len(row), _LONGEST):
                    part = row[first : first + _LONGEST]
                    length += len(part)
                    begins.append(length)
                    file.write(np.array(part, dtype=dtype).tobytes())
    if documents[-1] < len(begins) - 1:
        documents.append(len(begins) - 1)
    if len(begins) < 3:
        raise ValueError(
            f"expected texts with at least two sentences, got {len(begins) - 1}; likely the files are empty, or their "
            "sentences do not end in . ! or ? and are on one short line"
        )
    np.save(folder / _SENTENCES, np.array(begins, dtype=np.int64))
    np.save(folder / _DOCUMENTS, np.array(documents, dtype=np.int64))


def _chunks(lines: Iterable[str]) -> Iterator[list[str]]:
    """Yield lists of some thousand sentences, with "" between documents."""
    chunk: list[str] = []
    for line in lines:
        chunk += sentences(line) if line else [""]
        if len(chunk) >= _TOGETHER:
            yield chunk
            chunk = []
    yield chunk
