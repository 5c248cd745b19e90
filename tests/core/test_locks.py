import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from sori.core import locks
from sori.core.locks import LockedError, locked

HOLD = """
import sys
from pathlib import Path
from sori.core import locks
locks.LEASE_SECONDS = float(sys.argv[2])
with locks.locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A lock that is taken over after a second."""
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(locks, "_ATTEMPT_SECONDS", 0.3)
    return tmp_path / "folder" / "sori.lock"


@pytest.fixture
def hold(path):
    """Another process that holds the lock."""
    started = []

    def start():
        command = [sys.executable, "-c", HOLD, str(path), str(locks.LEASE_SECONDS)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def record(path, *, host="another-node", pid=12345, duration=1.0):
    """Write the lock of a process on another machine."""
    path.parent.mkdir(exist_ok=True)
    text = f"filelock/2\npid={pid}\nhost={host}\nmode=lease\ntoken={32 * 'a'}\nduration={duration!r}\n"
    path.write_text(text)
    path.chmod(0o644)


@pytest.fixture
def renewed(path):
    """The lock of another machine, which its holder renews."""
    record(path)
    stop = threading.Event()

    def renew():
        while not stop.wait(0.2):
            if path.exists():
                os.utime(path)

    thread = threading.Thread(target=renew)
    thread.start()
    yield stop
    stop.set()
    thread.join()


def test_a_lock_is_a_file_only_while_it_is_held(path):
    for _ in range(2):
        with locked(path):
            assert path.is_file()
        assert list(path.parent.iterdir()) == []


def test_a_lock_of_a_running_process_is_refused_at_once_with_its_owner(path, hold):
    holder = hold()
    begin = time.monotonic()
    with (
        pytest.raises(LockedError, match=rf"process {holder.pid} on \S+, which last renewed it \d+ s ago"),
        locked(path),
    ):
        pass
    assert time.monotonic() - begin < 1
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_lock_of_a_running_process_that_does_not_renew_it_is_kept(path, hold):
    holder = hold()
    holder.send_signal(signal.SIGSTOP)  # as Ctrl-Z
    time.sleep(1.5)
    with pytest.raises(LockedError), locked(path):
        pass
    holder.send_signal(signal.SIGCONT)


def test_a_killed_process_holds_nothing(path, hold):
    holder = hold()
    holder.kill()
    holder.wait()
    begin = time.monotonic()
    with locked(path):
        assert time.monotonic() - begin < 1


def test_a_lock_of_another_machine_is_kept_while_it_is_renewed(path, renewed):
    with pytest.raises(LockedError, match="process 12345 on another-node"), locked(path):
        pass
    assert "another-node" in path.read_text()


def test_a_lock_of_another_machine_is_taken_over_once_it_is_not_renewed(path, caplog):
    record(path)
    os.utime(path, (1e9, 1e9))  # clocks of machines differ: the time alone proves nothing
    begin = time.monotonic()
    with locked(path):
        assert time.monotonic() - begin >= 1
        assert "another-node" not in path.read_text()
    assert f"{path} is locked by process 12345 on another-node" in caplog.text


def test_a_container_of_this_machine_is_another_machine(path, renewed):
    record(path, host=f"{os.uname().nodename}?pidns-f0000001", pid=1)
    with pytest.raises(LockedError), locked(path):
        pass


@pytest.mark.parametrize("content", ["", "hello\n", "filelock/2\npid=1\n"])
def test_what_a_crash_of_the_machine_leaves_blocks_nobody_for_ever(path, content):
    path.parent.mkdir()
    path.write_text(content)
    with locked(path):
        assert path.read_text() != content
        with pytest.raises(LockedError), locked(path):
            pass
    assert not path.exists()


def test_waiting_lasts_as_long_as_the_holder(path, renewed):
    threading.Timer(3, lambda: (renewed.set(), path.unlink())).start()
    begin = time.monotonic()
    with locked(path, wait=True):
        assert time.monotonic() - begin > 2.5


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK])
def test_file_systems_without_locks_are_no_obstacle(path, number, monkeypatch):
    def without(*_):
        raise OSError(number, os.strerror(number))

    for name in ("flock", "lockf"):
        monkeypatch.setattr(fcntl, name, without)
    with locked(path), pytest.raises(LockedError), locked(path):
        pass
    with locked(path):
        pass


def test_a_lost_lock_is_reported(path, caplog):
    with locked(path):
        path.unlink()
        record(path)
        end = time.monotonic() + 10
        while "was lost" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.1)
    assert path.exists()  # it is another's now


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(locks.SoftFileLease, "acquire", fail)
    with (
        pytest.raises(OSError, match=r"cannot write .*run\.lock: No space left on device"),
        locked(tmp_path / "run.lock"),
    ):
        pass


def test_the_holder_is_a_running_process_on_this_machine(tmp_path):
    path = tmp_path / "lock"
    assert locks.holder(path) is None
    with locks.locked(path):
        assert locks.holder(path) == os.getpid()
    assert locks.holder(path) is None
    path.write_text("damaged")
    assert locks.holder(path) is None
