"""Ending a command from outside: nothing is left behind."""

import os
import signal
import subprocess
import sys
import time

import pytest

from sori.training.stop_signals import StopSignals

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has other signals")


def start(folder, *words, **options):
    """Start a command with an own folder for temporary files."""
    (folder / "temporary").mkdir()
    program = "from sori.__main__ import main; main()"
    settings = os.environ | {"TMPDIR": str(folder / "temporary")}
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)], cwd=folder, env=settings, text=True, **options
    )


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_removes_the_temporary_recording(number, recogniser_run, tmp_path):
    temporary = tmp_path / "temporary"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with start(tmp_path, "transcribe", recogniser_run, "-", **pipes) as command:
        command.stdin.write("RIFF")
        command.stdin.flush()
        wait_for(lambda: any(path.is_file() and path.name == "stdin" for path in temporary.rglob("*")))
        command.send_signal(number)
        _, err = command.communicate(timeout=60)
    assert (command.returncode, err) == (128 + number, "")
    assert not list(temporary.iterdir())


def test_a_hangup_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as `nohup` does
    try:
        with StopSignals() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
