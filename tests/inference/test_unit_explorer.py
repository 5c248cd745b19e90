"""What the unit explorer shows, against the units on disk and the recordings."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from sori import recipes
from sori.checkpoints import store
from sori.core.audio import read
from sori.data.manifest import read_manifest
from sori.data.sources.alignments import is_silence, match, read_alignments
from sori.evaluation.unit_statistics import stretches_of
from sori.inference.unit_examples import choose
from sori.inference.unit_explorer import explore
from sori.inference.unit_views import LONGEST_PHONE_SECONDS, SILENCE
from sori.inference.units import read_units, require_quantizer, write_units
from sori.models import factory


def encoder(name="vq_wav2vec_smoke"):
    torch.manual_seed(0)
    return require_quantizer(factory.build(recipes.by_name(name).system).eval(), name)


@pytest.fixture(scope="module")
def tones(prepared_tones, tone_alignments):
    utterances = read_manifest(prepared_tones)[::3]
    return utterances, match(utterances, read_alignments(tone_alignments)).alignments


@pytest.fixture(scope="module")
def explored(tones):
    return explore(encoder(), tones[0], name="smoke", alignments=tones[1], num_examples=3)


@pytest.fixture(scope="module")
def on_disk(tones, tmp_path_factory):
    """The units of each utterance, `frame group`, read from a file of `sori units`."""
    path = tmp_path_factory.mktemp("units") / "units.tsv"
    list(write_units(encoder(), tones[0], path))
    return {name: units.tolist() for name, units in read_units(path)}


def keys(view, number):
    """Return how the units of a view are written."""
    return (lambda unit: "-".join(map(str, unit))) if number == 0 else (lambda unit: str(unit[number - 1]))


def phone_at(alignment, middle):
    for one in alignment.phones if alignment else ():
        if one.start <= middle < one.end:
            return SILENCE if is_silence(one.label) else one.label if one.seconds <= LONGEST_PHONE_SECONDS else None
    return None


@pytest.mark.parametrize("number", [0, 1, 2])
def test_counts_contexts_and_phones_are_those_of_counting_one_by_one(explored, tones, on_disk, number):
    model, view = encoder(), explored.views[number]
    frames, runs, before, phones, speakers = Counter(), Counter(), defaultdict(Counter), defaultdict(Counter), Counter()
    for one, alignment in zip(*tones, strict=True):
        units = [keys(view, number)(unit) for unit in on_disk[one.id]]
        frames.update(units)
        row = [unit for unit, _ in itertools.groupby(units)]
        runs.update(row)
        for left, right in itertools.pairwise([None, *row]):
            before[right][left] += 1
        for frame, unit in enumerate(units):
            phone = phone_at(alignment, (frame * model.hop_samples + model.field_samples / 2) / 16_000)
            speakers[unit, one.speaker] += 1
            if phone is not None:
                phones[unit][phone] += 1
    assert dict(zip(view.labels, view.num_frames.tolist(), strict=True)) == frames
    assert dict(zip(view.labels, view.num_stretches.tolist(), strict=True)) == runs
    assert sum(sum(one.values()) for one in phones.values()) > 300
    for row, label in enumerate(view.labels):
        listed = {None if other < 0 else view.labels[other]: count for other, count in view.before[row]}
        assert listed.items() <= before[label].items()
        assert min(listed.values()) >= max([0, *(c for u, c in before[label].items() if u not in listed)])
        assert {explored.phones[p]: c for p, c in enumerate(view.phones[row].tolist()) if c} == phones[label]
        for place, speaker in enumerate(explored.speakers):
            assert view.speakers[row, place] == speakers[label, speaker]
    assert view.num_possible == (8 * 8 if number == 0 else 8)
    if number:
        assert set(view.unused) == set(map(str, range(8))) - set(view.labels)


def test_vectors_are_the_entries_of_the_codebook(explored):
    book = encoder().quantizer.codebook.detach()
    for number, view in enumerate(explored.views):
        for label, vector in zip(view.labels, torch.from_numpy(view.vectors), strict=True):
            entries = list(map(int, label.split("-")))
            groups = range(2) if number == 0 else [number - 1]
            wanted = [book[group % len(book)][entry] for group, entry in zip(groups, entries, strict=True)]
            assert torch.equal(vector, torch.cat(wanted))


def test_examples_are_cut_from_the_recordings_where_the_unit_is(explored, tones, on_disk):
    model, utterances = encoder(), {one.id: one for one in tones[0]}
    assert len(explored.examples) > 20
    for number, example in enumerate(explored.examples):
        one = utterances[example.utterance]
        whole, clip = read(one.path), explored.sound(number)
        first = round(example.at * 16_000)
        assert len(clip) == pytest.approx((example.end + 0.2) * 16_000, abs=0.21 * 16_000)
        part = whole[first : first + len(clip)]
        assert torch.allclose(clip / clip.abs().max(), part / part.abs().max(), atol=1e-5)
        assert clip.abs().max() <= 0.8 + 1e-6
        # The frames whose middles are inside the marked part have the unit of the example in every view.
        units = on_disk[example.utterance]
        start, end = example.at + example.start, example.at + example.end
        middles = [(f * model.hop_samples + model.field_samples / 2) / 16_000 for f in range(len(units))]
        inside = [unit for unit, middle in zip(units, middles, strict=True) if start < middle < end]
        assert inside
        for place, view in enumerate(explored.views):
            if example.rows[place] >= 0:
                assert {keys(view, place)(unit) for unit in inside} == {view.labels[example.rows[place]]}
        assert (example.speaker, example.language) == (one.speaker, one.language)


def test_every_unit_has_examples_as_far_as_it_occurs_and_speakers_take_turns(explored, tones):
    members = np.array([example.rows for example in explored.examples])
    combinations, *groups = explored.views
    found = np.bincount(members[:, 0], minlength=len(combinations.labels))
    assert (found >= np.minimum(combinations.num_stretches, 3)).all()
    for place, view in enumerate(groups, start=1):
        rows = members[members[:, place] >= 0, place]
        # A stretch of an entry may have several combinations, each of which may be drawn.
        assert set(rows) == set(range(len(view.labels)))
        assert (np.bincount(rows) <= 3).all()
        row = int(view.num_frames.argmax())
        some = {example.speaker for example in explored.examples if example.rows[place] == row}
        assert len(some) == min(3, int((view.speakers[row] > 0).sum()))
    # All examples of entries are first, then one for each other combination: a shorter page has some of every unit.
    num_entries = int((members[:, 1:] >= 0).any(1).sum())
    assert (members[:num_entries, 1:] >= 0).any(1).all()
    others = set(range(len(combinations.labels))) - set(members[:num_entries, 0])
    assert others == set(members[num_entries : num_entries + len(others), 0])
    assert explore(encoder(), tones[0][:4], name="x", num_examples=0).examples == []


def test_examples_of_an_entry_are_drawn_at_random_from_all_its_stretches():
    """A common combination of an entry is not displaced by rare ones, each of which has examples of its own."""
    units = [np.array([0] * 1 + [9]) for _ in range(380)] + [np.array([number, 9]) for number in range(1, 9)] * 2
    found = stretches_of(units)
    members = np.stack([found.units, np.where(found.units == 9, 1, 0)], axis=1)
    speakers = np.full(len(members), -1)
    shares = []
    for seed in range(20):
        chosen = choose(members, found, speakers, num_examples=10, seed=seed)
        of_entry = [one for one, rows in chosen.items() if rows[1] == 0]
        assert len(of_entry) == 10
        shares.append(np.mean(found.units[of_entry] == 0))
    assert np.mean(shares) == pytest.approx(380 / 396, abs=0.05)


def test_examples_are_the_same_again_and_others_with_another_seed(tones):
    first, again, other = (explore(encoder(), tones[0][:6], name="x", seed=seed).examples for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("name", ["wav2vec2_smoke", "code_bert_smoke"])
def test_all_models_with_units(name, tones):
    found = explore(encoder(name), tones[0][:3], name=name, num_examples=1)
    assert sum(found.views[0].num_frames) == sum(found.views[1].num_frames)
    assert found.phones == []
    assert found.views[0].phones.shape == (len(found.views[0].labels), 0)


def test_recordings_that_cannot_be_read_are_left_out(tones, tmp_path):
    gone = tones[0][0]._replace(path=str(tmp_path / "gone.wav"))
    found = explore(encoder(), [gone, *tones[0][1:3]], name="x", num_examples=1)
    assert "2 utterances" in found.notes[0]
    with pytest.raises(ValueError, match="that can be read, got none of 1"):
        explore(encoder(), [gone], name="x")


def test_on_the_command_line(call, prepared_tones, tone_alignments, tmp_path):
    store.save(encoder(), tmp_path / "m")
    known = ["--data", prepared_tones, "--split", "dev", "--examples", 1]
    code, out, _ = call("plot", "units", tmp_path / "m", *known, "--alignments", tone_alignments)
    assert code == 0
    assert out.splitlines()[-1].startswith(f"{tmp_path / 'm' / 'units.html'}\t")
    assert "<title>Units of m</title>" in (tmp_path / "m" / "units.html").read_text()
    code, out, err = call("plot", "units", tmp_path / "m", *known, "--megabytes", 0.001, "--into", "x.html")
    assert code == 2
    assert "expected a page of up to 0.001 MB" in err
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--split", "no"], "has no split 'no'; it has dev, test, train"),
        (["--examples", "-1"], "expected number of examples of each unit to be a whole number from 0"),
        (["--megabytes", "nan"], "expected --megabytes to be a number"),
        (["--alignments", "other.jsonl"], "none of 64 utterances has an alignment"),
        (["--alignments", "silent.jsonl"], "expected frames with phones, got none"),
    ],
)
def test_mistakes_are_explained(call, prepared_tones, tmp_path, words, reason):
    store.save(encoder(), tmp_path / "m")
    (tmp_path / "other.jsonl").write_text('{"id": "other", "phones": [[0, 1, "a"]]}\n')
    name = read_manifest(prepared_tones)[0].id
    (tmp_path / "silent.jsonl").write_text(f'{{"id": "{name}", "phones": [[0, 1, "SIL"]]}}\n')
    code, _, err = call("plot", "units", tmp_path / "m", "--data", prepared_tones, *words)
    assert code == 2
    assert reason in err


def test_a_model_without_units_is_refused(call, prepared_tones, tmp_path):
    torch.manual_seed(0)
    store.save(factory.build(recipes.by_name("wav2vec_smoke").system), tmp_path / "plain")
    code, _, err = call("plot", "units", tmp_path / "plain", "--data", prepared_tones)
    assert code == 2
    assert "expected a model with a quantiser" in err
