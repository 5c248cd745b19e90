"""Text files of users: lines, compression, encodings, and bounds for files that are made to fill the memory."""

import bz2
import gzip
import json
import lzma
import tracemalloc

import pytest

from sori.core import text_files, user_files
from sori.core.text_files import json_lines, lines
from sori.data.manifest import CUTS, read_manifest
from sori.data.sources.alignments import read_alignments
from sori.data.sources.labelled_texts import read_labelled
from sori.data.sources.tables import read_table
from sori.data.word_segments import read_segments
from sori.embeddings import vector_files
from sori.lm.ngram import NgramModel

PACKERS = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}


@pytest.mark.parametrize(("suffix", "pack"), [(".txt", bytes), *PACKERS.items()])
def test_compressed_and_plain_files_give_the_same_lines(tmp_path, suffix, pack):
    (tmp_path / f"a{suffix}").write_bytes(pack(b"\xef\xbb\xbf" + "één\r\ntwo\u2028still two\nlast".encode()))
    assert list(lines(tmp_path / f"a{suffix}")) == ["één\r\n", "two\u2028still two\n", "last"]


@pytest.mark.parametrize("pack", PACKERS.values())
def test_compression_is_recognised_without_the_suffix(tmp_path, pack):
    (tmp_path / "a.txt").write_bytes(pack(b"one\n"))
    assert list(lines(tmp_path / "a.txt")) == ["one\n"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", "né\n".encode() * 3 + b"caf\xe9\n", r"line 4, got byte 0xe9 at position 15 .*WINDOWS-1252"),
        ("a.txt", "né\n".encode("utf-16"), "iconv -f UTF-16"),
        ("a.txt", "plain\n".encode("utf-16-le"), "iconv -f UTF-16"),
        ("a.txt", "plain\n".encode("utf-16-be"), "iconv -f UTF-16"),
        ("a.txt", b"\x7fELF\0\x80\n", "it is not text, or compressed"),
        ("a.txt", b"half \xed\xa0\xbd\n", "line 1, got byte 0xed at position 5"),
        ("a.bz2", bz2.compress(b"a b\n" * 9999)[:-9], "damaged data after"),
        ("a.bz2", b"plain\n", "damaged data after 0 .*correct the suffix"),
        ("a.xz", lzma.compress(b"a b\n" * 999)[:-12], "damaged data after"),
        ("a.gz", gzip.compress(b"a b\n" * 999)[:-4] + b"1234", "damaged data after"),
    ],
)
def test_files_that_are_not_text_are_refused(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        list(lines(tmp_path / name))


def test_a_line_without_end_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one\n" + b"a" * 101)
    with pytest.raises(ValueError, match="line 2: expected at most 100 bytes"):
        list(lines(tmp_path / "a.txt", longest=100))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1', "line 3 is not JSON"),
        (b"[" * 100_000, "line 3 is not JSON: nested too deeply"),
        (b"1" * 10_000, "line 3 is not JSON"),
        (rb'{"text": "nice \ud83d"}', r"line 3: expected characters, got half of a surrogate pair \(\\ud83d\)"),
        (rb'{"\uDC00": 1}', "line 3: .*half of a surrogate pair"),
    ],
)
def test_lines_that_are_no_json_of_characters_are_named(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "\\ud83d\\ude00 \\\\ud83d"}\n\n' + line + b"\n")
    with pytest.raises(ValueError, match=message):
        list(json_lines(tmp_path / "a.jsonl"))


def test_what_is_read_as_a_whole_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(user_files, "MOST_BYTES", 10)
    (tmp_path / "a.txt").write_text("0123456789")
    assert user_files.read_text(tmp_path / "a.txt") == "0123456789"
    (tmp_path / "a.txt").write_text("0123456789a")
    with pytest.raises(ValueError, match=r"a\.txt: expected at most 10 bytes"):
        user_files.read_text(tmp_path / "a.txt")


READERS = {
    "a.gz": lambda path: list(lines(path)),
    "a.xz": lambda path: list(lines(path)),
    "a.bz2": lambda path: list(lines(path)),
    "a.arpa.gz": NgramModel.read,
    "a.vec.gz": vector_files.read,
    "a.bin.gz": vector_files.read,
    "a.jsonl.gz": read_alignments,
    "a.jsonl.xz": read_alignments,
    "a.tsv.gz": lambda path: read_labelled(path, words=False),
    "a.jsonl.bz2": lambda path: read_labelled(path, words=False),
    "segments.jsonl": read_segments,
    "t.jsonl": read_table,
    "t.csv": read_table,
    CUTS: lambda path: read_manifest(path.parent),
}
BLOCK = 1 << 20


@pytest.mark.parametrize("name", READERS)
def test_every_reader_refuses_what_expands_without_end(tmp_path, monkeypatch, name):
    """Of 256 MB of one letter, each reader holds a few."""
    path = tmp_path / name
    suffix = path.suffix if path.suffix in PACKERS else ".gz"
    opened = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}[suffix]
    with opened(path, "wb", **({"preset": 0} if suffix == ".xz" else {"compresslevel": 9})) as file:
        if name == "a.bin.gz":
            file.write(b"9 9\n")
        for _ in range(256):
            file.write(b"a" * BLOCK)
    monkeypatch.setattr(text_files, "_UNCHECKED_BYTES", 1 << 22)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"{path.name}.*(to expand at most|bytes in a line|no space within)"):
            READERS[name](path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 64 * BLOCK


def test_repetitive_tables_are_not_taken_for_bombs(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "_UNCHECKED_BYTES", 1 << 16)
    row = {"id": "a", "phones": [[0.0, 0.1, "k"], [0.1, 0.2, "a"]]}
    text = "".join(json.dumps(row | {"id": f"utterance-{number:06}"}) + "\n" for number in range(20_000))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    assert len(read_alignments(tmp_path / "a.jsonl.gz")) == 20_000
