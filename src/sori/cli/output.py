"""What commands print: results on standard output, problems on standard error.

Names and texts come from data and may hold sequences that clear a terminal, change its title or reverse what follows;
on a terminal they are escaped. Into a pipe or a file, results are written as they are.
"""

import sys

from sori.core.log import printable


def write(result: object = "", *, end: str = "\n") -> None:
    """Print a result at once; characters that standard output cannot represent are escaped."""
    text = printable(str(result)) if sys.stdout.isatty() else str(result)
    try:
        print(text, end=end, flush=True)
    except UnicodeEncodeError:  # a name that is not UTF-8, or a terminal with few characters
        encoding = sys.stdout.encoding
        print(text.encode(encoding, "backslashreplace").decode(encoding), end=end, flush=True)


def problem(message: str) -> None:
    """Print a problem on standard error, after which the command goes on or ends."""
    print(printable(message), file=sys.stderr)
