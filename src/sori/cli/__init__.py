"""The `sori` command: one verb for each public function of the package."""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from cyclopts import App, Parameter
from pydantic import ValidationError

from sori.cli import (
    comparison,
    evaluate,
    languages,
    masked_lm,
    models,
    probe,
    projector,
    train,
    transcribe,
    words,
)
from sori.cli.output import problem
from sori.core import log
from sori.core.config import explained
from sori.inference.transcript_files import STDIN

app = App(
    name="sori",
    help="Self-supervised speech representations: from a folder of recordings to a recogniser.",
    help_epilogue="Add --debug to any command to print the full traceback of an error.",
    version_flags=["--version"],
    default_parameter=Parameter(json_list=False, json_dict=False),  # `--data [v2]` is the name of a folder
)
app.command(train.prepare)
app.command(train.train)
app.command(transcribe.transcribe)
app.command(transcribe.align)
app.command(evaluate.evaluate)
app.command(evaluate.score)
app.command(evaluate.calibrate)
app.command(probe.probe)
app.command(models.embed)
app.command(models.units)
app.command(models.convert)
app.command(masked_lm.fill)
app.command(masked_lm.classify)
app.command(languages.languages)
app.command(train.list_, name="list")
app.command(train.show)
app.command(train.demo)
app.command(comparison.lab)

plot_app = App(name="plot", help="Plot the training curves of a run, a recording, or vectors.")
plot_app.default(models.plot)
plot_app.command(projector.projector)
plot_app.command(projector.pairs)
app.command(plot_app)

lm_app = App(name="lm", help="Build a language model from text, or tune its weight.")
lm_app.command(evaluate.build)
lm_app.command(evaluate.tune)
app.command(lm_app)

words_app = App(name="words", help="Query, export and evaluate vectors of written or spoken words.")
words_app.default(words.query)
words_app.command(words.align)
words_app.command(words.vectors)
words_app.command(words.neighbours)
words_app.command(words.evaluate)
app.command(words_app)


def main() -> None:
    """Run the command line; errors that the user can correct give a one-line message and exit code 2."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    log.show()
    try:
        with _cleaning_up():
            # cyclopts takes a single dash for an option.
            app([str(STDIN) if argument == "-" else argument for argument in arguments if argument != "--debug"])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of the pipe has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (ValueError, OSError, RuntimeError) as error:
        if debug:
            traceback.print_exc()
        problem(f"sori: {explained(error) if isinstance(error, ValidationError) else error}")
        sys.exit(1 if isinstance(error, RuntimeError) else 2)
    except Exception as error:  # noqa: BLE001 - a fault of sori: one line for the user, the rest in a file
        if debug:
            traceback.print_exc()
        message = f"sori: unexpected error, {type(error).__name__}: {error}. This is a fault of sori; {_report_file()}"
        problem(message)
        sys.exit(70)  # EX_SOFTWARE


@contextmanager
def _cleaning_up() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the command like Ctrl-C, so that its temporary files are removed.

    A signal that is ignored (`nohup`) stays ignored.
    """

    def leave(number: int, _: object) -> NoReturn:
        sys.exit(128 + number)

    wanted = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]  # not on Windows
    changed = [one for one in wanted if signal.getsignal(one) is signal.SIG_DFL]
    for one in changed:
        signal.signal(one, leave)
    try:
        yield
    finally:
        for one in changed:
            signal.signal(one, signal.SIG_DFL)


def _report_file() -> str:
    """Write the traceback of the current error to a file, and say where it is."""
    try:
        with tempfile.NamedTemporaryFile("w", prefix="sori-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(f"{' '.join(sys.argv)}\n{traceback.format_exc()}")
    except OSError:
        return "repeat the command with --debug and report what it prints"
    return f"please report it with {file.name}"
