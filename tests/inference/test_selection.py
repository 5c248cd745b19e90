"""`sori select`, from prepared folders to the table and annotation files, and back."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from praatio import textgrid
from pympi import Elan

import sori
from sori.checkpoints import store
from sori.core.audio import read
from sori.data.manifest import read_manifest, read_with_headers, write_manifest
from sori.data.preparation.prepare import prepare
from sori.inference import calibrate, uncertainty
from sori.inference.selection import select
from sori.inference.selection_files import write_templates
from sori.inference.unit_sequences import by_clusters, by_encoder, without_repetitions
from sori.models import factory
from sori.models.ctc import BLANK


@pytest.fixture(scope="module")
def open_tones(prepared_tones, tmp_path_factory):
    """The tones without the transcripts of the split `train`."""
    folder = tmp_path_factory.mktemp("open") / "tones"
    folder.mkdir()
    rows = read_with_headers(prepared_tones)
    write_manifest(folder, [(u._replace(text=None) if u.split == "train" else u, file) for u, file in rows])
    return folder


def ids(found):
    return [one.utterance.id for one in found]


def seconds(found):
    return sum(one.utterance.duration_seconds for one in found)


def test_the_chosen_are_new_short_enough_varied_and_the_same_again(open_tones):
    found = select(open_tones, minutes=0.5, by="sounds")
    assert found == sori.select(open_tones, minutes=0.5, by="sounds")
    assert 20 <= seconds(found) <= 30
    assert {one.utterance.split for one in found} == {"train"}
    assert {one.utterance.speaker for one in found} == {"anna", "ben"}
    assert len(set(ids(found))) == len(found)
    assert "speaker with none so far" in found[0].why
    assert "new units" in found[0].why
    assert all(one.confidence is None for one in found)


def test_by_chance_the_seed_decides_and_suitable_utterances_are_taken(open_tones):
    found = select(open_tones, minutes=0.5)
    assert found == select(open_tones, minutes=0.5, by="chance")
    assert 20 <= seconds(found) <= 30
    assert {one.utterance.split for one in found} == {"train"}
    assert len(set(ids(found))) == len(found)
    assert {one.why for one in found} == {"by chance"}
    assert ids(found) != ids(select(open_tones, minutes=0.5, seed=1))
    assert not set(ids(found)) & set(ids(select(open_tones, minutes=0.5, left_out=ids(found))))


def test_no_model_is_used_for_a_choice_by_chance(open_tones, encoder_run):
    with pytest.raises(ValueError, match="expected no model"):
        select(open_tones, by="chance", model=encoder_run)


def test_what_is_transcribed_or_left_out_is_not_chosen_again(open_tones):
    first = ids(select(open_tones, minutes=0.5, by="sounds"))
    second = ids(select(open_tones, minutes=0.5, by="sounds", transcribed=first[:3], left_out=first[3:4]))
    assert not set(first[:4]) & set(second)
    assert second


def test_an_encoder_gives_the_units(open_tones, encoder_run):
    found = select(open_tones, minutes=0.5, model=encoder_run)
    assert 20 <= seconds(found) <= 30
    system = store.load(encoder_run)
    one = found[0].utterance
    units = next(by_encoder(system, [one]))
    waveform = read(one.path)
    frames = system.units(waveform[None], torch.tensor([len(waveform)])).data[0]
    assert len(units) == frames.shape[1]
    assert units[0].tolist() == without_repetitions(frames[:, 0].numpy().astype(np.int32)).tolist()


def test_a_model_without_units_is_refused(open_tones, tmp_path):
    recipe = sori.recipes.by_name("cpc_smoke")
    store.save(factory.build(recipe.system), tmp_path / "cpc")
    with pytest.raises(ValueError, match="expected a model with a quantiser"):
        select(open_tones, minutes=0.5, model=tmp_path / "cpc")


def test_a_recogniser_prefers_what_it_is_least_confident_of(open_tones, recogniser_run):
    found = select(open_tones, minutes=0.5, model=recogniser_run)
    system = store.load(recogniser_run)
    every = [u for u in read_manifest(open_tones) if u.split == "train"]
    sure = dict(zip([u.id for u in every], uncertainty.confidences(system, every, None), strict=True))
    assert all(one.confidence == sure[one.utterance.id] for one in found)
    assert np.mean([one.confidence for one in found]) < np.mean(list(sure.values())) - 0.001
    assert "confidence" in found[0].why


def test_confidence_is_the_mean_posterior_of_symbols(open_tones, recogniser_run):
    system, one = store.load(recogniser_run).eval(), read_manifest(open_tones)[0]
    waveform = read(one.path)
    with torch.no_grad():
        scores = system.logits(waveform[None], torch.tensor([len(waveform)])).data[0].softmax(-1)
    best = [row.max().item() for row in scores if row.argmax() != BLANK]
    assert next(uncertainty.confidences(system, [one], None)) == pytest.approx(np.mean(best), abs=1e-6)


def test_a_calibrated_confidence_is_used(open_tones, prepared_tones, recogniser_run, tmp_path):
    system = store.load(recogniser_run)
    folder = tmp_path / "model"
    store.save(system, folder)
    assert uncertainty.calibrated(system, folder) is None
    dev = [u for u in read_manifest(prepared_tones) if u.split == "dev"]
    calibrate.store(calibrate.fit(calibrate.recognise(system, dev), None, {}), folder / "confidence.json", system)
    fit = uncertainty.calibrated(system, folder)
    one = read_manifest(open_tones)[0]
    expected = sori.transcribe(system, one.path, decoder=None, confidence=fit[0]).confidence
    assert next(uncertainty.confidences(system, [one], fit)) == pytest.approx(np.mean(expected))


def test_recordings_that_cannot_be_read_cost_only_themselves(open_tones, tmp_path, caplog):
    rows = read_with_headers(open_tones)
    gone = next(n for n, (u, _) in enumerate(rows) if u.split == "train")
    rows[gone] = (rows[gone][0]._replace(path=str(tmp_path / "gone.wav")), rows[gone][1])
    write_manifest(tmp_path, rows)
    found = select(tmp_path, minutes=30.0, by="sounds")
    assert rows[gone][0].id not in ids(found)
    assert len(found) > 30
    assert f"{rows[gone][0].id} is left out: no such file" in caplog.text


def test_clean_utterances_of_two_to_ten_seconds_are_preferred(tmp_path):
    rng = np.random.default_rng(0)
    recordings, prepared = tmp_path / "recordings", tmp_path / "prepared"
    recordings.mkdir()
    for number in range(12):
        length = 1.0 if number < 4 else 3.0
        soundfile.write(recordings / f"a{number:02}.wav", sound(rng, length), 16_000)
    clipped = sound(rng, 3.0)
    clipped[5000:5100] = 1.0
    soundfile.write(recordings / "b.wav", clipped, 16_000)
    prepare(recordings, prepared, num_workers=1)
    flagged = (prepared / "flagged.jsonl").read_text()
    assert json.loads(flagged)["warning"] == "some clipping"
    few, many = (ids(select(prepared, minutes=minutes, by="sounds")) for minutes in (0.2, 2.0))
    assert few
    assert all(name >= "a04" and name != "b" for name in few)
    assert len(many) == 13


def sound(rng, length):
    parts = []
    while sum(map(len, parts)) < length * 16_000:
        pitch = 150 * 2 ** rng.uniform(0, 4.7)
        parts.append(np.sin(2 * np.pi * pitch * np.arange(1600) / 16_000) * np.hanning(1600))
    waveform = np.concatenate(parts)[: int(length * 16_000)]
    return 0.35 * waveform + 0.003 * rng.standard_normal(len(waveform))


def test_a_copy_at_another_level_is_a_near_duplicate(tmp_path):
    rng = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    for number in range(8):
        waveform = sound(rng, 3.0)
        soundfile.write(tmp_path / "in" / f"{number}.wav", waveform, 16_000)
        if number == 3:
            soundfile.write(tmp_path / "in" / "copy.wav", 0.5 * waveform, 16_000)
    prepare(tmp_path / "in", tmp_path / "prepared", num_workers=1)
    found = ids(select(tmp_path / "prepared", minutes=5.0, by="sounds"))
    assert len(found) == 8
    assert len({"3", "copy"} & set(found)) == 1


def test_large_corpora_are_sampled_with_all_speakers(open_tones, caplog):
    caplog.set_level("INFO")
    found = select(open_tones, minutes=10.0, by="sounds", most_hours=20 / 3600)
    assert 10 <= seconds(found) <= 20
    assert {one.utterance.speaker for one in found} == {"anna", "ben"}
    assert "at random" in caplog.text


@pytest.mark.parametrize("arguments", [{"minutes": 0.0}, {"minutes": float("nan")}, {"most_hours": 0.0}])
def test_impossible_numbers_are_refused(open_tones, arguments):
    with pytest.raises(ValueError, match="above 0"):
        select(open_tones, **arguments)


def test_nothing_left_is_an_error_with_counts(prepared_tones):
    with pytest.raises(ValueError, match=r"48 of 64 are transcribed, 16 are held out"):
        select(prepared_tones)


def test_clusters_are_those_of_the_nearest_centre_for_long_and_short(open_tones):
    rows = read_manifest(open_tones)[:3]
    rows[1] = rows[1]._replace(num_samples=100)
    found = list(by_clusters(rows * 8, seed=0))
    assert found[1] is None
    assert found[0][0].tolist() == found[3][0].tolist()
    assert len(set(found[0][0].tolist())) > 5
    assert (np.diff(found[0][0]) != 0).all()


@pytest.fixture
def session(tmp_path):
    """Recordings of a minute in two folders, one for each speaker, prepared."""
    rng = np.random.default_rng(2)
    for speaker in ("ana", "bo"):
        (tmp_path / "recordings" / speaker).mkdir(parents=True)
        pieces = [part for _ in range(9) for part in (sound(rng, 5.0), 0.0005 * rng.standard_normal(16_000))]
        soundfile.write(tmp_path / "recordings" / speaker / "talk.wav", np.concatenate(pieces), 16_000)
    prepare(tmp_path / "recordings", tmp_path / "prepared", num_workers=1, max_seconds=8.0)
    return tmp_path


def fill_eaf(path, texts):
    file = Elan.Eaf(str(path))
    for tier in file.get_tier_names():
        for start, end, _ in file.get_annotation_data_for_tier(tier):
            file.remove_annotation(tier, (start + end) // 2, clean=False)
            file.add_annotation(tier, start, end, next(texts))
    file.to_file(str(path))


def fill_textgrid(path, texts):
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    for name in grid.tierNames:
        tier = grid.getTier(name)
        filled = [entry if is_gap(path, entry) else entry._replace(label=next(texts)) for entry in tier.entries]
        grid.replaceTier(name, tier.new(entries=filled))
    grid.save(str(path), format="long_textgrid", includeBlankSpaces=True)


def is_gap(path, entry):
    return not any(abs(entry.start - start) < 0.01 for start in SPANS[path.parent.name])


SPANS = {}


@pytest.mark.parametrize(("form", "fill"), [("eaf", fill_eaf), ("TextGrid", fill_textgrid)])
def test_filled_annotations_are_read_back(session, form, fill):
    found = select(session / "prepared", minutes=0.7, by="sounds")
    recordings = session / "recordings"
    files = write_templates(found, recordings, form)
    assert sorted(file.relative_to(recordings).as_posix() for file in files) == [
        f"{s}/talk.{form}" for s in ("ana", "bo")
    ]
    for speaker in ("ana", "bo"):
        SPANS[speaker] = [one.utterance.start for one in found if one.utterance.speaker == speaker]
    with pytest.raises(ValueError, match="may hold transcripts"):
        write_templates(found, recordings, form)
    if form == "eaf":  # in a TextGrid, an empty interval is a gap
        prepare(recordings, session / "empty", num_workers=1)
        assert [u.text for u in read_manifest(session / "empty")] == [None] * len(found)
    texts = iter(f"text & number {number}" for number in range(100))
    for file in files:
        fill(file, texts)
    prepare(recordings, session / "filled", num_workers=1)
    filled = read_manifest(session / "filled")
    assert sorted(u.text for u in filled) == sorted(f"text & number {number}" for number in range(len(found)))
    assert {u.speaker for u in filled} == {"ana", "bo"}
    wanted = sorted((one.utterance.path, one.utterance.start, one.utterance.num_samples) for one in found)
    got = sorted((u.path, u.start, u.num_samples) for u in filled)
    assert [row[0] for row in got] == [row[0] for row in wanted]
    assert np.allclose([row[1] for row in got], [row[1] for row in wanted], atol=0.001)
    assert np.allclose([row[2] for row in got], [row[2] for row in wanted], atol=32)


def test_the_command_writes_a_table_that_is_filled_and_prepared(call, session):
    code, out, err = call("select", session / "prepared", "--minutes", 0.5, "--into", "next.tsv")
    assert code == 0, err
    assert "2 speakers: next.tsv" in out
    lines = Path("next.tsv").read_text().splitlines()
    assert lines[0].split("\t") == ["id", "path", "start", "end", "speaker", "text", "why"]
    assert call("select", session / "prepared", "--minutes", 0.5)[1].splitlines() == lines
    fields = [line.split("\t") for line in lines]
    for number, row in enumerate(fields[1:]):
        row[5] = f"words {number}"
    filled = session / "filled.tsv"
    filled.write_text("\n".join("\t".join(row) for row in fields) + "\n")
    prepare(filled, session / "again", num_workers=1)
    assert sorted(u.text for u in read_manifest(session / "again")) == sorted(row[5] for row in fields[1:])
    code, out, _ = call("select", session / "prepared", "--minutes", 10, "--transcribed", filled)
    assert code == 0
    assert not {row[0] for row in fields[1:]} & {line.split("\t")[0] for line in out.splitlines()[1:]}
    code, _, err = call("select", session / "prepared", "--into", "next.tsv")
    assert code == 2
    assert "may hold transcripts" in err


@pytest.mark.parametrize(
    ("words", "message"), [([], "expected a prepared folder"), (["x", "--format", "eaf"], "--into FOLDER")]
)
def test_the_command_says_what_is_missing(call, words, message):
    code, _, err = call("select", *words)
    assert code == 2
    assert message in err


def test_the_command_writes_annotations(call, session):
    code, out, err = call("select", session / "prepared", "--minutes", 0.5, "--format", "eaf", "--into", "notes")
    assert code == 0, err
    assert "2 files in notes" in out
