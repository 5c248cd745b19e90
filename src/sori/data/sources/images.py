"""Read images from disk, and make batches of two views of each."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from sori.core.archives import open_zip
from sori.core.batch import ViewBatch
from sori.core.config import Config
from sori.core.seeds import derive
from sori.core.shapes import Int, Tensor, UInt8
from sori.core.user_files import read_bytes
from sori.data.batches.image_views import ImageViewsConfig, draw, view

ARCHIVE = "images.zip"
_MOST_PIXELS = 1 << 24
_SUFFIXES = (".jpg", ".jpeg", ".png")


class ImagesConfig(Config):
    """Settings that turn images into micro-batches of views."""

    batch_size: int = Field(default=512, ge=2)
    """Images in a micro-batch; there are twice as many views."""
    views: ImageViewsConfig = ImageViewsConfig()


class Images(NamedTuple):
    """Images of equal size, sorted by name."""

    pixels: UInt8[Tensor, "image channel height width"]
    """Red, green and blue, 0 to 255."""
    labels: Int[Tensor, " image"]
    """Indices into `classes`."""
    classes: list[str]
    names: list[str]
    """`SPLIT/CLASS/FILE` of each image."""

    def of_split(self, split: str) -> "Images":
        """Return the images of one split, with the same classes.

        Raises:
            ValueError: there are none.
        """
        return self.take([row for row, name in enumerate(self.names) if name.split("/", 1)[0] == split], split)

    def take(self, rows: Sequence[int], what: str) -> "Images":
        """Return some of the images, with the same classes.

        Raises:
            ValueError: no rows are given; the message names `what`.
        """
        if not rows:
            splits = ", ".join(sorted({name.split("/", 1)[0] for name in self.names}))
            raise ValueError(f"there are no images of {what}; the splits are {splits}")
        chosen = torch.tensor(rows)
        return Images(self.pixels[chosen], self.labels[chosen], self.classes, [self.names[row] for row in rows])


def read_images(folder: Path) -> Images:
    """Read all images of a folder, or of the archive `images.zip` in it, named `SPLIT/CLASS/FILE.jpg` (or .png).

    They are kept in memory: 3 KB for an image of 32x32.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
        ValueError: images differ in size, or a file cannot be read; the message names it.
    """
    pixels, labels, names = list[Tensor](), list[str](), list[str]()
    for name, data in _files(folder):
        where = f"{folder}: {name}"
        with _readable(where):
            image = Image.open(io.BytesIO(data))
        _check_size(image.size, pixels[0] if pixels else None, where, names)
        with _readable(where):
            pixels.append(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1))
        names.append(name)
        labels.append(name.split("/")[1])
    if not names:
        raise FileNotFoundError(
            f"expected images in {folder}, got none; their names must be SPLIT/CLASS/FILE.jpg (or .png), in the folder "
            f"or in an archive {ARCHIVE} in it"
        )
    classes = sorted(set(labels))
    return Images(torch.stack(pixels), torch.tensor([classes.index(label) for label in labels]), classes, names)


def training_images(folders: Sequence[str], *, held_out: Sequence[str]) -> Images:
    """Read the images to train on.

    Args:
        folders: one folder, as for `read_images`.
        held_out: splits whose names begin with one of these are left out.

    Raises:
        FileNotFoundError, ValueError: there is not exactly one folder, or no image in it to train on.
    """
    if len(folders) != 1:
        raise ValueError(f"expected one folder of images, got {len(folders)}; put all images into one folder")
    images = read_images(Path(folders[0]))
    rows = [row for row, name in enumerate(images.names) if not name.startswith(tuple(held_out))]
    return images.take(rows, f"a split that is not held out ({', '.join(held_out)})")


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, sorted by name."""
    archive = folder / ARCHIVE
    if archive.is_file():
        with open_zip(archive) as opened:
            for name in sorted(opened.namelist()):
                if _is_image(name):
                    yield name, opened.read(name)
        return
    found = {path.relative_to(folder).as_posix(): path for path in folder.glob("*/*/*")}
    for name in sorted(found):
        if _is_image(name):
            yield name, read_bytes(found[name])


def _is_image(name: str) -> bool:
    return name.count("/") == 2 and name.lower().endswith(_SUFFIXES)


@contextmanager
def _readable(where: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{where} cannot be read as an image ({error}); remove or replace it") from None


def _check_size(size: tuple[int, int], first: Tensor | None, where: str, names: list[str]) -> None:
    """Raise ValueError if an image is too large, or of another size than the first one, before it is decoded."""
    width, height = size
    if width * height > _MOST_PIXELS:
        raise ValueError(
            f"{where}: expected at most {_MOST_PIXELS:,} pixels, got {width}x{height}; likely the header is damaged: "
            "remove the image, or resize all images"
        )
    if first is not None and (height, width) != tuple(first.shape[1:]):
        raise ValueError(
            f"{where}: expected images of one size, got {first.shape[2]}x{first.shape[1]} ({names[0]}) and "
            f"{width}x{height}; resize them to one size first"
        )


@final
class ImageBatches:
    """Two views of each image of a micro-batch, a pure function of the seed and the micro-batch's number.

    Each epoch shuffles all images and leaves out those that do not fill a batch, different ones in each epoch.

    Args:
        images: the images; labels are not used.
        config: batch size and views.
        seed: seed of the run.

    Raises:
        ValueError: there are fewer images than one batch needs.
    """

    def __init__(self, images: Images, config: ImagesConfig, *, seed: int) -> None:
        if len(images.pixels) < config.batch_size:
            raise ValueError(
                f"expected at least one batch of {config.batch_size} images, got {len(images.pixels)} images; lower "
                "images.batch_size"
            )
        self._pixels, self._config, self._seed = images.pixels, config, seed
        self.num_batches = len(images.pixels) // config.batch_size
        """Micro-batches in an epoch."""

    def __getitem__(self, index: int) -> ViewBatch:
        """Return micro-batch `index`, numbered consecutively over all epochs."""
        epoch, position = divmod(index, self.num_batches)
        size = self._config.batch_size
        order = np.random.Generator(np.random.Philox(derive(self._seed, epoch, "order"))).permutation(len(self._pixels))
        rows = torch.from_numpy(order[position * size : (position + 1) * size])
        pixels = self._pixels[rows].float() / 255
        generator = torch.Generator().manual_seed(derive(self._seed, index, "views"))
        views = self._config.views
        return ViewBatch(*(view(pixels, draw(views, size, generator), size=views.size) for _ in range(2)))
