import io
import itertools
import json
import math
import re
import tempfile
import unicodedata
from html import unescape
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import webvtt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from praatio import textgrid
from pympi.Elan import Eaf

from sori.decoding.greedy import Character, Word
from sori.decoding.transcript_formats import FORMATS, PAUSE_SECONDS, Alternatives, Transcribed, render

LETTERS = st.characters(categories=["Lu", "Ll", "Lo", "Mn", "Mc", "N", "P", "S"])
TEXTS = st.text(LETTERS, min_size=1, max_size=100) | st.sampled_from(["a", "the", "<b>", "a&amp;b", "-->", '"', "1"])
SCRIPTS = ["مرحبا", "안녕하세요", "각", "e\u0301", "ꜷ", "नमस्ते", "👩\u200d👩\u200d👧", "می\u200cخواهم", "日本語"]  # noqa: RUF001 - look-alikes


@st.composite
def transcripts(draw, texts=TEXTS):
    """Draw words anywhere in a recording, also touching, of zero length, or at its very end."""
    pieces = draw(st.lists(st.tuples(texts, st.floats(0, 3), st.floats(0, 3)), max_size=30))
    clock, words = 0.0, []
    for text, gap, length in pieces:
        start = clock + draw(st.sampled_from([0, gap]))
        clock = start + draw(st.sampled_from([0, length]))
        words.append(Word(text, start, clock))
    confidence = draw(st.none() | st.lists(st.floats(0, 1), min_size=len(words), max_size=len(words)))
    duration = max(clock, 0.001 * (len(words) + 1)) + draw(st.sampled_from([0.0, 0.0004, 0.31, 2.0]))
    return Transcribed(" ".join(w.text for w in words), words, duration, "folder/my talk.wav", confidence)


def read_file(read, text, ending):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{ending}"
        path.write_text(text, encoding="utf-8")
        return read(str(path))


def check_order(spans, duration, *, close=0.0006):
    """Check that spans are in order, not empty, not overlapping, within the recording."""
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    assert all(start < end for start, end in spans)
    assert not edges or (edges[0] >= 0 and edges[-1] <= duration + close)


def check_near(spans, words):
    """Check that times are rounded to milliseconds, and moved only as far as other words require."""
    for (start, end), word in zip(spans, words, strict=True):
        assert abs(start - word.start) <= 0.001 * (len(words) + 1)
        assert abs(end - word.end) <= 0.001 * (len(words) + 1)


def read_captions(text, arrow_line):
    """Parse captions strictly: blocks between empty lines; times first; one or two lines of text."""
    assert text == "" or text.endswith("\n")
    captions = []
    for block in filter(None, text.split("\n\n")):
        timing, *lines = block.rstrip("\n").split("\n")
        match = re.fullmatch(arrow_line, timing)
        assert match, timing
        numbers = [int(group) for group in match.groups()]
        assert all(number < 60 for number in (*numbers[1:3], *numbers[5:7]))
        start, end = (((n[0] * 60 + n[1]) * 60 + n[2]) + n[3] / 1000 for n in (numbers[:4], numbers[4:]))
        captions.append((start, end, lines))
    return captions


def read_vtt(text):
    head, _, rest = text.partition("\n\n")
    assert head.rstrip("\n") == "WEBVTT"
    time = r"(\d\d):(\d\d):(\d\d)\.(\d{3})"
    captions = read_captions(rest, f"{time} --> {time}")
    assert not any("<" in line or ">" in line for _, _, lines in captions for line in lines)
    return [(start, end, [unescape(line) for line in lines]) for start, end, lines in captions]


def read_srt(text):
    time = r"(\d\d):(\d\d):(\d\d),(\d{3})"
    blocks = [block.partition("\n") for block in filter(None, text.split("\n\n"))]
    assert [number for number, _, _ in blocks] == [str(n) for n in range(1, len(blocks) + 1)]
    return read_captions("\n\n".join(rest for _, _, rest in blocks), f"{time} --> {time}")


def columns(text):
    return sum(
        2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text if unicodedata.category(c) not in ("Mn", "Me")
    )


@settings(max_examples=150, deadline=None)
@given(transcripts())
def test_json(given_):
    data = json.loads(render(given_, "json"))
    assert (data["source"], data["duration"], data["text"]) == ("my talk.wav", given_.duration, given_.text)
    assert [row["text"] for row in data["words"]] == [word.text for word in given_.words]
    spans = [(row["start"], row["end"]) for row in data["words"]]
    check_order(spans, given_.duration)
    check_near(spans, given_.words)
    if given_.confidence is None:
        assert all("confidence" not in row for row in data["words"])
    else:
        assert [row["confidence"] for row in data["words"]] == pytest.approx(given_.confidence, abs=1e-4)


