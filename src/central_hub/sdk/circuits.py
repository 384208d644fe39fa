"""The breakers beside a process's calls: which hold for whom, what they refuse, and who hears when one changes.

What a tenant's plan says is learned from the hub, when a call of that tenant first fails (for the client's own tenant:
with its first call), and asked again after some minutes. Until it is known, and while the hub is away, defaults hold:
open on the plainest evidence only, try again soon. Nothing here waits for the hub.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, cast

import msgspec

from central_hub.breakers import tiers
from central_hub.breakers.bounds import patient_confidence
from central_hub.breakers.model import ROUTE_CLASS_LENGTH_MAX, Evidence, Policy, State, Transition
from central_hub.breakers.rules import REFUSED, Breaker
from central_hub.breakers.table import Breakers
from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.link import HubLink
from central_hub.sdk.protocol import read, segment
from central_hub.sdk.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable

CircuitState = Literal["CLOSED", "OPEN", "HALF_OPEN"]

REFRESH_S: Final = 300.0
"""Age past which what a plan says is asked again."""

ASK_AGAIN_S: Final = 5.0
"""How long a hub that did not answer is left alone."""

PLANS_KNOWN_MAX: Final = 10_000
PLANS_WANTED_MAX: Final = 1_000
TUNED_MAX: Final = 1_000
"""Services and route classes with a policy of their own."""

CHANGES_WAITING_MAX: Final = 1_000
"""Changes that wait for one listener; the oldest are dropped past it."""

SWEEP_EVERY_S: Final = 1.0
REFUSED_STATUS: Final = 429
"""The service works and this caller is to slow down: it says nothing for or against the service."""

FAILED_STATUS: Final = 500


class Circuit(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker as it is now; `tenant_id` is empty for the key's own, `until` is when it tries again."""

    service_name: str
    route_class: str
    tenant_id: str
    state: CircuitState
    mode: State
    evidence: Evidence
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None


