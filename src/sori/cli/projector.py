"""`sori plot projector` and `sori plot pairs`: visualise vectors on a web page or in a figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import App, Parameter

from sori.cli import models, units_plot
from sori.cli.output import write
from sori.core.counts import require_amount
from sori.core.files import write_text
from sori.embeddings import loading, projector_points, vector_files
from sori.embeddings.space import unit
from sori.plots.projection import neighbours, pca, umap
from sori.plots.projector_page import AUDIO_MEGABYTES, page, write_tensorboard
from sori.plots.style import save_figure
from sori.plots.word_pairs import word_pairs


@Parameter(name="*")
@dataclass(frozen=True)
class PointOptions:
    """Points to show."""

    show: projector_points.Show | None = None
    """Kind of points: words, segments (spoken words), frames, phones, or codes (codebook entries). By default: words or
    segments of a word model; of an encoder, phones with --alignments, frames with --data, otherwise codes."""
    number: int = 10_000
    """Maximum number of points: the most frequent words, or a random sample of others."""
    layer: int | None = None
    """Layer of an encoder. By default the last."""
    split: str | None = None
    """Use only recordings of this split. By default all."""
    seed: int = 0
    """Random seed of the sample and of UMAP."""


DEFAULT_OPTIONS = PointOptions()
"""Default points."""


def projector(
    source: str,
    *,
    into: Path | None = None,
    data: list[Path] | None = None,
    alignments: Path | None = None,
    options: PointOptions = DEFAULT_OPTIONS,
    with_umap: Annotated[bool, Parameter(name="--umap", negative=())] = False,
    neighbours_each: Annotated[int, Parameter(name="--neighbours")] = 10,
    audio_megabytes: float = AUDIO_MEGABYTES,
    tensorboard: Path | None = None,
) -> None:
    """Show vectors in a 3-D projection on an offline web page, with rotation, search, neighbours and audio.

    Args:
        source: File of word vectors (.vec, .txt, .glove, .bin), run folder, model folder or name.
        into: Web page to write. By default `projector.html` in the run folder, or NAME.projector.html in the current
            folder.
        data: Prepared folder with recordings to process; may be given several times.
        alignments: Phone alignments: a .jsonl file (.gz, .xz) or a folder of TextGrids.
        options: Points to show.
        with_umap: Also compute a UMAP projection, besides principal components.
        neighbours_each: Number of nearest neighbours listed for each point.
        audio_megabytes: Maximum amount of audio on the page, in megabytes.
        tensorboard: Folder to write the same vectors to, in the format of TensorBoard's projector.
    """
    require_amount("--audio-megabytes", audio_megabytes)
    if neighbours_each < 1:
        raise ValueError(f"expected 1 neighbour or more, got {neighbours_each}")
    points = projector_points.collect(
        source,
        data=data or (),
        alignments=alignments,
        config=projector_points.ProjectorConfig(
            show=options.show, number=options.number, layer=options.layer, split=options.split, seed=options.seed
        ),
    )
    projections = {"principal components": pca(points.vectors)}
    if with_umap:
        projections["UMAP"] = umap(points.vectors, seed=options.seed)
    near = neighbours(unit(points.vectors), number=neighbours_each)
    text = page(points, projections, near, audio_megabytes=audio_megabytes, seed=options.seed)
    target = into or _default_path(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(target, text)
    write(f"{target}\t{len(points.labels):,} points, {target.stat().st_size / 1e6:.1f} MB")
    if tensorboard is not None:
        write_tensorboard(points, tensorboard)
        write(f"{tensorboard}\tfor TensorBoard's projector")


def pairs(source: str, *words: str, into: Path = Path("pairs.png"), data: list[Path] | None = None) -> None:
    """Plot pairs of words in a plane: is Paris to France as Rome is to Italy?

    Args:
        source: File of word vectors, run folder, model folder or name.
        words: Two or more pairs, such as france:paris italy:rome.
        into: Figure to write (.png, .svg, .pdf).
        data: Prepared folder with spoken words; may be given several times.
    """
    word_lists = [tuple(word.split(":")) for word in words]
    if wrong := next((word for word, pair in zip(words, word_lists, strict=True) if len(pair) != 2), None):
        raise ValueError(f"expected pairs such as france:paris, got {wrong!r}")
    space = loading.load(source, data=data or ())
    rows = np.array([[space.row(word) for word in pair] for pair in word_lists], dtype=np.int64).reshape(-1, 2)
    figure = word_pairs([(one, other) for one, other in word_lists], space.unit[rows])
    into.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, into)
    write(f"{into}\t{len(word_lists)} pairs")


def _default_path(source: str) -> Path:
    if Path(source).is_dir():
        return Path(source) / "projector.html"
    name = Path(source).name
    stem = name.removesuffix(".gz").rsplit(".", 1)[0] if vector_files.is_word_file(name) else name
    return Path(f"{stem}.projector.html")


plot = App(name="plot", help="Plot the training curves of a run, a recording, or vectors.")
plot.default(models.plot)
plot.command(projector)
plot.command(pairs)
plot.command(units_plot.units)