@settings(max_examples=150, deadline=None)
@given(transcripts())
def test_captions(given_):
    captions = read_vtt(render(given_, "vtt"))
    assert captions == read_srt(render(given_, "srt"))
    check_order([(start, end) for start, end, _ in captions], given_.duration)
    written = "".join("".join(lines) for _, _, lines in captions).replace(" ", "")
    assert written == "".join(word.text for word in given_.words)
    longest = max((word.end - word.start for word in given_.words), default=0)
    for start, end, lines in captions:
        assert all(line.strip() == line != "" for line in lines)
        assert end - start <= max(7, longest) + 0.05
        if longest > 0.1 and all(w.end - w.start > 0.05 for w in given_.words):
            assert len(lines) <= 2
            assert all(columns(line) <= 42 for line in lines)


def test_captions_end_at_pauses_and_stay_readable():
    line = "it was the best of times it was the worst of times it was the age of wisdom"
    words = [Word(text, 0.3 * n, 0.3 * n + 0.25) for n, text in enumerate(line.split())]
    words.append(Word("amen", words[-1].end + PAUSE_SECONDS, words[-1].end + PAUSE_SECONDS + 0.04))
    captions = read_vtt(render(Transcribed("", words, 60.0, "a.wav"), "vtt"))
    assert captions == [
        (0.0, 5.35, ["it was the best of times it was the", "worst of times it was the age of wisdom"]),
        (6.15, 7.15, ["amen"]),
    ]


def test_a_minute_without_pauses_is_split():
    words = [Word("la", float(n), n + 1.0) for n in range(60)]
    captions = read_vtt(render(Transcribed("", words, 60.0, "a.wav"), "vtt"))
    assert [end - start for start, end, _ in captions] == [7.0] * 8 + [4.0]


