"""Runs the commands of a page as a reader would, one after the other in one folder, with smaller settings.

What is made smaller stands in `RECIPES`; the pages themselves are not changed.
"""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.docs.pages import ROOT

from sori import cli

_TRAIN = ("--train.num-steps=3", "--train.log-every=1")
_LABELS = (*_TRAIN, "--labels.minutes=1", "--labels.lm=word")
RECIPES = {
    "wav2vec2_tiny": ("wav2vec2_smoke", *_TRAIN),
    "wav2vec2_small": ("wav2vec2_smoke", *_TRAIN),
    "wav2vec2_smoke": ("wav2vec2_smoke", *_TRAIN),
    "ctc_10min": ("ctc_smoke", *_LABELS),
    "ctc_1h": ("ctc_smoke", *_LABELS),
    "mine.yaml": ("mine.yaml", *_LABELS),
    "word2vec_skipgram": ("word2vec_smoke",),
    "bert_tiny": ("bert_smoke", *_TRAIN),
}
"""Recipe on the page, recipe and settings in the test."""

_OTHER_PROGRAMS = {"python", "python3", ".venv/bin/pip", ".", "pip", "ffmpeg", "curl", "iconv", "dask", "sbatch", "aws"}
_BASH = re.compile(r"[|&;<]|^\w+=|\*")


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    words: list
    """Of the command, without what was made smaller for the test."""
    out: str
    err: str

    def option(self, name):
        """Return the last value of an option, or None."""
        found = [after for before, after in zip(self.words, self.words[1:], strict=False) if before == name]
        return found[-1] if found else None

    @property
    def arguments(self):
        """Return the words between the command and its first option."""
        first = next((n for n, word in enumerate(self.words) if word.startswith("--")), len(self.words))
        return self.words[2:first]


def lines(text):
    """Return the commands of a block: continued lines joined, comments left out."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line for line in joined.splitlines() if shlex.split(line, comments=True)]


def named(line, names):
    """Return a line with a path in place of each name in capitals."""
    for name, path in names.items():
        line = re.sub(rf"(?<![\w.]){name}(?!\w)", path, line)
    return line


def smaller(words, num_steps=3):
    """Return the words of a `sori` command with the settings of the test."""
    if words[1:2] != ["train"]:
        return words
    recipe, *settings = RECIPES[words[2]]
    rest, kept = iter(words[3:]), []
    for word in rest:
        if word == "--train.num-steps":
            next(rest)
        else:
            kept.append(word)
    ours = [one.replace("num-steps=3", f"num-steps={num_steps}") for one in settings]
    return [*words[:2], recipe, *kept, *(one for one in ours if one.split("=")[0] not in kept)]


def run(line, num_steps=3):
    """Run one line of a page in the current folder; fail if it fails."""
    words = shlex.split(line, comments=True)
    assert words[:2] not in (["sori", "serve"], ["sori", "demo"], ["sori", "lab"]), f"{line} does not end: mark it"
    if words[0] != "sori" or _BASH.search(re.sub(r"\s#.*", "", re.sub(r"'[^']*'|\"[^\"]*\"", "", line))):
        return _in_bash(line, words)
    into = None
    if ">" in words:
        into = words[words.index(">") + 1]
        words = words[: words.index(">")]
    code, out, err = called(smaller(words, num_steps))
    assert code == 0, f"{line}\n{out}{err}"
    if into:
        Path(into).write_text(out)
    return Done(words, out, err)


def called(words):
    """Return exit code, standard output and standard error of a command, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, code = (sys.argv, sys.stdin), 0
    sys.argv, sys.stdin = words, io.StringIO("king\n")  # a line typed where a command waits for one
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.argv, sys.stdin = before
    return code, out.getvalue(), err.getvalue()


def _in_bash(line, words):
    """Run what needs a shell, with a program `sori` that is ours."""
    tools = Path("tools").resolve()
    tools.mkdir(exist_ok=True)
    program = tools / "sori"
    if not program.exists():
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sori "$@"\n')
        program.chmod(0o755)
    settings = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    done = subprocess.run(["/bin/bash", "-c", line], env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    start = next((n for n, word in enumerate(words) if word == "sori"), 0)
    return Done(words[start:], done.stdout, done.stderr)


def parsed(line):
    """Check a line that is not run: its options are those of the command line, its target is one of the Makefile."""
    words = [word for word in shlex.split(line, comments=True) if word != "..."]
    if words[0] == "make":
        assert re.search(rf"^{re.escape(words[1])}:", (ROOT / "Makefile").read_text(), re.MULTILINE), line
        return
    start = next((n for n, word in enumerate(words) if word == "sori"), None)
    if start is None or words[start + 1 : start + 2] == ["@"]:
        assert words[0] in _OTHER_PROGRAMS, f"what is this? {line}"
        return
    stop = next((n for n, word in enumerate(words) if word in {">", "2>", "&", "|"} and n > start), len(words))
    tokens = [cli.STDIN if word == "-" else word for word in words[start + 1 : stop]]
    function, bound, _ = cli.app.parse_args(tokens, exit_on_error=False, print_error=False)
    assert function is not None, line
    if tokens[0] == "train":
        from sori import recipes
        from sori.cli.train import _changes

        recipes.by_name(tokens[1]).override(_changes(bound.args[1:]))
