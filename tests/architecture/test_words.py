"""Prose and identifiers use the field's terms; words that only this package would use are banned.

The terms are in `docs/glossary.md`. An allowance names the use that stays, and why. To add one, prefer a longer pattern
over a path.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from sori.cli import app

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for kind in ("py", "css", "js", "html") for path in (ROOT / "src" / "sori").rglob(f"*.{kind}"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Banned:
    """A word of the house, in any case, also as a part of an identifier (`hours_heard`)."""

    pattern: str
    term: str
    """What to write instead."""
    uses: tuple[str, ...] = ()
    """Patterns of uses that stay."""
    places: tuple[str, ...] = ()
    """Beginnings of paths in which the word has its ordinary meaning."""
    case: bool = False
    """Whether capitals count, for identifiers that are ordinary words in lower case."""

    def hits(self, text: str, path: str) -> list[tuple[int, str]]:
        """Return the banned words in a text, each with the number of its line."""
        if path.startswith(self.places):
            return []
        flags = 0 if self.case else re.IGNORECASE
        word = re.compile(rf"(?<![a-zA-Z])(?:{self.pattern})(?![a-zA-Z])", flags)
        if not word.search(text):
            return []
        for use in self.uses:
            text = re.sub(use, " ", text, flags=re.IGNORECASE)
        return [
            (number, found.group(0))
            for number, line in enumerate(text.splitlines(), 1)
            for found in word.finditer(line)
        ]


BANNED = (
    Banned(
        "hears?|heard|hearing",
        "process, compute; hours processed; long-form",
        uses=(
            r"hours[_-]heard",  # option of `sori lab`, field of its configuration, key in lab.json
            r"here and hear\b",  # a pair of homophones
        ),
    ),
    Banned(
        "sheets?",
        "probing report",
        uses=(
            r"sheet\.(json|md|png)",  # files of `sori lab`
            r"style ?sheets?",  # of a web page
            r'"sheet", "minutes"',  # names of a random generator: another name would draw other utterances
        ),
    ),
    Banned(
        "lab|labs|laboratory",
        "comparison",
        uses=(
            r"sori[ ._]lab\b",  # the command
            r"`lab`",
            r"\[?docs/lab\.md\]?",
            r"\blab[\w{}]*\.(json|md|png|txt|log)",  # its files
            r"--into (runs/)?lab\b|runs/lab\b|plot lab/|results/lab",  # folders in examples
            r"\bdef lab\(|\.lab\b|import lab\b|study import .*\blab\b|\blab\(",  # the function of the command
            r"│ lab +",  # the command in the list of commands
            r'"comparison:lab"',  # its place in cli/
            r"runs\S* ?/ ?.lab.",  # the default folder of the command
            r"(?<=\n)lab(?=\n)",  # its page in an index
            r"lab_\{name\}",  # names of recipes in run folders
        ),
    ),
    Banned("passages?", "chunk (audio), segment (text)"),
    Banned("letters? (wrong|errors?)|wrong letters", "character error rate (CER)"),
    Banned(
        "told|asked|asks",
        "predicted, given, required, requested; probed",
        uses=(r'"asked"',),  # key of a stored measurement of `sori lab`
    ),
    Banned("claims?|claimed|claiming", "begin, init; result"),
    Banned("whoever|nobody|somebody|anybody", "a plain subject: the model, the user, the caller"),
    Banned("(so )?manieth|so many|so much as", "the number; every N-th"),
    Banned(
        "wave",
        "waveform",
        uses=(
            r"\.wave\b",  # a suffix
            r"[\"`]wave[\"`]",  # the input of an ONNX file
        ),
    ),
    Banned("judged?|judges|judging|judgements?", "evaluate, evaluation", uses=(r"judge[_-]split",)),  # an option
    Banned("untrained sel(f|ves)", "random-initialisation baseline"),
    Banned("spectra", "log-mel and MFCC", uses=(r"(mel|power|magnitude|amplitude) spectra", r"spectra_per_\w+")),
    Banned(
        "guessed|guesses|guessing",
        "predicted; chance level",
        uses=(r"guessed_share",),  # key in metrics.jsonl
    ),
    Banned("by heart", "memorised"),
    Banned("comes? to nothing|came to nothing", "fails, diverges"),
    Banned("goes on with|go on with|is begun on", "continues; starts from"),
    Banned("stands? in|lies in|lie in", "is in"),
    Banned("takes? over from|take over", "is joined to"),
    Banned("knows", "contains, represents, has"),
    Banned("shares? of", "fraction of"),
    Banned(r"an account|accounts", "fingerprint; list"),
    Banned("trials?", "probe task"),
    Banned(
        "voices?",
        "speakers",
        uses=(
            r"(synthetic|espeak\S*|synthesised) (\w+ )?voices?",
            r"voice engine",
            r"common[ _-]voice[\w-]*",  # the corpus
        ),
        places=(  # espeak-ng's voices
            "src/sori/synth/",
            "src/sori/experiments/demonstration/",
            "src/sori/plots/demo_report.py",
            "docs/results/demonstration.md",
            "docs/glossary.md",
        ),
    ),
    Banned("Guessed|Draws|Told|Judged|Heard", "PredictionTargets, RandomDraws, Prediction, ...", case=True),
    Banned(r"needs_\w+", "require_...", places=("docs/", "README.md"), case=True),
    Banned(r"(\.|\b)say(?=[(=:])", "logger, message", case=True),
    Banned(r'(?<=""")Of', 'a phrase with a subject: "Number of ..."', case=True),
)


