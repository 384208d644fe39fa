"""What all tests share: patience on a busy machine, and a loud list of the tests that did not run."""

from __future__ import annotations

import signal

import hypothesis
import pytest

from tests.postgres import database as database
from tests.postgres import pair as pair
from tests.postgres import postgres_server as postgres_server

# How long one example takes says nothing about whether it is right; pytest's own timeout bounds a test.
hypothesis.settings.register_profile("patient", hypothesis.settings.default, deadline=None)
hypothesis.settings.load_profile("patient")

# What a shell runs in the background ignores interrupts, and so would every program that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name every skipped test above the closing line, so that a skip is never read as a pass."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped:
        terminalreporter.section(f"{len(skipped)} TESTS DID NOT RUN", sep="!", red=True, bold=True)
        for report in skipped:
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            terminalreporter.line(f"{report.nodeid}: {reason}")
