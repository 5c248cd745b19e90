"""Tables of utterances against lists of the same utterances, and damaged ones."""

import gzip
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sori.core import audio, shared_arrays
from sori.data import fingerprint, manifest_forms, table_file, utterance_columns
from sori.data.batches.loader import CropBatches
from sori.data.batches.sampler import DataConfig, crops, plan_crops
from sori.data.labels import choose_minutes
from sori.data.manifest import CUTS, ROOT_VARIABLE, TABLE, Utterance, open_manifest, read_manifest, write_manifest
from sori.data.table_file import TableFile
from sori.data.utterance_columns import Part, UtteranceTable, joined
from sori.data.utterances import training_utterances, transcribed, utterances_of

ABOUT = audio.AudioInfo(16_000, 800_000, 2, "WAV/PCM_16")


def rows(count, *, folder="/speech", seed=0):
    random = np.random.default_rng(seed)
    pick = lambda *names: names[int(random.integers(len(names)))]  # noqa: E731
    return [
        Utterance(
            f"{seed}é{n}",
            f"{folder}/{n // 3}.wav",
            float(n % 3) / 7,
            int(random.integers(8_000, 300_000)),
            pick(None, "안녕", "it's “so”", "\U0001f600"),
            pick(None, "ann", "ben", "carl"),
            pick(None, "eng", "kor", "deu"),
            pick(None, "train", "dev", "test"),
            pick(None, 0, 1),
        )
        for n in range(count)
    ]


@pytest.fixture(params=["one batch", "many batches", "shared"])
def small_batches(request, monkeypatch, tmp_path):
    """The same with several record batches, and with arrays that processes share."""
    if request.param == "one batch":
        monkeypatch.setattr(table_file, "_FEW", 3)  # rows of a batch are taken together
    else:
        monkeypatch.setattr(table_file, "BATCH_ROWS", 7)
    if request.param == "shared":
        monkeypatch.setattr(utterance_columns, "MOST_OWN", 3)
        monkeypatch.setattr(shared_arrays, "_place", lambda: tmp_path)


def written(folder, listed):
    folder.mkdir()
    write_manifest(folder, [(u, ABOUT) for u in listed])
    table = open_manifest(folder)
    assert isinstance(table, UtteranceTable)
    return table


@pytest.mark.usefixtures("small_batches")
def test_a_table_is_the_list(tmp_path):
    listed = rows(100)
    table = written(tmp_path / "p", listed)
    assert list(table) == [table[n] for n in range(100)] == listed
    assert (table[-1], len(table)) == (listed[-1], 100)
    for part in (slice(5, 30), slice(None, None, -3), slice(90, 200), slice(4, 4)):
        assert list(table[part]) == listed[part]
    with pytest.raises(IndexError):
        table[100]
    order = np.random.default_rng(1).permutation(100)
    assert list(utterance_columns.chosen(table, order)) == [listed[n] for n in order]
    assert utterance_columns.num_samples_of(table).tolist() == [u.num_samples for u in listed]
    ours, theirs = (np.concatenate(list(utterance_columns.digests_of(one))) for one in (table, listed))
    assert ours.tolist() == theirs.tolist()
    for column in ("speaker", "language", "split"):
        codes, names = utterance_columns.categories_of(table, column)
        assert [names[code] for code in codes] == [getattr(u, column) for u in listed]
    assert [listed[n].id for n in utterance_columns.order_of_ids(table)] == sorted(u.id for u in listed)


@pytest.mark.usefixtures("small_batches")
def test_choices_and_fingerprints_of_a_table_are_those_of_the_list(tmp_path, monkeypatch):
    one, two = rows(100), rows(50, seed=1)
    written(tmp_path / "one", one)
    written(tmp_path / "two", two)
    both = [str(tmp_path / name) for name in ("one", "two")]
    choices = {
        "train": (training_utterances(both, ("dev", "test")), lambda u: u.split in (None, "train")),
        "dev": (utterances_of(both, "dev"), lambda u: u.split == "dev"),
        "text": (transcribed(both, "dev"), lambda u: u.split == "dev" and u.text),
        "all": (utterances_of(both, None), lambda _: True),
    }
    for table, keep in choices.values():
        listed = [u for u in one + two if keep(u)]
        assert isinstance(table, UtteranceTable)
        assert list(table) == listed
        assert utterance_columns.num_samples_of(table).tolist() == [u.num_samples for u in listed]
        for languages in (False, True):
            about = fingerprint.of_utterances(table, languages=languages)
            assert about == fingerprint.of_utterances(listed, languages=languages)
            assert about["utterances"] == len(listed)
        minutes = 0.5 * sum(u.duration_seconds for u in listed if u.text) / 60
        assert list(choose_minutes(table, minutes, seed=3)) == choose_minutes(listed, minutes, seed=3)
        digests = {fingerprint.of_utterances(table[: len(table) - n])["digest"] for n in range(3)}
        assert len(digests) == 3
    assert choices["dev"][0].key != choices["text"][0].key


