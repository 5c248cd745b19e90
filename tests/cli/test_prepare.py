"""Options of `sori prepare` about layouts, annotations and moved folders."""

import shutil
from pathlib import Path

from sori.data.manifest import read_manifest


def recording_with_captions(tone_corpus):
    Path("in").mkdir()
    shutil.copy(min((tone_corpus / "audio/anna").glob("*.wav")), "in/a.wav")
    Path("in/a.srt").write_text(
        "1\n00:00:00,000 --> 00:00:00,500\n[laughs] one\n\n2\n00:00:00,500 --> 00:00:01,000\ntwo\n"
    )


def test_annotations_and_rules(call, tone_corpus):
    recording_with_captions(tone_corpus)
    Path("rules.toml").write_text('[[rule]]\nname = "b"\npattern = "\\\\[laughs\\\\]"\naction = "untranscribed"\n')
    assert call("prepare", "in", "one", "--num-workers", 1)[0] == 0
    assert [u.text for u in read_manifest(Path("one"))] == ["one", "two"]
    options = ["--transcript-rules", "rules.toml", "--layout", "folder", "--tier", "A", "--tier", "B"]
    code, _, err = call("prepare", "--num-workers", 1, *options, "in", "two")
    assert code == 0, err
    assert [u.text for u in read_manifest(Path("two"))] == [None, "two"]
    code, _, err = call("prepare", "in", "three", "--layout", "comon_voice")
    assert code == 2
    assert "expected a layout of folder, common_voice" in err


def test_check_lists_missing_recordings(call, tone_corpus):
    recording_with_captions(tone_corpus)
    assert call("prepare", "in", "out", "--num-workers", 1)[0] == 0
    code, out, _ = call("prepare", "--check", "out")
    assert (code, out) == (0, "out: 2 utterances in 1 files; all files exist\n")
    Path("in/a.wav").unlink()
    code, out, _ = call("prepare", "--check", "out")
    assert code == 1
    assert "1 files with 2 utterances are missing" in out
    assert str(Path("in/a.wav").absolute()) in out
