"""Write the list of a prepared folder in the form that is missing (`sori manifest`)."""

import itertools
import os
from pathlib import Path
from typing import Any

from sori.core.sound.tar_members import tar_of
from sori.core.user_files import require_file
from sori.data.manifest import (
    CUTS,
    TABLE,
    base_of,
    cut_lines,
    iter_with_headers,
    open_table,
    relative_paths,
    stamp_of,
    write_manifest,
)
from sori.data.table_file import table_writer

_TRIED = 20


def write_missing(folder: Path) -> Path:
    """Write the table of a prepared folder from its Lhotse cuts, or the cuts from the table.

    The table is written if there is none, or the cuts were changed since; the cuts if there are none. Cuts are never
    changed: they may be those of another program.

    Returns:
        The file that was written.

    Raises:
        ValueError: the folder is not prepared, its list is damaged, or there is nothing to write; a cut does not say
            the rate, length or channels of its file; or two utterances have the same id.
    """
    table = open_table(folder)
    if table is None:
        write_table(folder)
        return folder / TABLE
    if tar_of(table[0].path) != table[0].path:
        raise ValueError(
            f"{folder} was made by `sori shards`: the Lhotse cuts of its recordings are in its folder shards"
        )
    if (folder / CUTS).is_file():
        raise ValueError(
            f"{folder} has both lists, {TABLE} and {CUTS}, with the same utterances: there is nothing to write"
        )
    info = table.parts[0].file.info
    write_manifest(folder, iter_with_headers(folder), relative_to=Path(table.parts[0].base) if info.has_root else None)
    return folder / CUTS


def write_table(folder: Path) -> None:
    """Write the table of a prepared folder from its Lhotse cuts; see `write_missing`."""
    cuts = folder / CUTS
    if cuts.exists():
        require_file(cuts)
    rows = iter_with_headers(folder)
    first = next(rows)  # raises what is wrong with the list
    root, has_root = _root(folder, [cut for _, cut in itertools.islice(cut_lines(cuts), _TRIED)])
    with table_writer(folder / TABLE, root, has_root=has_root) as table:
        for utterance, about in itertools.chain([first], rows):
            below = os.path.relpath(utterance.path, root)
            table.add(utterance._replace(path=Path(below).as_posix()), about)
        table.finish(stamp_of(cuts))


def _root(folder: Path, cuts: list[Any]) -> tuple[Path, bool]:
    """Return the folder that paths are relative to, and whether it is a root of the user."""
    paths = relative_paths(cuts)
    if not any(has_root for _, has_root in paths):
        return Path(os.path.normpath(folder.absolute())), False
    base = base_of(folder, paths)
    if base is not None:
        return Path(base).absolute(), True
    source: str = cuts[0]["recording"]["sources"][0]["source"]
    root = source.removesuffix(paths[0][0])
    return (Path(root), True) if root != source else (folder.absolute(), False)
