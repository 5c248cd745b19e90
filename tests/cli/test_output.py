"""Results reach a pipe as they are and a terminal without control characters; signals leave no temporary files."""

import io
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sori
from sori.cli.output import problem, write
from sori.core.log import one_line

EVIL = "name\x1b[2J\x1b]0;title\x07 abc\u202ecba"
ESCAPED = "name\\x1b[2J\\x1b]0;title\\x07 abc\\u202ecba"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_only_a_terminal_is_protected(monkeypatch, capsys):
    write(EVIL)
    write(EVIL, end="")
    assert capsys.readouterr().out == f"{EVIL}\n{EVIL}"
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    write(f"{EVIL}\nsecond\tline")
    assert screen.getvalue() == f"{ESCAPED}\nsecond\tline\n"


def test_problems_are_messages_and_always_escaped(capsys):
    problem(EVIL)
    assert capsys.readouterr().err == f"{ESCAPED}\n"


@pytest.mark.parametrize(
    ("text", "encoding", "written"),
    [("caf\udce9 \ud83d", "utf-8", b"caf\\udce9 \\ud83d\n"), ("é한", "latin-1", b"\xe9\\ud55c\n")],
)
def test_what_cannot_be_encoded_is_escaped(monkeypatch, text, encoding, written):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, newline="\n"))
    write(text)
    assert raw.getvalue() == written


def test_a_name_is_one_field_of_a_line():
    assert one_line("a\tb\nc\rd\u2028e f\x85") == "a\\tb\\nc\\rd\\u2028e f\\x85"
    assert one_line("C:\\new é") == "C:\\new é"


def on_a_terminal(*arguments, folder):
    """Run a command with a terminal as standard output; return what the terminal receives."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-m", "sori", *arguments], stdout=theirs, stderr=theirs, cwd=folder)
    os.close(theirs)
    received = b""
    try:
        while block := os.read(ours, 1 << 16):
            received += block
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    process.wait()
    return received.decode(errors="replace")


def test_a_list_of_models_with_an_evil_name(tmp_path, call, monkeypatch):
    folder = tmp_path / "runs" / "evil\x1b[2J" / "model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert "evil\x1b[2J" in call("list")[1]
    shown = on_a_terminal("list", folder=tmp_path)
    assert "\x1b" not in shown
    assert "evil\\x1b[2J" in shown


def test_markup_in_names_and_options_is_text(call, tmp_path, monkeypatch):
    """Neither rich, with which cyclopts prints its messages, nor the JSON lists of cyclopts."""
    monkeypatch.chdir(tmp_path)
    for name in ("[v2]", "x[/red]", "[link file]y", "[bold]z"):
        for arguments in (
            ("show", name),
            ("transcribe", "model", "a.wav", "--num-best", name),
            ("prepare", name, f"{name}/out"),
            ("train", "ctc_smoke", "--data", name, "--into", f"{name}/run"),
            ("train", "ctc_smoke", "--into", name, f"--{name}"),
            (name,),
        ):
            code, out, err = call(*arguments)
            assert code != 0
            assert "Traceback" not in err
            assert "unexpected error" not in err
            assert "".join(name.split()) in "".join((out + err).replace("│", " ").split())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_with_its_temporary_files_removed(number, tmp_path):
    program = (
        "import signal, sys, tempfile, time\n"
        "from sori import cli\n"
        "def wait():\n"
        "    with tempfile.TemporaryDirectory() as folder:\n"
        "        print(folder, flush=True)\n"
        "        time.sleep(60)\n"
        "cli.app.command(wait)\n"
        "sys.argv = ['sori', 'wait']\n"
        "cli.main()\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(sori.__file__).parents[1])}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    folder = Path(process.stdout.readline().strip())
    assert folder.is_dir()
    process.send_signal(number)
    assert process.wait(timeout=30) == 128 + number
    assert not folder.exists()
    process.stdout.close()


def test_a_closed_standard_output_is_no_fault(tmp_path):
    command = f"exec {sys.executable} -m sori list >&-"
    found = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
