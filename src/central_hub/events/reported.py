"""What services report to the hub as events: calls they made, breakers that opened, services that failed them.

Their shape is the hub's, so that who reads them need not know who reported them. Whoever may publish may report; what
is reported is that service's word, told under its source. Pure, and part of the SDK, which builds them.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from central_hub.kernel.events import TYPE_PREFIX, ReportedType

WINDOW_S: Final = 10
"""Seconds of calls that one event sums up."""

LATENCY_BOUNDS_MS: Final = (
    1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0,
)  # fmt: skip
"""Upper bounds of a histogram's buckets; one more bucket takes what is above."""

ROUTE_MAX: Final = 64
REASON_MAX: Final = 64
COUNT_MAX: Final = 10**9

CALLS: Final = f"{TYPE_PREFIX}integration.calls-completed.v1"
FAILED: Final = f"{TYPE_PREFIX}integration.downstream-failed.v1"
TRIPPED: Final = f"{TYPE_PREFIX}breaker.tripped.v1"
RECOVERED: Final = f"{TYPE_PREFIX}breaker.recovered.v1"

Named = Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9][a-z0-9_-]{0,62}|\*)$", description="A service; * for others.")]
Route = Annotated[str, msgspec.Meta(max_length=ROUTE_MAX)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=REASON_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
Millis = Annotated[float, msgspec.Meta(ge=0, le=86_400_000)]
When = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$", max_length=30)]
Buckets = Annotated[
    tuple[Count, ...], msgspec.Meta(min_length=len(LATENCY_BOUNDS_MS) + 1, max_length=len(LATENCY_BOUNDS_MS) + 1)
]


class Latency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long calls took, in milliseconds.

    `buckets` counts calls up to each of 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000 and 10000 ms, each call
    in the first that takes it, and those above in the last.
    """

    sum_ms: Annotated[float, msgspec.Meta(ge=0)]
    max_ms: Millis
    p50_ms: Millis
    p95_ms: Millis
    p99_ms: Millis
    buckets: Buckets


class CallsCompleted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The calls of one service to another, by route, that ended within one window.

    `errors` of them were not answered, or by a server error; `refused` were not made, because a breaker was open.
    """

    caller: Named
    callee: Named
    route: Route
    window_start: When
    window_s: Annotated[int, msgspec.Meta(ge=1, le=60)]
    calls: Count
    errors: Count
    refused: Count
    latency: Latency

    def __post_init__(self) -> None:
        """Refuse sums that do not add up."""
        if self.errors > self.calls or sum(self.latency.buckets) != self.calls:
            raise ValueError("errors are among the calls, and every call is in one bucket")


class DownstreamFailed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A service failed another one: calls were not answered, or by server errors.

    Told when a failure is the first in a while; `failures` are those that were not told since the last one.
    """

    caller: Named
    callee: Named
    route: Route
    reason: Reason
    failures: Annotated[int, msgspec.Meta(ge=1, le=COUNT_MAX)]


class BreakerEvidence(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a breaker had seen: calls, how many failed, how many were slow."""

    calls: Count
    failures: Count
    slow: Count


class BreakerTripped(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A breaker opened where calls are made: calls like these are refused until it tries again."""

    caller: Named
    callee: Named
    route: Route
    previous: Reason
    reason: Reason
    evidence: BreakerEvidence
    until: When | None = None


class BreakerRecovered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A breaker closed again: calls like these go through."""

    caller: Named
    callee: Named
    route: Route
    previous: Reason


_EXAMPLE: Final = {"caller": "trading-engine", "callee": "risk-management", "route": "checks"}


def _pair(kind: str, data: CallsCompleted | DownstreamFailed | BreakerTripped | BreakerRecovered) -> str:
    return f"{kind}/{data.caller}/{data.callee}"


REPORTED: Final = (
    ReportedType(
        name=CALLS, title="CrossServiceCallCompleted", order="calls/{caller}/{callee}", shape=CallsCompleted,
        subject=lambda data: _pair("calls", data),
        summary="Ten seconds of calls of one service to another: how many, how many failed, how long they took.",
        example=CallsCompleted(
            **_EXAMPLE, window_start="2026-01-20T10:30:00Z", window_s=WINDOW_S, calls=4, errors=1, refused=0,
            latency=Latency(
                sum_ms=61.5, max_ms=40.0, p50_ms=10.0, p95_ms=40.0, p99_ms=40.0,
                buckets=(0, 0, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
            ),
        ),
    ),
    ReportedType(
        name=FAILED, title="DownstreamServiceFailed", order="dependency/{caller}/{callee}", shape=DownstreamFailed,
        subject=lambda data: _pair("dependency", data),
        summary="A service failed its caller: told once in a while, with how many failures there were meanwhile.",
        example=DownstreamFailed(**_EXAMPLE, reason="http_503", failures=1),
    ),
    ReportedType(
        name=TRIPPED, title="CircuitBreakerTripped", order="breaker/{caller}/{callee}", shape=BreakerTripped,
        subject=lambda data: _pair("breaker", data),
        summary="A breaker opened where calls are made: calls to the service are refused until it tries again.",
        example=BreakerTripped(
            **_EXAMPLE, previous="CLOSED", reason="failures", until="2026-01-20T10:30:30Z",
            evidence=BreakerEvidence(calls=20, failures=14, slow=0),
        ),
    ),
    ReportedType(
        name=RECOVERED, title="CircuitBreakerRecovered", order="breaker/{caller}/{callee}", shape=BreakerRecovered,
        subject=lambda data: _pair("breaker", data),
        summary="A breaker closed again: calls to the service go through.",
        example=BreakerRecovered(**_EXAMPLE, previous="HALF_OPEN"),
    ),
)  # fmt: skip
"""Every type that services report."""
