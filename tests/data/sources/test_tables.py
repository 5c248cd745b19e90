"""Tables by RFC 4180, with the line of what breaks it; where the recordings of a table are looked for."""

import csv
import io
import random

import pytest

from sori.data.preparation.prepare import _read_all
from sori.data.sources.delimited import delimited_rows
from sori.data.sources.reading import Reading
from sori.data.sources.tables import read_table

NAMES = {"audio", "text", "path", "sentence", "speaker"}


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"sound")


def rows_of(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(delimited_rows(path, NAMES))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "^"])
def test_what_the_csv_module_writes_is_read_back(tmp_path, seed, separator):
    """Fields of every kind of character; the first lines of the rows are counted independently."""
    rng = random.Random(seed)
    rows = [["".join(rng.choices('ab",;\t|^\n \u2028', k=rng.randrange(9))) for _ in range(2)] for _ in range(30)]
    rows = [row for row in rows if any(row)]
    written = io.StringIO()
    writer = csv.writer(written, delimiter=separator, lineterminator=rng.choice(["\n", "\r\n"]))
    writer.writerow(["audio", "text"])
    expected = []
    for row in rows:
        expected.append((written.getvalue().count("\n") + 1, {"audio": row[0], "text": row[1]}))
        writer.writerow(row)
    assert rows_of(tmp_path / "t.csv", written.getvalue()) == expected


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('audio,text\na.wav,"hello\nb.wav,two\nc.wav,three\n', 2),
        ('audio,text\na.wav,x\nb.wav,"hello\nc.wav,"three"\nd.wav,four\n', 3),
        ('audio,text\na.wav,x\nb.wav,say "no"\n', 3),
        ('audio,text\na.wav,"no" he said\n', 2),
        ('audio,text\na.wav, "no, never"\n', 2),
        ('audio,"text\na.wav,x\n', 1),
        ('audio,text\na.wav,"two\nlines"\nb.wav,"x\n', 4),
    ],
)
def test_broken_quotation_names_the_line_where_it_opens(tmp_path, content, line):
    with pytest.raises(ValueError, match=rf"t\.csv, line {line}: expected a quotation mark around a whole field"):
        rows_of(tmp_path / "t.csv", content)


@pytest.mark.parametrize(("name", "separator"), [("t.csv", ","), ("t.tsv", "\t")])
def test_fields_may_be_long(tmp_path, name, separator):
    long = "a" * 200_000
    assert rows_of(tmp_path / name, f"audio{separator}text\nx{separator}{long}\n")[0][1]["text"] == long


def test_a_quotation_mark_that_is_never_closed_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("sori.data.sources.delimited.LONGEST_ROW", 1000)
    content = 'audio,text\na.wav,"hello\n' + "b.wav,two\n" * 1000 + 'c.wav,"\n'
    with pytest.raises(ValueError, match="line 2: expected a quotation mark"):
        rows_of(tmp_path / "t.csv", content)


@pytest.mark.parametrize(
    ("name", "header", "expected"),
    [
        ("t.csv", "audio;text, or what was said;speaker", ["audio", "text, or what was said", "speaker"]),
        ("t.csv", '"audio"|"text"', ["audio", "text"]),
        ("t.csv", "audio text speaker", ["audio", "text", "speaker"]),
        ("t.csv", "audio:text", ["audio", "text"]),
        ("t.tsv", "audio,text", ["audio", "text"]),
        ("t.tsv", "audio\tfree, text", ["audio", "free, text"]),
        ("t.csv", "my file,my words", ["my file", "my words"]),
        ("t.csv", "audio", ["audio"]),
    ],
)
def test_any_separator(tmp_path, name, header, expected):
    separator = next((mark for mark in "\t;|:" if mark in header), "," if "," in header else " ")
    ((_, row),) = rows_of(tmp_path / name, f"{header}\n{separator.join('x' for _ in expected)}\n")
    assert list(row) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("audio,text\na,é\n".encode("utf-16"), "iconv -f UTF-16"),
        ("audio,text\na,é\n".encode("utf-16-le"), "iconv -f UTF-16"),
        ("audio,text\na,b\nc,é\n".encode("latin-1"), "line 3, got byte 0xe9.*iconv -f WINDOWS-1252"),
        (b"audio,text\ra,b\r", "carriage returns alone"),
        (b"audio,text,text\na,b,c\n", "line 1: expected each column once, got text twice"),
        (b'audio,text\na,"b\nc"\nd\n', "line 4: expected 2 columns as in the first line, got 1"),
    ],
)
def test_encodings_and_rows_that_are_refused_name_the_place_and_the_cure(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        rows_of(tmp_path / "t.csv", content)


def test_rows_with_half_a_surrogate_pair_are_left_out_and_named(tmp_path):
    touch(tmp_path, "a.wav")
    rows = ['"text": "whole"', '"text": "nice \\ud83d"', '"id": "\\udc00"', '"note": "\\ud83d"']
    (tmp_path / "t.jsonl").write_text("".join(f'{{"audio": "a.wav", {row}}}\n' for row in rows))
    found = read_table(tmp_path / "t.jsonl")
    assert [item.text for item in found.items] == ["whole", None]
    assert [row.reason for row in found.excluded] == ["broken text"] * 2
    assert found.excluded[0].detail.startswith("t.jsonl, line 2: half of a surrogate pair (\\ud83d)")
    assert found.excluded[1].detail.startswith("t.jsonl, line 3: half of a surrogate pair (\\udc00)")
    str(found.excluded).encode()


def test_line_ends_within_texts_are_noted(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "t.csv").write_text('audio,text\na.wav,one\na.wav,"two\nthree"\n')
    assert "1 texts contain line ends, the first one in line 3" in read_table(tmp_path / "t.csv").notes[0]


@pytest.mark.parametrize("number", ["1e999", "1e308", "2e8", "-1", "nan", "1" * 400])
def test_times_that_are_no_seconds_are_refused(tmp_path, number):
    touch(tmp_path, "a.wav")
    (tmp_path / "t.jsonl").write_text(f'{{"audio": "a.wav", "start": {number if number != "nan" else "NaN"}}}\n')
    with pytest.raises(ValueError, match="line 1: expected start in seconds"):
        read_table(tmp_path / "t.jsonl")


def paths_of(table, root=None):
    return [item.path for item in read_table(table, audio_root=root).items]


@pytest.mark.parametrize("channel", ["-1", "1.0", "left", "99999", "²"])
def test_channels_that_are_no_numbers_from_0_are_refused(tmp_path, channel):
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "t.tsv").write_text(f"audio\tchannel_index\na.wav\t{channel}\n")
    with pytest.raises(ValueError, match=r"line 2: expected channel_index, a channel numbered from 0"):
        read_table(tmp_path / "t.tsv")
    (tmp_path / "t.tsv").write_text("audio\tchannel_index\na.wav\t1\na.wav\t\n")
    assert [item.channel for item in read_table(tmp_path / "t.tsv").items] == [1, None]


