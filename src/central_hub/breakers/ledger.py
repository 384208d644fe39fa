"""What one tenant's processes saw of a service and route class in the last seconds, and whether that is enough. Pure.

    kept      per process, what it reported in the last 10 s
    judged    over the last 0.5, 1, 3 and 10 s: with the process left out that failed most, is the rate of failures,
              or of slow calls, above what the plan allows, even at the lower end of the plan's confidence?

Leaving out the process that failed most keeps a process that has lost its network from shutting out its siblings.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from central_hub.breakers.bounds import SPANS, failures_needed
from central_hub.breakers.model import WITNESS_AGE_S, WITNESSED_MAX, Evidence, Policy, Reason
from central_hub.breakers.pool import SPANS_S as WITNESSED_S
from central_hub.breakers.verdicts import CALLERS_PER_LEDGER_MAX

CALLS_JUDGED_MIN: Final = SPANS[0]
CALLS_JUDGED_MAX: Final = 256
"""Calls that are counted exactly; of more, as large a share as that of the failures, rounded down."""

SPANS_S: Final = (0.5, *WITNESSED_S)
"""Times that are judged: the short ones see a service that died, the long ones what is seldom called."""

MERGED_S: Final = 0.1
"""What one process reports within that time is one entry."""


class Entry(msgspec.Struct, gc=False):
    """What one process reported at a time."""

    at_s: float
    calls: int
    failures: int
    slow: int


class Ledger:
    """Evidence of many processes; times are monotonic seconds.

    Attributes:
        heard_s: when something was last reported.
    """

    __slots__ = ("_callers", "heard_s")

    def __init__(self) -> None:
        self._callers: dict[str, deque[Entry]] = {}
        self.heard_s = 0.0

    @property
    def callers(self) -> int:
        """How many processes it holds something of."""
        return len(self._callers)

    def add(self, caller: str, now_s: float, *, calls: int, failures: int, slow: int, age_s: float = 0.0) -> None:
        """Take what a process saw since its last report.

        Args:
            age_s: how long ago that was, on average.
        """
        self.heard_s, at_s = now_s, now_s - age_s
        entries = self._callers.pop(caller, None)
        if entries is None:
            entries = deque[Entry]()
            if len(self._callers) >= CALLERS_PER_LEDGER_MAX:
                del self._callers[next(iter(self._callers))]
        self._callers[caller] = entries  # at the end: the order is that of reporting
        while entries and now_s - entries[0].at_s > WITNESS_AGE_S:
            entries.popleft()
        if entries and abs(at_s - entries[-1].at_s) < MERGED_S:
            last = entries[-1]
            last.calls += calls
            last.failures += failures
            last.slow += slow
        else:
            entries.append(Entry(at_s, calls, failures, slow))

    def clear(self) -> None:
        """Forget what was seen: the state it was seen in is over."""
        self._callers.clear()

    def evidence(self, now_s: float, span_s: float = WITNESS_AGE_S) -> Evidence:
        """Return what all processes saw within a time."""
        calls = failures = slow = 0
        for entries in self._callers.values():
            for entry in entries:
                if now_s - entry.at_s <= span_s:
                    calls += entry.calls
                    failures += entry.failures
                    slow += entry.slow
        return Evidence(calls=calls, failures=failures, slow=slow)

    def judge(self, now_s: float, policy: Policy) -> tuple[Reason, Evidence] | None:
        """Return why a breaker of all these processes has to open, and on which evidence; None when it need not."""
        for span_s in SPANS_S:
            for reason, rate in ((Reason.FAILURES, policy.failure_rate), (Reason.SLOW, policy.slow_rate)):
                seen = self._without_worst(now_s, span_s, reason)
                counted = seen.failures if reason is Reason.FAILURES else seen.slow
                if counted and is_above(seen.calls, counted, rate, policy.confidence):
                    return reason, seen
        return None

    def latest(self, now_s: float) -> int:
        """Return at most the latest 6 outcomes of all processes, as `Pool.hear` takes them."""
        seen = self.evidence(now_s, WITNESSED_S[0])
        calls = min(WITNESSED_MAX, seen.calls)
        failures = round(seen.failures * calls / seen.calls) if calls else 0
        return 1 << calls | ((1 << failures) - 1)

    def _without_worst(self, now_s: float, span_s: float, reason: Reason) -> Evidence:
        calls = failures = slow = 0
        worst = Entry(0.0, 0, 0, 0)
        for entries in self._callers.values():
            own = Entry(0.0, 0, 0, 0)
            for entry in entries:
                if now_s - entry.at_s <= span_s:
                    own.calls += entry.calls
                    own.failures += entry.failures
                    own.slow += entry.slow
            calls += own.calls
            failures += own.failures
            slow += own.slow
            if _of(own, reason) > _of(worst, reason):
                worst = own
        return Evidence(calls=calls - worst.calls, failures=failures - worst.failures, slow=slow - worst.slow)


def is_above(calls: int, counted: int, rate: float, confidence: float) -> bool:
    """Say whether the true rate is above one, at the lower end of an interval; never on fewer than 6 calls."""
    if calls < CALLS_JUDGED_MIN or not confidence:
        return False
    if calls > CALLS_JUDGED_MAX:
        calls, counted = CALLS_JUDGED_MAX, counted * CALLS_JUDGED_MAX // calls
    return counted >= failures_needed(calls, rate, confidence)


def _of(entry: Entry, reason: Reason) -> int:
    return entry.failures if reason is Reason.FAILURES else entry.slow
