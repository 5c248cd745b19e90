"""Tests of WordPiece: learning, tokenisation, joining, storage; scripts that accents and composition could break."""

import pytest

from sori.text.wordpiece import SPECIAL, Spelling, WordPiece, WordPieceConfig

TEXTS = ["The dogs barked, the dog barks.", "Dogs bark at dogs!"] * 3
TOKENS = [*SPECIAL, "the", "dog", "##s", "bark", "e", "##e", "한국", "한", "##국", "가"]


def test_a_vocabulary_is_learnt():
    wordpiece = WordPiece.fit(lambda: TEXTS, WordPieceConfig(num_tokens=60))
    assert wordpiece.tokens[:5] == SPECIAL
    assert len(wordpiece) <= 60
    (ids,) = wordpiece.encode(["The dogs barked"])
    assert wordpiece.unk not in ids
    assert wordpiece.join(ids) == "the dogs barked"
    assert len(ids) < len("thedogsbarked") / 2


def test_learning_is_the_same_each_time():
    made = [WordPiece.fit(lambda: TEXTS, WordPieceConfig(num_tokens=60)).tokens for _ in range(3)]
    assert made[0] == made[1] == made[2]


def test_the_longest_piece_from_the_left_wins():
    wordpiece = WordPiece(TOKENS)
    for text, pieces in {
        "dogs": ["dog", "##s"],
        "THE dog!": ["the", "dog", "[UNK]"],
        "한국": ["한국"],
        "dogx": ["[UNK]"],
        "bark" * 30: ["[UNK]"],
    }.items():
        assert [wordpiece.tokens[number] for number in wordpiece.encode([text])[0]] == pieces


def test_stripped_accents_leave_hangul_whole():
    composed, decomposed = "한국", "\u1112\u1161\u11ab\u1100\u116e\u11a8"
    wordpiece = WordPiece(TOKENS)
    expected = [wordpiece.tokens.index("한국")]
    assert wordpiece.encode([composed, decomposed, "É"]) == [expected, expected, [wordpiece.tokens.index("e")]]
    as_published = WordPiece(TOKENS, Spelling(compose=False))
    assert as_published.encode([composed]) == [[as_published.unk]]  # single jamo, which no token holds


def test_kept_case_and_accents():
    wordpiece = WordPiece([*TOKENS, "The", "é"], Spelling(case="keep", accents="keep"))
    assert [wordpiece.tokens[n] for n in wordpiece.encode(["The the é"])[0]] == ["The", "the", "é"]


def test_special_tokens_in_a_text_are_recognised():
    wordpiece = WordPiece(TOKENS)
    assert wordpiece.encode(["the [MASK] bark"]) == [[5, wordpiece.mask, 8]]


def test_stored_and_read(tmp_path):
    wordpiece = WordPiece(TOKENS, Spelling(case="keep"))
    wordpiece.save(tmp_path / "v.json")
    again = WordPiece.load(tmp_path / "v.json")
    assert (again.tokens, again.spelling) == (wordpiece.tokens, wordpiece.spelling)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing"),
        ("{", "JSON"),
        ("[" * 100_000, "JSON .nested too deeply"),
        ("[]", "expected a WordPiece vocabulary"),
        ('"wordpiece"', "expected a WordPiece vocabulary"),
        ('{"unit": "jamo", "symbols": []}', "unit 'jamo'"),
    ],
    ids=["missing", "cut off", "deep", "list", "text", "jamo"],
)
def test_other_files_are_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "v.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        WordPiece.load(tmp_path / "v.json")


@pytest.mark.parametrize(("tokens", "message"), [(TOKENS[:4], r"no \[MASK\]"), ([*TOKENS, "the"], "different tokens")])
def test_impossible_vocabularies_are_refused(tokens, message):
    with pytest.raises(ValueError, match=message):
        WordPiece(tokens)


def test_texts_without_words_are_refused():
    with pytest.raises(ValueError, match="texts with words"):
        WordPiece.fit(lambda: ["", "  "], WordPieceConfig(num_tokens=30))