def test_recordings_lie_beside_the_table_or_below_the_root_or_are_found_by_name(tmp_path):
    table = tmp_path / "lists/t.csv"
    touch(tmp_path, "lists/a.wav", "sound/sub/b.flac", "sound/deep/er/c.mp3", "sound/cafe\u0301.ogg", "sound/d.wav")
    table.write_text("audio\na.wav\nsub/b.flac\nc.mp3\ncaf\u00e9.ogg\nwrong/d.wav\nc\nnone.wav\n", encoding="utf-8")
    root = tmp_path / "sound"
    assert paths_of(table, root) == [
        str(tmp_path / "lists/a.wav"),
        str(root / "sub/b.flac"),
        str(root / "deep/er/c.mp3"),
        str(root / "cafe\u0301.ogg"),
        str(root / "d.wav"),
        str(root / "deep/er/c.mp3"),
        str(tmp_path / "lists/none.wav"),
    ]


def test_the_folders_in_a_path_decide_between_files_of_one_name(tmp_path):
    touch(tmp_path, "r/anna/1.wav", "r/ben/1.wav", "r/ben/1.mp3", "r/x/ben/2.wav", "r/y/2.wav", "t/none")
    table = tmp_path / "t/t.csv"
    table.write_text("audio\nold/ben/1.wav\n/gone/anna/1.wav\nben/2.wav\n")
    assert paths_of(table, tmp_path / "r") == [
        str(tmp_path / "r" / name) for name in ("ben/1.wav", "anna/1.wav", "x/ben/2.wav")
    ]
    table.write_text("audio\n/gone/1.wav\n")
    with pytest.raises(ValueError, match=r"line 2: expected one file named '/gone/1\.wav' below .*, got 2"):
        read_table(table, audio_root=tmp_path / "r")


def test_without_a_root_the_folder_of_the_table_is_searched_if_no_file_is_there(tmp_path):
    touch(tmp_path, "clips/a.mp3", "clips/b.mp3")
    table = tmp_path / "validated.tsv"
    table.write_text("client_id\tpath\tsentence\nx\ta.mp3\tone\nx\tb.mp3\ttwo\n")
    assert paths_of(table) == [str(tmp_path / "clips/a.mp3"), str(tmp_path / "clips/b.mp3")]
    assert "found by their names below" in read_table(table).notes[0]
    with pytest.raises(ValueError, match=r"audio root, got .*none, which is not a folder"):
        read_table(table, audio_root=tmp_path / "none")


def test_equal_ids_are_renamed_in_linear_time(tmp_path):
    """Comparing every id with all of its name would take 5 * 10^7 steps."""
    touch(tmp_path, "a.wav")
    rows = "a.wav\t0\t1\n" * 10_000
    (tmp_path / "t.tsv").write_text("audio\tstart\tend\n" + rows)
    items = _read_all([str(tmp_path / "t.tsv")], Reading(), tmp_path / "out").items
    assert [items[n].id for n in (0, 1, 9_999)] == ["a", "a~2", "a~10000"]


def test_ids_are_unique_and_of_one_line(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "t.jsonl").write_text(
        "".join(f'{{"audio": "a.wav", "id": "{name}"}}\n' for name in ("a~2", "a", "a", "a\\tb", "a\\nb", "a\\u001bb"))
    )
    ids = [item.id for item in _read_all([str(tmp_path / "t.jsonl")], Reading(), tmp_path / "out").items]
    assert ids == ["a~2", "a", "a~3", "a_b", "a_b~2", "a_b~3"]