def test_a_list_and_a_table_are_joined_as_a_list(tmp_path):
    one = written(tmp_path / "one", rows(5))
    assert joined([one, rows(3, seed=1)]) == rows(5) + rows(3, seed=1)


CONFIGS = [DataConfig(), DataConfig(language_exponent=0.4), DataConfig(one_speaker=True, language_exponent=0.4)]


@pytest.mark.parametrize("config", CONFIGS, ids=["plain", "languages", "speakers"])
def test_batches_of_shared_arrays_are_those_of_a_process_on_its_own(config, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_arrays, "_place", lambda: tmp_path / "shared")
    listed = [u._replace(speaker=u.speaker or "dora", num_samples=u.num_samples + 32_000) for u in rows(400)]
    table = written(tmp_path / "p", listed)
    own = CropBatches(listed, config, seed=1)
    monkeypatch.setattr(utterance_columns, "MOST_OWN", 3)
    shared, again = (CropBatches(table, config, seed=1) for _ in range(2))
    assert shared._plan._key is not None
    samples = utterance_columns.num_samples_of(listed)
    assert shared.num_batches == own.num_batches
    for index in (0, 3, own.num_batches + 1, 5 * own.num_batches, 2):
        expected = crops(own._plan, samples, index)
        for batches in (shared, again):
            found = crops(batches._plan, samples, index)
            assert (found.rows == expected.rows).all()
            assert (found.starts == expected.starts).all()
            assert found.num_samples == expected.num_samples
    assert str(shared.languages) == str(own.languages)


def test_plans_do_not_change():
    """Pinned before plans were computed from columns: runs of before continue with the same batches."""
    random = np.random.default_rng(1)
    samples = random.integers(16_000, 560_000, 3_000)
    languages = [("eng", "mdw", None, "deu")[n] for n in random.integers(0, 4, 3_000)]
    speakers = [f"s{n}" for n in random.integers(0, 37, 3_000)]
    names = {"languages": languages, "speakers": speakers}
    assert digest(plan_crops(samples, DataConfig(language_exponent=0.5), seed=5, **names)) == "d9368798f2e24a39"
    assert digest(plan_crops(samples, DataConfig(one_speaker=True), seed=5, **names)) == "36151f344fba55b9"
    config = DataConfig(one_speaker=True, language_exponent=0.3)
    assert digest(plan_crops(samples, config, seed=5, **names)) == "3f3fe414ada2177e"


def digest(plan):
    random = np.random.default_rng(1)
    samples = random.integers(16_000, 560_000, 3_000)
    found = hashlib.blake2b(digest_size=8)
    for index in range(min(2 * plan.num_batches, 400)):
        rows, length = plan.batch(index)
        found.update(f"{rows.tolist()} {crops(plan, samples, index).starts.tolist()} {length}".encode())
    return found.hexdigest()


def test_runs_that_were_started_with_a_fingerprint_of_version_1_keep_it(tmp_path):
    """Pinned before version 2 was added."""
    random = np.random.default_rng(1)
    lengths, languages = random.integers(16_000, 560_000, 3_000), random.integers(0, 4, 3_000)
    listed = [
        Utterance(
            f"u{n}",
            "/x",
            n / 7,
            int(lengths[n]),
            None if n % 3 else "té'x",
            None,
            ("eng", "mdw", None, "deu")[languages[n]],
            None,
        )
        for n in range(200)
    ]
    stored = tmp_path / "data.json"
    new = fingerprint.of_utterances(listed, stored=stored)
    assert new["version"] == 2
    fingerprint.store(stored, {"utterances": 200, "hours": 1.0396, "digest": "40f71d9f5da07a709982b41903cc9f3b"})
    assert fingerprint.check(stored, fingerprint.of_utterances(listed, stored=stored)) is not None
    with pytest.raises(ValueError, match=r"was started on 200 utterances of 1\.04 h"):
        fingerprint.check(stored, fingerprint.of_utterances(listed, languages=True, stored=stored))
    with pytest.raises(ValueError, match="was started on"):
        fingerprint.check(stored, new)
    fingerprint.store(stored, new)
    assert fingerprint.of_utterances(listed, stored=stored) == new
    changed = [listed[0]._replace(channel=1), *listed[1:]]
    with pytest.raises(ValueError, match="differ in content"):
        fingerprint.check(stored, fingerprint.of_utterances(changed, stored=stored))


