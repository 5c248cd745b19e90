"""Transcripts on the disk: whole, versioned, read by `sori prepare`, kept with what others write."""

import itertools

import numpy as np
import pytest
import soundfile
from tests.serve.projects import untranscribed

from sori.data.manifest import read_manifest
from sori.data.preparation.prepare import prepare
from sori.data.sources.reading import Reading
from sori.inference.selection import Selected
from sori.inference.selection_files import table
from sori.serve.label_store import SKIPPED, TRANSCRIPTS, Label, LabelStore
from sori.serve.problems import Problem


@pytest.fixture(scope="module")
def utterances(prepared_tones, tmp_path_factory):
    return read_manifest(untranscribed(prepared_tones, tmp_path_factory.mktemp("open") / "p"))


@pytest.fixture
def store(utterances, tmp_path):
    return LabelStore(tmp_path, utterances)


def test_a_transcript_is_on_the_disk_when_change_returns_and_prepare_reads_it(store, utterances, tmp_path):
    texts = {u.id: f'la "naïve" ñandú {number}' for number, u in enumerate(utterances[:5])}
    for name, text in texts.items():
        assert store.change(name, text=f"  {text}\n", skipped=None, version=0) == Label(text, None, 1)
        again = LabelStore(tmp_path, utterances)
        assert again.label(name) == Label(text, None, 1)
    report = prepare(tmp_path / TRANSCRIPTS, tmp_path / "prepared", num_workers=1)
    found = read_manifest(tmp_path / "prepared")
    assert {u.id: u.text for u in found} == texts
    assert [(u.path, u.start, u.num_samples, u.speaker) for u in found] == [
        (u.path, u.start, u.num_samples, u.speaker) for u in utterances[:5]
    ]
    assert report is not None
    assert store.seconds_done() == pytest.approx(sum(u.duration_seconds for u in utterances[:5]))


def test_the_channel_of_an_utterance_is_kept(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "calls").mkdir()
    soundfile.write(tmp_path / "calls" / "call.wav", rng.normal(0, 0.1, (3 * 16_000, 2)), 16_000)
    prepare(tmp_path / "calls", tmp_path / "p", num_workers=1, reading=Reading(channels="separate"))
    utterances = read_manifest(tmp_path / "p")
    assert [u.channel for u in utterances] == [0, 1]
    store = LabelStore(tmp_path, utterances)
    texts = {u.id: f"words of {u.channel}" for u in utterances}
    for name, text in texts.items():
        store.change(name, text=text, skipped=None, version=0)
    prepare(tmp_path / TRANSCRIPTS, tmp_path / "again", num_workers=1)
    assert [(u.id, u.text, u.channel) for u in read_manifest(tmp_path / "again")] == [
        (u.id, texts[u.id], u.channel) for u in utterances
    ]
    lines = table([Selected(u, "chosen by chance", 0.0) for u in utterances]).splitlines()
    assert [line.split("\t")[-1] for line in lines] == ["channel_index", "0", "1"]


def test_a_change_from_an_old_version_is_refused_with_both_texts(store, utterances):
    name = utterances[0].id
    store.change(name, text="first", skipped=None, version=0)
    with pytest.raises(Problem) as caught:
        store.change(name, text="second", skipped=None, version=0)
    assert caught.value.status == 409
    assert caught.value.details == {"text": "first", "skipped": None, "version": 1}
    assert store.label(name).text == "first"
    assert store.change(name, text="third", skipped=None, version=1).version == 2


def test_skipping_and_opening_again(store, utterances, tmp_path):
    name = utterances[0].id
    store.change(name, text="words", skipped=None, version=0)
    store.change(name, text=None, skipped="no speech", version=1)
    assert name not in (tmp_path / TRANSCRIPTS).read_text()
    assert "no speech" in (tmp_path / SKIPPED).read_text()
    assert LabelStore(tmp_path, utterances).label(name) == Label(None, "no speech", 2)
    store.change(name, text=None, skipped=None, version=2)
    assert name not in (tmp_path / SKIPPED).read_text()
    assert store.label(name) == Label(None, None, 3)
    with pytest.raises(Problem, match="another window"):  # from before it was undone
        store.change(name, text="old", skipped=None, version=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n\t ", "empty"),
        ("a" * 2001, "at most"),
        ("bell \x07", "cannot be printed"),
        ("half \ud83d", "cannot be printed"),
        ("turned \u202e", "cannot be printed"),
    ],
)
def test_what_is_no_transcript_is_refused(store, utterances, text, message):
    with pytest.raises(Problem, match=message):
        store.change(utterances[0].id, text=text, skipped=None, version=0)


def test_unknown_utterances_and_reasons_are_refused(store, utterances):
    with pytest.raises(Problem, match="expected an utterance"):
        store.change("../../etc/passwd", text="a", skipped=None, version=0)
    with pytest.raises(Problem, match="expected a reason"):
        store.change(utterances[0].id, text=None, skipped="bored", version=0)
    with pytest.raises(Problem, match="got both"):
        store.change(utterances[0].id, text="a", skipped="other", version=0)


def test_what_another_program_has_changed_is_read_and_not_overwritten(store, utterances, tmp_path):
    one, other = utterances[0].id, utterances[1].id
    store.change(one, text="typed here", skipped=None, version=0)
    table = tmp_path / TRANSCRIPTS
    text = table.read_text().replace("typed here", "typed there").replace("version", "version\tnote", 1)
    lines = [line if line.startswith("id\t") else f"{line}\tseen" for line in text.splitlines()]
    lines.append("foreign\tx.wav\t0\t1\t\t\tof another corpus\t1\tkept")
    table.write_text("\n".join(lines) + "\n")
    assert store.label(one) == Label("typed there", None, 2)
    with pytest.raises(Problem, match="another window"):
        store.change(one, text="mine", skipped=None, version=1)
    store.change(other, text="second", skipped=None, version=0)
    kept = table.read_text()
    assert "typed there" in kept
    assert "of another corpus\t1\tkept" in kept
    assert "\tseen\n" in kept


def test_a_damaged_table_is_not_overwritten(store, utterances, tmp_path):
    store.change(utterances[0].id, text="typed", skipped=None, version=0)
    damaged = "id\ttext\nonly one field\n"
    (tmp_path / TRANSCRIPTS).write_text(damaged)
    for name, _ in itertools.product([u.id for u in utterances[:2]], range(2)):
        with pytest.raises(Problem, match="cannot be read"):
            store.change(name, text="more", skipped=None, version=0)
    assert (tmp_path / TRANSCRIPTS).read_text() == damaged
