"""Errors of the operating system have a place, a reason and a cure, and no number."""

import errno
import os
import subprocess
import sys

import pytest

from sori.core.system_errors import explained, is_out_of_memory


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_place_reason_and_cure(number):
    message = explained(OSError(number, os.strerror(number), "a/b.wav"))
    start = f"a/b.wav: {os.strerror(number)}; "
    assert message.startswith(start)
    assert len(message) > len(start) + 10


def test_an_error_without_place_has_none():
    assert explained(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))).startswith("No space left on device; make room")


def test_messages_of_sori_stay():
    error = OSError("cannot write x: make room")
    error.errno = errno.ENOSPC
    assert explained(error) == explained(OSError("cannot write x: make room")) == "cannot write x: make room"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "ctc_smoke", "--data", "d", "--into", "file"], "sori: file: File exists; expected a folder"),
        (["train", "ctc_smoke", "--data", "d", "--into", "file/run"], "sori: file/run: Not a directory; a part of"),
        (["show", "x" * 300], ": File name too long; give it a shorter name"),
    ],
    ids=["file", "below a file", "long"],
)
def test_on_the_command_line(words, message, call, tmp_path, prepared_tones):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "d").symlink_to(prepared_tones)
    code, _, err = call(*words)
    assert code == 2
    assert message in err
    assert "Errno" not in err
    assert (tmp_path / "file").read_text() == "precious"


def test_too_little_memory_is_recognised_through_its_causes():
    loader = ImportError("libtorch_cpu.so: failed to map segment from shared object")
    wrapped = ImportError("Cannot import module 'sori.cli.transcribe'")
    wrapped.__cause__ = loader
    allocator = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")
    for error in (MemoryError(), loader, wrapped, allocator):
        assert is_out_of_memory(error)
    for error in (ImportError("no module named x"), RuntimeError("loss is NaN"), ValueError("too large")):
        assert not is_out_of_memory(error)


@pytest.mark.parametrize("kilobytes", [400_000, 1_000_000])
def test_a_command_with_too_little_memory_is_one_line(kilobytes, recogniser_run, tone_corpus):
    sound = next((tone_corpus / "audio" / "anna").glob("*.wav"))
    command = f'ulimit -v {kilobytes}; exec "$0" -m sori transcribe {recogniser_run} {sound}'
    found = subprocess.run(
        ["/bin/bash", "-c", command, sys.executable], capture_output=True, text=True, timeout=120, check=False
    )
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1)
    assert "not enough memory (" in found.stderr


def test_a_damaged_library_is_one_line(tmp_path):
    """The report of the error must not need the library itself."""
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch_cpu.so: wrong format')")
    command = [sys.executable, "-m", "sori", "transcribe", "model", "a.wav", "--into", str(tmp_path)]
    found = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr.count("\n")) == (70, 1)
    assert "please report it with" in found.stderr
