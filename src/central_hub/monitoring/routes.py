"""The hub's own health and its metrics over HTTP.

Anyone may ask whether it lives and is ready; figures are for the platform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.context import PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM
from central_hub.monitoring.metrics import MEDIA_TYPE, Metrics
from central_hub.monitoring.process import ProcessFigures, ProcessStats

SCOPE_METRICS = "metrics:read"
TAG = "monitoring"
STATUS_UNAVAILABLE = 503


@dataclass(slots=True)
class Readiness:
    """Whether the hub can serve, and what keeps it from doing so.

    `checks` are asked each time and answer an empty string or the reason.
    """

    started: bool = False
    draining: bool = False
    checks: dict[str, Callable[[], str]] = field(default_factory=dict[str, Callable[[], str]])

    def reasons(self) -> dict[str, str]:
        """Return what keeps the hub from being ready, by name."""
        found: dict[str, str] = {}
        if not self.started:
            found["start"] = "the hub is starting"
        if self.draining:
            found["drain"] = "the hub is shutting down"
        for name, check in self.checks.items():
            reason = check()
            if reason:
                found[name] = reason
        return found


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """The process answers."""

    status: str


class HubHealth(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whether the hub is ready; reasons and figures for the platform only."""

    status: str
    reasons: dict[str, str] = {}
    version: str = ""
    process: ProcessFigures | None = None


def may_see_figures(ctx: TenantContext) -> bool:
    """Say whether the caller may see the hub's own figures: the platform, or anyone in open mode."""
    principal = ctx.principal
    if principal.kind is PrincipalKind.OPEN:
        return True
    return principal.home == PLATFORM and principal.holds(SCOPE_METRICS)


def operations(readiness: Readiness, stats: ProcessStats, metrics: Metrics, version: str) -> tuple[Operation, ...]:
    """Return monitoring's rows of the operations table."""

    async def livez(call: Call) -> Reply:
        return Reply(Liveness(status="alive"))

    async def readyz(call: Call) -> Reply:
        return _ready(call, figures=False)

    async def health(call: Call) -> Reply:
        return _ready(call, figures=True)

    def _ready(call: Call, *, figures: bool) -> Reply:
        reasons = readiness.reasons()
        status = "not_ready" if reasons else "ready"
        code = STATUS_UNAVAILABLE if reasons else 200
        if not may_see_figures(call.ctx):
            return Reply(HubHealth(status=status), status=code)
        process = stats.figures() if figures else None
        return Reply(HubHealth(status=status, reasons=reasons, version=version, process=process), status=code)

    async def scrape(call: Call) -> Reply:
        if not may_see_figures(call.ctx):
            raise HubError(
                "scope_missing",
                Kind.DENIED,
                f"The hub's metrics are for the platform: a platform key with the scope '{SCOPE_METRICS}'.",
                next_step=f"Use a platform key that was created with the scope '{SCOPE_METRICS}'.",
                fields={"required_scope": SCOPE_METRICS},
            )
        return Reply(metrics.render(), media_type=MEDIA_TYPE)

    return (
        Operation(
            id="livez", method="GET", path="/livez", handler=livez, public=True, hot=True, tag=TAG, answer=Liveness,
            summary="Say that the process answers.",
        ),
        Operation(
            id="readyz", method="GET", path="/readyz", handler=readyz, public=True, hot=True, tag=TAG, answer=HubHealth,
            statuses=(STATUS_UNAVAILABLE,), summary="Say whether the hub can serve; 503 while it cannot.",
        ),
        Operation(
            id="health", method="GET", path="/health", handler=health, public=True, hot=True, tag=TAG, answer=HubHealth,
            statuses=(STATUS_UNAVAILABLE,), summary="Show the hub's own health; CPU, memory and disk to the platform.",
        ),
        Operation(
            id="metrics", method="GET", path="/metrics", handler=scrape, scope=SCOPE_METRICS, platform=True, tag=TAG,
            answer=str, media_type=MEDIA_TYPE, summary="Show the hub's metrics for Prometheus.",
        ),
    )  # fmt: skip