@pytest.mark.parametrize(("letter", "most"), [("字", 21), ("ក", 42), ("e\u0301", 42)])
def test_a_script_without_spaces_is_split_between_letters(letter, most):
    word = Word(letter * 100, 1.0, 9.0)
    captions = read_vtt(render(Transcribed(word.text, [word], 10.0, "a.wav"), "vtt"))
    lines = [line for _, _, lines in captions for line in lines]
    assert "".join(lines) == word.text
    assert {len(line) // len(letter) for line in lines[:-1]} == {most}
    assert (captions[0][0], captions[-1][1]) == (1.0, 9.0)


@settings(max_examples=60, deadline=None)
@given(transcripts(st.text(st.characters(categories=["Ll", "Lo"]), min_size=1, max_size=12)))
def test_captions_are_readable_by_webvtt_py(given_):
    if not given_.words:
        return
    for read, to in ((webvtt.from_buffer, "vtt"), (lambda b: webvtt.from_buffer(b, format="srt"), "srt")):
        found = read(io.StringIO(render(given_, to)))
        own = read_vtt(render(given_, "vtt"))
        assert [caption.text.split("\n") for caption in found] == [lines for _, _, lines in own]
        assert [caption.start_in_seconds for caption in found] == pytest.approx([int(s) for s, _, _ in own], abs=1)


@settings(max_examples=100, deadline=None)
@given(transcripts())
@example(Transcribed("", [], 3.0, "a.wav"))
@example(Transcribed("x", [Word("x", 0.0, 3.0)], 3.0, "a.wav"))
@example(Transcribed("x", [Word('"', 1.0, 2.0), Word('say ""so""', 2.0, 2.0000625)], 2.0000625, "a.wav"))
def test_textgrid_covers_the_recording(given_):
    grid = read_file(
        lambda path: textgrid.openTextgrid(path, includeEmptyIntervals=True), render(given_, "TextGrid"), "TextGrid"
    )
    assert grid.tierNames == ("words",)
    tier = grid.getTier("words")
    assert (grid.minTimestamp, tier.minTimestamp) == (0, 0)
    assert grid.maxTimestamp == tier.maxTimestamp == pytest.approx(given_.duration, abs=1e-7)
    edges = [0.0, *(entry.end for entry in tier.entries)]
    assert [entry.start for entry in tier.entries] == edges[:-1]  # no gap, no overlap
    assert edges[-1] == tier.maxTimestamp
    assert all(a < b for a, b in itertools.pairwise(edges))
    spoken = [entry for entry in tier.entries if entry.label]
    assert [entry.label for entry in spoken] == [word.text for word in given_.words]
    check_near([(entry.start, entry.end) for entry in spoken], given_.words)
    assert not any(a.label == b.label == "" for a, b in itertools.pairwise(tier.entries))


@settings(max_examples=100, deadline=None)
@given(transcripts())
def test_eaf(given_):
    text = render(given_, "eaf")
    eaf = read_file(Eaf, text, "eaf")
    assert sorted(eaf.get_tier_names()) == ["utterances", "words"]
    found = sorted(eaf.get_annotation_data_for_tier("words"))
    assert [row[2] for row in found] == [word.text for word in given_.words]
    check_order([(row[0] / 1000, row[1] / 1000) for row in found], given_.duration)
    check_near([(row[0] / 1000, row[1] / 1000) for row in found], given_.words)
    utterances = sorted(eaf.get_annotation_data_for_tier("utterances"))
    check_order([(row[0] / 1000, row[1] / 1000) for row in utterances], given_.duration)
    assert all(b[0] - a[1] >= 1000 * PAUSE_SECONDS for a, b in itertools.pairwise(utterances))
    for begin, end, spoken in utterances:
        assert spoken == " ".join(row[2] for row in found if begin <= row[0] and row[1] <= end)
    check_eaf_structure(ET.fromstring(text.encode()))  # noqa: S314 - our own


def check_eaf_structure(root):
    """Check the requirements of ELAN's schema 3.0: order of elements, valid references."""
    kinds = ["HEADER", "TIME_ORDER", "TIER", "TIER", "LINGUISTIC_TYPE", "LINGUISTIC_TYPE", "CONSTRAINT"]
    assert [child.tag for child in root] == kinds
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(root.attrib)
    assert root.get("FORMAT") == root.get("VERSION") == "3.0"
    media = root.find("HEADER/MEDIA_DESCRIPTOR").attrib
    assert media["RELATIVE_MEDIA_URL"] == "./my talk.wav"
    assert media["MIME_TYPE"] == "audio/x-wav"
    slots = root.findall("TIME_ORDER/TIME_SLOT")
    times = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE")) for slot in slots}
    assert len(times) == len(slots)
    assert list(times.values()) == sorted(times.values())
    used = [a.get(f"TIME_SLOT_REF{n}") for a in root.iter("ALIGNABLE_ANNOTATION") for n in (1, 2)]
    assert sorted(used) == sorted(times)
    numbers = sorted(int(a.get("ANNOTATION_ID")[1:]) for a in root.iter("ALIGNABLE_ANNOTATION"))
    assert numbers == list(range(1, len(numbers) + 1))
    assert root.find("HEADER/PROPERTY").text == str(len(numbers))
    types = {kind.get("LINGUISTIC_TYPE_ID"): kind.get("CONSTRAINTS") for kind in root.findall("LINGUISTIC_TYPE")}
    assert {tier.get("LINGUISTIC_TYPE_REF") for tier in root.findall("TIER")} == set(types)
    assert types["words"] == root.find("CONSTRAINT").get("STEREOTYPE") == "Included_In"
    assert [tier.get("PARENT_REF") for tier in root.findall("TIER")] == [None, "utterances"]


@settings(max_examples=100, deadline=None)
@given(transcripts())
def test_ctm(given_):
    rows = [line.split(" ") for line in render(given_, "ctm").splitlines()]
    assert {len(row) for row in rows} <= {5 if given_.confidence is None else 6}
    assert {tuple(row[:2]) for row in rows} <= {("my_talk", "1")}
    assert [row[4] for row in rows] == [word.text for word in given_.words]
    spans = [(float(row[2]), round(float(row[2]) + float(row[3]), 3)) for row in rows]
    check_order(spans, given_.duration)
    check_near(spans, given_.words)


def test_txt():
    assert render(Transcribed("all of it", [], 1.0, "a.wav"), "txt") == "all of it\n"


@pytest.mark.parametrize("to", FORMATS)
def test_every_script_is_preserved(to):
    words = [Word(text, float(n), n + 0.5) for n, text in enumerate(SCRIPTS)]
    text = render(Transcribed(" ".join(SCRIPTS), words, 30.0, "a.wav"), to)
    assert all(word in text for word in SCRIPTS)
    assert text.encode().decode() == text


@pytest.mark.parametrize("to", FORMATS)
def test_empty_transcripts(to):
    text = render(Transcribed("", [], 1.5, "a.wav"), to)
    assert text == {"txt": "\n", "srt": "", "vtt": "WEBVTT\n", "ctm": ""}.get(to, text)
    assert "nan" not in text


@pytest.mark.parametrize("to", FORMATS)
def test_forbidden_characters_are_removed(to):
    words = [Word("a\x00b\ud800", 0.0, 1.0), Word("c\r\nd", 1.0, 2.0), Word("\x07 ", 2.0, 3.0)]
    text = render(Transcribed("a\x00b\ud800 c\r\nd", words, 3.0, "a.wav", [0.1, 0.2, 0.3]), to)
    assert not re.search("[\x00\x07\r\ud800]", text)
    assert re.search("ab(.|\n)*c[ _]d", text)
    if to == "json":
        assert [(row["text"], row["confidence"]) for row in json.loads(text)["words"]] == [("ab", 0.1), ("c d", 0.2)]


def test_the_last_word_may_end_beyond_the_last_sample():
    data = json.loads(render(Transcribed("a b", [Word("a", 0.9, 1.0), Word("b", 1.0, 1.04)], 1.0, "a.wav"), "json"))
    assert [(row["start"], row["end"]) for row in data["words"]] == [(0.9, 0.999), (0.999, 1.0)]


def test_a_transcript_without_a_file():
    nameless = Transcribed("a", [Word("a", 0.0, 0.5)], 1.0, "")
    assert "MEDIA_DESCRIPTOR" not in render(nameless, "eaf")
    assert render(nameless, "ctm") == "recording 1 0.000 0.500 a\n"


def test_long_recordings_have_hours():
    text = render(Transcribed("a", [Word("a", 360_000.5, 360_002.0)], 400_000.0, "a.wav"), "srt")
    assert "100:00:00,500 --> 100:00:02,000" in text
    assert "xmin = 360000.500" in render(Transcribed("a", [Word("a", 360_000.5, 360_002.0)], 4e5, "a.wav"), "TextGrid")


A = Word("a", 1.0, 2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duration": 0.0}, "at least a millisecond, got 0.0"),
        ({"duration": math.nan}, "got nan"),
        ({"words": [A, Word("b", 0.5, 3.0)]}, "order of time.*after a word starting at 1.0"),
        ({"words": [Word("a", 2.0, 1.0)]}, "starting before it ends"),
        ({"words": [Word("a", -1.0, 1.0)]}, "from 0 on"),
        ({"words": [Word("a", 0.0, math.inf)]}, "inf"),
        ({"duration": 0.5}, "another recording, or not in seconds"),
        ({"words": [Word("a", 0.0, 0.0)] * 3, "duration": 0.002}, "3 words in 0.002 s"),
        ({"confidence": [0.5, 0.5]}, "each of 1 words, got 2"),
    ],
)
def test_errors_say_what_to_do(change, message):
    with pytest.raises(ValueError, match=message):
        render(Transcribed("a", [A], 4.0, "a.wav")._replace(**change), "json")


