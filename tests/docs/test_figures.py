"""The pictures of the documentation are those that their scripts draw from the recorded figures."""

import subprocess
import sys

import pytest
from tests.docs import pages

SCRIPTS = sorted(path for path in (pages.DOCS / "figures").glob("[!_]*.py") if path.stem != "style")
PICTURES = pages.DOCS / "article" / "figures"


def picture_of(script):
    return PICTURES / f"{script.stem}.svg"


@pytest.mark.parametrize("script", [one for one in SCRIPTS if picture_of(one).is_file()], ids=lambda path: path.stem)
def test_a_picture_is_drawn_to_the_same_bytes(script):
    stored = {path: path.read_bytes() for path in PICTURES.glob(f"{script.stem}*.svg")}
    try:
        subprocess.run([sys.executable, script], check=True, capture_output=True)
        assert {path: path.read_bytes() for path in stored} == stored
    finally:
        for path, content in stored.items():
            path.write_bytes(content)


def test_every_picture_of_the_article_has_a_script():
    drawn = {script.stem for script in SCRIPTS}
    assert {path.name.split(".")[0] for path in PICTURES.glob("*.svg")} <= drawn
