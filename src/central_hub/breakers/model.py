"""What a breaker can be, what it is told to be strict about, and every limit. Pure."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind

BREAKERS_MAX: Final = 1_000_000
"""Breakers of one process; one of the oldest makes room past it."""

POOLS_MAX: Final = 10_000
"""Pairs of service and route class whose tenants' evidence is pooled in one process."""

ROUTE_CLASS_LENGTH_MAX: Final = 64
WINDOW_CALLS_MAX: Final = 1_000
WINDOW_SECONDS_MAX: Final = 3_600
PROBES_MAX: Final = 1_000
OPEN_SECONDS_MAX: Final = 86_400.0
IDLE_S: Final = 900.0
"""Without an outcome for so long a breaker that is closed is forgotten."""

SWEPT_MAX: Final = 1_000
"""Breakers looked at in one step of forgetting."""

WITNESSES_MAX: Final = 64
"""Tenants whose latest outcomes are kept for one service and route class."""

WITNESSED_MAX: Final = 6
"""Outcomes of one tenant that count there."""

WITNESS_EVERY_S: Final = 0.1
"""How often one tenant is heard there, whatever its outcome, so that what is heard is fair; and when it opens."""

HEARD_EVERY_S: Final = 0.001
WITNESS_AGE_S: Final = 10.0
"""Age past which an outcome says nothing about now."""

ENDPOINT_OPEN_S: Final = 10.0
"""How long the tenants' common evidence holds, unless one of them is answered."""

ENDPOINT_RATE: Final = 0.5
ENDPOINT_CONFIDENCE: Final = 0.98
ENDPOINT_PROBES_PER_S: Final = 10
"""Probes of all tenants together, from when their common evidence spoke until one of them was answered."""

FALSE_TRIPS_MAX: Final = 1e-5
"""Chance that a window of calls to a healthy service opens a breaker, where a policy leaves the confidence open."""

HEALTHY_RATE: Final = 0.05
"""Failure rate up to which a service counts as healthy."""


PROVABLE_RATE_MAX: Final = 0.9
"""Highest rate that a window of calls can show to be passed."""


class State(StrEnum):
    """What a breaker does with a call."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"
    FORCED_OPEN = "FORCED_OPEN"
    """Refuses until told otherwise."""
    DISABLED = "DISABLED"
    """Admits and records nothing."""
    METRICS_ONLY = "METRICS_ONLY"
    """Admits, records, and only tells that it would have opened."""

    @property
    def seen_as(self) -> str:
        """The state of three that a caller needs to know: "CLOSED", "OPEN" or "HALF_OPEN"."""
        if self in (State.OPEN, State.FORCED_OPEN):
            return "OPEN"
        return "HALF_OPEN" if self is State.HALF_OPEN else "CLOSED"


class Reason(StrEnum):
    """Why a breaker changed."""

    FAILURES = "failures"
    SLOW = "slow"
    ENDPOINT = "endpoint"
    """What all tenants' calls say together."""
    PROBES_FAILED = "probes_failed"
    PROBES_SUCCEEDED = "probes_succeeded"
    PROBES_SILENT = "probes_silent"
    WAITED = "waited"
    OPERATOR = "operator"
    SHARED = "shared"
    """The hub said so: what many processes saw together."""
    ANSWERED = "answered"
    """Somebody was answered meanwhile."""
    IDLE = "idle"
    """Nobody tried it for a long time."""


