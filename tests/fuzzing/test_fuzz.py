"""The search for faults finds those that are planted, and runs."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

PLANTED = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
import fuzz
from fuzzing import mutations, targets

held = []

def planted(act):
    def read(path):
        if path.read_bytes() != b"original":
            act(path)
    return read

def refuse(path):
    raise ValueError(f"{path}: damaged")

def forget(path):
    raise ValueError("damaged")

def fail(path):
    raise KeyError("x")

def allocate(path):
    held.append(b"x" * (fuzz.MEMORY_BYTES + (64 << 20)))

def other(data, rng):
    return b"changed"

def write(path):
    path.write_bytes(b"original")

ACTS = {"refuse": refuse, "forget": forget, "fail": fail, "crash": lambda path: os.abort(),
        "hang": lambda path: time.sleep(60), "allocate": allocate}
targets.TARGETS = tuple(targets.Target(name, "a.bin", write, planted(act), other) for name, act in ACTS.items())
fuzz.SECONDS, fuzz.MEMORY_BYTES = 2, 256 << 20
if __name__ == "__main__":
    sys.argv[1:] = ["--minutes", "0.05", "--workers", "1"]
    sys.exit(fuzz.main())
"""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, timeout=280)


@pytest.mark.slow
def test_planted_faults_are_found(tmp_path):
    script = tmp_path / "planted.py"
    script.write_text(PLANTED, encoding="utf-8")
    found = run(str(script), str(TESTS))
    assert found.returncode == 1, found.stderr
    faults = {line.split(":", 1)[0]: line for line in found.stdout.splitlines() if "file:" in line}
    for name, message in {
        "forget": "the message names no file, ValueError",
        "fail": "KeyError",
        "crash": "crash: SIGABRT",
        "hang": "hang: more than 2 s",
        "allocate": "memory: ",
    }.items():
        assert message in faults[name]
    assert "refuse" not in faults


@pytest.mark.slow
def test_readers_end_in_messages():
    found = run(
        str(TESTS / "fuzz.py"), "--minutes", "0.05", "--workers", "1", "--targets", "recipe", "table_csv", "elan", "wav"
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert found.stdout.splitlines()[-1].startswith("all ")
