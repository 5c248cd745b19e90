"""Parts of pages that are made from the package: the options of every command, the list of recipes."""

import inspect
import re
from typing import Any

from sphinx.application import Sphinx

from sori.cli import app as commands
from sori.recipes import RECIPES


def options() -> str:
    """Return every command with its arguments and options, as `--help` prints them, in Markdown."""
    text = commands.generate_docs(output_format="markdown", heading_level=1)
    return text[text.index("\n## ") :].replace("```console", "```text")


def recipes() -> str:
    """Return a table of the built-in recipes: name, first paragraph of the description."""
    rows = [_row(recipe.__name__, inspect.getdoc(recipe) or "") for recipe in RECIPES]
    return "\n".join(["", "| recipe | what it trains |", "|---|---|", *rows, ""])


def _row(name: str, description: str) -> str:
    first = re.sub(r"\s+", " ", description.split("\n\n", maxsplit=1)[0]).replace("|", r"\|")
    return f"| `{name}` | {first} |"


def _append(_app: Sphinx, page: str, source: list[str]) -> None:
    match page:
        case "commands":
            source[0] += options()
        case "recipes":
            source[0] += recipes()
        case _:
            pass


def setup(app: Sphinx) -> dict[str, Any]:
    """Complete the pages when they are read."""
    app.connect("source-read", _append)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
