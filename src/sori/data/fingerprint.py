"""Fingerprints of training data, stored with a run so that it cannot be continued on other data.

Version 2 of the fingerprint of utterances is computed from the digests of rows that the table of a prepared folder has,
without reading the rows. Runs that were started with version 1, a digest of the rows themselves, keep it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sori.core import distributed
from sori.core.audio import SAMPLE_RATE
from sori.core.files import read_json, write_json
from sori.core.shared_arrays import key_of, shared_arrays
from sori.data.sources.images import Images
from sori.data.utterance import Utterance
from sori.data.utterance_columns import categories_of, digests_of, key_of_table, num_samples_of

_END = 1 << 20
_OF_ROWS = 2

Fingerprint = dict[str, Any]
"""Amount of data, and a digest of everything that affects the result."""


def of_utterances(
    utterances: Sequence[Utterance], *, languages: bool = False, stored: Path | None = None
) -> Fingerprint:
    """Return the fingerprint of utterances.

    Args:
        utterances: in the order in which a run uses them.
        languages: include their languages, where these affect how often each is used.
        stored: where the fingerprint of the run is or will be; if there is one, its version is used.
    """
    if stored is not None and stored.exists() and "version" not in read_json(stored):
        return _of_rows_themselves(utterances, languages=languages)
    key = key_of_table(utterances)
    if key is None:
        found = _of_digests(utterances, languages=languages)
    else:
        made = shared_arrays(
            key_of(key, "fingerprint", languages), lambda: {"of": _of_digests(utterances, languages=languages)}
        )
        found = made["of"]
    hours = int(num_samples_of(utterances).sum()) / SAMPLE_RATE / 3600
    about = {"utterances": len(utterances), "hours": round(hours, 4), "digest": found.tobytes().hex()}
    return about | {"version": _OF_ROWS}


def _of_digests(utterances: Sequence[Utterance], *, languages: bool) -> NDArray[np.uint8]:
    """Return a digest of 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for some in digests_of(utterances):
        digest.update(some.astype("<u8").tobytes())
    if languages:
        codes, names = categories_of(utterances, "language")
        of_name = [hashlib.blake2b(repr(name).encode(), digest_size=8).digest() for name in names]
        digest.update(np.array([int.from_bytes(one, "little") for one in of_name], dtype="<u8")[codes].tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def _of_rows_themselves(utterances: Sequence[Utterance], *, languages: bool) -> Fingerprint:
    """Return the fingerprint as of version 1."""
    seconds, digest = 0.0, hashlib.blake2b(digest_size=16)
    for u in utterances:
        seconds += u.duration_seconds
        digest.update(f"{(u.id, u.start, u.num_samples, u.text)!r}{repr(u.language) if languages else ''}".encode())
    return {"utterances": len(utterances), "hours": round(seconds / 3600, 4), "digest": digest.hexdigest()}


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
