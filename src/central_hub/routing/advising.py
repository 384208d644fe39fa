"""Answers to "which instance?": decisions with an id, reservations, outcomes, and what explains them.

All of it is soft: it is in this hub's memory, bounded, and gone with the process. A reservation lives on the hub that
gave it. Whoever loses one loses a little foresight, never a request: the caller has its endpoint already.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import UUID_RANDOM_BYTES, DomainId, uuid7
from central_hub.routing.asking import Asked, Told, decision_missing, no_candidate, too_many_candidates
from central_hub.routing.deciding import Decided, Router
from central_hub.routing.model import RECORDS_PER_DOMAIN_MAX, RESERVED_MAX_S, RESERVED_MIN_S, SIMULATED_AMONG_MAX
from central_hub.routing.ports import Services
from central_hub.routing.relaxing import excluded, relaxations
from central_hub.routing.simulating import Simulated, Simulation

RECORD_CANDIDATES_MAX: Final = 256
"""A decision between more than so many cannot be explained in full, and its numbers are not kept."""
DOMAINS_MAX: Final = 4_096
RESERVATIONS_PER_DOMAIN_MAX: Final = 5_000
"""Reservations of one domain whose outcome can still be told; past it its own oldest is given up."""
ANSWERS_PER_DOMAIN_MAX: Final = 1_000
"""Answers to requests with an idempotency key that are kept, for `ANSWER_KEPT_S`."""
ANSWER_KEPT_S: Final = 600.0
ADVICE_S: Final = 1.0
"""How long advice holds: what it foresaw is another thing soon."""


class Answer:
    """A decision as it was given: its id, until when it holds, and whether an instance was reserved."""

    __slots__ = ("at_ms", "at_s", "decided", "decision_id", "expires_ms", "reserved")

    def __init__(
        self, decision_id: str, decided: Decided, at_s: float, at_ms: int, expires_ms: int, *, reserved: bool
    ) -> None:
        self.decision_id = decision_id
        self.decided = decided
        self.at_s = at_s
        self.at_ms = at_ms
        self.expires_ms = expires_ms
        self.reserved = reserved


class _Own:
    """What is kept of one domain."""

    __slots__ = ("answers", "records", "reservations")

    def __init__(self) -> None:
        self.records: OrderedDict[str, Answer] = OrderedDict()
        self.reservations: OrderedDict[str, tuple[DomainId, str]] = OrderedDict()
        """By decision, the domain and name of the service that is to serve it."""
        self.answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()


class Advice:
    """Decides for callers, and hears what became of it.

    Args:
        router: decides.
        services: whether a named service is there.
        clock: time.
        source: random bytes for ids.
        changed: called with (domain, service) when an outcome may have changed how sure one can be of it.
    """

    def __init__(
        self,
        router: Router,
        services: Services,
        clock: Clock,
        source: Callable[[int], bytes],
        changed: Callable[[DomainId, str], None] = lambda domain, service: None,
    ) -> None:
        self._router = router
        self._services = services
        self._clock = clock
        self._source = source
        self._changed = changed
        self._own: OrderedDict[DomainId, _Own] = OrderedDict()
        self.decided = 0
        self.reserved = 0
        self.refused = 0
        self.recorded = 0
        self.unknown = 0

    def decide(
        self, ctx: TenantContext, asked: Asked, *, reserve: bool = False, ttl_s: float | None = None,
        retry_of: str = "", key: str = "",
    ) -> Answer:  # fmt: skip
        """Decide, and on request reserve.

        Args:
            ctx: who asks.
            asked: what for.
            reserve: whether the instance is to expect the request.
            ttl_s: how long its outcome is waited for; None for what is predicted.
            retry_of: the decision before, which failed.
            key: the same again within ten minutes brings the first answer back, where something is reserved.

        Raises:
            HubError: `service_not_found` (404), `tier_too_low` (403), `no_candidate` (409).
        """
        own, now_s, now_ms = self._of(ctx.domain), self._now_s(), self._clock.now_ms()
        known = own.answers.get(key) if key and reserve else None
        if known is not None and now_s - known[0] < ANSWER_KEPT_S:
            return known[1]
        for service in asked.services:
            self._services.require(ctx, service)
        if retry_of:
            self._give_up(own, ctx.domain, retry_of, now_s, failed=True)
        decided = self._router.decide(ctx, asked, now_s, now_ms)
        if not isinstance(decided, Decided):
            self.refused += 1
            raise self._nobody(ctx, asked, decided.considered, now_s, now_ms)
        decision_id = uuid7(now_ms, self._source(UUID_RANDOM_BYTES))
        holds_s = self._reserve(ctx, own, decision_id, decided, now_s, ttl_s) if reserve else ADVICE_S
        answer = Answer(decision_id, decided, now_s, now_ms, now_ms + int(holds_s * 1_000), reserved=reserve)
        self.decided += 1
        if len(decided.matched.rows) <= RECORD_CANDIDATES_MAX:
            own.records[decision_id] = answer
            _keep(own.records, RECORDS_PER_DOMAIN_MAX)
        if key and reserve:
            own.answers[key] = (now_s, answer)
            _keep(own.answers, ANSWERS_PER_DOMAIN_MAX)
        return answer

    async def simulate(self, ctx: TenantContext, asked: Asked, count: int, every_s: float) -> Simulated:
        """Decide many requests on a copy of what is foreseen; others have their turn in between.

        Raises:
            HubError: `service_not_found` (404), `tier_too_low` (403), `no_candidate` (409),
                `too_many_candidates` (422).
        """
        for service in asked.services:
            self._services.require(ctx, service)
        now_s, now_ms = self._now_s(), self._clock.now_ms()
        matched = self._router.matched(ctx, asked, now_ms)
        if not matched.rows:
            raise self._nobody(ctx, asked, matched.considered, now_s, now_ms)
        if len(matched.rows) > SIMULATED_AMONG_MAX:
            raise too_many_candidates(len(matched.rows))
        await asyncio.sleep(0)
        running = Simulation(self._router, ctx, asked, matched, self._router.draw).run(count, every_s, now_s)
        found = next(running)
        for _ in running:  # it goes on with what it found so far
            await asyncio.sleep(0)
        return found

    def told(self, ctx: TenantContext, outcomes: Sequence[Told]) -> tuple[int, int]:
        """Take in outcomes; one of a decision counts once.

        Returns:
            How many were taken in, and how many are of nothing that is known (any more).
        """
        own, now_s = self._of(ctx.domain), self._now_s()
        recorded = 0
        for one in outcomes:
            if one.decision_id:
                recorded += self._told(own, ctx.domain, one, now_s)
            else:
                recorded += self._seen(ctx, one, now_s)
        self.recorded += recorded
        self.unknown += len(outcomes) - recorded
        return recorded, len(outcomes) - recorded

    def forget(self, domain: DomainId) -> None:
        """Forget what was decided for a domain."""
        self._own.pop(domain, None)

    def answer(self, domain: DomainId, decision_id: str) -> Answer:
        """Return a decision as it was given.

        Raises:
            HubError: `routing_decision_not_found` (404).
        """
        known = self._own.get(domain)
        found = None if known is None else known.records.get(decision_id)
        if found is None:
            raise decision_missing()
        return found

    def _nobody(self, ctx: TenantContext, asked: Asked, considered: int, now_s: float, now_ms: int) -> HubError:
        return no_candidate(
            relaxations(self._router, ctx, asked, now_s, now_ms),
            excluded(self._router, ctx, asked, now_s, now_ms),
            considered,
        )

    def _reserve(
        self, ctx: TenantContext, own: _Own, decision_id: str, decided: Decided, now_s: float, ttl_s: float | None
    ) -> float:
        """Let the chosen instance expect the request; returns for how many seconds its outcome is waited for."""
        row, at = decided.row, int(decided.kept[decided.at])
        offered = decided.offered
        if ttl_s is None:
            ttl_s = 10.0 * float(decided.predicted[at, -1]) / 1_000
        ttl_s = min(RESERVED_MAX_S, max(RESERVED_MIN_S, ttl_s))
        offered.fleet.place(
            (ctx.domain, decision_id), row.server, row.kind, decided.sizes, now_s,
            book=self._router.book(ctx, decided.asked.work), caller=(ctx.domain, ctx.principal.id, ctx.caller_service),
            declared=decided.asked.size,
            foreseen_s=float(decided.foreseen.wait_s[at] + decided.foreseen.service_s[at]), until_s=now_s + ttl_s,
        )  # fmt: skip
        own.reservations[decision_id] = (offered.domain, row.service)
        self.reserved += 1
        if len(own.reservations) > RESERVATIONS_PER_DOMAIN_MAX:
            self._give_up(own, ctx.domain, next(iter(own.reservations)), now_s, failed=False)
        return ttl_s

    def _told(self, own: _Own, domain: DomainId, one: Told, now_s: float) -> bool:
        where = own.reservations.pop(one.decision_id, None)
        offered = None if where is None else self._router.offered(where[0])
        if where is None or offered is None:
            return False
        taken = offered.fleet.told(
            (domain, one.decision_id), now_s, ok=one.ok, latency_s=one.latency_s, true=one.size, by=domain
        )
        self._changed(*where)
        return taken

    def _seen(self, ctx: TenantContext, one: Told, now_s: float) -> bool:
        """Take in how a call went that was not decided here: whether an instance answers."""
        for offered in self._router.reachable(ctx):
            service = offered.only_service(one.instance_id)
            server = None if service is None else offered.server(service, one.instance_id)
            if service is not None and server is not None and self._services.sees(ctx, offered.domain, service):
                offered.fleet.seen(server, now_s, ok=one.ok, by=ctx.domain)
                self._changed(offered.domain, service)
                return True
        return False

    def _give_up(self, own: _Own, domain: DomainId, decision_id: str, now_s: float, *, failed: bool) -> None:
        where = own.reservations.pop(decision_id, None)
        offered = None if where is None else self._router.offered(where[0])
        if offered is not None:
            offered.fleet.given_up((domain, decision_id), now_s, failed=failed, by=domain)

    def _of(self, domain: DomainId) -> _Own:
        found = self._own.get(domain)
        if found is None:
            found = self._own[domain] = _Own()
            _keep(self._own, DOMAINS_MAX)
        return found

    def _now_s(self) -> float:
        return self._clock.monotonic_ms() / 1_000


def _keep(kept: OrderedDict[Any, Any], most: int) -> None:  # Any: whatever is kept, by whatever name
    while len(kept) > most:
        kept.popitem(last=False)
