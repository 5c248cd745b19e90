"""Shards against the folder that they were made from, other libraries, a server of files, and damage."""

import io
import itertools
import json
import tarfile
import weakref

import numpy as np
import pytest
import soundfile
import torch
from tests.data.range_server import Server, serving

from sori.core import audio
from sori.core.sound import tar_members
from sori.data import shards, utterance_columns
from sori.data.batches import window_plan
from sori.data.batches.audio_cache import open_audio
from sori.data.batches.loader import CropBatches, FileReader
from sori.data.batches.sampler import DataConfig
from sori.data.batches.window_plan import WindowPlan
from sori.data.manifest import ROOT_VARIABLE, TABLE, Utterance, open_manifest, write_manifest
from sori.data.manifest_forms import write_missing
from sori.data.shards import write_shards
from sori.data.table_file import Categories

RATE = 16_000
OF_OTHERS = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
"""The other libraries leave files open."""
CONFIG = DataConfig(batch_seconds=3, min_seconds=0.1, max_crop_seconds=0.7, num_buckets=2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Forty utterances of six recordings: 16 bits, float, two channels at another rate."""
    folder, random = tmp_path_factory.mktemp("speech"), np.random.default_rng(0)
    rows = []
    for number in range(6):
        path, rate = folder / f"r{number}.wav", 44_100 if number == 5 else RATE
        noise = random.uniform(-0.5, 0.5, (9 * rate, 2 if number == 5 else 1))
        soundfile.write(path, noise, rate, subtype="FLOAT" if number == 4 else "PCM_16")
        about = audio.info(path)
        for part in range(7):
            named = {"text": None if part == 3 else f"text {part} é", "speaker": f"s{number}", "language": "eng"}
            channel = part % 2 if number == 5 else None
            row = (float(part), int(random.integers(4_000, 20_000)))
            u = Utterance(f"r{number}/p{part}", str(path), *row, **named, split="train", channel=channel)
            rows.append((u, about))
    write_manifest(folder, rows[:40])
    return folder


@pytest.fixture(scope="module")
def sharded(prepared, tmp_path_factory):
    into = tmp_path_factory.mktemp("made") / "sharded"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "_OPEN", 3)
        written = write_shards(prepared, into, shard_mb=0.1, seed=1)
    assert written.num_shards > 8
    assert f"40 utterances (0.01 h) in {written.num_shards} shards" in str(written)
    return into


def test_samples_are_those_of_the_folder(prepared, sharded):
    before = {u.id: u for u in open_manifest(prepared)}
    after = list(open_manifest(sharded))
    assert {u.id for u in after} == before.keys()
    assert [u.id for u in after] != list(before)
    for u in after:
        old = before[u.id]
        assert u._replace(path="", start=0.0, channel=None) == old._replace(path="", start=0.0, channel=None)
        expected = audio.read(old.path, start=old.start, duration=old.duration_seconds, channel=old.mix)
        found = audio.read(u.path, duration=u.duration_seconds, channel=u.mix)
        if u.speaker in {"s4", "s5"}:
            torch.testing.assert_close(found, expected, rtol=0, atol=2.0**-23)
        else:
            assert torch.equal(found, expected)
        part = audio.read(u.path, start=1_000 / RATE, duration=500 / RATE)
        assert torch.equal(part, found[1_000:1_500])
        assert audio.info(u.path).num_samples == u.num_samples
    assert sum(u.speaker == one.speaker for u, one in zip(after[1:], after, strict=False)) < 25  # shuffled


def test_equal_seeds_give_equal_shards(prepared, sharded, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_OPEN", 3)
    write_shards(prepared, tmp_path / "again", shard_mb=0.1, seed=1)
    write_shards(prepared, tmp_path / "other", shard_mb=0.1, seed=2)
    names = sorted(path.name for path in (sharded / "shards").iterdir())
    assert sorted(path.name for path in (tmp_path / "again/shards").iterdir()) == names
    for name in names:
        assert (tmp_path / "again/shards" / name).read_bytes() == (sharded / "shards" / name).read_bytes()
    assert [u.id for u in open_manifest(tmp_path / "other")] != [u.id for u in open_manifest(sharded)]


@OF_OTHERS
def test_lhotse_reads_the_shards(prepared, sharded):
    lhotse = pytest.importorskip("lhotse", exc_type=ImportError)
    ours = {u.id: u for u in open_manifest(sharded)}
    cuts = list(lhotse.CutSet.from_shar(in_dir=sharded / "shards"))
    assert {cut.id for cut in cuts} == ours.keys()
    assert len(cuts) == len(ours)
    for cut in cuts:
        u = ours[cut.id]
        assert (cut.supervisions[0].text, cut.supervisions[0].speaker) == (u.text, u.speaker)
        assert cut.custom["split"] == "train"
        np.testing.assert_array_equal(cut.load_audio()[0], audio.read(u.path).numpy())


@OF_OTHERS
@pytest.mark.foreign
def test_webdataset_reads_the_shards(sharded):
    webdataset = pytest.importorskip("webdataset", reason="could not import webdataset")
    found = set()
    for path in sorted((sharded / "shards").glob("*.tar")):
        for sample in webdataset.WebDataset(str(path), shardshuffle=False):
            content = next(value for name, value in sample.items() if name.endswith("flac"))
            found.add(soundfile.read(io.BytesIO(content), dtype="float32")[0].tobytes())
    assert found == {audio.read(u.path).numpy().tobytes() for u in open_manifest(sharded)}


def test_opus_is_smaller_and_as_long(prepared, tmp_path):
    write_shards(prepared, tmp_path / "opus", shard_format="opus")
    for u in open_manifest(tmp_path / "opus"):
        assert len(audio.read(u.path, duration=u.duration_seconds)) == u.num_samples
        with tarfile.open(tar_members.tar_of(u.path)) as tar:
            member = tar.extractfile(f"{u.id}.opus")
            assert member is not None
            assert member.read() == tar_members.fetched(tar_members.member_of(u.path))


def test_shards_are_moved_with_their_list(sharded, tmp_path, monkeypatch):
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    moved = tmp_path / "moved"
    __import__("shutil").copytree(sharded, moved)
    assert all(u.path.startswith(str(moved / "shards")) for u in open_manifest(moved))
    monkeypatch.setenv(ROOT_VARIABLE, "s3://bucket/speech/")
    path = open_manifest(moved)[0].path
    assert path.startswith("s3://bucket/speech/shards/recording.0000")
    assert tar_members.member_of(path).tar.endswith(".tar")
    with pytest.raises(ValueError, match="was made by `sori shards`"):
        write_missing(moved)


@pytest.fixture
def url(sharded):
    with serving(sharded) as url:
        yield url


def test_shards_behind_a_url_are_read_range_by_range(sharded, url, tmp_path, monkeypatch):
    pytest.importorskip("aiohttp", reason="could not import aiohttp")
    monkeypatch.setattr(tar_members, "_FIRST_WAIT_SECONDS", 0.01)
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / TABLE).write_bytes((sharded / TABLE).read_bytes())
    local = CropBatches(open_manifest(sharded), CONFIG, seed=3)
    expected = [local[index] for index in range(5)]
    monkeypatch.setenv(ROOT_VARIABLE, url)
    utterances = open_manifest(tmp_path / "list")
    assert utterances[0].path.startswith(f"{url}/shards/")
    assert not Server.requests  # opening a list asks for no file
    reader = open_audio(utterances, folder=tmp_path / "list", policy="auto")
    assert isinstance(reader, FileReader)
    batches = CropBatches(utterances, CONFIG, seed=3, reader=reader)
    for index in (4, 0, 1, 3, 2):
        assert torch.equal(batches[index].waveform, expected[index].waveform)
    assert len(Server.requests) == sum(len(batch.waveform) for batch in expected)
    assert all(of.startswith("bytes=") for _, of in Server.requests)
    Server.failing = 2
    assert torch.equal(batches[0].waveform, expected[0].waveform)
    Server.failing = 9
    with pytest.raises(OSError, match=r"recording\.0000\d\d\.tar: cannot be read after 4 attempts"):
        _ = batches[0]
    assert sorted(path.name for path in (tmp_path / "list").iterdir()) == [TABLE]


def test_a_missing_shard_behind_a_url_is_named(url):
    pytest.importorskip("aiohttp", reason="could not import aiohttp")
    with pytest.raises(FileNotFoundError, match=r"shards/none\.tar: no such shard"):
        audio.read(f"{url}/shards/none.tar#0+10")


def test_urls_without_fsspec_name_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(ValueError, match=r"pip install 'sori\[remote\]'"):
        audio.read("s3://bucket/a.tar#0+10")


@pytest.fixture
def damaged(sharded, tmp_path):
    """The shards, of which one was cut off and one is gone."""
    folder = tmp_path / "damaged"
    __import__("shutil").copytree(sharded, folder)
    (folder / "shards/recording.000000.tar").write_bytes((folder / "shards/recording.000000.tar").read_bytes()[:600])
    (folder / "shards/recording.000001.tar").unlink()
    return folder


def test_a_shard_that_fails_ends_the_run_or_is_left_out(damaged, caplog):
    utterances = open_manifest(damaged)
    with pytest.raises((ValueError, FileNotFoundError), match=r"recording\.00000[01]\.tar"):
        [CropBatches(utterances, CONFIG, seed=0)[index] for index in range(10)]
    skipping = CONFIG.model_copy(update={"shard_errors": "skip", "batch_seconds": 10.0})
    batches = CropBatches(utterances, skipping, seed=0)
    found = [batches[index] for index in range(batches.num_batches)]
    lost = sum(tar_members.tar_of(u.path)[-5:] in {"0.tar", "1.tar"} and "00000" in u.path for u in utterances)
    assert sum(len(batch.waveform) for batch in found) == 40 - lost
    assert sum("data.shard_errors skip" in record.message for record in caplog.records) == lost > 0
    assert "recording.000000.tar" in caplog.text
    assert "recording.000001.tar" in caplog.text


def test_other_bytes_than_sound_are_refused_with_the_shard(sharded):
    member = tar_members.member_of(open_manifest(sharded)[0].path)
    for first, size in ((member.first + 7, member.size), (0, 100), (10**9, 10), (member.first, 0)):
        with pytest.raises(ValueError, match=r"recording\.\d+\.tar: .*(make the shards again|copy it again)"):
            audio.read(tar_members.address(member.tar, first, size))
    with pytest.raises(ValueError, match=r"got \d+ in all"):
        audio.read(tar_members.address(*member), duration=60.0)


def test_an_answer_that_is_too_short_is_named(sharded):
    member = tar_members.member_of(open_manifest(sharded)[0].path)
    with pytest.raises(tar_members.SoundError, match="expected 10 bytes from byte 1000000000 on, got 0"):
        tar_members.fetched(member._replace(first=10**9, size=10))


def test_full_scale_does_not_become_its_opposite():
    waveform = np.array([1.0, -1.0, 0.5], dtype=np.float32).repeat(100)
    found, _ = soundfile.read(io.BytesIO(shards._content(waveform, "flac")), dtype="float32")
    np.testing.assert_allclose(found, waveform, rtol=0, atol=2.0**-22)


@pytest.mark.parametrize("peak", [-1.5, -2.0, 1.5])
def test_float_samples_beyond_full_scale_are_limited_on_either_side(peak):
    waveform = np.array([peak, 0.25], dtype=np.float32).repeat(100)  # multiples of 2**-15, as integers have
    found, _ = soundfile.read(io.BytesIO(shards._content(waveform, "flac")), dtype="float32")
    np.testing.assert_allclose(found, waveform.clip(-1, 1), rtol=0, atol=2.0**-22)


def planned(count=600, *, num_shards=20, seed=0, config=CONFIG, key=None):
    random = np.random.default_rng(7)
    samples, where = random.integers(1_000, 20_000, count), random.integers(0, num_shards, count)
    languages = Categories(random.integers(0, 2, count), ("eng", "kor"))
    plan = WindowPlan(
        samples, lambda: where, config, seed=seed, languages=lambda: languages, speakers=lambda: languages, key=key
    )
    return plan, samples, where


@pytest.mark.parametrize("window_shards", [1, 3, 100])
def test_each_epoch_uses_each_utterance_once_window_by_window(window_shards, monkeypatch):
    monkeypatch.setattr(window_plan, "WINDOW_SHARDS", window_shards)
    plan, samples, where = planned()
    orders = []
    for epoch in range(3):
        found = [plan.batch(epoch * plan.num_batches + number) for number in range(plan.num_batches)]
        rows = np.concatenate([rows for rows, _ in found])
        assert sorted(rows) == np.flatnonzero(samples >= 1_600).tolist()
        assert all(length <= samples[rows].min() for rows, length in found)
        windows = [set((where[rows] // window_shards).tolist()) for rows, _ in found]
        assert all(len(one) == 1 for one in windows)
        order = [one.pop() for one in windows]
        changes = sum(one != other for one, other in itertools.pairwise(order))
        assert changes == len(set(order)) - 1  # each window is finished before the next begins
        orders.append(rows.tolist())
    assert orders[0] != orders[1] != orders[2]


def test_batches_in_shards_depend_on_seed_and_number_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("sori.core.shared_arrays._place", lambda: tmp_path)
    plan, _, _ = planned()
    count = 3 * plan.num_batches
    expected = [(rows.tolist(), length) for rows, length in map(plan.batch, range(count))]
    again, shared = planned()[0], planned(key="k")[0]
    # Two processes with one micro-batch each, then three, after a step at which the run was interrupted.
    for one in (again, shared):
        parts = [range(rank, count // 2, 2) for rank in range(2)] + [range(count // 2 + r, count, 3) for r in range(3)]
        found = {index: one.batch(index) for part in reversed(parts) for index in part}
        assert [(found[n][0].tolist(), found[n][1]) for n in range(count)] == expected
    assert [planned(seed=1)[0].batch(n)[0].tolist() for n in range(5)] != [rows for rows, _ in expected[:5]]


def test_languages_are_balanced_within_windows():
    config = CONFIG.model_copy(update={"language_exponent": 0.0, "min_seconds": 0.0})
    plan, _, _ = planned(config=config)
    assert plan.languages.names == ("eng", "kor")
    assert abs(sum(len(plan.batch(n)[0]) for n in range(plan.num_batches)) - 600) < 30


def test_nothing_long_enough_is_refused():
    with pytest.raises(ValueError, match="expected utterances of 9 s or more"):
        planned(config=CONFIG.model_copy(update={"min_seconds": 9.0}))


def test_shards_of_lists_and_tables_are_the_same(prepared, sharded):
    table = open_manifest(sharded)
    assert utterance_columns.in_shards(table)
    assert not utterance_columns.in_shards(open_manifest(prepared))
    assert utterance_columns.shards_of(table).tolist() == utterance_columns.shards_of(list(table)).tolist()
    assert len(set(utterance_columns.shards_of(table).tolist())) > 8


@pytest.mark.parametrize("hashed", [hash, lambda path: -hash(path)])
def test_recordings_come_in_random_order_whatever_their_hashes(hashed, monkeypatch):
    """The hashes of texts differ from one Python process to the next."""
    monkeypatch.setattr(shards, "hash", hashed, raising=False)
    paths = ["c", "a", "b", "a", "c", "d", "b", "c"]
    rows = [Utterance(str(number), path, 0.0, 10, None, None, None, None, None) for number, path in enumerate(paths)]
    listed = [[0, 4, 7], [1, 3], [2, 6], [5]]  # recordings as they first occur, with their rows
    random = np.random.Generator(np.random.Philox(shards.derive(3, "recordings")))
    expected = [row for number in random.permutation(4) for row in listed[number]]
    assert list(shards._order(rows, 3)) == expected
    assert expected != sorted(expected)


def test_the_buffer_for_shuffling_is_bounded(monkeypatch):
    monkeypatch.setattr(shards, "_WAITING_BYTES", 250)
    taken = itertools.count()
    sounds = (shards._Sound(next(taken), bytes(100), None) for _ in range(50))
    given = []
    for one in shards._shuffled(sounds, np.random.default_rng(0)):
        given.append(one.utterance)
        so_far = 50 if len(given) > 47 else len(given) + 2
        assert max(given) < so_far, "more than 250 bytes waited"
    assert sorted(given) == list(range(50))
    assert given != sorted(given)


def test_utterances_in_a_row_go_to_several_shards(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "_OPEN", 3)
    monkeypatch.setattr(shards, "_WAITING_BYTES", 0)
    assert write_shards(prepared, tmp_path / "sharded").num_shards == 3


def test_an_existing_folder_stays(prepared, sharded):
    before = sorted(sharded.rglob("*"))
    with pytest.raises(FileExistsError, match="exists"):
        write_shards(prepared, sharded)
    with pytest.raises(ValueError, match=r"expected shard_mb from 0\.01"):
        write_shards(prepared, sharded.with_name("new"), shard_mb=0.0)
    assert sorted(sharded.rglob("*")) == before


def test_members_are_json_and_sound_of_one_name(sharded):
    with tarfile.open(sharded / "shards/recording.000000.tar") as tar:
        names = tar.getnames()
        about = json.loads(tar.extractfile(names[1]).read())
    assert [name.rpartition(".")[0] for name in names[::2]] == [name.rpartition(".")[0] for name in names[1::2]]
    assert about["sampling_rate"] == RATE


def test_written_shards_do_not_stay_in_memory(prepared, tmp_path, monkeypatch):
    made, most = [], [0, 0]
    member = shards._Shard._member

    def recorded(shard, *args):
        if shard not in [one() for one in made]:
            made.append(weakref.ref(shard))
        member(shard, *args)
        alive = [found for one in made if (found := one()) is not None]
        most[:] = max(most[0], len(alive)), max(most[1], sum(len(one.tar.members) for one in alive))

    monkeypatch.setattr(shards._Shard, "_member", recorded)
    monkeypatch.setattr(shards, "_OPEN", 2)
    written = write_shards(prepared, tmp_path / "sharded", shard_mb=0.05)
    assert written.num_shards == len(made) > 15
    assert most == [2, 0]
