"""Folders in the layouts of public corpora and toolkits, each built here in its true form."""

import json

import pytest
from pympi.Elan import Eaf

from sori.data.sources.layouts.choose import LAYOUTS, NAMES, find_layout, read_json, read_layout
from sori.data.sources.recordings import Item


def write(folder, **files):
    """Write files whose names are given with `__` for `/`, and empty sound files for lists of names."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def touch(folder, *names):
    write(folder, **dict.fromkeys(names, b"sound"))


def read(folder, expected, extract_into=None):
    layout = find_layout(folder, None)
    assert layout is not None
    assert layout.name == expected
    found = read_layout(folder, layout, extract_into or folder / "out")
    assert found.notes[0] == f"{folder}: read as {layout.title} (--layout {layout.name})"
    return found


def facts(found):
    return [(i.id, i.text, i.speaker, i.language, i.split, i.is_official) for i in found.items]


def reasons(found):
    return [(row.id, row.reason) for row in found.excluded]


CV = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tvariant\tlocale\tsegment\n"


def cv_row(speaker, clip, sentence, locale):
    return f"{speaker}\t{clip}\t{sentence}\t2\t0\t\t\t\t\t{locale}\t\n"


def test_common_voice_one_language_with_official_sets(tmp_path):
    folder = tmp_path / "sv-SE"
    touch(folder, *(f"clips/c{n}.mp3" for n in range(1, 8)))
    rows = {n: cv_row(f"s{n}", f"c{n}.mp3", f'"mening {n}', "sv-SE") for n in range(1, 8)}
    write(
        folder,
        **{
            "train.tsv": CV + rows[1],
            "dev.tsv": CV + rows[2],
            "test.tsv": CV + rows[3],
            "validated.tsv": CV + rows[1] + rows[2] + rows[3] + rows[4],
            "other.tsv": CV + rows[5],
            "invalidated.tsv": CV + rows[6],
            "reported.tsv": "sentence\treason\n",
        },
    )
    found = read(folder, "common_voice")
    assert facts(found) == [
        ("c1", '"mening 1', "s1", "swe", "train", False),
        ("c2", '"mening 2', "s2", "swe", "dev", True),
        ("c3", '"mening 3', "s3", "swe", "test", True),
        ("c4", '"mening 4', "s4", "swe", "validated", False),
        ("c5", '"mening 5', "s5", "swe", "other", False),
        ("c6", None, "s6", "swe", "invalidated", False),
        ("c7", None, None, "swe", None, False),
    ]
    assert found.items[0].path == str(folder / "clips/c1.mp3")
    assert found.notes[1:] == ["1 clips are in no table of Common Voice and untranscribed"]


def test_common_voice_a_release_with_several_languages_and_old_tables(tmp_path):
    release = tmp_path / "cv-corpus-1"
    for language in ("zh-HK", "cnh"):
        touch(release / language, f"clips/common_voice_{language}_1.mp3")
        header = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\n"  # no locale
        row = f"ab\tcommon_voice_{language}_1\ttext\t2\t0\t\t\t\n"  # no suffix
        write(release / language, **{"validated.tsv": "\ufeff" + header + row})
    assert facts(read(tmp_path, "common_voice")) == [
        ("common_voice_cnh_1", "text", "ab", "cnh", "train", False),
        ("common_voice_zh-HK_1", "text", "ab", "yue", "train", False),
    ]


def test_common_voice_delta_segments_without_validated_clips(tmp_path):
    touch(tmp_path, "cv-delta/th/clips/c1.mp3")
    write(tmp_path, **{f"cv-delta/th/{name}.tsv": CV for name in ("validated", "invalidated")})
    write(tmp_path, **{"cv-delta/th/other.tsv": CV + cv_row("s", "c1.mp3", "ฝันดี", "th")})
    found = read(tmp_path, "common_voice")
    assert facts(found) == [("c1", "ฝันดี", "s", "tha", "other", False)]
    assert len(found.notes) == 1  # nothing about validated clips


def test_common_voice_tables_that_were_edited_are_refused_with_the_line(tmp_path):
    touch(tmp_path, "clips/c1.mp3")
    write(tmp_path, **{"validated.tsv": CV + cv_row("s", "c1.mp3", "a\tb", "en").rstrip("\n") + "\tx\n"})
    with pytest.raises(ValueError, match=r"validated.tsv, line 2: expected 11 columns"):
        read(tmp_path, "common_voice")


def test_common_voice_mini_as_one_folder(data_dir):
    found = read(data_dir / "common-voice-mini", "common_voice")
    assert len(found.items) == 118
    for item in found.items:
        assert item.text
        assert item.speaker
        assert len(item.language) == 3
        assert item.split == "train"
    assert len({item.id for item in found.items}) == 118
    assert not found.excluded
    assert found.notes[1:] == [
        "no train.tsv, dev.tsv or test.tsv for ab, ar, as, br, ca, ...: validated clips are `train`"
    ]


@pytest.mark.parametrize("top", ["", "LibriSpeech/", "download/LibriSpeech/"])
def test_librispeech(tmp_path, top):
    for part in ("test-clean", "dev-other", "train-clean-5"):
        place = f"{top}{part}/1089/134686/"
        touch(tmp_path, f"{place}1089-134686-0000.flac", f"{place}1089-134686-0001.flac")
        write(tmp_path, **{f"{place}1089-134686.trans.txt": "1089-134686-0000 HE HOPED\n1089-134686-0002 GONE\n"})
    found = read(tmp_path, "librispeech")
    assert [row[1:] for row in facts(found)] == [
        (text, "1089", "eng", split, split != "train")
        for split in ("dev", "test", "train")
        for text in ("HE HOPED", None)
    ]
    assert reasons(found) == [("1089-134686-0002", "missing")] * 3
    alone = read(tmp_path / top / "test-clean", "librispeech")
    assert [item.split for item in alone.items] == ["test", "test"]


def test_parts_of_librispeech_of_the_same_kind_keep_their_names(tmp_path):
    for part in ("test-clean", "test-other"):
        touch(tmp_path, f"{part}/1/2/1-2-0000.flac")
        write(tmp_path, **{f"{part}/1/2/1-2.trans.txt": "1-2-0000 A\n"})
    assert [(i.split, i.is_official) for i in read(tmp_path, "librispeech").items] == [
        ("test-clean", True),
        ("test-other", True),
    ]


@pytest.mark.parametrize(("name", "suffix"), [("mls_polish", "flac"), ("mls_polish_opus", "opus")])
def test_mls(tmp_path, name, suffix):
    for split in ("train", "test"):
        touch(tmp_path, f"{name}/{split}/audio/6892/10350/6892_10350_000000.{suffix}")
        lines = "6892_10350_000000\tbył to\n6892_10350_000001\tnie ma\n"
        write(tmp_path, **{f"{name}/{split}/transcripts.txt": lines})
    write(tmp_path, **{f"{name}/metainfo.txt": "SPEAKER | GENDER\n"})
    for folder in (tmp_path, tmp_path / name):
        found = read(folder, "mls")
        assert facts(found) == [
            ("6892_10350_000000", "był to", "6892", "pol", "train", False),
            ("6892_10350_000000", "był to", "6892", "pol", "test", True),
        ]
        assert reasons(found) == [("6892_10350_000001", "missing")] * 2


def test_ljspeech_prefers_the_spoken_form(tmp_path):
    touch(tmp_path, "wavs/LJ001-0001.wav", "wavs/LJ001-0002.wav", "wavs/LJ001-0003.wav")
    text = 'LJ001-0001|in 1455, "so"|in fourteen fifty-five, "so"\nLJ001-0002|plain|\nLJ001-0009|gone|gone\n'
    write(tmp_path, **{"metadata.csv": text, "README": "x"})
    found = read(tmp_path, "ljspeech")
    assert facts(found) == [
        ("LJ001-0001", 'in fourteen fifty-five, "so"', "LJ", "eng", None, False),
        ("LJ001-0002", "plain", "LJ", "eng", None, False),
        ("LJ001-0003", None, "LJ", "eng", None, False),
    ]
    assert reasons(found) == [("LJ001-0009", "missing")]


def test_corpora_in_the_form_of_ljspeech_with_two_columns_and_a_header(tmp_path):
    touch(tmp_path, "wavs/a.wav")
    write(tmp_path, **{"metadata.csv": "file_name|text\na.wav|hallo\n"})
    assert facts(read(tmp_path, "ljspeech")) == [("a", "hallo", None, None, None, False)]


@pytest.mark.parametrize(
    ("audio", "ends"), [("wav48", [".wav"]), ("wav48_silence_trimmed", ["_mic1.flac", "_mic2.flac"])]
)
def test_vctk(tmp_path, audio, ends):
    touch(tmp_path, *(f"VCTK-Corpus/{audio}/{s}/{s}_001{end}" for s in ("p225", "p315") for end in ends))
    write(
        tmp_path, **{"VCTK-Corpus/txt/p225/p225_001.txt": "Please call Stella.\n", "VCTK-Corpus/speaker-info.txt": ""}
    )
    found = read(tmp_path, "vctk")
    assert facts(found) == [
        ("p225_001", "Please call Stella.\n", "p225", "eng", None, False),
        ("p315_001", None, "p315", "eng", None, False),
    ]
    assert [item.path.endswith(ends[0]) for item in found.items] == [True, True]


@pytest.mark.parametrize("by_lhotse", [False, True])
def test_fleurs(tmp_path, by_lhotse):
    row = "12\t123456789.wav\tDas ist's, 5!\tdas ist's 5\td a s | i s t s | 5 |\t16000\tMALE\n"
    for language, code in (("de_de", "deu"), ("cmn_hans_cn", "cmn")):
        for split in ("train", "dev", "test"):
            audio = f"{language}/{split}" if by_lhotse else f"{language}/audio/{split}"
            table = f"metadata/{language}/{split}.tsv" if by_lhotse else f"{language}/{split}.tsv"
            touch(tmp_path / code, f"{audio}/123456789.wav", f"{audio}/5.wav")
            write(tmp_path / code, **{table: row})
        expected = [
            (name, text, None, code, split, split != "train")
            for split in ("train", "dev", "test")
            for name, text in (("123456789", "das ist's 5"), ("5", None))
        ]
        assert facts(read(tmp_path / code, "fleurs")) == expected


def test_voxforge(tmp_path):
    for name in ("ralf-20080401-abc", "anonymous-20090101-xyz"):
        touch(tmp_path, f"{name}/wav/de1-01.wav", f"{name}/wav/de1-02.wav")
        write(
            tmp_path,
            **{
                f"{name}/etc/PROMPTS": f"{name}/mfc/de1-01 GUTEN TAG\n{name}/mfc/de1-09 WEG\n",
                f"{name}/etc/README": "User Name:x\n\nSpeaker Characteristics:\n\nLanguage: DE\n",
            },
        )
    found = read(tmp_path, "voxforge")
    assert facts(found) == [
        (f"{name}/{key}", text, speaker, "deu", None, False)
        for name, speaker in (
            ("anonymous-20090101-xyz", "anonymous-20090101-xyz"),
            ("ralf-20080401-abc", "ralf"),
        )
        for key, text in (("de1-01", "GUTEN TAG"), ("de1-02", None))
    ]
    assert [reason for _, reason in reasons(found)] == ["missing"] * 2


@pytest.mark.parametrize("upper", [True, False])
def test_timit(tmp_path, upper):
    names = {
        "data/TRAIN/DR1/FCJF0/SA1": "0 46797 She had your dark suit.\n",
        "data/TEST/DR1/FAKS0/SI1573": "0 50000 His captain was thin.\n",
        "data/TEST/DR1/FELC0/SX36": "0 40000 Will you please?\n",
        "data/TEST/DR1/MREB0/SX25": "0 40000 Pick up.\n",
        "data/TEST/DR1/MSJS1/SX369": "0 40000 That stinging.\n",
    }
    for name, text in names.items():
        case = str.upper if upper else str.lower
        touch(tmp_path, case(f"{name}.WAV"))
        write(tmp_path, **{case(f"{name}.TXT"): text, case(f"{name}.PHN"): "0 1 h#\n"})
    found = read(tmp_path, "timit")
    assert sorted((i.id.upper(), i.text.strip(), i.speaker.upper(), i.split) for i in found.items) == [
        ("FAKS0-SI1573", "His captain was thin.", "FAKS0", "dev"),
        ("FCJF0-SA1", "She had your dark suit.", "FCJF0", "train"),
        ("FELC0-SX36", "Will you please?", "FELC0", "test"),
        ("MREB0-SX25", "Pick up.", "MREB0", "dev"),
        ("MSJS1-SX369", "That stinging.", "MSJS1", "test-rest"),
    ]
    assert {item.language for item in found.items} == {"eng"}


def test_kaldi_data_folders_of_a_recipe(tmp_path):
    touch(tmp_path, "downloads/a.wav", "downloads/b c.wav")
    write(
        tmp_path,
        **{
            "data/train/wav.scp": "rec1 downloads/a.wav\nrec2 sph2pipe -f wav x.sph |\nrec3 /x/raw.ark:123\n",
            "data/train/segments": "u1 rec1 0.5 1.25\nu2 rec1 1.2 -1\nu3 rec2 0 1\nu4 rec3 0 1\nu5 rec9 0 1\n",
            "data/train/text": "u1 eins  zwei\nu2\n",
            "data/train/utt2spk": "u1 anna\nu2 ben\n",
            "data/train/utt2lang": "u1 de\n",
            "data/test/wav.scp": "t1 downloads/b c.wav\n",
            "data/test/text": "t1 drei\n",
        },
    )
    found = read(tmp_path, "kaldi")
    assert found.items == [
        Item("t1", str(tmp_path / "downloads/b c.wav"), text="drei", split="test", is_official=True),
        Item("u1", str(tmp_path / "downloads/a.wav"), 0.5, 0.75, "eins  zwei", "anna", "deu", "train"),
        Item("u2", str(tmp_path / "downloads/a.wav"), 1.2, None, "", "ben", None, "train"),
    ]
    assert reasons(found) == [("u3", "unsupported format"), ("u4", "unsupported format"), ("u5", "missing")]
    assert "sori runs no commands" in found.excluded[0].detail


@pytest.mark.parametrize("line", ["u1 rec1 0.5", "u1 rec1 one 2", "u1 rec1 2 1", "u1 rec1 -1 1", "u1 rec1 0 nan"])
def test_broken_segments_of_kaldi_are_refused_with_the_line(tmp_path, line):
    write(tmp_path, **{"wav.scp": "rec1 a.wav\n", "segments": f"u0 rec1 0 1\n{line}\n"})
    with pytest.raises(ValueError, match="segments, line 2: expected"):
        read(tmp_path, "kaldi")


def test_nemo_manifests(tmp_path):
    rows = [
        {"audio_filepath": "wavs/a.wav", "duration": 3.0, "text": "hello", "speaker": 3, "lang": "eng"},
        {"audio_filepath": str(tmp_path / "wavs/b.wav"), "duration": 1.5, "offset": 2.0, "text": "", "label": "x"},
    ]
    write(tmp_path, **{"train_manifest.json": "".join(json.dumps(row) + "\n" for row in rows)})
    expected = [
        Item("a", str(tmp_path / "wavs/a.wav"), 0.0, None, "hello", "3", "eng", "train"),
        Item("b", str(tmp_path / "wavs/b.wav"), 2.0, 1.5, "", None, None, "train"),
    ]
    assert read(tmp_path, "nemo").items == expected
    assert read_json(tmp_path / "train_manifest.json").items == expected


def test_espnet_json_refuses_features_with_the_reason(tmp_path):
    utterances = {
        "u1": {"input": [{"feat": "a.wav"}], "output": [{"text": "HI", "tokenid": "1 2"}], "utt2spk": "x"},
        "u2": {"input": [{"feat": "/d/feats.1.ark:12"}], "output": [{"text": "HO"}], "utt2spk": "x"},
    }
    write(tmp_path, **{"dump/test/data.json": json.dumps({"utts": utterances}, indent=4)})
    found = read_layout(tmp_path / "dump", find_layout(tmp_path / "dump", None), tmp_path)
    assert facts(found) == [("u1", "HI", "x", None, "test", True)]
    assert reasons(found) == [("u2", "unsupported format")]
    assert read_json(tmp_path / "dump/test/data.json").items == found.items


@pytest.mark.parametrize("name", ["a.json", "b.json"])
def test_other_json_files_are_refused(tmp_path, name):
    write(tmp_path, **{name: '{"a": 1}\n' if name == "a.json" else "[1,\n2]"})
    with pytest.raises(ValueError, match=r"expected a manifest of NeMo or a data\.json of ESPnet"):
        read_json(tmp_path / name)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_hugging_face_audiofolder(tmp_path, name):
    for split in ("train", "validation"):
        touch(tmp_path, f"{split}/one.wav")
        row = {"file_name": "one.wav", "transcription": "hello, you", "speaker_id": "7"}
        table = (
            json.dumps(row) + "\n"
            if name.endswith("l")
            else 'file_name,transcription,speaker_id\none.wav,"hello, you",7\n'
        )
        write(tmp_path, **{f"{split}/{name}": table})
    assert facts(read(tmp_path, "audiofolder")) == [
        ("one", "hello, you", "7", None, "train", False),
        ("one", "hello, you", "7", None, "dev", True),
    ]


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_hugging_face_datasets_with_embedded_sound(tmp_path, kind):
    pyarrow = pytest.importorskip("pyarrow", reason="could not import pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    sound = b"fLaC" + bytes(100)
    table = pyarrow.table(
        {
            "audio": [{"bytes": sound, "path": "first.flac"}, {"bytes": None, "path": None}],
            "sentence": ["eins", "zwei"],
            "speaker_id": [3, 4],
        }
    )
    folder, into = tmp_path / "set", tmp_path / "into"
    if kind == "parquet":
        (folder / "data").mkdir(parents=True)
        parquet.write_table(table, folder / "data/test-00000-of-00001.parquet")
        shard = "test-00000-of-00001"
    else:
        (folder / "test").mkdir(parents=True)
        write(folder, **{"dataset_dict.json": '{"splits": ["test"]}'})
        with pyarrow.ipc.new_stream(str(folder / "test/data-00000-of-00001.arrow"), table.schema) as writer:
            writer.write_table(table)
        shard = "data-00000-of-00001"
    found = read(folder, "audiofolder", into)
    path = into / f"test/{shard}-000000.flac"
    assert found.items == [Item("first", str(path), 0.0, None, "eins", "3", None, "test", is_official=True)]
    assert path.read_bytes() == sound
    assert reasons(found) == [(f"{shard}-000001", "missing")]
    (tmp_path / "set2").mkdir()
    write(tmp_path, **{"set2/broken.parquet": "PAR1"})
    with pytest.raises(ValueError, match="damaged or not a dataset"):
        read(tmp_path / "set2", "audiofolder")


def test_free_st_chinese_mandarin(tmp_path):
    top = "ST-CMDS-20170001_1-OS/20170001P00001A0001"
    touch(tmp_path, f"{top}.wav")
    write(tmp_path, **{f"{top}.txt": "你好", f"{top}.metadata": "SEX M\n"})
    assert facts(read(tmp_path, "st_cmds")) == [("20170001P00001A0001", "你好", "P00001A", "cmn", None, False)]


def test_saymore(tmp_path):
    session = "Sessions/ETR009/ETR009_Source.wav"
    touch(
        tmp_path,
        session,
        f"{session}_Annotations/0_to_1.5_Careful.wav",
        "Sessions/two/two.mp3",
        "People/A/A_Consent.wav",
    )
    eaf = Eaf()
    eaf.add_linguistic_type("Transcription")
    eaf.add_linguistic_type("Translation", "Symbolic_Association", timealignable=False)
    eaf.add_tier("Transcription", "Transcription")
    eaf.add_tier("Phrase Free Translation", "Translation", parent="Transcription")
    for start, text in ((0, "dabali"), (1500, "%ignore%"), (2000, "")):
        eaf.add_annotation("Transcription", start, start + 500, text)
    eaf.to_file(str(tmp_path / f"{session}.annotations.eaf"))
    write(
        tmp_path,
        **{
            "Edolo.sprj": "<Project><VernacularISO3CodeAndName>etr: Edolo</VernacularISO3CodeAndName></Project>",
            "Sessions/ETR009/ETR009.session": "<Session><participants>Awi Heole</participants></Session>",
            "Sessions/two/two.session": "<Session><participants>A; B</participants></Session>",
        },
    )
    found = read(tmp_path, "saymore")
    assert facts(found) == [
        ("ETR009/ETR009_Source-0001", "dabali", "Awi Heole", "etr", None, False),
        ("ETR009/ETR009_Source-0002", "", "Awi Heole", "etr", None, False),
        ("two/two", None, None, "etr", None, False),
    ]
    assert any("1 oral annotations were not used" in note for note in found.notes)


def test_zeroth_and_other_lists_of_transcripts(tmp_path):
    for part in ("train_data_01", "test_data_01"):
        speaker = "106" if part.startswith("train") else "105"
        place = f"{part}/003/{speaker}/{speaker}_003"
        touch(tmp_path, f"{place}_0001.flac", f"{place}_0002.flac")
        lines = f"{speaker}_003_0001 안녕 하세요\n{speaker}_003_0002 네\n"
        write(tmp_path, **{f"{place}.trans.txt": lines})
    write(tmp_path, AUDIO_INFO="SPEAKERID|NAME\n105|x\n")
    assert facts(read(tmp_path, "transcript_lists")) == [
        ("105_003_0001", "안녕 하세요", "105", None, "test", True),
        ("105_003_0002", "네", "105", None, "test", True),
        ("106_003_0001", "안녕 하세요", "106", None, "train", False),
        ("106_003_0002", "네", "106", None, "train", False),
    ]


def test_one_list_at_the_top_with_paths(tmp_path):
    touch(tmp_path, "wav/S1/a1.wav", "wav/S2/a2.wav", "wav/S2/a3.wav")
    write(tmp_path, **{"transcript.txt": "wav/S1/a1.wav\teins\nwav/S2/a2.wav\tzwei\n", "wav/S2/a3.TXT": "drei"})
    found = read(tmp_path, "transcript_lists")
    assert [row[:3] for row in facts(found)] == [("a1", "eins", "S1"), ("a2", "zwei", "S2"), ("a3", "drei", "S2")]


@pytest.mark.parametrize("suffix", ["transcription", "trn"])
def test_an4_and_other_lists_with_the_name_after_the_text(tmp_path, suffix):
    touch(tmp_path, "wav/an4_clstk/fash/an251-fash-b.wav", "wav/an4test_clstk/fcaw/an406-fcaw-b.wav")
    lists = {
        f"etc/an4_train.{suffix}": "<s> YES </s> (an251-fash-b)\n",
        f"etc/an4_test.{suffix}": "RUBOUT G (M) THREE (an406-fcaw-b)\n",
        f"etc/an4_test.{suffix}253239": "RUBOUT G M THREE (fcaw-AN406-FCAW-B)\n",
    }
    write(tmp_path, **lists)
    assert facts(read(tmp_path, "transcript_lists")) == [
        ("an251-fash-b", "YES", "fash", None, "train", False),
        ("an406-fcaw-b", "RUBOUT G (M) THREE", "fcaw", None, "test", True),
    ]


def test_remarks_in_parentheses_at_the_end_of_a_line_are_no_names(tmp_path):
    touch(tmp_path, "wav/a1.wav", "wav/a2.wav", "wav/laughs.wav")
    write(tmp_path, **{"transcript.txt": "a1 yes (laughs)\na2 no\n"})
    assert [row[:3] for row in facts(read(tmp_path, "transcript_lists"))] == [
        ("a1", "yes (laughs)", None),
        ("a2", "no", None),
        ("laughs", None, None),
    ]


def test_speech_accent_archive(tmp_path):
    touch(tmp_path, "english1.mp3", "folder1/zulu3.mp3", "folder1/new.mp3")
    rows = (
        "27,x,english1,english,1,FALSE,",
        "30,y,zulu3,zulu,7,FALSE,",
        ",,zulu9,zulu,8,TRUE,",
        ",,dari1,dari,9,FALSE,",
    )
    header = "age,birthplace,filename,native_language,speakerid,file_missing?,"
    write(tmp_path, **{"speakers_all.csv": "\n".join([header, *rows])})
    found = read(tmp_path, "speech_accent_archive")
    assert facts(found) == [
        ("english1", None, "1", "eng", None, False),
        ("new", None, "new", "eng", None, False),
        ("zulu3", None, "7", "eng", None, False),
    ]
    assert reasons(found) == [("dari1", "missing")]
    assert "1 speakers of speakers_all.csv have no recording, as the table says" in found.notes


def test_plain_folders_are_not_taken_for_a_corpus(tmp_path):
    touch(tmp_path, "anna/one.wav", "anna/two.wav")
    write(tmp_path, **{"anna/one.txt": "hello there", "transcripts.txt": "a letter to everyone\nand more\n"})
    assert find_layout(tmp_path, None) is None


def test_the_layout_can_be_chosen(tmp_path):
    touch(tmp_path, "clips/c1.mp3", "unlisted/x.wav")
    write(tmp_path, **{"validated.tsv": CV + cv_row("s", "c1.mp3", "a", "en")})
    assert find_layout(tmp_path, "folder") is None
    assert find_layout(tmp_path, "kaldi") is next(layout for layout in LAYOUTS if layout.name == "kaldi")
    with pytest.raises(ValueError, match="is not in the layout kaldi"):
        read_layout(tmp_path, find_layout(tmp_path, "kaldi"), tmp_path)
    with pytest.raises(ValueError, match=r"expected a layout of folder, common_voice, .* got 'nosuch'"):
        find_layout(tmp_path, "nosuch")
    notes = read(tmp_path, "common_voice").notes
    assert "1 sound files do not belong to this layout" in notes[-1]
    assert str(tmp_path / "unlisted/x.wav") in notes[-1]
    assert len(set(NAMES)) == len(LAYOUTS) + 1
