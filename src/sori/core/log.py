"""Progress messages of the package: the logger `sori`, which is silent until it has a handler.

The command line calls `show`; in your own program, add handlers to `logging.getLogger("sori")` as to any logger.
"""

import logging
import sys

from sori.core import distributed

logger = logging.getLogger("sori")


class _Screen(logging.StreamHandler):  # type: ignore[type-arg]
    """Handler for the current standard error, which programs and tests may replace."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message without time or level; of several processes, only the first one writes."""
        if distributed.rank() == 0:
            self.stream = sys.stderr
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the message as it may reach a terminal."""
        return printable(super().format(record))


def printable(text: str) -> str:
    """Return a text with its control characters escaped, but for line feeds and tabs.

    Names and texts from data can hold sequences that clear a terminal, change its title or hide what follows.
    """
    return "".join(one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in text)


def show(*, level: int = logging.INFO) -> None:
    """Show the messages of the package on standard error; another call only changes the level."""
    logger.setLevel(level)
    if not any(isinstance(handler, _Screen) for handler in logger.handlers):
        logger.addHandler(_Screen())
