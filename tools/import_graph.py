"""Draw the folders of the package in their layers, and the imports between them: `make architecture`.

The picture keeps its graph as text in its metadata; `tests/architecture/test_picture.py` compares it with the imports
of today.
"""

import io
import json
import sys
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import grimp
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.path import Path as Curve
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "architecture.png"
METADATA_KEY = "imports"

PLACES = {
    "cli": (4.8, "command line"),
    "serve": (2.4, "web application, API"),
    "experiments": (8.2, "several runs, compared"),
    "embeddings": (10.4, "word vectors, projector"),
    "runs": (3.8, "recipe → trained model"),
    "inference": (0.8, "recording → text, vectors"),
    "evaluation": (6.0, "error rates, probes"),
    "recipes": (3.2, "settings as data"),
    "plots": (11.0, "figures, HTML pages"),
    "training": (7.8, "the training loop"),
    "checkpoints": (0.6, "model folders, formats"),
    "decoding": (10.0, "class scores → text"),
    "models": (3.6, "one paper, one file"),
    "lm": (11.2, "n-gram models"),
    "nn": (1.6, "layers and losses"),
    "data": (5.8, "files → batches"),
    "synth": (9.2, "synthetic speech"),
    "text": (4.4, "symbols, edit distance"),
    "core": (5.9, "audio, configuration, files, seeds, shapes, log"),
}
"""Horizontal place of each folder, chosen so that few arrows cross boxes, and what the folder holds."""

LEFT, RIGHT = -0.6, 12.4
BOX_WIDTH, BOX_HEIGHT, LAYER_HEIGHT = 1.8, 0.62, 1.2
LEGEND = "arrow: imports\nwidth: number of imports\ncolour: imported folder\ngrey: one to three imports"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#7a6a00", "#5b4fa2", "#8c564b", "#2a8ca0")
MAX_BYTES = 200_000


def layers() -> list[list[str]]:
    """Return the layers of the import contract, top first, without the module `__main__`."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    rows = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [row.split(" | ") for row in rows if row != "__main__"]


def imports() -> dict[str, dict[str, int]]:
    """Return the number of imports by importing and imported folder."""
    graph = grimp.build_graph("sori", cache_dir=None)
    folders = {folder for row in layers() for folder in row}
    counts: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            one, other = (f"{name}.".split(".")[1] for name in (module, imported))
            if one != other and {one, other} <= folders:
                counts[one, other] += 1
    found: dict[str, dict[str, int]] = {folder: {} for folder in sorted(folders)}
    for (one, other), number in sorted(counts.items()):
        found[one][other] = number
    return found


def stored(picture: Path = PICTURE) -> dict[str, dict[str, int]]:
    """Return the graph that a picture was drawn from."""
    with Image.open(picture) as image:
        return json.loads(image.text[METADATA_KEY])


def draw(graph: Mapping[str, Mapping[str, int]]) -> Figure:
    """Return the figure: a box for each folder, an arrow for each pair of folders with imports.

    Arrows to `core` are left out, since every folder but a few imports it.

    Raises:
        ValueError: a folder has no place in `PLACES`.
    """
    rows = layers()
    if missing := {folder for row in rows for folder in row} ^ PLACES.keys():
        raise ValueError(f"expected a place in PLACES of {__file__} for each folder and no other, got {missing}")
    heights = {folder: (len(rows) - 1 - row) * LAYER_HEIGHT for row, names in enumerate(rows) for folder in names}
    figure = Figure(figsize=(13.0, 12.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set(xlim=(LEFT, RIGHT), ylim=(-0.65, (len(rows) - 0.5) * LAYER_HEIGHT))
    axes.axis("off")
    for row in range(len(rows)):
        shade = "#f4f4f1" if row % 2 else "#fbfbf9"
        bottom = (len(rows) - 1 - row) * LAYER_HEIGHT - LAYER_HEIGHT / 2
        axes.add_patch(Rectangle((LEFT, bottom), RIGHT - LEFT, LAYER_HEIGHT, color=shade, linewidth=0, zorder=0))
    _arrows(axes, graph, heights)
    axes.text(RIGHT - 0.15, heights["cli"], LEGEND, ha="right", va="center", fontsize=9.5, color="#444444")
    for folder, height in heights.items():
        _box(axes, folder, height, sum(folder != one and folder in graph[one] for one in graph))
    return figure


def _colour(folder: str) -> str:
    names = [name for name in PLACES if name != "core"]
    return COLOURS[names.index(folder) % len(COLOURS)] if folder in names else "#555555"


def _box(axes: Axes, folder: str, height: float, importers: int) -> None:
    place, caption = PLACES[folder]
    width = 12.4 if folder == "core" else BOX_WIDTH
    corner = (place - width / 2, height - BOX_HEIGHT / 2)
    style = "round,pad=0,rounding_size=0.1"
    axes.add_patch(
        FancyBboxPatch(corner, width, BOX_HEIGHT, style, facecolor="white", edgecolor=_colour(folder), lw=1.6, zorder=5)
    )
    if folder == "core":
        number = "all" if importers == len(PLACES) - 1 else f"{importers} of the {len(PLACES) - 1}"
        caption += f"    (imported by {number} folders above; arrows not drawn)"
    axes.text(place, height + 0.1, folder, ha="center", va="center", fontsize=13, weight="bold", zorder=6)
    axes.text(place, height - 0.15, caption, ha="center", va="center", fontsize=8.5, color="#444444", zorder=6)


def _arrows(axes: Axes, graph: Mapping[str, Mapping[str, int]], heights: Mapping[str, float]) -> None:
    pairs = [(one, other) for one in graph for other in graph[one] if other != "core"]
    for one, other in sorted(pairs, key=lambda pair: graph[pair[0]][pair[1]]):
        start = _port(one, [b for a, b in pairs if a == one], other), heights[one] - BOX_HEIGHT / 2
        end = _port(other, [a for a, b in pairs if b == other], one), heights[other] + BOX_HEIGHT / 2 + 0.03
        bend = max(0.35, 0.4 * (start[1] - end[1]))
        curve = Curve(
            [start, (start[0], start[1] - bend), (end[0], end[1] + bend), end],
            [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
        )
        number = graph[one][other]
        width = 0.6 + 0.13 * number
        arrow = FancyArrowPatch(
            path=curve,
            arrowstyle="-|>",
            mutation_scale=6 + 2.6 * width,
            linewidth=width,
            color=_colour(other) if number >= 4 else "#bdbdbd",
            alpha=0.85,
            zorder=1 + number / 100,
            shrinkA=0,
            shrinkB=0,
        )
        axes.add_patch(arrow)


def _port(folder: str, others: list[str], other: str) -> float:
    """Return where on the edge of a box an arrow ends: in the order of where the arrows lead."""
    order = sorted(others, key=lambda name: PLACES[name][0])
    return PLACES[folder][0] + BOX_WIDTH * 0.84 * ((order.index(other) + 0.5) / len(order) - 0.5)


def main() -> None:
    """Draw the picture."""
    sys.path.insert(0, str(ROOT / "src"))  # the graph of this checkout, whatever is installed
    graph = imports()
    rough = io.BytesIO()
    draw(graph).savefig(rough, dpi=110)
    about = PngInfo()
    about.add_text(METADATA_KEY, json.dumps(graph))
    with Image.open(rough) as image:  # fewer colours: a third of the size
        image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(PICTURE, optimize=True, pnginfo=about)
    print(f"{PICTURE.relative_to(ROOT)}: {sum(len(row) for row in graph.values())} pairs of folders")


if __name__ == "__main__":
    main()