class CircuitChange(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker that changed, when, why, and on which evidence."""

    service_name: str
    route_class: str
    tenant_id: str
    before: State
    after: State
    reason: str
    at: datetime
    evidence: Evidence
    until: datetime | None = None


class BreakerOpen(HubError):
    """A call that was not made, because calls like it have failed lately.

    Args:
        circuit: the breaker that refused it.
        left_s: seconds until it lets a call through; infinite when it was told to stay open.
    """

    def __init__(self, circuit: Circuit, left_s: float) -> None:
        forced = math.isinf(left_s)
        what = f"{circuit.service_name}" + (f" ({circuit.route_class})" if circuit.route_class else "")
        seen = circuit.evidence
        why = f"{circuit.reason}: {seen.failures} of {seen.calls} calls failed" + (
            f", {seen.slow} were slow" if seen.slow else ""
        )
        super().__init__(
            "breaker_open",
            Kind.UNAVAILABLE,
            f"Calls to {what} are refused here because they would fail ({why}).",
            next_step="Wait until somebody closes it." if forced else "Wait, or give request a fallback.",
            fields={"circuit": msgspec.to_builtins(circuit)},
            retry_after_s=None if forced else max(1, math.ceil(left_s)),
        )
        self.circuit = circuit
        self.service_name = circuit.service_name
        self.route_class = circuit.route_class
        self.tenant_id = circuit.tenant_id
        self.until = circuit.until
        self.reason = circuit.reason


class _Answer(msgspec.Struct, frozen=True):
    feature: str
    value: object = None


class _Entitlements(msgspec.Struct, frozen=True):
    entitlements: list[_Answer]


class _Plan(msgspec.Struct, frozen=True):
    policy: Policy
    fresh_until_s: float


class Circuits:
    """The breakers of one client.

    Args:
        link: how plans are learned.
        tenant_id: whose client it is; empty for the key's own tenant.
        now_s: monotonic seconds.
        wall_s: Unix epoch seconds.
        told: called with every change; it must not wait or raise.
    """

    def __init__(
        self,
        link: HubLink,
        tenant_id: str = "",
        *,
        now_s: Callable[[], float] = time.monotonic,
        wall_s: Callable[[], float] = time.time,
        told: Callable[[CircuitChange], None] | None = None,
    ) -> None:
        self._told_all = told
        self._link = link
        self._tenant_id = tenant_id
        self._now_s = now_s
        self._wall_s = wall_s
        self._plans: OrderedDict[str, _Plan] = OrderedDict()
        self._tuned: dict[tuple[str, str | None], dict[str, Any]] = {}  # Any: members of a policy
        self._wanted: dict[str, None] = {}
        self._learning: asyncio.Task[None] | None = None
        self._listeners: set[asyncio.Queue[CircuitChange]] = set()
        self._sweep_at_s = 0.0
        self._is_open = False
        self._table = Breakers(self._policy_of, self._changed)
        self.sharing = Sharing(link, self._table, tenant_id, now_s)
        self.refused = 0
        self.trips = 0

    def open(self) -> None:
        """Begin to learn plans when they are needed, and to tell the hub of calls."""
        self._is_open = True
        self.sharing.open()

    async def close(self) -> None:
        """Stop learning and telling."""
        self._is_open = False
        await self.sharing.close()
        if self._learning is not None:
            self._learning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._learning
            self._learning = None

    def enter(self, service: str, route_class: str, tenant_id: str) -> tuple[Breaker, int]:
        """Return the breaker of a call and its permit.

        Raises:
            BreakerOpen: the call may not be made now.
            HubError: `invalid_route_class`.
        """
        if len(route_class) > ROUTE_CLASS_LENGTH_MAX:
            raise HubError(
                "invalid_route_class",
                Kind.INVALID,
                f"A route class is a label of at most {ROUTE_CLASS_LENGTH_MAX} characters.",
                next_step='Name the kind of call, as "reports"; never a path with ids in it.',
            )
        now_s = self._now_s()
        if now_s >= self._sweep_at_s:
            self._sweep_at_s = now_s + SWEEP_EVERY_S
            self._table.sweep(now_s)
        breaker = self._table.of(tenant_id, service, route_class)
        permit = breaker.allow(now_s)
        if tenant_id == self._tenant_id:
            self._want(tenant_id, now_s)
        if permit == REFUSED:
            self.refused += 1
            trip = breaker.trip
            assert trip is not None, "what is closed refuses nothing"
            # Probes are under way: their outcome is not far.
            raise BreakerOpen(self._shown(breaker, now_s), max(0.0, trip.until_s - now_s) if trip.until_s else 1.0)
        return breaker, permit

    async def enter_as_probe(self, service: str, route_class: str, tenant_id: str) -> tuple[Breaker, int] | None:
        """Try again a call that was refused, after asking the hub for leave; None when it stays refused.

        Raises:
            BreakerOpen: there was leave, and others were faster.
        """
        if not await self.sharing.probe(self._table.of(tenant_id, service, route_class)):
            return None
        self.refused -= 1  # it was counted when it asked first
        return self.enter(service, route_class, tenant_id)

    def answered(self, breaker: Breaker, permit: int, began_s: float, status: int) -> None:
        """Take note of an answer's status."""
        now_s = self._now_s()
        if status == REFUSED_STATUS:
            breaker.release(permit)
        elif status < FAILED_STATUS:
            took_s = now_s - began_s
            leased = breaker.trip is not None and breaker.is_leased(permit, now_s)
            breaker.succeeded(permit, now_s, took_s)
            self.sharing.saw(breaker, leased=leased, failed=False, slow=took_s > breaker.terms.policy.slow_call_s)
        else:
            self.failed(breaker, permit, began_s, sent=True)

    def failed(self, breaker: Breaker, permit: int, began_s: float, *, sent: bool) -> None:
        """Take note that there was no answer, or a server error."""
        now_s = self._now_s()
        took_s = now_s - began_s
        leased = breaker.trip is not None and breaker.is_leased(permit, now_s)
        breaker.failed(permit, now_s, took_s, sent=sent)
        self.sharing.saw(breaker, leased=leased, failed=True, slow=took_s > breaker.terms.policy.slow_call_s)
        self._want(breaker.tenant, now_s)

    def state(self, service: str, tenant_id: str, route_class: str | None) -> CircuitState:
        """Return the state of a service's breaker, the worst of its route classes when none is named."""
        now_s = self._now_s()
        states = {
            breaker.peek(now_s).seen_as
            for breaker in self._table.known(tenant_id, service)
            if route_class is None or breaker.pool.route_class == route_class
        }
        states |= self.sharing.states(service, route_class)
        return "OPEN" if "OPEN" in states else "HALF_OPEN" if "HALF_OPEN" in states else "CLOSED"

    def circuits(self, tenant_id: str) -> list[Circuit]:
        """Return a tenant's breakers, by service and route class."""
        now_s = self._now_s()
        shown = [self._shown(breaker, now_s) for breaker in self._table.of_tenant(tenant_id)]
        return sorted(shown, key=lambda one: (one.service_name, one.route_class))

    def tune(self, service: str, route_class: str | None, members: Mapping[str, object]) -> None:
        """Say for a service what its breakers are strict about, above what the plan says.

        Raises:
            HubError: `invalid_breaker_policy`, `limit_reached`.
        """
        if len(self._tuned) >= TUNED_MAX and (service, route_class) not in self._tuned:
            raise HubError("limit_reached", Kind.LIMIT, f"At most {TUNED_MAX} services have a policy of their own.")
        kept, self._tuned[service, route_class] = self._tuned.get((service, route_class)), dict(members)
        try:
            self._policy_of(self._tenant_id, service, route_class or "")
        except (TypeError, ValueError) as error:
            del self._tuned[service, route_class]
            if kept is not None:
                self._tuned[service, route_class] = kept
            raise HubError(
                "invalid_breaker_policy",
                Kind.INVALID,
                f"That is nothing a breaker can be: {error}.",
                next_step="The members are those of central_hub.breakers.model.Policy.",
            ) from None
        self._table.renew_service(service)

    def force(self, service: str, state: State, route_class: str, tenant_id: str) -> None:
        """Bring a breaker into a state.

        Raises:
            HubError: `illegal_transition`.
        """
        self._table.of(tenant_id, service, route_class).move(state, self._now_s())

    async def changes(self) -> AsyncIterator[CircuitChange]:
        """Yield every change of a breaker from now on, of all tenants."""
        waiting: asyncio.Queue[CircuitChange] = asyncio.Queue(CHANGES_WAITING_MAX)
        self._listeners.add(waiting)
        try:
            while True:
                yield await waiting.get()
        finally:
            self._listeners.discard(waiting)

    def _policy_of(self, tenant_id: str, service: str, route_class: str) -> Policy:
        known = self._plans.get(tenant_id)
        policy = tiers.DEFAULT if known is None else known.policy
        if self._tuned:
            members = {**self._tuned.get((service, None), {}), **self._tuned.get((service, route_class), {})}
            if "failure_rate" in members and "confidence" not in members:
                members["confidence"] = patient_confidence(policy.window_size, float(members["failure_rate"]))
            if members:
                policy = msgspec.structs.replace(policy, **members)
        return policy

    def _want(self, tenant_id: str, now_s: float) -> None:
        """See to it that what a tenant's plan says is known, soon."""
        known = self._plans.get(tenant_id)
        if known is not None and now_s < known.fresh_until_s:
            return
        if not self._is_open or len(self._wanted) >= PLANS_WANTED_MAX:
            return
        self._wanted[tenant_id] = None
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn(), name="central_hub.breaker_plans")

    async def _learn(self) -> None:
        while self._wanted:
            tenant_id = next(iter(self._wanted))
            known = self._plans.get(tenant_id)
            policy = tiers.DEFAULT if known is None else known.policy
            fresh_s = REFRESH_S * (0.75 + 0.5 * random.random())  # noqa: S311  # jitter
            try:
                policy = tiers.policy_of(await self._words(tenant_id))
            except HubError as error:
                if error.kind in (Kind.UNAVAILABLE, Kind.LIMIT, Kind.TIMEOUT):
                    fresh_s = float(error.retry_after_s or ASK_AGAIN_S)
            except ValueError:
                pass  # a tenant that no header can carry: nobody's plan
            finally:
                del self._wanted[tenant_id]
            self._plans[tenant_id] = _Plan(policy, self._now_s() + fresh_s)
            self._plans.move_to_end(tenant_id)
            if len(self._plans) > PLANS_KNOWN_MAX:
                self._plans.popitem(last=False)
            self._table.renew(tenant_id)

    async def _words(self, tenant_id: str) -> dict[str, object]:
        """Ask the hub what a tenant's plan says.

        Raises:
            HubError: what the hub refused.
        """
        protocol = self._link.protocol
        whose = tenant_id
        if not whose:
            whose = str(read(await self._link.send(protocol.get("/whoami"))).get("tenant_id") or "")
        if not whose:
            return {}  # a platform credential: no plan
        request = protocol.get(f"/tenants/{segment(whose)}/entitlements")
        if tenant_id:
            request.headers["x-tenant-id"] = tenant_id
        answer = read(await self._link.send(request))
        try:
            said = msgspec.convert(answer, _Entitlements)
        except msgspec.ValidationError as error:
            raise HubError("hub_answer_unreadable", Kind.INTERNAL, f"Not a list of entitlements: {error}.") from None
        return {one.feature: one.value for one in said.entitlements if one.feature in tiers.FEATURES}

    def _changed(self, transition: Transition) -> None:
        self.trips += transition.after is State.OPEN
        change = CircuitChange(
            service_name=transition.service,
            route_class=transition.route_class,
            tenant_id=transition.tenant,
            before=transition.before,
            after=transition.after,
            reason=transition.reason.value,
            at=self._wall(transition.at_s),
            evidence=transition.evidence,
            until=self._wall(transition.until_s) if 0 < transition.until_s < math.inf else None,
        )
        if self._told_all is not None:
            self._told_all(change)
        for waiting in self._listeners:
            if waiting.full():
                waiting.get_nowait()
            waiting.put_nowait(change)

    def _shown(self, breaker: Breaker, now_s: float) -> Circuit:
        trip, state = breaker.trip, breaker.peek(now_s)
        refuses = trip is not None and state is State.OPEN and trip.until_s < math.inf
        return Circuit(
            service_name=breaker.pool.service,
            route_class=breaker.pool.route_class,
            tenant_id=breaker.tenant,
            state=cast("CircuitState", state.seen_as),
            mode=state,
            evidence=breaker.evidence_at(now_s),
            reason="" if trip is None else trip.reason.value,
            since=None if trip is None else self._wall(trip.since_s),
            until=self._wall(trip.until_s) if trip is not None and refuses else None,
        )

    def _wall(self, at_s: float) -> datetime:
        """Return the time of day of a monotonic moment."""
        return datetime.fromtimestamp(self._wall_s(), UTC) + timedelta(seconds=at_s - self._now_s())
