"""Annotations of field linguists and phoneticians become utterances."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid as praatio
from pympi.Elan import Eaf

from sori.data.sources.annotations.annotation_files import read_annotation
from sori.data.sources.annotations.audacity import is_label_track
from sori.data.sources.annotations.stretches import NoTierError, Stretch, join_words
from sori.data.sources.recordings import read_folder
from sori.decoding.greedy import Word
from sori.decoding.transcript_formats import Transcribed, extension, render


def read(path, content, *tiers, encoding="utf-8"):
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return read_annotation(path, tiers)


def rows(annotation):
    return [(round(one.start, 3), round(one.end, 3), one.text, one.speaker) for one in annotation.stretches]


# --- ELAN --------------------------------------------------------------------------------------------------------


def field_notes(path):
    """Two speakers; each has references with times, transcripts, words and translations that depend on them."""
    eaf = Eaf()
    eaf.add_linguistic_type("ref")
    for kind, constraint in (
        ("tx", "Symbolic_Association"),
        ("wd", "Symbolic_Subdivision"),
        ("ft", "Symbolic_Association"),
    ):
        eaf.add_linguistic_type(kind, constraint, timealignable=False)
    for speaker, start in (("Ana", 0), ("Ben", 1990)):  # the second one begins 10 ms before the first one ends
        eaf.add_tier(f"ref@{speaker}", "ref", part=speaker)
        eaf.add_tier(f"tx@{speaker}", "tx", parent=f"ref@{speaker}")
        eaf.add_tier(f"wd@{speaker}", "wd", parent=f"tx@{speaker}")
        eaf.add_tier(f"ft@{speaker}", "ft", parent=f"ref@{speaker}")
        for number, (first, last) in enumerate(((0, 1000), (1000, 2000), (3000, 3500))):
            eaf.add_annotation(f"ref@{speaker}", start + first, start + last, f"t.{number}")
        for middle, text in ((500, "nga ti"), (1500, "wai")):
            eaf.add_ref_annotation(f"tx@{speaker}", f"ref@{speaker}", start + middle, f"{text} {speaker}")
            eaf.add_ref_annotation(f"ft@{speaker}", f"ref@{speaker}", start + middle, "the water")
    eaf.add_linked_file("file:///C:/data/my%20talk.wav", "./my%20talk.wav", mimetype="audio/x-wav")
    eaf.to_file(str(path))


def test_elan_transcripts_depend_on_tiers_with_times(tmp_path):
    field_notes(tmp_path / "a.eaf")
    found = read_annotation(tmp_path / "a.eaf", ())
    assert found.tiers == ("tx@Ana", "tx@Ben")
    assert found.media == ("my talk.wav",)
    assert rows(found) == [
        (0.0, 1.0, "nga ti Ana", "Ana"),
        (1.0, 2.0, "wai Ana", "Ana"),
        (1.99, 2.99, "nga ti Ben", "Ben"),
        (2.99, 3.99, "wai Ben", "Ben"),
        (3.0, 3.5, "", "Ana"),
        (4.99, 5.49, "", "Ben"),
    ]


@pytest.mark.parametrize(
    ("tier", "texts"),
    [
        ("ft@Ana", ["the water", "the water", ""]),
        ("FT", ["the water", "the water", "the water", "the water", "", ""]),  # type
        ("Ben", None),  # speaker: all tiers
    ],
)
def test_elan_tiers_are_chosen_by_name_type_or_speaker(tmp_path, tier, texts):
    field_notes(tmp_path / "a.eaf")
    found = read_annotation(tmp_path / "a.eaf", [tier])
    if texts is None:
        assert {one.speaker for one in found.stretches} == {"Ben"}
    else:
        assert [one.text for one in found.stretches] == texts


def test_symbolic_subdivisions_are_joined_in_their_order(tmp_path):
    xml = """<?xml version="1.0" encoding="UTF-8"?>
    <ANNOTATION_DOCUMENT AUTHOR="" DATE="" FORMAT="2.8" VERSION="2.8"><HEADER/><TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="100"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="900"/></TIME_ORDER>
    <TIER TIER_ID="u" LINGUISTIC_TYPE_REF="x"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1"
     TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2"><ANNOTATION_VALUE>12</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>
    </ANNOTATION></TIER>
    <TIER TIER_ID="words" LINGUISTIC_TYPE_REF="w" PARENT_REF="u">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1" PREVIOUS_ANNOTATION="a2"><ANNOTATION_VALUE>two
    </ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1" PREVIOUS_ANNOTATION="a3"><ANNOTATION_VALUE/>
    </REF_ANNOTATION></ANNOTATION>
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a2" ANNOTATION_REF="a1"><ANNOTATION_VALUE>one</ANNOTATION_VALUE>
    </REF_ANNOTATION></ANNOTATION></TIER></ANNOTATION_DOCUMENT>"""
    assert rows(read(tmp_path / "a.eaf", xml)) == [(0.1, 0.9, "one two", None)]


def test_times_that_elan_left_out_are_spread_evenly(tmp_path):
    slots = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="ts{n}"' + (f' TIME_VALUE="{value}"/>' if value is not None else "/>")
        for n, value in enumerate((0, None, None, 900))
    )
    notes = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{n}" TIME_SLOT_REF1="ts{n}" TIME_SLOT_REF2="ts{n + 1}">'
        f"<ANNOTATION_VALUE>w{n}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        for n in range(3)
    )
    tier = f'<TIER TIER_ID="A" LINGUISTIC_TYPE_REF="x">{notes}</TIER>'
    xml = f"<ANNOTATION_DOCUMENT><TIME_ORDER>{slots}</TIME_ORDER>{tier}</ANNOTATION_DOCUMENT>"
    assert rows(read(tmp_path / "a.eaf", xml)) == [
        (0.0, 0.3, "w0", None),
        (0.3, 0.6, "w1", None),
        (0.6, 0.9, "w2", None),
    ]


def test_tiers_of_several_speakers_without_participants_are_named_by_the_tier(tmp_path):
    eaf = Eaf()
    for number, name in enumerate(("Mary", "John")):
        eaf.add_tier(name)
        eaf.add_annotation(name, 1000 * number, 1000 * number + 900, "hi")
    eaf.to_file(str(tmp_path / "a.eaf"))
    assert rows(read_annotation(tmp_path / "a.eaf", ())) == [(0.0, 0.9, "hi", "Mary"), (1.0, 1.9, "hi", "John")]


def test_a_choice_of_tiers_that_is_not_evident_is_refused_with_the_names(tmp_path):
    eaf = Eaf()
    eaf.add_linguistic_type("gesture")
    for name, kind in (("Mary", "default-lt"), ("hands", "gesture")):
        eaf.add_tier(name, kind)
        eaf.add_annotation(name, 0, 900, "x")
    eaf.to_file(str(tmp_path / "a.eaf"))
    with pytest.raises(NoTierError, match=r"not evident.*'Mary' \(type default-lt\), 'hands' .*--tier NAME"):
        read_annotation(tmp_path / "a.eaf", ())
    with pytest.raises(NoTierError, match="no tier is named Bob; the tiers with annotations are 'Mary'"):
        read_annotation(tmp_path / "a.eaf", ["Bob"])


@pytest.mark.parametrize("content", ["<ANNOTATION_DOCUMENT><TIER", "<html/>", ""])
def test_damaged_files_of_elan_are_named(tmp_path, content):
    with pytest.raises(ValueError, match=r"a\.eaf is not a complete file of ELAN"):
        read(tmp_path / "a.eaf", content)


# --- Praat -------------------------------------------------------------------------------------------------------


def grid(path, tiers, form="long_textgrid"):
    whole = praatio.Textgrid()
    for name, entries in tiers.items():
        whole.addTier(praatio.IntervalTier(name, entries, 0, 10))
    whole.save(str(path), format=form, includeBlankSpaces=True)


@pytest.mark.parametrize("form", ["long_textgrid", "short_textgrid"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_praat(tmp_path, form, encoding):
    path = tmp_path / "a.TextGrid"
    tiers = {"phones": [(0, 1, "k")], "Sentence": [(0.5, 1.25, 'they said "ŋa"'), (2, 3, "sil"), (4, 5, "wai")]}
    grid(path, tiers, form)
    path.write_bytes(path.read_text("utf-8").encode(encoding))
    found = read_annotation(path, ())
    assert rows(found) == [(0.5, 1.25, 'they said "ŋa"', None), (4.0, 5.0, "wai", None)]
    assert found.tiers == ("Sentence",)


def test_binary_textgrids(tmp_path):
    def text(content):
        plain = content.encode("utf-16-be") if not content.isascii() else content.encode()
        return (b"\xff\xff" if not content.isascii() else b"") + struct.pack(">h", len(content)) + plain

    intervals = b"".join(struct.pack(">dd", *span) + text(label) for span, label in (((0, 1), "ŋa"), ((1, 2), "b")))
    tier = b"\x0cIntervalTier" + text("text") + struct.pack(">ddi", 0, 2, 2) + intervals
    points = b"\x08TextTier" + text("clicks") + struct.pack(">ddi", 0, 2, 1) + struct.pack(">d", 0.5) + text("x")
    content = b"ooBinaryFile\x08TextGrid" + struct.pack(">dd", 0, 2) + b"\x01" + struct.pack(">i", 2) + points + tier
    assert rows(read(tmp_path / "a.TextGrid", content)) == [(0.0, 1.0, "ŋa", None), (1.0, 2.0, "b", None)]
    with pytest.raises(ValueError, match=r"a\.TextGrid ends in the middle"):
        read(tmp_path / "a.TextGrid", content[:-3])


def test_words_of_an_aligner_become_utterances(tmp_path):
    words = [(0.2, 0.5, "one"), (0.5, 0.9, "two"), (2.0, 2.4, "three"), (2.4, 3.0, "<eps>"), (3.1, 3.4, "four")]
    grid(tmp_path / "a.TextGrid", {"Ana - words": words, "Ana - phones": [(0, 1, "w")]})
    found = read_annotation(tmp_path / "a.TextGrid", ())
    assert rows(found) == [(0.2, 0.9, "one two", "Ana"), (2.0, 3.4, "three four", "Ana")]


def test_long_utterances_of_words_are_divided_at_their_gaps():
    words = [Stretch(n, n + (0.6 if n == 31 else 0.9), f"w{n}") for n in range(60)]
    found = join_words(words)
    assert all(one.end - one.start <= 20 for one in found)
    assert " ".join(one.text for one in found) == " ".join(word.text for word in words)
    assert 31.6 in [one.end for one in found]


# --- other formats -----------------------------------------------------------------------------------------------


def test_audacity(tmp_path):
    content = "0.500000\t1.250000\tund so\n\\\t100.0\t200.0\n1,240000\t2,000000\t\n"
    assert rows(read(tmp_path / "a.txt", content)) == [(0.5, 1.25, "und so", None), (1.24, 2.0, "", None)]
    assert is_label_track(content)
    assert not is_label_track("1 2 three\n")
    assert not is_label_track("")


def test_subtitles(tmp_path):
    srt = (
        "1\r\n00:00:01,000 --> 00:01:02,500\r\n<i>Hello</i>\r\n{\\an8}you <3\r\n\r\n\r\n"
        "2\r\n01:00:00,1 --> 01:00:01,0\r\n\r\n"
    )
    assert rows(read(tmp_path / "a.srt", "\ufeff" + srt)) == [
        (1.0, 62.5, "Hello you <3", None),
        (3600.1, 3601.0, "", None),
    ]
    vtt = (
        "WEBVTT\n\nSTYLE\n::cue { }\n\nNOTE 00:00 --> x\n\nintro\n00:01.000 --> 00:02.000 align:start\n"
        "<v.loud Ana Maria>R&amp;B <00:01.500><c.x>it</c></v>\n"
    )
    assert rows(read(tmp_path / "a.vtt", vtt)) == [(1.0, 2.0, "R&B it", "Ana Maria")]
    with pytest.raises(ValueError, match="has no captions"):
        read(tmp_path / "a.srt", "hello\n")


def test_transcriber(tmp_path):
    xml = """<?xml version="1.0" encoding="ISO-8859-1"?>
