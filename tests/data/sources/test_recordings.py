"""Folders and tables of recordings in the forms that users have them."""

import json
import os
import subprocess
import sys
import unicodedata

import pytest

from sori.data.sources.recordings import Item, read_folder
from sori.data.sources.tables import read_table


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"sound")


def test_a_folder_of_folders(tmp_path):
    touch(tmp_path, "b.WAV", "a.mp3", "anna/1.flac", "anna/2.opus", "anna/extra/3.ogg", "cover.jpg", "anna/list.txt")
    touch(tmp_path, ".hidden.wav", "anna/old.m4a")
    (tmp_path / "anna/1.txt").write_text("\ufeffgrüße\n", encoding="utf-8")
    found = read_folder(tmp_path)
    assert found.items == [
        Item("a", str(tmp_path / "a.mp3")),
        Item("b", str(tmp_path / "b.WAV")),
        Item("anna/1", str(tmp_path / "anna/1.flac"), text="grüße\n", speaker="anna"),
        Item("anna/2", str(tmp_path / "anna/2.opus"), speaker="anna"),
        Item("anna/old", str(tmp_path / "anna/old.m4a"), speaker="anna"),
        Item("anna/extra/3", str(tmp_path / "anna/extra/3.ogg"), speaker="extra"),
    ]
    assert found.excluded == []
    assert found.others == {".jpg": 1, ".txt": 1, "hidden": 1}


@pytest.mark.parametrize(
    ("place", "speaker"),
    [
        ("data", None),
        ("wavs", None),
        ("Train-Clean-5", None),
        ("anna/wav", "anna"),
        ("anna/wav48/test", "anna"),
        ("clips/bo", "bo"),
        ("wavell", "wavell"),
        ("data entry", "data entry"),
        ("17", "17"),
    ],
)
def test_folders_that_say_what_is_in_them_are_no_speakers(tmp_path, place, speaker):
    touch(tmp_path, f"{place}/a.wav")
    assert [item.speaker for item in read_folder(tmp_path).items] == [speaker]


def test_librispeech_folders(tmp_path):
    touch(tmp_path, "1089/134686/1089-134686-0000.flac", "1089/134686/1089-134686-0001.flac")
    lines = "1089-134686-0000 HE HOPED\n1089-134686-0001 STUFF IT\n1089-134686-0002 GONE\n"
    (tmp_path / "1089/134686/1089-134686.trans.txt").write_text(lines)
    found = read_folder(tmp_path)
    assert [(item.text, item.speaker) for item in found.items] == [("HE HOPED", "1089"), ("STUFF IT", "1089")]
    assert [(row.id, row.reason) for row in found.excluded] == [("1089-134686-0002", "missing")]
    assert not found.others


def test_a_transcript_in_another_encoding_is_not_guessed(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "a.txt").write_bytes("grüße".encode("latin-1"))
    found = read_folder(tmp_path)
    assert not found.items
    assert found.excluded[0].reason == "unreadable transcript"
    assert "iconv" in found.excluded[0].detail


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path, "real/a.wav")
    (tmp_path / "real/loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "real")
    assert [item.id for item in read_folder(tmp_path).items] == ["again/a"]


def test_names_that_are_not_utf8_are_listed(tmp_path):
    with open(bytes(tmp_path) + b"/caf\xe9.wav", "wb") as file:  # noqa: PTH123 - a name of bytes
        file.write(b"sound")
    found = read_folder(tmp_path)
    assert not found.items
    assert found.excluded[0].reason == "wrongly named"
    json.dumps(found.excluded[0], ensure_ascii=False).encode()


def test_a_table_in_the_folder_is_mentioned(tmp_path):
    touch(tmp_path, "a.wav", "manifest.jsonl")
    assert "manifest.jsonl was not used" in read_folder(tmp_path).notes[0]


ROWS = [
    {"audio": "a.wav", "text": "one, “two”", "speaker": 7, "language": "eng", "split": "train", "id": "x", "extra": {}},
    {"audio": "sub/b.wav", "text": None, "speaker": None, "duration": 2.5},
]


def test_json_lines(tmp_path):
    touch(tmp_path, "a.wav")
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    found = read_table(table)
    assert found.items == [
        Item("x", str(tmp_path / "a.wav"), 0.0, None, "one, “two”", "7", "eng", "train"),
        Item("sub/b", str(tmp_path / "sub/b.wav")),
    ]
    assert found.notes == ["t.jsonl: these columns were ignored: extra"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.tsv", 'Path\tSentence\tclient_id\nc.mp3\tShe said "no", twice\tab\n'),
        ("t.csv", 'filename,transcript,speaker_id\r\nc.mp3,"She said ""no"", twice",ab\r\n'),
        ("t.csv", 'file;text;speaker\nc.mp3;"She said ""no"", twice";ab\n'),
    ],
)
def test_separators_and_accepted_column_names(tmp_path, name, content):
    touch(tmp_path, "c.mp3")
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
    (item,) = read_table(tmp_path / name).items
    assert item == Item("c", str(tmp_path / "c.mp3"), text='She said "no", twice', speaker="ab")