def test_unknown_format():
    with pytest.raises(ValueError, match=r"expected a format of txt, json.*got 'doc'"):
        render(Transcribed("a", [A], 4.0, "a.wav"), "doc")


def test_only_json_holds_characters_and_alternatives():
    words = [Word("ab", 0.9, 1.0), Word("\x00", 1.0, 1.0), Word("c", 1.0, 1.04)]
    letters = [[Character("a", 0.9, 0.92), Character("b", 0.9999, 1.0)], [], [Character("c", 1.0, 1.04)]]
    chunk = Alternatives(0.0, 1.0, [("ab c", -1.23456), ("ab\nd", -2.0)])
    full = Transcribed("ab c", words, 1.0, "a.wav", None, letters, [chunk])
    data = json.loads(render(full, "json"))
    assert [[(c["text"], c["start"], c["end"]) for c in word["characters"]] for word in data["words"]] == [
        [("a", 0.9, 0.92), ("b", 0.999, 0.999)],  # the end of the word was clipped, and its letters with it
        [("c", 0.999, 1.0)],
    ]
    texts = [{"text": "ab c", "score": -1.235}, {"text": "ab d", "score": -2.0}]
    assert data["alternatives"] == [{"start": 0.0, "end": 1.0, "texts": texts}]
    bare = full._replace(characters=None, alternatives=None)
    for to in set(FORMATS) - {"json", "eaf"}:
        assert render(full, to) == render(bare, to)
    assert "characters" not in json.loads(render(bare, "json"))["words"][0]
    with pytest.raises(ValueError, match="characters of each of 3 words, got those of 1"):
        render(full._replace(characters=letters[:1]), "json")
