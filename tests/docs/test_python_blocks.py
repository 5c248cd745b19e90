"""Every Python block of the README and the how-to pages runs, with smaller recipes."""

import contextlib
import io

import pytest
from tests.docs import pages, shell

import sori

SMALLER = {"README": [("layer=4", "layer=2")], "prepare": [('"prepared"', '"again"')]}
"""What stands on the page, and what in the test; recipes as in `shell.RECIPES`."""

AFTER = {
    "README": "assert vectors.frames.shape == (len(vectors.times), 32) and 'CER' in report.table() and run.finished",
    "prepare": "assert utterance.duration_seconds > 0.5",
    "train": "assert run.finished and run.folder.joinpath('model/config.json').is_file()",
    "words": "assert len(space.words) > 5",
}
"""What must be true afterwards."""


SLOW = {"train", "words"}


@pytest.fixture
def small(monkeypatch):
    """Let `sori.recipes.by_name` return the recipes of `shell.RECIPES`."""
    found = sori.recipes.by_name

    def by_name(name):
        recipe, *settings = shell.RECIPES[name]
        changes = dict(one.removeprefix("--").replace("-", "_").split("=") for one in settings)
        return found(recipe).override(changes)

    monkeypatch.setattr(sori.recipes, "by_name", by_name)


def _params():
    names = [page.stem for page in pages.pages_with("python")]
    return [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in names]


@pytest.mark.parametrize("name", _params())
def test_blocks_of_a_page(name, here, small):
    page = next(one for one in pages.pages_with("python") if one.stem == name)
    names = {"__name__": "__main__"}
    _begin(name)
    ran = False
    for block in pages.blocks(page, "python"):
        code = block.text
        for stands, here_is in SMALLER.get(name, ()):
            assert stands in code
            code = code.replace(stands, here_is)
        compiled = compile(code, str(block), "exec")
        if block.reason is None:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compiled, names)  # noqa: S102 - our own pages
            ran = True
    if ran:
        exec(AFTER[name], names)  # noqa: S102


def _begin(name):
    """Leave what the reader of a page does not have yet."""
    if name == "README":
        shell.run("rm -r prepared runs/tiny runs/recogniser")
    if name == "words":
        shell.run("sori words vectors runs/words --into words.bin")
