"""Closed standard streams: nothing else takes their place, and commands work as if nobody was listening."""

import subprocess
import sys

import pytest


def shell(command, folder):
    """Run `$0`, this Python, in a shell command."""
    arguments = ["/bin/sh", "-c", command, sys.executable]
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_messages_of_libraries_and_children_do_not_enter_files_that_are_opened_next(closed, tmp_path):
    (tmp_path / "program.py").write_text(
        "import os, subprocess, sys\n"
        "from sori.core.streams import replace_closed\n"
        "replace_closed()\n"
        "files = [open(name, 'w+b', buffering=0) for name in 'abc']\n"
        "for file in files: file.write(b'recording')\n"
        "os.write(2, b'message of a library')\n"
        "subprocess.run([sys.executable, '-c', 'import os; os.write(2, b\"message of a child\")'], check=True)\n"
        "print('message', file=sys.stderr, flush=True)\n"
        "print('result', flush=True)\n"
    )
    found = shell(f'exec "$0" program.py {closed}', tmp_path)
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == ("" if ">&- 2" in closed else "result\n")
    assert [(tmp_path / name).read_bytes() for name in "abc"] == [b"recording"] * 3


def test_streams_that_are_open_stay_as_they_are():
    program = (
        "import sys; from sori.core.streams import replace_closed; before = sys.stdout, sys.stderr; replace_closed();"
        "assert (sys.stdout, sys.stderr) == before; print(input())"
    )
    found = subprocess.run([sys.executable, "-c", program], input="line", capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("line\n", "")


def test_a_problem_is_no_result_where_standard_error_is_closed(tmp_path):
    assert "no such" in shell('exec "$0" -m sori show nothing', tmp_path).stderr
    found = shell('exec "$0" -m sori show nothing 2>&-', tmp_path)
    assert (found.returncode, found.stdout) == (2, "")


@pytest.mark.parametrize("command", ["words vectors.txt", "transcribe {model} -"])
def test_a_closed_standard_input_is_one_line(command, tmp_path, recogniser_run):
    (tmp_path / "vectors.txt").write_text("1 2\nword 0.5 0.5\n")
    found = shell(f'exec "$0" -m sori {command.format(model=recogniser_run)} <&-', tmp_path)
    assert (found.returncode, found.stdout, found.stderr.count("\n")) == (2, "", 1)
    assert "standard input, got none: it is closed" in found.stderr
