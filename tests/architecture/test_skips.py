"""Summary of skipped tests when recordings or an optional library are missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[2] / "conftest.py"
TESTS = """
import pytest


@pytest.mark.parametrize("number", range(3))
def test_of_data(data_dir, number):
    assert data_dir.is_dir()


def test_of_a_library():
    pytest.importorskip("no_such_library")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project of two tests with our `conftest.py`."""
    found = tmp_path_factory.mktemp("project")
    (found / "test_it.py").write_text(TESTS)
    shutil.copy(CONFTEST, found)
    return found


def summary(folder, **environment):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={folder}", folder]
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "SORI_"))}
    settings |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment}
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False).stdout


def test_skips_are_listed_once_per_reason_with_the_cure(folder):
    printed = summary(folder, SORI_DATA="/nowhere")
    assert "    3  real recordings not found at /nowhere; set SORI_DATA to their folder\n" in printed
    assert "    1  could not import 'no_such_library'" in printed
    assert "; `make test` installs it\n" in printed
    assert "4 skipped" in printed


def test_absent_recordings_fail_where_they_are_required(folder):
    printed = summary(folder, SORI_DATA="/nowhere", SORI_REQUIRE_DATA="1")
    assert "real recordings not found at /nowhere; set SORI_DATA to their folder" in printed
    assert "1 skipped, 3 errors" in printed
