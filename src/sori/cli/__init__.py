"""The `sori` command: verbs to functions; whatever it can do, the package can do without it."""

import os
import sys
import traceback

from cyclopts import App

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
from sori.core import log
from sori.inference.transcript_files import STDIN

app = App(
    name="sori",
    help="Self-supervised speech representations: from a folder of recordings to a recogniser.",
    help_epilogue="With --debug, any verb shows where in the program an error arose.",
    version_flags=["--version"],
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

drawn = App(name="plot", help="Pictures of runs and of sound; pages on which vectors are seen.")
drawn.default(models.plot)
drawn.command(projector.projector)
drawn.command(projector.pairs)
app.command(drawn)

lm = App(name="lm", help="Language models: build one from text, find its weight.")
lm.command(evaluate.build)
lm.command(evaluate.tune)
app.command(lm)

spoken = App(name="words", help="Words, written and spoken: what is near a word or a sum of words, vectors, scores.")
spoken.default(words.ask)
spoken.command(words.align)
spoken.command(words.vectors)
spoken.command(words.neighbours)
spoken.command(words.evaluate)
app.command(spoken)


def main() -> None:
    """Run the command; what the user can put right is one line on the screen, and exit code 2."""
    words = sys.argv[1:]
    debug = "--debug" in words
    log.show()
    try:
        # A lone dash would be taken for an option.
        app([str(STDIN) if word == "-" else word for word in words if word != "--debug"])
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # the reader of the pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (ValueError, OSError, RuntimeError) as error:
        if debug:
            traceback.print_exc()
        print(f"sori: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RuntimeError) else 2)
