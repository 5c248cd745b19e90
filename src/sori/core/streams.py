"""Standard streams that were closed by the program that started this one (`2>&-`)."""

import os
import sys
from pathlib import Path
from typing import TextIO


def replace_closed() -> None:
    """Let closed standard streams lead nowhere; to be called before anything else opens a file.

    `sys.stdin` stays None if it was closed, so that commands can say so.

    The next file that is opened would otherwise get the number of a closed stream, and the messages that libraries and
    child processes write to standard error would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the system opens the lowest number that is free: this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
