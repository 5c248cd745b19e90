"""Check whether the recordings of a prepared folder are where it expects them (`sori prepare --check`)."""

from pathlib import Path
from typing import NamedTuple

from sori.data.manifest import ROOT_VARIABLE, read_manifest

_SHOWN = 10


class FolderCheck(NamedTuple):
    """Which recordings of a prepared folder exist."""

    folder: Path
    num_utterances: int
    num_files: int
    missing: list[str]
    """Paths of sound files that do not exist, sorted."""
    num_lost: int
    """Utterances in these files."""

    def __str__(self) -> str:
        """Return a few lines for the screen."""
        head = f"{self.folder}: {self.num_utterances:,} utterances in {self.num_files:,} files"
        if not self.missing:
            return f"{head}; all files exist"
        shown = "".join(f"\n  {path}" for path in self.missing[:_SHOWN])
        more = f"\n  and {len(self.missing) - _SHOWN:,} more" if len(self.missing) > _SHOWN else ""
        return (
            f"{head}; {len(self.missing):,} files with {self.num_lost:,} utterances are missing:{shown}{more}\n"
            "Paths are relative to the prepared folder: move the recordings together with it, or, if it was prepared "
            f"with --relative-to, set {ROOT_VARIABLE} to the folder above them; otherwise prepare it again"
        )


def check_folder(folder: Path) -> FolderCheck:
    """Look up every sound file of a prepared folder.

    Raises:
        ValueError: the folder is not prepared, or its list is damaged.
    """
    utterances = read_manifest(folder)
    files = {utterance.path for utterance in utterances}
    missing = {path for path in files if not Path(path).is_file()}
    num_lost = sum(utterance.path in missing for utterance in utterances)
    return FolderCheck(folder, len(utterances), len(files), sorted(missing), num_lost)
