"""The notebooks run from beginning to end; what the site shows is a run of the same cells."""

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
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_notebook_runs(path, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    traitlets = pytest.importorskip("traitlets.config")
    notebook = nbformat.read(path, 4)
    printed = ["".join(out.get("text", "") for out in cell.outputs) for cell in code_of(notebook)]
    resources = {"metadata": {"path": str(tmp_path)}}
    config = traitlets.Config(ConnectionFileMixin={"transport": "ipc"})  # no port that others could reach
    nbclient.NotebookClient(notebook, timeout=300, resources=resources, config=config).execute()
    for before, cell in zip(printed, code_of(notebook), strict=True):
        now = "".join(out.get("text", "") for out in cell.outputs if out.get("name") == "stdout")
        assert bool(now.strip()) == bool(before.strip()), cell.source


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
