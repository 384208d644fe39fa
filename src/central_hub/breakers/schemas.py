"""What shared verdicts take and say over HTTP."""

from __future__ import annotations

from typing import Annotated

import msgspec

from central_hub.breakers.model import PROBES_MAX, ROUTE_CLASS_LENGTH_MAX
from central_hub.breakers.verdicts import AGE_MS_MAX, CALLER_LENGTH_MAX, CALLS_MAX, REPORTS_MAX
from central_hub.kernel.ids import NAME_PATTERN

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
RouteClass = Annotated[str, msgspec.Meta(max_length=ROUTE_CLASS_LENGTH_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")]
Count = Annotated[int, msgspec.Meta(ge=0, le=CALLS_MAX)]
Caller = Annotated[str, msgspec.Meta(min_length=1, max_length=CALLER_LENGTH_MAX, pattern=r"^[A-Za-z0-9._-]+$")]


class CallsSeen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process saw of a service since its last report.

    `failures` and `slow` are among the `calls`; `probes` and `probes_failed` are calls that tried the service out, with
    a leased probe each, and are not. `age_ms` is how long ago they were made, on average. `tenant_id` is for those who
    speak for several.
    """

    service_name: Name
    route_class: RouteClass = ""
    calls: Count = 0
    failures: Count = 0
    slow: Count = 0
    probes: Count = 0
    probes_failed: Count = 0
    age_ms: Annotated[int, msgspec.Meta(ge=0, le=AGE_MS_MAX)] = 0
    tenant_id: Name | None = None

    def __post_init__(self) -> None:
        """Refuse sums that do not add up."""
        if self.failures > self.calls or self.slow > self.calls or self.probes_failed > self.probes:
            raise ValueError("failures and slow calls are among the calls, failed probes among the probes")


class ReportCalls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process saw; `caller` tells processes of a tenant apart."""

    caller: Caller
    reports: Annotated[tuple[CallsSeen, ...], msgspec.Meta(max_length=REPORTS_MAX)]


class ReportTaken(msgspec.Struct, frozen=True, kw_only=True):
    """How many rows were taken, how many named nothing that the caller sees, and when to report again."""

    recorded: int
    unknown: int
    again_s: float


class WantProbes(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many probes a process wants to make."""

    route_class: RouteClass = ""
    count: Annotated[int, msgspec.Meta(ge=1, le=PROBES_MAX)] = 1
    tenant_id: Name | None = None


class ProbesGranted(msgspec.Struct, frozen=True, kw_only=True):
    """How many probes it may make, for how long, and when to ask again; CLOSED needs none."""

    state: str
    granted: int
    ttl_s: float
    again_s: float


class EvidenceShown(msgspec.Struct, frozen=True, kw_only=True):
    """Calls, how many of them failed, and how many were slow."""

    calls: int
    failures: int
    slow: int


class RouteClassShown(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one route class: `of` says whether for the tenant or for everyone who uses the service."""

    route_class: str
    state: str
    of: str
    reason: str
    evidence: EvidenceShown
    since: str | None = None
    until: str | None = None


class CircuitShown(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for calls to a service: the worst of its route classes, and each of them.

    `until` is when a breaker that is open lets probes through.
    """

    service_name: str
    state: str
    reason: str
    evidence: EvidenceShown
    since: str | None
    until: str | None
    route_classes: tuple[RouteClassShown, ...]


class CircuitsShown(msgspec.Struct, frozen=True, kw_only=True):
    """The services that something is known of, by name."""

    circuits: tuple[CircuitShown, ...]
