"""Checks on a Dask cluster: a scheduler and workers that are started here, as processes of their own."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import pytest
import soundfile

from sori.data.preparation import cluster
from sori.data.preparation.cluster import check_on_cluster
from sori.data.preparation.prepare import prepare
from sori.data.preparation.workers import FileChecker, Stamp

pytest.importorskip("distributed", reason="could not import 'distributed' (extra cluster)")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
RATE = 16_000
FAKE_CHILD = """
import json, os, signal, sys, time
print("ready", flush=True)
for line in sys.stdin:
    path = json.loads(line)["path"]
    if "kill" in path:
        os.kill(os.getppid(), signal.SIGKILL)
    if "crash" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    if "slow" in path:
        time.sleep(0.3)
    print(json.dumps([{"detail": path, "warnings": [], "pieces": [[1, 2]]}]), flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def _functions_by_value():
    cloudpickle = pytest.importorskip("cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """Address of a scheduler with three workers of one thread each."""
    place = tmp_path_factory.mktemp("dask") / "scheduler.json"
    environment = os.environ | {
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
        "DASK_DISTRIBUTED__ADMIN__LOG_FORMAT": "%(message)s",
    }
    common = ["--scheduler-file", str(place), "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": place.parent}
    program = [sys.executable, "-m", "distributed.cli"]
    with ExitStack() as stack:
        arguments = [f"{program[2]}.dask_scheduler", *common, "--host", "127.0.0.1", "--port", "0"]
        processes = [stack.enter_context(subprocess.Popen([*program[:2], *arguments], **quiet))]
        try:
            arguments = [f"{program[2]}.dask_worker", *common, "--nthreads", "1", "--no-nanny"]
            processes += [stack.enter_context(subprocess.Popen([*program[:2], *arguments], **quiet)) for _ in range(3)]
            yield _address(place)
        finally:
            for process in processes:
                process.kill()


def _num_idle():
    return cluster._idle.qsize()


def _num_clients():
    return sum(type(one).__name__ == "Client" for one in gc.get_objects())


def _address(place):
    while not place.is_file() or not place.read_text().endswith("}"):  # it is not there, or not yet written
        time.sleep(0.05)
    return json.loads(place.read_text())["address"]


def use_fake_children(program):
    """Run in the workers, by value, because they have no tests: from now on, another program checks their files."""
    cluster.end_children()
    cluster.FileChecker = lambda: FileChecker(program) if program else FileChecker()


@pytest.fixture
def client(scheduler):
    with cluster._connected(scheduler) as client:
        client.wait_for_workers(3, timeout=60)
        yield client


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        soundfile.write(folder / f"{number}.wav", 0.1 * rng.standard_normal(RATE // 4), RATE)
    loud = np.repeat(np.tile([0.1, 1e-4], 4), [RATE, RATE // 2] * 4)
    soundfile.write(folder / "long.wav", loud * rng.standard_normal(len(loud)), RATE)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "copy.wav").write_bytes((folder / "3.wav").read_bytes())
    return folder


@pytest.mark.usefixtures("bounded")
def test_a_cluster_gives_the_bytes_of_one_machine(client, scheduler, recordings, tmp_path):
    prepare(recordings, tmp_path / "one", max_seconds=3.0, num_workers=1)
    prepare(recordings, tmp_path / "many", max_seconds=3.0, scheduler=scheduler)
    for name in ("cuts.jsonl.gz", "excluded.jsonl", "flagged.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    assert set(client.run(_num_idle).values()) == {0}


@pytest.mark.usefixtures("bounded")
def test_wrong_clusters_are_refused(client, scheduler, tmp_path, monkeypatch):
    path = str(tmp_path / "only here.wav")
    with monkeypatch.context() as patch:  # this machine sees a file that the workers do not
        patch.setattr(cluster, "file_stamp", lambda _: Stamp(1, 1))
        with pytest.raises(ValueError, match=r"only here.wav is here but not on the worker tcp.* shared file system"):
            list(check_on_cluster([{"path": path}], scheduler))
        patch.setattr(cluster, "_require_suitable", lambda *_: None)  # as for a worker that comes later
        with pytest.raises(ValueError, match=r"only here.wav is here but not on the worker tcp"):
            list(check_on_cluster([{"path": path}], scheduler))
    monkeypatch.setattr(cluster, "versions", lambda: cluster.Versions("3.99", "0", 0))
    with pytest.raises(ValueError, match=r"expected Versions\(python='3.99'.* on the worker tcp.*install the same"):
        list(check_on_cluster([{"path": path}], scheduler))


@pytest.mark.usefixtures("bounded")
def test_a_scheduler_that_is_not_there_is_an_error(recordings, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_CONNECT_SECONDS", 0.3)
    gc.collect()
    before = _num_clients()
    for address in ("tcp://127.0.0.1:9", "nonsense", "http://127.0.0.1:9"):
        with pytest.raises(ValueError, match=f"expected a Dask scheduler at {address}, got no answer"):
            prepare(recordings, tmp_path / "out", scheduler=address)
        assert _num_clients() <= before  # the finalizer of a client that is left may stop the next one
    with pytest.raises(ValueError, match="expected num_workers or scheduler, got 2 and tcp"):
        prepare(recordings, tmp_path / "out", scheduler="tcp://127.0.0.1:9", num_workers=2)


@pytest.mark.usefixtures("bounded")
def test_a_killed_worker_costs_nothing_and_a_file_that_kills_workers_itself(client, scheduler, monkeypatch):
    client.run(use_fake_children, (sys.executable, "-c", FAKE_CHILD))
    next_done, killed = cluster._Dispatch._next, []

    def and_its_worker_ends(dispatch):
        future = next_done(dispatch)
        if not killed:
            killed.extend(dispatch.client.who_has([future])[future.key])
            os.kill(client.run(os.getpid, workers=killed)[killed[0]], signal.SIGKILL)
            while future.status == "finished":  # until it is known that the results are gone
                time.sleep(0.01)
        return future

    monkeypatch.setattr(cluster._Dispatch, "_next", and_its_worker_ends)
    names = [f"slow {number}" for number in range(10)] + ["crash"]
    results = list(check_on_cluster([{"path": name} for name in names], scheduler))
    found = {index: checked.findings[0] for index, checked in results}
    assert len(killed) == 1
    assert len(results) == 11
    assert [found[index].reason for index in range(11)] == [None] * 10 + ["decoder crashed"]
    assert [found[index].detail for index in range(10)] == names[:10]
    assert found[0].pieces == ((1, 2),)
    (checked,) = dict(check_on_cluster([{"path": "kill"}], scheduler)).values()
    assert checked.findings[0].reason == "decoder crashed"
    assert "several workers of the cluster ended" in checked.findings[0].detail
    assert checked.stamp is None
    assert not client.nthreads()
