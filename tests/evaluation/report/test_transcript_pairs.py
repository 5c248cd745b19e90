import pytest

from sori.evaluation.report.transcript_pairs import read_texts

EXPECTED = {"u-1": "hello world", "u-2": "", "u-3": "a (b) c"}


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "u-1\thello world\nu-2\nu-3\ta (b) c\n"),
        ("a.tsv", "u-1\thello world\r\nu-2\t\r\n\r\nu-3\ta (b) c"),
        ("a.tsv", "\ufeffText\tspeaker\tID\nhello world\tx\tu-1\n\ty\tu-2\na (b) c\ty\tu-3\n"),
        ("a.trn", "hello world (u-1)\n;; a comment\n(u-2)\na (b) c (u-3)\n"),
        ("text", "u-1 hello world\nu-2\nu-3\ta (b) c\n"),
    ],
)
def test_formats_with_ids(tmp_path, name, content):
    path = write(tmp_path, name, content)
    texts = read_texts(path, "kaldi" if name == "text" else None)
    assert {key: text.strip() for key, text in texts.items()} == EXPECTED


def test_lines_are_counted_and_empty_ones_kept(tmp_path):
    path = write(tmp_path, "a.txt", "one\u2028still one\n\nthree\n\n")
    assert read_texts(path) == {"1": "one\u2028still one", "2": "", "3": "three", "4": ""}
    assert read_texts(write(tmp_path, "b.out", "x"), "txt") == {"1": "x"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "u-1\ta\nu-2\tb\nu-1\tc\n", "a.tsv, line 3: expected each id once, but 'u-1' is in an earlier line"),
        ("a.tsv", "u-1\ta\tb\n", "expected 2 columns, an id among them, got 3: u-1 | a | b"),
        ("a.tsv", "u-1 a b\n", "--format kaldi"),
        ("a.tsv", "id\ttext\n", "got none"),
        ("a.tsv", "\ta\n", "an id among them"),
        ("a.trn", "hello\n", "a.trn, line 1: expected a text and its id at the end"),
        ("a.trn", "the { a / b } c (u)\n", "alternatives, as in '{ a / b }', are not supported"),
        ("a.txt", b" \n \n", "a.txt is empty"),
        ("a.txt", "ok\ncaf\u00e9\n".encode("latin-1"), "a.txt, line 2, got byte 0xe9"),
        ("a.txt", "hello".encode("utf-16"), "saved as UTF-16"),
        ("a.txt", "hello".encode("utf-16-be"), "saved as UTF-16"),
        ("text", "u-1 a\n", "--format txt|tsv|trn|kaldi"),
        ("a.csv", "u-1,a\n", "expected a name ending in .txt, .tsv or .trn"),
    ],
)
def test_bad_files_are_refused(tmp_path, name, content, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared below, without escapes
        read_texts(write(tmp_path, name, content))
    assert message in str(caught.value)


def test_absent_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.txt: no such file"):
        read_texts(tmp_path / "gone.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_texts(tmp_path / "folder.txt")
