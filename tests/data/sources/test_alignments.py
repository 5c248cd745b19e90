"""Alignments: reading, matching with utterances, and the label at a given time."""

import gzip
import json
import lzma

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from praatio import textgrid as praat

from sori.data.manifest import Utterance, read_manifest
from sori.data.preparation.prepare import prepare
from sori.data.sources.alignments import Alignment, is_silence, match, read_alignments
from sori.data.sources.intervals import Interval, labels_at
from sori.data.sources.textgrid import read_textgrid

PHONES = [[0.0, 0.1, "SIL"], [0.1, 0.25, "k"], [0.25, 0.5, "á"], [0.5, 1.0, 'say "o"']]
WORDS = [[0.1, 1.0, "ká o"]]


def intervals(rows):
    return tuple(Interval(*row) for row in rows)


def utterance(name, path, *, start=0.0, seconds=1.0):
    return Utterance(name, path, start, int(seconds * 16_000), None, "anna", None, None)


def row(name, **changes):
    return json.dumps({"id": name, "phones": PHONES, "words": WORDS} | changes, ensure_ascii=False) + "\n"


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_json_lines_plain_and_compressed(tmp_path, suffix, pack):
    path = tmp_path / f"alignments.jsonl{suffix}"
    path.write_bytes(pack((row("a") + "\n" + row("b", words=None)).encode()))
    assert read_alignments(path) == {
        "a": Alignment(intervals(PHONES), intervals(WORDS)),
        "b": Alignment(intervals(PHONES), ()),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1 is not JSON"),
        (json.dumps({"id": "a"}), "line 1: expected"),
        (row("a", phones=[[0.0, 0.5, "k"], [0.3, 0.6, "a"]]), "after 0.5 s"),
        (row("a", phones=[[0.5, 0.3, "k"]]), "increasing times"),
        (row("a", phones=[[0.0, 0.3, None]]), "line 1"),
        (row("a") + row("a"), "line 2: a second alignment is named 'a'"),
        ("", "is empty"),
    ],
)
def test_damaged_lines_are_named(tmp_path, text, message):
    path = tmp_path / "alignments.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_alignments(path)


def test_files_that_are_not_alignments_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_alignments(tmp_path / "absent.jsonl")
    with pytest.raises(ValueError, match="contains no"):
        read_alignments(tmp_path)
    (tmp_path / "a.ctm").write_text("a 1 0 0.1 k")
    with pytest.raises(ValueError, match=r"expected \.jsonl"):
        read_alignments(tmp_path / "a.ctm")


def write_textgrid(path, *, form, phones="phones"):
    grid = praat.Textgrid()
    grid.addTier(praat.PointTier("clicks", [(0.2, "x"), (0.3, "3")], 0, 1))
    grid.addTier(praat.IntervalTier(phones, [tuple(one) for one in PHONES], 0, 1))
    grid.addTier(praat.IntervalTier("words", [tuple(one) for one in WORDS], 0, 1))
    grid.save(str(path), format=form, includeBlankSpaces=True)


