"""What needs nothing of the package: the way to the real recordings, and what was skipped."""

import os
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real recordings: `$SORI_DATA`, or `../shared/data` beside the checkout.

    Where there are none the test is skipped, or fails if `SORI_REQUIRE_DATA` is set, as it is in CI.
    """
    folder = Path(os.environ.get("SORI_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        give_up = pytest.fail if os.environ.get("SORI_REQUIRE_DATA") else pytest.skip
        give_up(f"real recordings not found at {folder}; set SORI_DATA to their folder")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end what was skipped, by reason."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    if reasons:
        terminalreporter.section("skipped, and why")
    for reason, count in reasons.most_common():
        cure = "; `make test` installs it" if reason.startswith("could not import") else ""
        terminalreporter.write_line(f"{count:5}  {reason}{cure}")
