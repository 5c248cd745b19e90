"""Argument check and exit code of commands that process many sound files."""

import sys
from collections.abc import Sequence
from pathlib import Path


def require_files(files: Sequence[Path]) -> None:
    """Raise `ValueError` if no sound files are given."""
    if not files:
        raise ValueError("expected sound files, got none; name them after the model")


def leave_if(failed: bool) -> None:
    """Exit with code 1 if some files could not be processed."""
    if failed:
        sys.exit(1)
