"""The `sori` command: one verb for each public function of the package."""

import gc
import itertools
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from cyclopts import App, Parameter
from pydantic import ValidationError

from sori.cli.output import problem
from sori.core import log, system_errors
from sori.core.config import explained

STDIN = "/dev/stdin"
"""Path that a dash among the arguments stands for, because cyclopts takes a single dash for an option."""

_MAX_REASON = 200

app = App(
    name="sori",
    help="Self-supervised speech representations: from a folder of recordings to a recogniser.",
    help_epilogue="Add --debug to any command to print the full traceback of an error.",
    version_flags=["--version"],
    default_parameter=Parameter(json_list=False, json_dict=False),  # `--data [v2]` is the name of a folder
)

COMMANDS = (
    (
        "train:prepare",
        (
            "Check recordings and write a prepared folder that lists the usable ones; recordings are never changed.\n\n"
            "The same command continues where it was interrupted."
        ),
    ),
    (
        "train:manifest",
        "Write the table of a prepared folder from its Lhotse cuts, or the reverse; or let it find moved recordings.",
    ),
    ("train:shards", "Write the sound of a prepared folder into tar files, for clusters and object storage."),
    (
        "select:select",
        (
            "Choose the utterances to transcribe next: by chance, for varied sounds, or where a recogniser is unsure."
            "\n\nUtterances with a transcript, and splits that are held out for evaluation, are left out."
        ),
    ),
    ("train:plan", "Plan training: recipe, settings, time, memory and disk for some hours of speech and a deadline."),
    ("train:train", "Pre-train or fine-tune a model; the same command continues an interrupted run."),
    ("transcribe:transcribe", "Transcribe sound files of any length."),
    (
        "transcribe:align",
        "Align a recording with its text: start and end in seconds, confidence and word, one line each.",
    ),
    ("evaluate:evaluate", "Compute word and character error rates of a recogniser on transcribed recordings."),
    ("evaluate:score", "Compute word and character error rates of text files."),
    (
        "evaluate:calibrate",
        "Fit word confidence, the probability that a word is correct, for `sori transcribe` with the same options.",
    ),
    (
        "probe:probe",
        (
            "Probe each layer of a model for phones, speakers, ABX discrimination, units and text.\n\n"
            "Log-mel and MFCC features are probed as baselines."
        ),
    ),
    (
        "models:embed",
        "Write the frame vectors of sound files, one `.npz` file each, with the arrays `frames` and `times` (seconds).",
    ),
    (
        "models:units",
        "Write the discrete units of a corpus, one line per utterance: id, tab, and units such as `17-203`.",
    ),
    (
        "models:convert",
        "Convert a model to another format, with a certificate that lists the source of every tensor.",
    ),
    (
        "masked_lm:fill",
        "Predict masked words with BERT: number of the mask, probability and word piece, one line each.",
    ),
    (
        "masked_lm:classify",
        (
            "Classify texts or their words, or measure accuracy and F1 on a labelled table.\n\n"
            "Prints class, probability and text, one line for each text or word."
        ),
    ),
    (
        "languages:languages",
        "Compare how languages use the discrete units of a model: distances, a map, and units used by one language.",
    ),
    (
        "serve:serve",
        ("Transcribe in a web browser, and serve clients of OpenAI's transcription API, on this machine."),
    ),
    ("train:list_", "List the built-in recipes, and the models in ./runs."),
    ("train:show", "Print a recipe as YAML, which can be edited and trained from, or describe a model."),
    (
        "train:demo",
        (
            "Train recognisers without and with pre-training and self-training, and compare them on a web page.\n\n"
            "The same command continues an interrupted demo."
        ),
    ),
    (
        "comparison:lab",
        (
            "Train all systems on the same amount of audio and compare them with the same probes.\n\n"
            "The same command continues an interrupted comparison."
        ),
    ),
    ("projector:plot", "Plot the training curves of a run, a recording, or vectors."),
    ("evaluate:lm", "Build a language model from text, or tune its weight."),
    ("words:words", "Query, export and evaluate vectors of written or spoken words."),
)
"""Module and function of each command, and its description, which is that of the function.

A module is imported when its command is called, because torch, numba and matplotlib take seconds.
"""

for _place, _description in COMMANDS:
    app.command(f"sori.cli.{_place}", name=_place.partition(":")[2].rstrip("_"), help=_description)


def main() -> None:
    """Run the command line; errors that the user can correct give a one-line message and exit code 2.

    Garbage is not looked for during the imports: torch makes hundreds of thousands of objects, and Python would look
    through all of them several times (0.3 s of 1.7).
    """
    gc.disable()
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    log.show()
    _unwind_on_signals()
    try:
        _require_working_folder()
        words = [STDIN if argument == "-" else argument for argument in arguments if argument != "--debug"]
        command, bound, _ = app.parse_args(words)  # imports the module of the command
        gc.freeze()  # modules stay until the end
        gc.enable()
        command(*bound.args, **bound.kwargs)
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of the pipe has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # noqa: BLE001 - one line for the user, whatever it is
        if debug:
            traceback.print_exc()
        code, message = _answer(error)
        problem(f"sori: {message}")
        sys.exit(code)
    finally:
        gc.enable()


def _answer(error: Exception) -> tuple[int, str]:
    """Return the exit code and the line for the user; a fault of sori is reported in a file."""
    if system_errors.is_out_of_memory(error):
        return 2, system_errors.out_of_memory(error)
    match error:
        case ValidationError():
            return 2, explained(error)
        case OSError():
            return 2, system_errors.explained(error)
        case ValueError():
            return 2, str(error)
        case RuntimeError():
            return 1, str(error)
        case _:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:_MAX_REASON]
            return 70, f"unexpected error, {reason}. This is a fault of sori; {_report()}"  # EX_SOFTWARE


def _require_working_folder() -> None:
    """Refuse to run in a folder that has been removed: torch would end the process while it is imported."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ValueError(
            "expected a working folder, got one that does not exist; likely it was removed or replaced while a shell "
            'was in it: change to another one, or to the new one by `cd "$PWD"`'
        ) from None


def _unwind_on_signals() -> None:
    """End on SIGTERM and SIGHUP as on Ctrl-C, so that temporary files and processes are removed; `nohup` stays."""

    def end(number: int, _: object) -> None:
        sys.exit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def _report() -> str:
    """Write the traceback of the current error to a file, in the run folder if there is one, and say where it is."""
    text = f"{' '.join(sys.argv)}\n{traceback.format_exc()}"
    for folder in (_run_folder(), None):
        with (
            suppress(OSError),
            NamedTemporaryFile(
                "w",
                prefix="sori-",
                suffix=".log",
                delete=False,
                encoding="utf-8",
                errors="backslashreplace",
                dir=folder,
            ) as file,
        ):
            file.write(text)
            return f"please report it with {file.name}"
    return "repeat the command with --debug and report what it prints"


def _run_folder() -> Path | None:
    """Return the run folder that the command writes to, or None."""
    try:
        from sori.core.run_folder import RunFolder
    except ImportError:  # torch itself is damaged
        return None
    words = [part for word in sys.argv[1:] for part in word.split("=", 1)]
    into = [value for option, value in itertools.pairwise(words) if option == "--into"]
    return Path(into[-1]) if into and RunFolder(Path(into[-1])).is_begun else None
