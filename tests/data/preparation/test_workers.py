"""A decoder that crashes or hangs costs the file that it was decoding and nothing else."""

import subprocess
import sys
import time

import pytest

from sori.data.preparation.workers import PROGRAM, check_files

FAKE_WORKER = """
import json, os, sys, time
print("ready", flush=True)
for line in sys.stdin:
    path = json.loads(line)["path"]
    if "crash" in path:
        os.kill(os.getpid(), 11)
    if "babble" in path:
        print("neither JSON nor", flush=True)
    if "hang" in path:
        time.sleep(600)
    if "meet" in path:
        folder = path.split()[1]
        open(os.path.join(folder, str(os.getpid())), "w").close()
        while len(os.listdir(folder)) < 2:
            time.sleep(0.01)
    if "slow" in path:
        for _ in range(10):
            time.sleep(0.5)
            print("alive", flush=True)
    print(json.dumps([{"detail": f"{path} by {os.getpid()}", "warnings": [], "pieces": [[1, 2]]}]), flush=True)
"""


def findings(names, **options):
    program = (sys.executable, "-c", FAKE_WORKER)
    results = check_files([{"path": name} for name in names], program=program, **options)
    return [finding for _, ((finding,), _) in sorted(results)]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_a_crash_and_a_hang_cost_one_file_each(num_workers):
    names = ["a", "crash 1", "b", "hang", "c", "crash 2", "crash 3", "d"]
    found = findings(names, num_workers=num_workers, seconds_per_file=3.0)
    reasons = [finding.reason for finding in found]
    crashed, stalled = "decoder crashed", "decoder stalled"
    assert reasons == [None, crashed, None, stalled, None, crashed, crashed, None]
    assert found[1].detail == "its process ended with status -11"
    assert found[3].detail == "no answer within 3 s"
    assert [found[i].detail.split(" by ")[0] for i in (0, 2, 4, 7)] == ["a", "b", "c", "d"]
    assert found[0].pieces == ((1, 2),)


def test_a_long_file_may_take_long_while_it_is_being_decoded():
    (found,) = findings(["slow"], num_workers=1, seconds_per_file=3.0)
    assert found.reason is None


def test_the_process_imports_no_torch():
    code = "import runpy, sys; sys.stdin = open('/dev/null'); "
    code += f"runpy.run_path({PROGRAM[-1]!r}, run_name='__main__'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["ready", "False"]


def test_several_processes_work_at_the_same_time(tmp_path):
    found = findings([f"meet {tmp_path}"] * 2, num_workers=2, seconds_per_file=20.0)
    assert [finding.reason for finding in found] == [None, None]
    assert len({finding.detail.split(" by ")[1] for finding in found}) == 2


def test_no_more_processes_than_requested_do_the_work():
    found = findings([f"file {number}" for number in range(40)], num_workers=2)
    assert len({finding.detail.split(" by ")[1] for finding in found}) <= 2
    assert [finding.detail.split(" by ")[0] for finding in found] == [f"file {number}" for number in range(40)]


def test_stopping_early_ends_the_processes():
    names = ["a", *["hang"] * 5]
    results = check_files(
        [{"path": name} for name in names], num_workers=2, program=(sys.executable, "-c", FAKE_WORKER)
    )
    assert next(results)[0] == 0
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 30  # although the children would sleep for minutes


def test_a_program_that_does_not_start_is_an_error_rather_than_a_finding():
    with pytest.raises(RuntimeError, match="does not start; to see why, run"):
        list(check_files([{"path": "a"}], num_workers=1, program=(sys.executable, "-c", "raise SystemExit(1)")))
    with pytest.raises(OSError, match="no-such-program"):
        list(check_files([{"path": "a"}], num_workers=1, program=("no-such-program",)))


def test_nothing_to_do_starts_nothing():
    assert list(check_files([], num_workers=2, program=("no-such-program",))) == []


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", ["b\0.wav", "b\ud83d.wav", 7, None, "babble"])
def test_whatever_a_request_holds_is_a_finding(name, tmp_path):
    found = findings(["a", name, "c"], num_workers=1)
    assert [one.reason for one in found[::2]] == [None, None]
    assert found[1].reason == ("unreadable" if name in (7, None, "babble") else None)
    real = dict(check_files([{"path": name}, {"path": str(tmp_path / "none")}], num_workers=1))
    assert real[0].findings[0].reason in ("unreadable", "missing")
    assert real[1].findings[0].reason == "missing"


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("request_", [{"path": "a", "unknown": 1}, {}, {"path": "a", "start": {1, 2}}])
def test_a_request_that_nobody_understands_is_a_finding(request_):
    (((found,), _),) = dict(check_files([request_], num_workers=1)).values()
    assert found.reason in ("unreadable", "missing")


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("num_workers", [-1, 0, 10**6, 10**30, True])
def test_nobody_waits_for_workers_that_there_are_not(num_workers):
    with pytest.raises(ValueError, match="expected num_workers to be a whole number from 1 to 1,024, got"):
        list(check_files([{"path": "a"}], num_workers=num_workers))
