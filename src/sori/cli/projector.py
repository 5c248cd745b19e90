"""Verbs that show vectors: all of them on a page, pairs of words in a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter

from sori.core.files import write_text
from sori.embeddings import loading, vector_files
from sori.embeddings import projector_points as seeing
from sori.embeddings.space import unit
from sori.plots.projection import neighbours, pca, umap
from sori.plots.projector_page import AUDIO_MEGABYTES, page, write_tensorboard
from sori.plots.style import save_figure
from sori.plots.word_pairs import word_pairs


@Parameter(name="*")
@dataclass(frozen=True)
class Shown:
    """What is shown."""

    show: seeing.Show | None = None
    """Words, spoken segments, frames, phones or codes; by default what the model and the options have."""
    number: int = 10_000
    """Points at most: the most frequent words, others drawn at random."""
    layer: int | None = None
    """Of an encoder; by default the last."""
    split: str | None = None
    """Only recordings of this split."""
    seed: int = 0
    """Of what is drawn."""


USUAL = Shown()
"""Whatever the model has."""


def projector(
    source: str,
    *,
    into: Path | None = None,
    data: list[Path] | None = None,
    alignments: Path | None = None,
    shown: Shown = USUAL,
    with_umap: Annotated[bool, Parameter(name="--umap", negative=())] = False,
    neighbours_each: Annotated[int, Parameter(name="--neighbours")] = 10,
    audio_megabytes: float = AUDIO_MEGABYTES,
    tensorboard: Path | None = None,
) -> None:
    """Show vectors in space, on a page that needs no network: to turn, to search, to listen to.

    Args:
        source: File of word vectors (.vec, .txt, .glove, .bin), run folder, model folder or name.
        into: Page to write; by default `projector.html` in the run folder, or named like the file, beside you.
        data: Prepared folder to be heard; may be given several times.
        alignments: When each phone is spoken: .jsonl (.gz, .xz) or a folder of TextGrids.
        shown: What.
        with_umap: Also UMAP beside principal components.
        neighbours_each: Neighbours listed for each point.
        audio_megabytes: Sound on the page, at most.
        tensorboard: Folder for the same vectors as TensorBoard's projector takes them.
    """
    if neighbours_each < 1:
        raise ValueError(f"expected 1 neighbour or more, got {neighbours_each}")
    points = seeing.collect(
        source,
        data=data or (),
        alignments=alignments,
        config=seeing.ProjectorConfig(
            show=shown.show, number=shown.number, layer=shown.layer, split=shown.split, seed=shown.seed
        ),
    )
    projections = {"principal components": pca(points.vectors)}
    if with_umap:
        projections["UMAP"] = umap(points.vectors, seed=shown.seed)
    near = neighbours(unit(points.vectors), number=neighbours_each)
    text = page(points, projections, near, audio_megabytes=audio_megabytes, seed=shown.seed)
    target = into or _beside(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    print(f"{target}\t{len(points.labels):,} points, {target.stat().st_size / 1e6:.1f} MB")
    if tensorboard is not None:
        write_tensorboard(points, tensorboard)
        print(f"{tensorboard}\tfor TensorBoard's projector")


def pairs(source: str, *words: str, into: Path = Path("pairs.png"), data: list[Path] | None = None) -> None:
    """Draw pairs of words in the plane: do France and Paris lie to each other as Italy and Rome do?

    Args:
        source: File of word vectors, run folder, model folder or name.
        words: Pairs such as france:paris italy:rome, two or more.
        into: Picture to write (.png, .svg, .pdf).
        data: Prepared folder to take spoken words from; may be given several times.
    """
    told = [tuple(word.split(":")) for word in words]
    if wrong := next((word for word, pair in zip(words, told, strict=True) if len(pair) != 2), None):
        raise ValueError(f"expected pairs such as france:paris, got {wrong!r}")
    space = loading.load(source, data=data or ())
    rows = np.array([[space.row(word) for word in pair] for pair in told], dtype=np.int64).reshape(-1, 2)
    figure = word_pairs([(one, other) for one, other in told], space.unit[rows])
    into.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, into)
    print(f"{into}\t{len(told)} pairs")


def _beside(source: str) -> Path:
    if Path(source).is_dir():
        return Path(source) / "projector.html"
    name = Path(source).name
    stem = name.removesuffix(".gz").rsplit(".", 1)[0] if vector_files.is_word_file(name) else name
    return Path(f"{stem}.projector.html")
