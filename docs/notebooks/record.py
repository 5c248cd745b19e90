"""Run the notebooks and store what the site shows: `python docs/notebooks/record.py [NAME.ipynb ...]`.

Each runs in an empty folder. Progress bars are left out; pictures get a palette, which makes them a quarter as large.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image


def record(path: Path) -> None:
    """Run a notebook and replace its outputs."""
    notebook = nbformat.read(path, 4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": folder}}).execute()
    tidy(notebook)
    nbformat.write(notebook, path)


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Keep printed text and pictures, and no times of the run."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        cell.outputs = [
            out
            for out in cell.outputs
            if out.output_type == "execute_result" or out.get("name") == "stdout" or "image/png" in out.get("data", {})
        ]
        for out in cell.outputs:
            if "image/png" in out.get("data", {}):
                out.data["image/png"] = _smaller(out.data["image/png"])


def _smaller(picture: str) -> str:
    image = Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    into = io.BytesIO()
    image.save(into, "png", optimize=True)
    return base64.b64encode(into.getvalue()).decode()


if __name__ == "__main__":
    names = [Path(name) for name in sys.argv[1:]] or sorted(Path(__file__).parent.glob("*.ipynb"))
    for name in names:
        record(name)
