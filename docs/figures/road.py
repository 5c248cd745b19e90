"""The road of the article: which system took which idea from which."""

from typing import Any

import style

_TEXT, _SPEECH, _IMAGE = style.BLUE, style.GREEN, style.PURPLE
_STATIONS = {
    "Word2Vec": (1.5, 3.75, "2013", _TEXT),
    "BERT": (3.5, 3.75, "2018", _TEXT),
    "Speech2Vec": (0.75, 2.45, "2018", _SPEECH),
    "CPC": (2.3, 1.15, "2018", _SPEECH),
    "wav2vec": (4.15, 1.15, "2019", _SPEECH),
    "vq-wav2vec": (4.15, 2.45, "2019", _SPEECH),
    "SimCLR": (6.35, 1.15, "2020", _IMAGE),
    "wav2vec 2.0": (6.35, 2.45, "2020", _SPEECH),
    "XLSR": (6.35, 3.75, "2020", _SPEECH),
}
_STEPS = (  # from, to, what is taken over
    ("Word2Vec", "Speech2Vec", "predict\nneighbours"),
    ("Word2Vec", "CPC", "true or\nrandom?"),
    ("CPC", "wav2vec", "predict\nahead"),
    ("wav2vec", "vq-wav2vec", "units"),
    ("BERT", "vq-wav2vec", "masks\nover units"),
    ("vq-wav2vec", "wav2vec 2.0", "units as\ntargets"),
    ("BERT", "wav2vec 2.0", "Transformer,\nmasks"),
    ("SimCLR", "wav2vec 2.0", "cosine,\ntemperature"),
    ("wav2vec 2.0", "XLSR", "many\nlanguages"),
)
_WIDTH, _HEIGHT = 1.2, 0.56


def draw(_: dict[str, Any]) -> None:
    """Draw the systems as boxes, and what one takes from another as arrows."""
    made, axes = style.canvas(4.4)
    for start, end, idea in _STEPS:
        (x, y), (xx, yy) = _edge(start, end), _edge(end, start)
        style.arrow(axes, (x, y), (xx, yy), colour=style.GREY)
        card = {"facecolor": style.CARD, "edgecolor": "none", "pad": 1.5}
        axes.text(
            x / 2 + xx / 2, y / 2 + yy / 2, idea, fontsize=7.5, ha="center", va="center", linespacing=1.15, bbox=card
        )
    for name, (x, y, year, colour) in _STATIONS.items():
        style.box(axes, (x, y), (_WIDTH, _HEIGHT), "", colour)
        axes.text(x, y + 0.07, name, ha="center", va="center", fontsize=10, fontweight="bold")
        axes.text(x, y - 0.14, year, ha="center", va="center", fontsize=8)
    for number, (label, colour) in enumerate((("text", _TEXT), ("speech", _SPEECH), ("images", _IMAGE))):
        style.box(axes, (0.35 + 0.95 * number, 0.32), (0.3, 0.22), "", colour)
        axes.text(0.56 + 0.95 * number, 0.32, label, fontsize=8.5, va="center")
    style.save(made, "road")


def _edge(start: str, end: str) -> tuple[float, float]:
    """Return the point on the border of a box from which an arrow to another leaves."""
    (x, y, *_), (xx, yy, *_) = _STATIONS[start], _STATIONS[end]
    across, up = xx - x, yy - y
    limits = [half / abs(way) for half, way in ((_WIDTH / 2, across), (_HEIGHT / 2, up)) if way]
    fraction = min(limits) + 0.03 / max(abs(across), abs(up))  # a small gap
    return x + across * fraction, y + up * fraction


def main() -> None:
    """Draw the figure."""
    style.run("road", draw)


if __name__ == "__main__":
    main()