def test_a_folder_is_moved_with_its_recordings_or_its_root(tmp_path, monkeypatch):
    for name in ("sound", "old", "rooted"):
        (tmp_path / name).mkdir()
    path = tmp_path / "sound/a.wav"
    path.touch()
    row = rows(1)[0]._replace(path=str(path))
    write_manifest(tmp_path / "old", [(row, ABOUT)])
    write_manifest(tmp_path / "rooted", [(row, ABOUT)], relative_to=tmp_path / "sound")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("sound", "old", "rooted"):
        shutil.move(tmp_path / name, moved / name)
    assert open_manifest(moved / "old")[0].path == str(moved / "sound/a.wav")
    assert open_manifest(moved / "rooted")[0].path == str(path)  # nothing there: as it was written
    monkeypatch.setenv(ROOT_VARIABLE, str(moved / "sound"))
    assert open_manifest(moved / "rooted")[0].path == str(moved / "sound/a.wav")
    for name in ("old", "rooted"):
        listed = list(open_manifest(moved / name))
        (moved / name / TABLE).unlink()
        assert read_manifest(moved / name) == listed  # of the cuts alone


def test_the_missing_list_is_written_from_the_other(tmp_path, monkeypatch):
    table = written(tmp_path / "p", rows(20))
    cuts = (tmp_path / "p" / CUTS).read_bytes()
    with pytest.raises(ValueError, match="nothing to write"):
        manifest_forms.write_missing(tmp_path / "p")
    (tmp_path / "p" / CUTS).unlink()
    assert list(open_manifest(tmp_path / "p")) == list(table)
    assert manifest_forms.write_missing(tmp_path / "p") == tmp_path / "p" / CUTS
    assert (tmp_path / "p" / CUTS).read_bytes() == cuts
    (tmp_path / "p" / TABLE).unlink()
    assert not isinstance(open_manifest(tmp_path / "p"), UtteranceTable)
    assert manifest_forms.write_missing(tmp_path / "p") == tmp_path / "p" / TABLE
    assert list(open_manifest(tmp_path / "p")) == list(table)
    assert open_manifest(tmp_path / "p").key == table.key
    with pytest.raises(ValueError, match="not a prepared folder"):
        manifest_forms.write_missing(tmp_path / "nothing")


def test_cuts_that_another_program_changed_are_read_instead_of_the_table(tmp_path, caplog):
    table = written(tmp_path / "p", rows(20))
    with gzip.open(tmp_path / "p" / CUTS, "rt") as file:
        kept = [json.loads(line) for line in file][:12]
    with gzip.open(tmp_path / "p" / CUTS, "wt") as file:
        file.writelines(json.dumps(cut) + "\n" for cut in kept)
    before = (tmp_path / "p" / CUTS).read_bytes()
    with caplog.at_level("INFO", "sori"):
        assert open_manifest(tmp_path / "p") == list(table)[:12]
    assert "was changed after" in caplog.text
    manifest_forms.write_missing(tmp_path / "p")
    assert list(open_manifest(tmp_path / "p")) == list(table)[:12]
    assert isinstance(open_manifest(tmp_path / "p"), UtteranceTable)
    assert (tmp_path / "p" / CUTS).read_bytes() == before


def test_impossible_counts_and_lengths_are_refused(tmp_path):
    listed = rows(3)
    with table_file.table_writer(tmp_path / "more", tmp_path, has_root=False) as table:
        table.add(listed[0], ABOUT)
        table._hashes.extend(range(table_file.BATCH_ROWS))
        table.finish()
    with pytest.raises(ValueError, match="impossible metadata"):
        TableFile(tmp_path / "more")
    with table_file.table_writer(tmp_path / "negative", tmp_path, has_root=False) as table:
        for utterance in (*listed[:2], listed[2]._replace(num_samples=-5)):
            table.add(utterance, ABOUT)
        table.finish()
    with pytest.raises(ValueError, match="impossible values of num_samples"):
        list(TableFile(tmp_path / "negative").numbers("num_samples"))