@pytest.mark.parametrize("form", ["long_textgrid", "short_textgrid"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_textgrids_as_another_program_writes_them(tmp_path, form, encoding):
    path = tmp_path / "a.TextGrid"
    write_textgrid(path, form=form, phones="anna - phones")
    path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    tiers = read_textgrid(path)
    assert list(tiers) == ["anna - phones", "words"]
    assert tiers["anna - phones"] == list(intervals(PHONES))
    assert tiers["words"] == [Interval(0.0, 0.1, ""), *intervals(WORDS)]
    assert read_alignments(tmp_path)["a"].phones == intervals(PHONES)
    assert read_alignments(path)["a"].words[1:] == intervals(WORDS)


def test_files_that_are_not_textgrids_are_refused(tmp_path):
    path = tmp_path / "a.TextGrid"
    write_textgrid(path, form="long_textgrid")
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="ends in the middle"):
        read_textgrid(path)
    path.write_text("hello")
    with pytest.raises(ValueError, match="not a TextGrid"):
        read_textgrid(path)
    write_textgrid(path, form="long_textgrid", phones="sounds")
    with pytest.raises(ValueError, match=r"expected a tier named phones or .* got sounds, words"):
        read_alignments(path)


def test_an_alignment_named_like_the_utterance_counts_from_its_beginning():
    found = match([utterance("a", "/x/long.wav", start=30.0)], {"a": Alignment(intervals(PHONES))})
    assert found.alignments[0].phones == intervals(PHONES)


def test_an_alignment_named_like_the_file_counts_from_the_files_beginning():
    stretches = [utterance("f-0001", "/x/f.wav", seconds=0.3), utterance("f-0002", "/x/f.wav", start=0.3, seconds=0.7)]
    first, second = match(stretches, {"f": Alignment(intervals(PHONES), intervals(WORDS))}).alignments
    assert first.phones == intervals([[0.0, 0.1, "SIL"], [0.1, 0.25, "k"], [0.25, 0.3, "á"]])
    assert np.allclose([one[:2] for one in second.phones], [[0.0, 0.2], [0.2, 0.7]])
    assert [one.label for one in second.phones] == ["á", 'say "o"']
    assert np.allclose(second.words[0][:2], [0.0, 0.7])


def test_missing_and_unused_alignments_are_reported():
    here = [utterance("a", "/x/1.wav"), utterance("b", "/x/2.wav"), utterance("c", "/x/3.wav", seconds=0.4)]
    one = Alignment(intervals(PHONES))
    found = match(here, {"a": one, "c": one, "z": one})
    assert (found.missing, found.unused, found.beyond) == (["b"], ["z"], ["c"])
    assert found.alignments[1] is None
    assert "alignments for 2 of 3 utterances\n1 without alignment" in found.table()
    with pytest.raises(ValueError, match="expected names like 'a', got names like 'z'"):
        match(here, {"z": one})


def test_two_files_of_one_name_cannot_use_the_same_alignment():
    twins = [utterance("x/f", "/x/f.wav"), utterance("y/f", "/y/f.wav")]
    with pytest.raises(ValueError, match="name alignments by the ids"):
        match(twins, {"f": Alignment(intervals(PHONES))})


def test_names_as_they_are_after_preparing_a_table_or_a_folder(tone_corpus, prepared_tones, tmp_path):
    prepare(tone_corpus / "audio", tmp_path / "prepared", num_workers=1)
    from_folder, from_table = read_manifest(tmp_path / "prepared"), read_manifest(prepared_tones)
    assert (from_folder[0].id, from_table[0].id) == ("anna/anna-000", "anna-000")
    alignments = {one.id: Alignment(intervals(PHONES)) for one in from_table}
    for utterances in (from_folder, from_table):
        found = match(utterances, alignments)
        assert (found.missing, found.unused) == ([], [])


def test_silences():
    assert all(is_silence(label) for label in ("SIL", "sil", "sp", "spn", "", "<eps>"))
    assert not any(is_silence(label) for label in ("s", "I", "Ω"))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=6), st.integers(-2, 40))
def test_the_label_at_a_time_is_that_of_the_interval_around_it(shape, moment):
    rows, here = [], 0
    for number, (gap, length) in enumerate(shape):
        rows.append(Interval(float(here + gap), float(here + gap + length), "abc"[number % 3]))
        here += gap + length
    holding = [one.label for one in rows if one.start <= moment < one.end]
    index = {"a": 0, "b": 1}
    expected = index.get(holding[0], -1) if holding else -1
    assert labels_at(rows, np.array([float(moment)]), index).tolist() == [expected]


def test_the_real_alignments(data_dir):
    found = read_alignments(data_dir / "mboshi" / "alignments.jsonl.xz")
    lines = (data_dir / "mboshi" / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    utterances = [utterance(row["id"], row["audio"], seconds=row["duration"]) for row in rows]
    matched = match(utterances, found)
    assert (len(found), len(matched.missing), matched.unused) == (2753, 20, [])
    labels = {phone.label for one in found.values() for phone in one.phones}
    assert len(labels) == 28
    assert [label for label in labels if is_silence(label)] == ["SIL"]