<!DOCTYPE Trans SYSTEM "trans-14.dtd">
<Trans scribe="x" audio_filename="talk" version="1"><Speakers><Speaker id="s1" name="Inès"/><Speaker id="s2" name="B"/>
</Speakers><Episode><Section type="nontrans" startTime="0" endTime="1"><Turn startTime="0" endTime="1">jingle</Turn>
</Section>
<Section type="report" startTime="1" endTime="9"><Turn startTime="1" endTime="4" speaker="s1"><Sync time="1"/>
été <Event desc="rire" type="noise" extent="instantaneous"/> là
<Sync time="2.5"/>
oui</Turn><Turn startTime="4" endTime="5"><Sync time="4"/></Turn>
<Turn startTime="5" endTime="6" speaker="s1 s2"><Sync time="5"/><Who nb="1"/>non<Who nb="2"/>si</Turn>
</Section></Episode></Trans>"""
    found = read(tmp_path / "a.trs", xml, encoding="iso-8859-1")
    assert found.media == ("talk",)
    assert rows(found) == [(1.0, 2.5, "été [rire] là", "Inès"), (2.5, 4.0, "oui", "Inès"), (5.0, 6.0, "", None)]


def test_chat(tmp_path):
    content = (
        "@UTF8\n@Begin\n@Participants:\tCHI Target_Child\n@Media:\ttalk, audio\n"
        "*CHI:\t<the dog> [/] the dog (be)cause &-uh\n\twent@s:eng (.) xxx . \x150_1500\x15\n%mor:\tdet|the\n"
        "*MOT:\t+^ yes +... \x151490_2000\x15\n*MOT:\tno times .\n@End\n"
    )
    found = read(tmp_path / "a.cha", content)
    assert rows(found) == [
        (0.0, 1.5, "the dog [/] the dog because &-uh went xxx .", "CHI"),
        (1.49, 2.0, "yes", "MOT"),
    ]
    assert (found.media, found.num_ignored) == (("talk",), 1)
    with pytest.raises(ValueError, match="none of 1 utterances has times"):
        read(tmp_path / "b.cha", "@Begin\n*CHI:\thi .\n")


@pytest.mark.parametrize("name", ["a.srt", "a.vtt", "a.cha", "a.txt"])
def test_other_encodings_are_not_guessed(tmp_path, name):
    with pytest.raises(ValueError, match=r"expected UTF-8 text .*iconv"):
        read(tmp_path / name, "grüße", encoding="latin-1")


# --- in folders --------------------------------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"sound")


def test_annotations_beside_recordings_become_utterances(tmp_path):
    touch(tmp_path, "ana/one.wav", "ana/two.wav", "ana/three.WAV", "four.mp3")
    (tmp_path / "ana/one.TextGrid").write_bytes(b"")
    grid(tmp_path / "ana/one.TextGrid", {"text": [(0.5, 1.5, "nga"), (1.5, 2, "ti")]})
    (tmp_path / "ana/two.txt").write_text("0.1\t0.9\tzwei\n1.0\t1.0\tpoint\n2.0\t3.0\t\n")
    (tmp_path / "ana/three.TXT").write_text("drei\n")
    (tmp_path / "four.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nvier\n")
    found = read_folder(tmp_path)
    assert [(i.id, i.start, i.duration, i.text, i.speaker) for i in found.items] == [
        ("four-0001", 0.0, 1.0, "vier", None),
        ("ana/one-0001", 0.5, 1.0, "nga", "ana"),
        ("ana/one-0002", 1.5, 0.5, "ti", "ana"),
        ("ana/three", 0.0, None, "drei\n", "ana"),
        ("ana/two-0001", 0.1, 0.8, "zwei", "ana"),
        ("ana/two-0003", 2.0, 1.0, "", "ana"),
    ]
    assert [(row.id, row.reason) for row in found.excluded] == [("ana/two-0002", "no duration")]
    assert "1 x .srt, 1 x .textgrid, 1 x .txt; tiers: text (1)" in found.notes[0]
    assert not found.others


def test_annotations_elsewhere_are_found_by_name_or_by_the_recording_that_they_name(tmp_path):
    touch(tmp_path, "wav/one.wav", "wav/my talk.wav", "wav/rest.wav")
    (tmp_path / "elan").mkdir()
    field_notes(tmp_path / "elan/other name.eaf")
    grid(tmp_path / "elan/one.TextGrid", {"text": [(0.5, 1.5, "nga")]})
    (tmp_path / "elan/lost.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nx\n")
    found = read_folder(tmp_path)
    assert sorted({item.id for item in found.items}) == [
        *(f"wav/my talk-000{n}" for n in range(1, 7)),
        "wav/one-0001",
        "wav/rest",
    ]
    assert found.others == {".srt without a sound file": 1}


def test_a_text_beside_an_annotation_wins_unless_tiers_are_named(tmp_path):
    touch(tmp_path, "one.wav")
    (tmp_path / "one.txt").write_text("whole text")
    grid(tmp_path / "one.TextGrid", {"text": [(0.5, 1.5, "nga")], "words": [(0.5, 1.5, "nga")]})
    found = read_folder(tmp_path)
    assert [item.text for item in found.items] == ["whole text"]
    assert "1 recordings have both NAME.txt and an annotation" in found.notes[0]
    assert [item.text for item in read_folder(tmp_path, ["text"]).items] == ["nga"]


def test_recordings_whose_annotation_cannot_be_used_are_excluded_with_the_reason(tmp_path):
    touch(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "a.eaf").write_text("<broken")
    grid(tmp_path / "b.TextGrid", {"x": [(0.5, 1.5, "nga")], "y": [(0.5, 1.5, "nga")]})
    (tmp_path / "c.srt").write_bytes("1\n00:00:00,000 --> 00:00:01,000\ngrüße\n".encode("latin-1"))
    found = read_folder(tmp_path)
    assert [(row.id, row.reason) for row in found.excluded] == [
        ("a", "unreadable transcript"),
        ("b", "no transcript tier"),
        ("c", "unreadable transcript"),
    ]


# --- round trip --------------------------------------------------------------------------------------------------


@st.composite
def spoken(draw):
    """Draw words with times, some of them separated by pauses."""
    clock, words = 0.0, []
    for letters in draw(st.lists(st.text("abŋд한", min_size=1, max_size=8), min_size=1, max_size=25)):
        clock += draw(st.sampled_from([0.0, 0.1, 0.4, 1.2, 2.5]))
        start, clock = clock, clock + draw(st.floats(0.05, 0.6))
        words.append(Word(letters, start, clock))
    return Transcribed(" ".join(word.text for word in words), words, clock + 0.5, "talk.wav")


@settings(max_examples=50, deadline=None)
@given(transcribed=spoken())
@pytest.mark.parametrize("form", ["eaf", "TextGrid", "srt", "vtt", "audacity"])
def test_what_transcribe_writes_is_read_back(tmp_path_factory, form, transcribed):
    folder = tmp_path_factory.mktemp("round")
    touch(folder, "talk.wav")
    (folder / f"talk.{extension(form)}").write_text(render(transcribed, form), encoding="utf-8")
    items = read_folder(folder).items
    assert " ".join(item.text for item in items).split() == transcribed.text.split()
    words = list(transcribed.words)
    for item in items:  # each utterance begins and ends with one of its words
        first, *_ = mine = words[: len(item.text.split())]
        del words[: len(mine)]
        assert item.start == pytest.approx(first.start, abs=0.001)
        end = item.start + item.duration
        if form in ("srt", "vtt"):  # captions are shown for a second at least
            assert end >= mine[-1].end - 0.001
        else:
            assert end == pytest.approx(mine[-1].end, abs=0.001)
