"""A page on which points of a vector space turn, are searched, tell their neighbours, and are heard; one file.

Also the files of TensorBoard's embedding projector.
"""

import base64
import json
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
"""Of sound on a page, at most."""
_FULL = 32_767
"""What 1 is written as, in two bytes."""
_TEMPLATE = """<div id=room>
<div id=stage><canvas id=view tabindex=0 role=application aria-label="{label}"></canvas><canvas id=names></canvas>
<p id=hint>Drag to turn, wheel or pinch to come nearer, Shift or two fingers to move. Keys: arrows turn, + and &minus;
zoom, N next neighbour, Enter plays, 0 everything, Esc nothing chosen.</p></div>
<aside id=side>
<label>Search <input id=search type=search autocomplete=off spellcheck=false></label><ul id=results></ul>
<section id=chosen aria-live=polite hidden><h2 id=label></h2><p id=detail class=soft></p>
<button id=play type=button>Play</button><audio id=player></audio><h3>Nearest</h3><ol id=near></ol></section>
<label id=ways>Axes <select id=places></select></label><label>Colour <select id=columns></select></label>
<ul id=legend></ul>
<p><button id=spin type=button aria-pressed=false>Turn by itself</button>
<button id=reset type=button>Everything</button></p>
</aside></div>
<p id=told class=soft role=status></p>"""


class Column(NamedTuple):
    """Something known of each point, by which it can be coloured."""

    name: str
    values: list[str]
    """Of each point; the empty text where it is unknown."""
    ordered: list[str] | None = None
    """The values from low to high, where they have an order; otherwise the most frequent comes first."""


class Points(NamedTuple):
    """What is shown."""

    title: str
    told: list[str]
    """Sentences that say what the points are."""
    labels: list[str]
    details: list[str]
    """More about each point, or nothing at all."""
    columns: list[Column]
    vectors: NDArray[np.float32]
    """`point dim`, as the model has them."""
    sound: Callable[[int], Float[Tensor, " sample"]] | None = None
    """What a point sounds like, 16 kHz."""
    named: bool = False
    """Labels are names worth showing unasked, the most important first; otherwise values of the column are shown."""


def page(
    points: Points,
    projections: dict[str, Projected],
    near: Neighbours,
    *,
    audio_megabytes: float = AUDIO_MEGABYTES,
    seed: int = 0,
) -> str:
    """The page as HTML, complete in one file.

    Args:
        points: to be shown.
        projections: where they are, by the name of the method.
        near: neighbours of each.
        audio_megabytes: of sound, at most; points that have one are drawn at random.
        seed: of that.
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
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    body = [
        blocks.heading(points.title, level=1),
        *(blocks.paragraph(one) for one in points.told),
        _TEMPLATE.format(label=blocks.escaped(f"{len(points.labels):,} points in space; search beside it")),
        *(blocks.paragraph(one, soft=True) for one in _told(points, projections, near, sounds)),
        f'<script type="application/json" id=data>{text}</script>',
    ]
    here = files("sori.plots")
    names = ("projector_page.css", "projector_draw.js", "projector_page.js")
    style, draw, script = (here.joinpath(name).read_text(encoding="utf-8") for name in names)
    return blocks.page(points.title, body, style=style, script=draw + script)


def _told(
    points: Points, projections: dict[str, Projected], near: Neighbours, sounds: dict[int, bytes]
) -> Iterator[str]:
    """What a reader must know to believe the picture no more than it deserves."""
    dim = points.vectors.shape[1]
    for name, one in projections.items():
        if one.kept is not None:
            yield (
                f"{name}: these three axes hold {one.kept:.1%} of the variance of {dim} dimensions; what lies in the "
                "rest cannot be seen here."
            )
        else:
            yield f"{name}: keeps neighbours together; distances between groups, and their sizes, mean little."
    yield (
        f"Neighbours are those of all {dim} dimensions, by cosine ({near.rows.shape[1]} for each point, among the "
        "points on this page), whatever the picture shows."
    )
    if points.sound is not None:
        size = sum(map(len, sounds.values())) / 1e6
        drawn = ", drawn at random" if len(sounds) < len(points.labels) else ""
        yield f"{len(sounds):,} of {len(points.labels):,} points can be heard{drawn}: {size:.1f} MB of sound."


def _sounds(points: Points, megabytes: float, seed: int) -> Iterator[tuple[int, bytes]]:
    """Points in random order with their sounds, as many as there is room for."""
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
    """The cloud around its middle, its farthest point at 1, in two bytes a number."""
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
    """The files that TensorBoard's embedding projector takes: vectors, what is known of them, and which is which."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / "vectors.tsv") as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(map(str, row)) + "\n" for row in points.vectors)
    columns: list[tuple[str, Sequence[str]]] = [("label", points.labels)]
    columns += [("detail", points.details)] if points.details else []
    columns += [(one.name, one.values) for one in points.columns]
    # A single column has no heading, by TensorBoard's rule.
    rows = [[name for name, _ in columns]] if len(columns) > 1 else []
    rows += [list(row) for row in zip(*(values for _, values in columns), strict=True)]
    with atomic_write(folder / "metadata.tsv") as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(" ".join(cell.split()) or "-" for cell in row) + "\n" for row in rows)
    write_text(
        folder / "projector_config.pbtxt",
        'embeddings {\n  tensor_name: "sori"\n  tensor_path: "vectors.tsv"\n  metadata_path: "metadata.tsv"\n}\n',
    )
