"""What verbs with many sound files have in common."""

import sys
from collections.abc import Sequence
from pathlib import Path


def require_files(files: Sequence[Path]) -> None:
    """Refuse a command without sound files."""
    if not files:
        raise ValueError("expected sound files, got none; name them after the model")


def leave_if(failed: bool) -> None:
    """End with exit code 1 where some files could not be read."""
    if failed:
        sys.exit(1)
