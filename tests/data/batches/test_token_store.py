"""Texts stored as numbers: complete, documents kept apart, helpful errors."""

import lzma

import numpy as np
import pytest

from sori.data.batches.token_store import sentences, store
from sori.text.wordpiece import WordPiece, WordPieceConfig

TEXT = "One dog barks. Two dogs bark!\n'Who barks?' he said.\n\nThe second text. It ends.\n#DOC third\nShort one.\n"


@pytest.fixture
def wordpiece():
    return WordPiece.fit(lambda: [TEXT, "abcdefghijklmnopqrstuvwxyz"], WordPieceConfig(num_tokens=120))


@pytest.mark.parametrize(
    ("paragraph", "parts"),
    [
        ("One dog. Two dogs!", ["One dog.", "Two dogs!"]),
        ('"Who?" he said. (It was I.) So.', ['"Who?"', "he said.", "(It was I.)", "So."]),
        ("No end", ["No end"]),
        ("3.5 of them... perhaps", ["3.5 of them...", "perhaps"]),
        ("空です。青い！と。", ["空です。", "青い！", "と。"]),  # noqa: RUF001
        ("참 좋다. 정말!! 최고", ["참 좋다.", "정말!!", "최고"]),
    ],
)
def test_sentences(paragraph, parts):
    assert sentences(paragraph) == parts


def test_documents_and_sentences_are_kept_apart(tmp_path, wordpiece):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "b.txt.xz").write_bytes(lzma.compress(b"Another file.\n"))
    found = store([tmp_path / "a.txt", tmp_path / "b.txt.xz"], wordpiece, tmp_path / "run" / "tokens")
    assert found.documents.tolist() == [0, 4, 6, 7, 8]
    texts = [
        wordpiece.join(found.ids[begin:end].tolist())
        for begin, end in zip(found.sentences[:-1], found.sentences[1:], strict=True)
    ]
    assert texts[:3] == ["one dog barks .", "two dogs bark !", "' who barks ? '"]
    assert texts[3] == "he said ."
    assert texts[4:] == ["the second text .", "it ends .", "short one .", "another file ."]
    assert found.ids.dtype == np.uint16
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["tokens"]


def test_a_folder_of_a_similar_name_is_kept(tmp_path, wordpiece):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "tokens.partial").mkdir()
    (tmp_path / "tokens.partial" / "thesis.txt").write_text("precious")
    store([tmp_path / "a.txt"], wordpiece, tmp_path / "tokens")
    assert (tmp_path / "tokens.partial" / "thesis.txt").read_text() == "precious"


def test_stored_tokens_are_used_again(tmp_path, wordpiece):
    (tmp_path / "a.txt").write_text(TEXT, encoding="utf-8")
    first = store([tmp_path / "a.txt"], wordpiece, tmp_path / "run")
    (tmp_path / "a.txt").write_text("Something else. Altogether.", encoding="utf-8")
    again = store([tmp_path / "a.txt"], wordpiece, tmp_path / "run")
    assert np.array_equal(first.ids, again.ids)


def test_long_sentences_are_divided(tmp_path, wordpiece):
    (tmp_path / "a.txt").write_text("dog " * 300, encoding="utf-8")
    found = store([tmp_path / "a.txt"], wordpiece, tmp_path / "run")
    assert np.diff(found.sentences).tolist() == [128, 128, 44]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "at least two sentences, got 0"),
        (b"dog", "at least two sentences, got 1"),
        ("Zwei S\u00e4tze. Ja.".encode("cp1252"), "UTF-8"),
        (b"One. Two.\n\x00\xff\xfe\x01", "UTF-8"),
    ],
)
def test_unusable_texts_are_refused(content, message, tmp_path, wordpiece):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        store([tmp_path / "a.txt"], wordpiece, tmp_path / "run")
    assert not (tmp_path / "run").exists()
