"""The pictures of the article are those that their scripts draw from the recorded figures."""

import runpy
import sys

import matplotlib as mpl
import pytest
from tests.docs import pages

FIGURES = pages.DOCS / "figures"
SCRIPTS = sorted(path for path in FIGURES.glob("[!_]*.py") if path.stem != "style")
PICTURES = pages.DOCS / "article" / "figures"


def pictures_of(script):
    return {
        path: path.read_bytes() for path in PICTURES.glob(f"{script.stem}*.svg") if path.name[len(script.stem)] == "."
    }


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("script", [one for one in SCRIPTS if pictures_of(one)], ids=lambda path: path.stem)
def test_a_picture_is_drawn_to_the_same_bytes(script, monkeypatch):
    stored = pictures_of(script)
    monkeypatch.syspath_prepend(FIGURES)
    monkeypatch.setattr(sys, "argv", [str(script)])
    monkeypatch.delitem(sys.modules, "style", raising=False)
    try:
        with mpl.rc_context():
            mpl.rcdefaults()
            runpy.run_path(str(script), run_name="__main__")
        assert pictures_of(script) == stored, "run `make figures` and look at the picture"
    finally:
        for path, content in stored.items():
            path.write_bytes(content)


def test_every_picture_of_the_article_has_a_script():
    drawn = {script.stem for script in SCRIPTS}
    # Other workers may be drawing: their unfinished files begin with a dot.
    assert {path.name.split(".")[0] for path in PICTURES.glob("[!.]*.svg")} <= drawn
