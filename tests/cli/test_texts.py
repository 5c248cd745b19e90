"""Texts and numbers as users have them: `sori align` with any text file, and options of decoding."""

import codecs

import pytest


@pytest.fixture
def sound(tone_corpus):
    return min((tone_corpus / "audio" / "anna").glob("*.wav"))


def test_align_reads_texts_with_a_byte_order_mark(call, recogniser_run, sound, tmp_path):
    text = sound.with_suffix(".txt").read_bytes()
    (tmp_path / "plain.txt").write_bytes(text)
    (tmp_path / "marked.txt").write_bytes(codecs.BOM_UTF8 + b"\r\n\r\n" + text)
    code, out, err = call("align", recogniser_run, sound, tmp_path / "plain.txt", "--skip-penalty", "20")
    assert (code, call("align", recogniser_run, sound, tmp_path / "marked.txt", "--skip-penalty", "20")) == (
        0,
        (code, out, err),
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("abel".encode("utf-16"), "iconv -f UTF-16"),
        ("été".encode("latin-1"), "line 1, got byte 0xe9"),
        (b"", "expected a text with words, got ''"),
        (b"\xef\xbb\xbf\n\n", "empty after normalisation"),
        (b"... -- ?!", "punctuation only"),
    ],
    ids=["utf-16", "latin-1", "empty", "empty lines", "punctuation"],
)
def test_align_says_what_is_wrong_with_a_text(call, recogniser_run, sound, tmp_path, content, message):
    (tmp_path / "t.txt").write_bytes(content)
    code, _, err = call("align", recogniser_run, sound, tmp_path / "t.txt")
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    "option",
    ["lm-weight", "word-score", "hot-word-score", "beam-size", "num-best"],
)
@pytest.mark.parametrize("value", ["nan", "inf", "-1e300"])
@pytest.mark.parametrize("hot", [(), ("--hot-word", "abel")], ids=["greedy", "search"])
def test_numbers_that_make_no_sense_are_refused(call, recogniser_run, sound, option, value, hot):
    if option in ("beam-size", "num-best"):
        value = {"nan": "0", "inf": "-3", "-1e300": "1000000000000"}[value]
    code, _, err = call("transcribe", recogniser_run, sound, f"--{option}={value}", *hot)
    assert code != 0
    assert "pydantic" not in err
    assert option.replace("-", "_") in err
