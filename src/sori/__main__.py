"""`python -m sori` is the same as the `sori` command."""

import sys

from sori.core import streams


def main() -> None:
    """Run the command line; Ctrl-C ends it quietly, also while it is still being imported."""
    streams.replace_closed()
    try:
        from sori.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
