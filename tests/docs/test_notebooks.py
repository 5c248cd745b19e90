"""The notebooks run from beginning to end; what the site shows is a run of the same cells."""

import os
import subprocess
import sys

import pytest
from tests.docs import pages

nbformat = pytest.importorskip("nbformat")
NOTEBOOKS = sorted((pages.DOCS / "notebooks").glob("*.ipynb"))
QUICK = {"look-into-representations"}
"""Those of about ten seconds; the others run with `-m slow`."""


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _params():
    return [
        pytest.param(path, id=path.stem, marks=[] if path.stem in QUICK else [pytest.mark.slow]) for path in NOTEBOOKS
    ]


@pytest.mark.parametrize("path", _params())
def test_notebook_runs(path, tmp_path):
    """The cells run in order as one program, without a kernel; their assertions hold."""
    cells = code_of(nbformat.read(path, 4))
    printed = "".join(out.get("text", "") for cell in cells for out in cell.outputs if out.get("name") == "stdout")
    program = "\n\n".join(cell.source for cell in cells)
    settings = {**os.environ, "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    now, before = done.stdout.splitlines(), printed.splitlines()
    assert now[0] == before[0]
    assert len(now) == len(before)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_run_is_whole(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    cells = code_of(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), "run it: from the first cell on"
    outputs = [out for cell in cells for out in cell.outputs]
    assert not [out for out in outputs if out.output_type == "error"]
    assert any("image/png" in out.get("data", {}) for out in outputs)
    assert "site-packages" not in path.read_text(encoding="utf-8")
    assert path.stat().st_size < 200_000
