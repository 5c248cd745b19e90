"""Private folders for as long as a process runs; the next process removes those that a killed one has left."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sori.core.folders import take_lock

_MARK, _CONTENT = "in-use", "content"


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Make an empty folder that only this user can read, and remove it at the end.

    Folders of the same prefix are removed first if their process has ended without doing so (`kill -9`, a crash of the
    machine): they may hold recordings of people. Beside each is a file that its process keeps locked.

    Args:
        prefix: beginning of the name, not used for anything else.
    """
    _remove_abandoned(prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        new = folder / f"{_MARK}.new"
        with new.open("xb") as mark:
            take_lock(mark)
            new.rename(folder / _MARK)  # visible only once it is locked
            content = folder / _CONTENT
            content.mkdir()
            yield content
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(prefix: str) -> None:
    name = re.compile(re.escape(prefix) + r"[a-z0-9_]{8}")
    with suppress(OSError), os.scandir(tempfile.gettempdir()) as entries:
        found = [Path(entry.path) for entry in entries if name.fullmatch(entry.name) and _is_ours(entry)]
        for folder in found:
            with suppress(OSError), (folder / _MARK).open("rb") as mark:
                if take_lock(mark):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.geteuid()
