import bz2
import gzip
import lzma

import pytest

from sori.data import fingerprint
from sori.data.sources.plain_text import lines, paragraphs, text_files


@pytest.mark.parametrize(
    ("name", "pack"), [("a.txt", bytes), ("a.gz", gzip.compress), ("a.xz", lzma.compress), ("a.bz2", bz2.compress)]
)
def test_compressed_and_plain_files_give_the_same_lines(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack("één\r\ntwo\u2028still two\nlast".encode()))
    assert list(lines(tmp_path / name)) == ["één\r\n", "two\u2028still two\n", "last"]


def test_documents_end_at_empty_lines_markers_and_files(tmp_path):
    (tmp_path / "a.txt").write_text("\ufeffone\n\n\n#DOC b\ntwo \n three\n#DOC c\nfour\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("\n\nfive", encoding="utf-8")
    assert list(paragraphs([tmp_path])) == ["one", "", "two", "three", "", "four", "", "five", ""]


def test_a_folder_gives_its_texts_in_order_of_names(tmp_path):
    for name in ("b.txt", "a/c.xz", "notes.md", "a.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in text_files([tmp_path, tmp_path / "notes.md"])]
    assert found == ["a/c.xz", "a.gz", "b.txt", "notes.md"]


def test_missing_texts_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        text_files([tmp_path / "none"])
    with pytest.raises(FileNotFoundError, match=r"expected text files \(.txt"):
        text_files([tmp_path])


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.txt", "né\n".encode() * 3 + b"caf\xe9\n", r"byte 0xe9 at position 15 .*WINDOWS-1252"),
        ("a.txt", "né\n".encode("utf-16"), "UTF-16"),
        ("a.txt", b"\x7fELF\0\x80\n", "it is not text, or compressed"),
        ("a.bz2", bz2.compress(b"a b\n" * 9999)[:-9], "damaged data after"),
        ("a.bz2", b"plain\n", "damaged data after 0 .*correct the suffix"),
        ("a.xz", lzma.compress(b"a b\n" * 999)[:-12], "damaged data after"),
    ],
)
def test_files_that_are_not_text_are_refused(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        list(lines(tmp_path / name))


def test_fingerprints_of_different_texts_differ(tmp_path):
    (tmp_path / "a.txt").write_text("one\n" * 700_000)
    before = fingerprint.of_texts([tmp_path / "a.txt"])
    assert fingerprint.describe(before) == "1 texts of 2.8 MB"
    assert fingerprint.of_texts([tmp_path / "a.txt"]) == before
    (tmp_path / "a.txt").write_text("one\n" * 699_999 + "two\n")
    assert fingerprint.of_texts([tmp_path / "a.txt"])["digest"] != before["digest"]
