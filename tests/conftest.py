"""What all tests share: a loud list of the tests that did not run."""

from __future__ import annotations

import pytest

from tests.postgres import database as database
from tests.postgres import pair as pair
from tests.postgres import postgres_server as postgres_server


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every skipped test above the closing line, so that a skip is never read as a pass."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section(f"{len(skipped)} TESTS DID NOT RUN", sep="!", red=True, bold=True)
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            terminalreporter.line(f"{report.nodeid}: {reason}")