def test_changed_cuts_of_the_same_size_are_read(tmp_path):
    written(tmp_path / "p", rows(20))
    cuts = tmp_path / "p" / CUTS
    content = gzip.decompress(cuts.read_bytes())
    cuts.write_bytes(gzip.compress(content, compresslevel=0))
    (tmp_path / "p" / TABLE).unlink()
    manifest_forms.write_missing(tmp_path / "p")
    assert isinstance(open_manifest(tmp_path / "p"), UtteranceTable)
    size = cuts.stat().st_size
    cuts.write_bytes(gzip.compress(content.replace(b'"ann"', b'"amy"'), compresslevel=0))
    assert cuts.stat().st_size == size
    assert "amy" in {u.speaker for u in open_manifest(tmp_path / "p")}


def test_numbers_are_halved_only_if_they_fit():
    for number, size in ((0, 4), ((1 << 31) - 1, 4), (1 << 31, 8), (1 << 40, 8)):
        found = utterance_columns.small(np.array([3, number]))
        assert (found.tolist(), found.itemsize) == ([3, number], size)


def test_equal_ids_are_refused_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, "BATCH_ROWS", 4)
    listed = rows(20)
    listed[17] = listed[17]._replace(id=listed[2].id)
    with pytest.raises(ValueError, match="1 rows have the id of another, such as rows 3 and 18"):
        write_manifest(tmp_path, [(u, ABOUT) for u in listed])
    assert list(tmp_path.iterdir()) == []


def test_equal_rows_give_equal_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, [(u, ABOUT) for u in rows(30)], place=tmp_path)
    assert (tmp_path / "one" / TABLE).read_bytes() == (tmp_path / "two" / TABLE).read_bytes()


def test_arrow_libraries_read_the_table(tmp_path):
    ipc = pytest.importorskip("pyarrow.ipc")
    written(tmp_path / "p", rows(30))
    columns = ipc.open_file(str(tmp_path / "p" / TABLE)).read_all().to_pydict()
    assert columns["text"] == [u.text for u in rows(30)]
    assert columns["channel"] == [u.channel for u in rows(30)]
    assert columns["num_frames"] == [800_000] * 30


@dataclass
class Damage:
    """What of a damaged table went unnoticed."""

    refused: int = 0
    same: int = 0


@pytest.mark.parametrize("seed", range(3))
def test_damaged_tables_are_refused_or_read_without_a_crash(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(table_file, "BATCH_ROWS", 16)
    written(tmp_path / "p", rows(60))
    path = tmp_path / "p" / TABLE
    whole, random, count = path.read_bytes(), np.random.default_rng(seed), Damage()
    for _ in range(100):
        damaged = bytearray(whole)
        if random.random() < 0.2:
            del damaged[int(random.integers(len(damaged))) :]
        for place in random.integers(0, max(1, len(damaged)), 3):
            if damaged:
                damaged[place] = int(random.integers(256))
        path.write_bytes(bytes(damaged))
        try:
            file = TableFile(path)
            table = UtteranceTable([Part(file, "/")])
            assert all(isinstance(table[row], Utterance) for row in range(0, len(table), 20))
            assert all(isinstance(u, Utterance) for u in table)
            assert len([table.num_samples(), table.categories("split"), list(file.infos())]) == 3
            count.same += 1
        except ValueError as error:
            assert TABLE in str(error)  # noqa: PT017 - either is right
            count.refused += 1
    assert count.refused > 20


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads /proc/self/smaps, which only Linux has")
def test_pages_that_were_read_do_not_stay_mapped(tmp_path, monkeypatch):
    listed = [u._replace(text=f"{n:05} " * 5_000) for n, u in enumerate(rows(1_000))]
    table = written(tmp_path / "p", listed)
    monkeypatch.setattr(table_file, "_MAPPED_ROWS", 0)  # as a fault may map 2 MB of this small file
    size = (tmp_path / "p" / TABLE).stat().st_size
    order = np.random.default_rng(2).permutation(1_000)
    assert all(table[int(n)] == listed[n] for n in order)
    assert mapped_bytes(tmp_path / "p" / TABLE) < size / 2
    monkeypatch.setattr(table_file, "_give_back", lambda _: None)
    assert all(table[int(n)] == listed[n] for n in order)
    assert mapped_bytes(tmp_path / "p" / TABLE) > 0.9 * size


def mapped_bytes(path):
    """Return how much of a file is mapped into the memory of this process."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    found = [next(line for line in lines if line.startswith("Rss:")) for line in lines if line.endswith(str(path))]
    assert found, "the file is not mapped"
    return sum(int(line.split()[1]) * 1024 for line in found)


def test_a_later_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(table_file, "_VERSION", 9)
        write_manifest(tmp_path, [(u, ABOUT) for u in rows(3)])
    with pytest.raises(ValueError, match="later sori"):
        TableFile(tmp_path / TABLE)
