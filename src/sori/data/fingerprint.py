"""Fingerprints of training data, stored with a run so that it cannot be continued on other data."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sori.core import distributed
from sori.core.files import read_json, write_json
from sori.data.manifest import Utterance
from sori.data.sources.images import Images

_END = 1 << 20

Fingerprint = dict[str, Any]
"""Amount of data, and a digest of everything that affects the result."""


def of_utterances(utterances: Sequence[Utterance], *, languages: bool = False) -> Fingerprint:
    """Return the fingerprint of utterances; include their languages where these affect how often each is used."""
    hours = sum(u.duration_seconds for u in utterances) / 3600
    digest = _digest(
        f"{(u.id, u.start, u.num_samples, u.text)!r}{repr(u.language) if languages else ''}".encode()
        for u in utterances
    )
    return {"utterances": len(utterances), "hours": round(hours, 4), "digest": digest}


def of_images(images: Images) -> Fingerprint:
    """Return the fingerprint of images."""
    digest = _digest([repr(images.names).encode(), images.pixels.numpy().tobytes()])
    return {"images": len(images.names), "digest": digest}


def of_texts(files: Sequence[Path]) -> Fingerprint:
    """Return the fingerprint of texts: names, sizes, and the first and last MiB of each, since texts can be huge."""
    sizes = [file.stat().st_size for file in files]
    digest = _digest(
        part
        for file, size in zip(files, sizes, strict=True)
        for part in (repr((file.name, size)).encode(), *_ends(file, size))
    )
    return {"texts": len(files), "bytes": sum(sizes), "digest": digest}


def describe(about: Fingerprint) -> str:
    """Describe a fingerprint, as `5,170 utterances of 6.16 h`."""
    if "images" in about:
        return f"{about['images']:,} images"
    if "texts" in about:
        return f"{about['texts']:,} texts of {about['bytes'] / 1e6:,.1f} MB"
    return f"{about['utterances']:,} utterances of {about['hours']:.2f} h"


def check(path: Path, about: Fingerprint) -> Fingerprint | None:
    """Return the fingerprint stored with a run, or None for a new run.

    Raises:
        ValueError: the run was started on other data.
    """
    found: Fingerprint | None = read_json(path) if path.exists() else None
    if found is not None and found["digest"] != about["digest"]:
        raise ValueError(
            f"{path.parent} was started on {describe(found)}, but the data are now {describe(about)}, or differ in "
            "content; likely the folder was prepared again: train into a new folder"
        )
    distributed.barrier()
    return found


def store(path: Path, about: Fingerprint) -> None:
    """Store the fingerprint of a run's data."""
    if distributed.rank() == 0:
        write_json(path, about)


def _ends(file: Path, size: int) -> tuple[bytes, bytes]:
    with file.open("rb") as opened:
        first = opened.read(_END)
        opened.seek(max(0, size - _END))
        return first, opened.read(_END)


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
