"""What the package says while it works: the logger `sori`, which is silent until a program shows it.

The command line calls `show`; in a program of your own, `logging.getLogger("sori")` takes handlers like any logger.
"""

import logging
import sys

from sori.core import distributed

logger = logging.getLogger("sori")


class _Screen(logging.StreamHandler):  # type: ignore[type-arg]
    """Standard error as it is when a message is written, since programs and tests exchange it."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message alone, without time or level; of several processes the first one does."""
        if distributed.rank() == 0:
            self.stream = sys.stderr
            super().emit(record)


def show(*, level: int = logging.INFO) -> None:
    """Show the messages of the package on standard error; calling it again changes the level only."""
    logger.setLevel(level)
    if not any(isinstance(handler, _Screen) for handler in logger.handlers):
        logger.addHandler(_Screen())
