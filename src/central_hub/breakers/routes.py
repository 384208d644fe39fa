"""The rows of shared verdicts and their handlers, which only translate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from central_hub.breakers.model import State
from central_hub.breakers.ports import Services
from central_hub.breakers.schemas import (
    CircuitShown,
    CircuitsShown,
    EvidenceShown,
    ProbesGranted,
    ReportCalls,
    ReportTaken,
    RouteClassShown,
    WantProbes,
)
from central_hub.breakers.telling import of_word
from central_hub.breakers.usecases import SharedBreakers
from central_hub.breakers.verdicts import SCOPE_READ, SCOPE_WRITE, Key, state_of
from central_hub.breakers.view import BreakersView
from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import SHARED, DomainId

TAG: Final = "breakers"
_WORST_FIRST: Final = (State.OPEN.value, State.HALF_OPEN.value, State.CLOSED.value)

Assume = Callable[[TenantContext, str], TenantContext]
"""Returns the context of another tenant that the caller may speak for, or raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRoutes:
    """The handlers and what they hand calls to."""

    shared: SharedBreakers
    view: BreakersView
    services: Services
    clock: Clock
    assume: Assume

    async def report_calls(self, call: Call) -> Reply:
        """Take what a process saw."""
        said: ReportCalls = call.body
        contexts: dict[str | None, TenantContext | None] = {None: call.ctx, call.ctx.tenant_id: call.ctx}
        recorded = 0
        for seen in said.reports:
            if seen.tenant_id not in contexts:
                contexts[seen.tenant_id] = self._assumed(call.ctx, seen.tenant_id or "")
            ctx = contexts[seen.tenant_id]
            recorded += ctx is not None and self.shared.report(ctx, said.caller, seen)
        return Reply(
            ReportTaken(recorded=recorded, unknown=len(said.reports) - recorded, again_s=self.shared.again_s())
        )

    async def lease_probes(self, call: Call) -> Reply:
        """Lease probes."""
        wanted: WantProbes = call.body or WantProbes()
        granted = await self.shared.lease(call.ctx, call.path["service_name"], wanted.route_class, wanted.count)
        return Reply(
            ProbesGranted(
                state=granted.state.value, granted=granted.granted, ttl_s=granted.ttl_s, again_s=granted.again_s
            )
        )

    async def list_circuits(self, call: Call) -> Reply:
        """List the services that something is known of."""
        names = {key[0] for key in self.shared.keys(call.ctx.domain)}
        names |= {key[0] for key in self.view.verdicts(SHARED)}
        homes = [(name, self.services.home_of(call.ctx, name)) for name in sorted(names)]
        shown = [self._shown(call.ctx, name, home) for name, home in homes if home is not None]
        return Reply(CircuitsShown(circuits=tuple(shown)))

    async def get_circuit(self, call: Call) -> Reply:
        """Show what holds for calls to a service."""
        name = call.path["service_name"]
        return Reply(self._shown(call.ctx, name, self.services.require(call.ctx, name)))

    def _assumed(self, ctx: TenantContext, tenant_id: str) -> TenantContext | None:
        try:
            return self.assume(ctx, tenant_id)
        except HubError:
            return None  # counted as unknown, like a service that is not there

    def _shown(self, ctx: TenantContext, name: str, home: DomainId) -> CircuitShown:
        keys = {key for key in self.shared.keys(ctx.domain) if key[0] == name}
        if home == SHARED and self.view.verdict(SHARED, (name, "")) is not None:
            keys.add((name, ""))  # of its other classes a tenant sees those it has named, which are there already
        classes = [self._class_shown(ctx.domain, home, key) for key in sorted(keys)]
        worst = min(classes, key=lambda one: _WORST_FIRST.index(one.state), default=None)
        return CircuitShown(
            service_name=name,
            state=State.CLOSED.value if worst is None else worst.state,
            reason="" if worst is None else worst.reason,
            evidence=EvidenceShown(calls=0, failures=0, slow=0) if worst is None else worst.evidence,
            since=None if worst is None else worst.since,
            until=None if worst is None else worst.until,
            route_classes=tuple(classes),
        )

    def _class_shown(self, domain: DomainId, home: DomainId, key: Key) -> RouteClassShown:
        now_ms = self.clock.now_ms()
        held = [(domain, self.view.verdict(domain, key))]
        if home == SHARED != domain:
            held.append((SHARED, self.view.verdict(SHARED, key)))
        of, verdict = min(held, key=lambda one: _WORST_FIRST.index(state_of(one[1], now_ms).value))
        state = state_of(verdict, now_ms)
        seen = self.shared.evidence(domain, key) if verdict is None else verdict.evidence
        return RouteClassShown(
            route_class=key[1],
            state=state.value,
            of=of_word(of),
            reason="" if verdict is None else verdict.reason.value,
            evidence=EvidenceShown(calls=seen.calls, failures=seen.failures, slow=seen.slow),
            since=None if verdict is None else rfc3339(verdict.since_ms),
            until=rfc3339(verdict.until_ms) if verdict is not None and state is State.OPEN else None,
        )


def operations(routes: BreakerRoutes) -> tuple[Operation, ...]:
    """Return the rows of shared verdicts."""
    return (
        Operation(
            id="report_calls", method="POST", path="/circuits", handler=routes.report_calls, body=ReportCalls,
            answer=ReportTaken, status=202, scope=SCOPE_WRITE, tag=TAG, signal=True,
            summary="Say how calls to services went, since the last report.",
            description="A signal: it is kept in memory for seconds. What all processes saw together decides.",
        ),
        Operation(
            id="lease_probes", method="POST", path="/circuits/{service_name}/probes", handler=routes.lease_probes,
            body=WantProbes, body_optional=True, answer=ProbesGranted, scope=SCOPE_WRITE, tag=TAG,
            summary="Lease calls that try a service out, whose breaker is half open.",
            description="However many processes ask, few calls are granted; granted 0 says when to ask again.",
            problems=("service_not_found", "tier_too_low"),
        ),
        Operation(
            id="list_circuits", method="GET", path="/circuits", handler=routes.list_circuits, answer=CircuitsShown,
            scope=SCOPE_READ, tag=TAG, summary="List what shared breakers say of services.",
        ),
        Operation(
            id="get_circuit", method="GET", path="/circuits/{service_name}", handler=routes.get_circuit,
            answer=CircuitShown, scope=SCOPE_READ, tag=TAG, problems=("service_not_found", "tier_too_low"),
            summary="Show what shared breakers say of a service: state, since when, why, and on which evidence.",
        ),
    )  # fmt: skip
