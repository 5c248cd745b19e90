import pytest

from sori.core.text_files import lines
from sori.data import fingerprint
from sori.data.sources.plain_text import paragraphs, text_files


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


def test_fingerprints_of_different_texts_differ(tmp_path):
    (tmp_path / "a.txt").write_text("one\n" * 700_000)
    before = fingerprint.of_texts([tmp_path / "a.txt"])
    assert fingerprint.describe(before) == "1 texts of 2.8 MB"
    assert fingerprint.of_texts([tmp_path / "a.txt"]) == before
    (tmp_path / "a.txt").write_text("one\n" * 699_999 + "two\n")
    assert fingerprint.of_texts([tmp_path / "a.txt"])["digest"] != before["digest"]


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "marked.txt"
    path.write_text("one\n\ufefftwo\n", encoding="utf-8-sig")
    assert list(lines(path)) == ["one\n", "\ufefftwo\n"]