def test_segments_of_files(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "t.csv").write_text("audio,start,end,duration\na.wav,1.5,4,9\na.wav,,,9\n")
    whole_and_part = [(item.start, item.duration) for item in read_table(tmp_path / "t.csv").items]
    assert whole_and_part == [(1.5, 2.5), (0.0, None)]
    (tmp_path / "t.csv").write_text("audio,start,duration\na.wav,1.5,4\n")
    assert read_table(tmp_path / "t.csv").items[0][2:4] == (1.5, 4.0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "t.tsv",
            "sound\ttext\na.wav\thi\n",
            r"no column for the sound file.*audio, path.*got the columns sound, text",
        ),
        ("t.tsv", "audio\ttext\na.wav\n", "line 2: expected 2 columns as in the first line, got 1"),
        ("t.csv", "audio,text\na.wav,hi, there\n", "separator .* inside an unquoted text"),
        ("t.csv", "audio\nb.wav\n", r"none of the 1 files .* exists; the first one was expected at .*b\.wav"),
        (
            "t.csv",
            "audio,start,end\na.wav,3,2\n",
            "line 2: expected start before end, in seconds, got a duration of -1 s",
        ),
        ("t.csv", "audio,start\na.wav,soon\n", "expected start in seconds, got 'soon'"),
        ("t.csv", "audio,text\n,hi\n", "line 2: expected a sound file, got an empty field"),
        ("t.csv", "", "has no rows"),
        ("t.jsonl", '{"audio": "a.wav"}\n{"audio": "a.wav"\n', "line 2 is not JSON"),
        ("t.jsonl", "[1]\n", r"line 1: expected an object such as .* got '\[1\]'"),
        ("t.jsonl", '{"audio": "a.wav", "text": 3}\n', "line 1: expected text or null, got 3"),
        ("t.jsonl", '{"audio": "a.wav", "speaker": [1]}\n', "line 1: expected a name as speaker"),
    ],
)
def test_tables_that_cannot_be_read_say_why(tmp_path, name, content, message):
    touch(tmp_path, "a.wav")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_table(tmp_path / name)


def test_a_table_in_another_encoding_is_not_guessed(tmp_path):
    (tmp_path / "t.csv").write_bytes("audio,text\na.wav,grüße\n".encode("latin-1"))
    with pytest.raises(ValueError, match="line 2, got byte 0xfc"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(("sound", "text"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("suffix", [".txt", ".TXT"])
def test_a_transcript_is_found_in_either_form_of_a_name(tmp_path, sound, text, suffix):
    sound, text = (unicodedata.normalize(form, "café") for form in (sound, text))
    touch(tmp_path, f"{sound}.wav")
    (tmp_path / f"{text}{suffix}").write_text("un café", encoding="utf-8")
    found = read_folder(tmp_path)
    assert [item.text for item in found.items] == ["un café"]
    assert not found.others


@pytest.mark.parametrize(("disk", "listed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_table_names_files_in_either_form(tmp_path, disk, listed):
    disk, listed = (unicodedata.normalize(form, "été/café.wav") for form in (disk, listed))
    touch(tmp_path, disk)
    (tmp_path / "t.tsv").write_text(f"path\ttext\n{listed}\thello\n", encoding="utf-8")
    assert [item.path for item in read_table(tmp_path / "t.tsv").items] == [str(tmp_path / disk)]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1251"])
def test_a_transcript_in_another_encoding_is_named_with_the_cure(tmp_path, encoding):
    touch(tmp_path, "a.wav")
    (tmp_path / "a.txt").write_text("привет мир", encoding=encoding)
    (row,) = read_folder(tmp_path).excluded
    assert row.reason == "unreadable transcript"
    assert "iconv -f" in row.detail
    assert ("UTF-16" in row.detail) == (encoding != "cp1251")


@pytest.mark.parametrize(
    ("name", "locale", "message"),
    [
        (b"\xe9.wav", "C.UTF-8", "the file name is not UTF-8; rename it"),
        (b"\xe9.wav", "C", "the file name is not UTF-8; rename it"),
        ("é.wav".encode(), "C", "its name has characters that the locale (ascii) lacks"),
    ],
)
def test_a_name_that_cannot_be_used_is_told_from_a_locale_that_lacks_its_characters(name, locale, message, tmp_path):
    (tmp_path / os.fsdecode(name)).write_bytes(b"sound")
    program = "import sys; from sori.data.sources.recordings import *; print(read_folder(Path('.')).excluded)"
    settings = os.environ | {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=settings, capture_output=True, text=True, check=True
    )
    assert message in found.stdout