def problems(text: str, path: str) -> list[str]:
    """Return a line for each banned word."""
    return [
        f"{path}:{number}: {word!r}, write: {banned.term}"
        for banned in BANNED
        for number, word in banned.hits(text, path)
    ]


def helps(node=app, names=()):
    """Yield the words of each command and its help page."""
    page = io.StringIO()
    app.help_print(list(names), console=Console(file=page, width=100))
    yield " ".join(names), page.getvalue()
    for name in node:
        if not name.startswith("-"):
            yield from helps(node[name], (*names, name))


@pytest.mark.parametrize("path", [*DOCUMENTS, *SOURCES], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_prose_and_identifiers_use_the_terms_of_the_field(path):
    name = path.relative_to(ROOT).as_posix()
    found = problems(path.read_text(encoding="utf-8"), name)
    assert not found, "\n" + "\n".join(found)


def test_help_uses_the_terms_of_the_field():
    pages = dict(helps())
    assert len(pages) > 25
    found = [
        problem for name, page in pages.items() for problem in problems(page, f"sori {name} --help".replace("  ", " "))
    ]
    starts = [
        f"sori {name} --help: {line.strip(' │')!r}"
        for name, page in pages.items()
        for line in page.splitlines()
        if re.match(r"│ .*  Of ", line)
    ]
    assert not found + starts, "\n" + "\n".join(found + starts)


@pytest.mark.parametrize(
    ("line", "path", "expected"),
    [
        ("a model hears 40 h", "docs/a.md", 1),
        ("hours_heard: float", "src/sori/a.py", 0),
        ("num_heard: int", "src/sori/a.py", 1),
        ("class Heard(NamedTuple):", "src/sori/a.py", 2),
        ("SYSTEM/sheet.md has all layers", "docs/a.md", 0),
        ("the sheet of a model", "docs/a.md", 1),
        ("`sori lab --data A`", "docs/a.md", 0),
        ("the lab compares", "docs/a.md", 1),
        ("24 voices", "src/sori/synth/a.py", 0),
        ("24 voices", "src/sori/nn/a.py", 1),
        ('"""Of the learning rate."""', "src/sori/a.py", 1),
        ("rules apply. Of these, two", "docs/a.md", 0),
        ("the waveform, a shearing force", "docs/a.md", 0),
    ],
)
def test_the_search_finds_words_and_respects_allowances(line, path, expected):
    assert len(problems(line, path)) == expected