class Window(StrEnum):
    """What a window of outcomes is counted in."""

    CALLS = "calls"
    SECONDS = "seconds"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What a breaker is strict about.

    Args:
        failure_rate: share of failures it opens at, above 0 to 1, with a confidence to 0.9.
        confidence: probability with which the true rate has to lie above `failure_rate`, 0.5 to below 1; 0 opens at
            the plain rate, as soon as `minimum_calls` are there.
        window, window_size: how many calls, or which seconds, are evidence.
        minimum_calls: of a plain rate.
        slow_call_s: a call that took longer is slow; infinite when no call is.
        slow_rate: share of slow calls it opens at, above 0 to 1, judged as failures are.
        open_s: seconds that it refuses before it lets probes through.
        open_factor, open_max_s: each time probes fail it refuses so much longer, up to that.
        probes: calls let through in HALF_OPEN.
        probe_wait_s, probe_wait_to: HALF_OPEN without a verdict for so long becomes OPEN or CLOSED; 0 waits for ever.
        early: HALF_OPEN ends as soon as enough probes failed, rather than when all are back, and forgives one of
            five or more.
        automatic: OPEN becomes HALF_OPEN when its time is over, rather than with the next call.
        forget_s: an evidence of calls that nothing was added to for so long is forgotten; 0 keeps it.
        shares: evidence of other tenants' calls counts too.
    """

    failure_rate: float = 0.5
    confidence: float = 0.0
    window: Window = Window.CALLS
    window_size: int = 100
    minimum_calls: int = 100
    slow_call_s: float = math.inf
    slow_rate: float = 1.0
    open_s: float = 60.0
    open_factor: float = 1.0
    open_max_s: float = OPEN_SECONDS_MAX
    probes: int = 10
    probe_wait_s: float = 0.0
    probe_wait_to: State = State.OPEN
    early: bool = False
    automatic: bool = False
    forget_s: float = 0.0
    shares: bool = False

    def __post_init__(self) -> None:
        """Refuse what no breaker can be.

        Raises:
            ValueError: which member is out of its range.
        """
        largest = WINDOW_CALLS_MAX if self.window is Window.CALLS else WINDOW_SECONDS_MAX
        _within("failure_rate", self.failure_rate, 0, 1, above=True)
        _within("slow_rate", self.slow_rate, 0, 1, above=True)
        if self.confidence and not 0.5 <= self.confidence < 1:
            raise ValueError("confidence has to be 0, or from 0.5 to below 1")
        _within("window_size", self.window_size, 1, largest)
        _within("minimum_calls", self.minimum_calls, 1, WINDOW_CALLS_MAX)
        _within("slow_call_s", self.slow_call_s, 0, math.inf, above=True)
        _within("open_s", self.open_s, 0, OPEN_SECONDS_MAX, above=True)
        _within("open_factor", self.open_factor, 1, 100)
        _within("open_max_s", self.open_max_s, self.open_s, OPEN_SECONDS_MAX)
        _within("probes", self.probes, 1, PROBES_MAX)
        _within("probe_wait_s", self.probe_wait_s, 0, OPEN_SECONDS_MAX)
        _within("forget_s", self.forget_s, 0, OPEN_SECONDS_MAX)
        if self.probe_wait_to not in (State.OPEN, State.CLOSED):
            raise ValueError("probe_wait_to has to be OPEN or CLOSED")
        if self.confidence and self.window is not Window.CALLS:
            raise ValueError("a confidence needs a window of calls")
        if self.confidence:
            # No number of failures shows that a rate is nearly one.
            _within("failure_rate", self.failure_rate, 0, PROVABLE_RATE_MAX, above=True)
            if self.slow_call_s < math.inf:
                _within("slow_rate", self.slow_rate, 0, PROVABLE_RATE_MAX, above=True)


class Evidence(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a breaker has seen: calls, how many of them failed, were slow, or both; and how many it refused since."""

    calls: int = 0
    failures: int = 0
    slow: int = 0
    slow_failures: int = 0
    refused: int = 0

    @property
    def failure_percent(self) -> float:
        """Share of failures; 0 without a call."""
        return 100.0 * self.failures / self.calls if self.calls else 0.0

    @property
    def slow_percent(self) -> float:
        """Share of slow calls; 0 without a call."""
        return 100.0 * self.slow / self.calls if self.calls else 0.0


class Transition(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A breaker that changed; METRICS_ONLY to METRICS_ONLY says that it would have opened.

    Args:
        tenant, service, route_class: whose, for what.
        at_s, until_s: when, and until when it refuses; monotonic seconds, infinite for ever, 0 where it does not.
        evidence: what it had seen; of a trip by common evidence, what all tenants' calls said.
    """

    tenant: str
    service: str
    route_class: str
    before: State
    after: State
    reason: Reason
    at_s: float
    until_s: float
    evidence: Evidence


def illegal_move(before: State, after: State) -> HubError:
    """Return the refusal of a change that makes no sense."""
    return HubError(
        "illegal_transition",
        Kind.CONFLICT,
        f"A breaker that is {before} cannot become {after}.",
        next_step="Open it first: what is half open has been open.",
    )


def _within(name: str, value: float, low: float, high: float, *, above: bool = False) -> None:
    if not (low < value if above else low <= value) or not value <= high:
        raise ValueError(f"{name} has to be {'above' if above else 'from'} {low:g} to {high:g}, not {value:g}")
