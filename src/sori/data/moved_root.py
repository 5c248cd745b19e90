"""Let the list of a prepared folder find recordings that were moved to another disk (`sori manifest --root`)."""

import gzip
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from sori.core.files import atomic_write
from sori.core.sound.tar_members import fetched, is_url, member_of, tar_of
from sori.data.manifest import (
    CUTS,
    ROOT_VARIABLE,
    TABLE,
    iter_with_cuts,
    iter_with_headers,
    open_manifest,
    relative_path,
)
from sori.data.manifest_forms import write_table
from sori.data.table_file import table_writer
from sori.data.utterance_columns import UtteranceTable, in_shards

_TRIED = 20


def move_root(folder: Path, root: str) -> str:
    """Rewrite the list of a prepared folder, so that its recordings are below another folder.

    The folders above the first recording are tried, the nearest first, until the recordings are found at the same
    paths below `root`; every recording must be there. Nothing else changes: runs are continued, caches stay valid.

    Args:
        folder: the prepared folder.
        root: folder that holds the recordings now, or, for shards, a URL in place of their prepared folder.

    Returns:
        The folder that `root` replaces.

    Raises:
        ValueError: the folder is not prepared, a recording is not below `root`, or `SORI_RECORDINGS` is set.
    """
    if os.environ.get(ROOT_VARIABLE):
        raise ValueError(
            f"{ROOT_VARIABLE} is set to {os.environ[ROOT_VARIABLE]}, which would replace the root that is written now: "
            f"unset it (`unset {ROOT_VARIABLE}`), and repeat the command"
        )
    utterances = open_manifest(folder)
    if is_url(root):
        if not (isinstance(utterances, UtteranceTable) and in_shards(utterances)):
            raise ValueError(
                f"expected a folder of this machine, got the URL {root}, but {folder} lists sound files of their own; "
                "only shards are read from URLs: write them with `sori shards`"
            )
        new, old = root.rstrip("/"), utterances.parts[0].base
        fetched(member_of(_moved(utterances[0].path, old, new)) or _no_member(folder))
    else:
        new = os.path.normpath(Path(root).absolute())
        old = _old_root([utterances[row].path for row in range(min(_TRIED, len(utterances)))], new, folder)
        _require_all((utterance.path for utterance in utterances), old, new)
    if (folder / CUTS).is_file():
        _write_cuts(folder, old, new)
        (folder / TABLE).unlink(missing_ok=True)  # of the old cuts
        write_table(folder)
    else:
        _write_table(folder, old, new)
    return old


def _no_member(folder: Path) -> Any:
    raise ValueError(f"{folder} lists both shards and sound files of their own; prepare the folders separately")


def _old_root(paths: list[str], new: str, folder: Path) -> str:
    """Return the nearest folder above the first recordings below which they are as they are below the new one."""
    for above in Path(tar_of(paths[0])).parents:
        old = str(above)
        if all(_is_below(path, old) and os.path.exists(tar_of(_moved(path, old, new))) for path in paths):  # noqa: PTH110
            return old
    raise ValueError(
        f"{folder}: expected its recordings below {new}, but no end of the path {tar_of(paths[0])} exists there; "
        "likely it is another folder than the one that was moved, or not all of it was: give the folder that holds them"
    )


def _require_all(paths: Iterator[str], old: str, new: str) -> None:
    """Raise an error if a recording is missing; utterances of one recording follow each other."""
    before, missing, first = "", 0, ""
    for path in paths:
        recording = tar_of(path)
        if recording == before:
            continue
        before = recording
        if not _is_below(recording, old) or not os.path.exists(_moved(recording, old, new)):  # noqa: PTH110
            missing, first = missing + 1, first or recording
    if missing:
        expected = f", expected {_moved(first, old, new)}" if _is_below(first, old) else f", which is not below {old}"
        raise ValueError(
            f"{missing} recordings of {old} are not below {new}, the first one is {first}{expected}; likely not all "
            "were copied: copy the others, and repeat the command. The list was not changed"
        )


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip("/") + "/")


def _moved(path: str, old: str, new: str) -> str:
    return f"{new.rstrip('/')}/{path[len(old.rstrip('/')) + 1 :]}"


def _write_cuts(folder: Path, old: str, new: str) -> None:
    """Change where the recordings of the cuts are, and nothing else: they may be those of another program."""
    packed = partial(gzip.GzipFile, mode="wb", filename="", mtime=0)
    with atomic_write(folder / CUTS) as cuts, cuts.open("wb") as raw, packed(fileobj=raw) as file:
        before: Any = None
        for utterance, cut in iter_with_cuts(folder):
            if cut is before:  # another of its supervisions
                continue
            before = cut
            path = _moved(utterance.path, old, new)
            cut["recording"]["sources"][0]["source"] = path
            cut["custom"] = (cut.get("custom") or {}) | relative_path(path, folder, Path(new))
            file.write(json.dumps(cut, ensure_ascii=False).encode() + b"\n")


def _write_table(folder: Path, old: str, new: str) -> None:
    with table_writer(folder / TABLE, new, has_root=True) as table:
        for utterance, about in iter_with_headers(folder):
            table.add(utterance._replace(path=_moved(utterance.path, old, "")[1:]), about)
        table.finish()
