"""Progress messages of the package: the logger `sori`, which is silent until it has a handler.

The command line calls `show`; in your own program, add handlers to `logging.getLogger("sori")` as to any logger.
"""

import logging
import re
import sys
from unicodedata import category

_CONTROL = ("Cc", "Cf", "Cs")
_HARMLESS = "\n\t\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Persian and the scripts of India spell words with the joiners."""

_LINE_ENDS = re.compile("[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")

logger = logging.getLogger("sori")


class _Screen(logging.StreamHandler):  # type: ignore[type-arg]
    """Handler for the current standard error, which programs and tests may replace."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message without time or level; of several processes, only the first one writes."""
        if _is_first_process():
            self.stream = sys.stderr
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Return the message as it may reach a terminal."""
        return printable(super().format(record))


def _is_first_process() -> bool:
    """Return whether this is the first of several processes, without importing torch only to find out."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is None or not distributed.is_initialized() or distributed.get_rank() == 0


def printable(text: str) -> str:
    """Return a text with its control characters escaped, but for line feeds, tabs and the joiners of scripts.

    Names and texts from data can hold sequences that clear a terminal, change its title or reverse what follows.
    """
    return "".join(repr(one)[1:-1] if category(one) in _CONTROL and one not in _HARMLESS else one for one in text)


def one_line(name: str) -> str:
    r"""Return a name as a field of a tab-separated line: its tabs and line ends are written as `\t`, `\n` and so on."""
    return _LINE_ENDS.sub(lambda end: repr(end[0])[1:-1], name)


def show(*, level: int = logging.INFO) -> None:
    """Show the messages of the package on standard error; another call only changes the level."""
    logger.setLevel(level)
    if not any(isinstance(handler, _Screen) for handler in logger.handlers):
        logger.addHandler(_Screen())
