"""Build the projector page: vectors in 3D with rotation, search, nearest neighbours and audio, in one HTML file.

Also write the files of TensorBoard's embedding projector.
"""

import base64
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sori.core.files import atomic_write, write_text
from sori.core.seeds import derive
from sori.core.shapes import Float, Tensor
from sori.plots import html_page as blocks
from sori.plots.projection import Neighbours, Projected

AUDIO_MEGABYTES = 6.0
"""Maximum size of the audio on a page."""
_FULL = 32_767
"""Integer that represents 1 in 16 bits."""
_TEMPLATE = """<div id=room>
<div id=stage><canvas id=view tabindex=0 role=application aria-label="{label}"></canvas><canvas id=names></canvas>
<p id=hint>Drag: rotate. Wheel or pinch: zoom. Shift-drag or two fingers: move. Keys: arrows rotate, + and &minus;
zoom, N next neighbour, Enter plays, 0 resets the view, Esc clears the selection.</p></div>
<aside id=side>
<label>Search <input id=search type=search autocomplete=off spellcheck=false></label><ul id=results></ul>
<section id=chosen aria-live=polite hidden><h2 id=label></h2><p id=detail class=soft></p>
<button id=play type=button>Play</button><audio id=player></audio><h3>Nearest neighbours</h3><ol id=near></ol></section>
<label id=ways>Axes <select id=places></select></label><label>Colour <select id=columns></select></label>
<ul id=legend></ul>
<p><button id=spin type=button aria-pressed=false>Rotate</button>
<button id=reset type=button>Reset view</button></p>
</aside></div>
<p id=status class=soft role=status></p>"""


class Column(NamedTuple):
    """Attribute of the points, used to colour them."""

    name: str
    values: list[str]
    """Value for each point; empty if unknown."""
    ordered: list[str] | None = None
    """Ordered values from low to high; None: unordered, sorted by frequency."""


class Points(NamedTuple):
    """Points to show on the page."""

    title: str
    notes: list[str]
    """Sentences that describe the points."""
    labels: list[str]
    details: list[str]
    """Details of each point; may be empty."""
    columns: list[Column]
    vectors: NDArray[np.float32]
    """`point dim`, unprojected."""
    sound: Callable[[int], Float[Tensor, " sample"]] | None = None
    """Returns the audio of a point, 16 kHz."""
    named: bool = False
    """Whether to show labels of unselected points, the first points first; otherwise column values are shown."""


def page(
    points: Points,
    projections: dict[str, Projected],
    near: Neighbours,
    *,
    audio_megabytes: float = AUDIO_MEGABYTES,
    seed: int = 0,
) -> str:
    """Return the page as self-contained HTML.

    Args:
        points: points to show.
        projections: coordinates, by name of the projection.
        near: nearest neighbours of each point.
        audio_megabytes: maximum size of the audio; the points with audio are sampled at random.
        seed: seed of this sampling.
    """
    sounds = dict(_sounds(points, audio_megabytes, seed))
    data = {
        "labels": points.labels,
        "details": points.details,
        "named": points.named,
        "places": {name: _base64(_whole(one.places)) for name, one in projections.items()},
        "columns": [_column(one) for one in points.columns],
        "near": _base64(near.rows.astype("<u4")),
        "cosines": _base64(np.rint(near.cosines.clip(-1, 1) * _FULL).astype("<i2")),
        "each": near.rows.shape[1],
        "sounds": {row: base64.b64encode(sound).decode() for row, sound in sounds.items()},
    }
    text = blocks.embedded_json(data)
    body = [
        blocks.heading(points.title, level=1),
        *(blocks.paragraph(one) for one in points.notes),
        _TEMPLATE.format(
            label=blocks.escaped(f"{len(points.labels):,} points in three dimensions; the search field is next to it")
        ),
        *(blocks.paragraph(one, soft=True) for one in _explanation(points, projections, near, sounds)),
        f'<script type="application/json" id=data>{text}</script>',
    ]
    here = files("sori.plots")
    names = ("projector_page.css", "projector_draw.js", "projector_page.js")
    style, draw, script = (here.joinpath(name).read_text(encoding="utf-8") for name in names)
    return blocks.page(points.title, body, style=style, script=draw + script)


def _explanation(
    points: Points, projections: dict[str, Projected], near: Neighbours, sounds: dict[int, bytes]
) -> Iterator[str]:
    """Yield notes on the limits of the projections, on neighbours and on audio."""
    dim = points.vectors.shape[1]
    for name, one in projections.items():
        if one.kept is not None:
            yield (
                f"{name}: the three axes explain {one.kept:.1%} of the variance of {dim} dimensions; the rest is not "
                "visible here."
            )
        else:
            yield f"{name}: preserves neighbourhoods; distances between groups and sizes of groups are not meaningful."
    yield (
        f"Nearest neighbours are computed by cosine in all {dim} dimensions, not in the projection "
        f"({near.rows.shape[1]} for each point, among the points on this page)."
    )
    if points.sound is not None:
        size = sum(map(len, sounds.values())) / 1e6
        drawn = ", sampled at random" if len(sounds) < len(points.labels) else ""
        yield f"{len(sounds):,} of {len(points.labels):,} points have audio{drawn}: {size:.1f} MB."


def _sounds(points: Points, megabytes: float, seed: int) -> Iterator[tuple[int, bytes]]:
    """Yield points in random order with their encoded audio, up to the size limit."""
    room = megabytes * 1e6
    if points.sound is None:
        return
    for row in np.random.default_rng(derive(seed, "projector", "sounds")).permutation(len(points.labels)).tolist():
        sound = blocks.encoded(points.sound(row), small=True)
        room -= len(sound)
        if room < 0:
            return
        yield row, sound


def _whole(places: NDArray[np.float32]) -> NDArray[np.int16]:
    """Centre the points, scale the farthest to 1, and convert to 16-bit integers."""
    centred = places - places.mean(0)
    reach = float(np.linalg.norm(centred, axis=1).max()) or 1.0
    whole: NDArray[np.int16] = np.rint(centred / reach * _FULL).astype("<i2")
    return whole


def _column(column: Column) -> dict[str, Any]:
    counts = Counter(column.values)
    values = column.ordered or sorted(counts, key=lambda value: (not value, -counts[value], value))
    places = {value: place for place, value in enumerate(values)}
    of = np.array([places[value] for value in column.values], dtype="<u4")
    return {"name": column.name, "values": values, "of": _base64(of), "ordered": column.ordered is not None}


def _base64(numbers: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers).tobytes()).decode()


def write_tensorboard(points: Points, folder: Path) -> None:
    """Write the files of TensorBoard's embedding projector: vectors, metadata and configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "vectors.tsv") as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(map(str, row)) + "\n" for row in points.vectors)
    columns: list[tuple[str, Sequence[str]]] = [("label", points.labels)]
    columns += [("detail", points.details)] if points.details else []
    columns += [(one.name, one.values) for one in points.columns]
    # TensorBoard expects no header for a single column.
    rows = [[name for name, _ in columns]] if len(columns) > 1 else []
    rows += [list(row) for row in zip(*(values for _, values in columns), strict=True)]
    with atomic_write(folder / "metadata.tsv") as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(" ".join(cell.split()) or "-" for cell in row) + "\n" for row in rows)
    write_text(
        folder / "projector_config.pbtxt",
        'embeddings {\n  tensor_name: "sori"\n  tensor_path: "vectors.tsv"\n  metadata_path: "metadata.tsv"\n}\n',
    )
