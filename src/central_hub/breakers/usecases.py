"""Verdicts that many processes share: evidence comes in, what it amounts to becomes durable, probes are leased.

Evidence is a signal and stays in memory; a verdict's beginning, its end and its probes are facts. What cannot be made
durable is not said: processes then decide for themselves, as they do without a hub.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from central_hub.breakers import tiers
from central_hub.breakers.ledger import Ledger
from central_hub.breakers.model import ENDPOINT_OPEN_S, IDLE_S, Evidence, Policy, Reason, State
from central_hub.breakers.pool import Pool
from central_hub.breakers.ports import Plans, Services
from central_hub.breakers.schemas import CallsSeen
from central_hub.breakers.terms import terms_of
from central_hub.breakers.verdicts import (
    COUNT_VERDICTS,
    EVERYONE_PROBES,
    LEASE_MS,
    LEDGERS_PER_DOMAIN_MAX,
    ROUND_MS,
    VERDICTS_PER_DOMAIN_MAX,
    BreakerProbesLeased,
    BreakerProbesTried,
    Key,
    SharedBreakerRecovered,
    SharedBreakerTripped,
    Verdict,
    accepted,
    breaker_stream,
    decided,
    is_idle,
    leasable,
    state_of,
    with_outcome,
)
from central_hub.breakers.view import BreakersView
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, SHARED, DomainId
from central_hub.kernel.ownership import Ownership
from central_hub.kernel.records import HUB_ACTOR, Applied
from central_hub.kernel.sequencer import Sequencer
from central_hub.kernel.transaction import Tx

WORK: Final = "breakers"
"""The kind of work that only one of several hubs does: ending verdicts that nobody tries."""

SWEEP_S: Final = 5.0
DUE_MAX: Final = 4_096
"""Decisions that wait to be made durable; further ones are dropped, and made again from the next evidence."""

EVERYONE_FAILS_AT: Final = 2
AGAIN_S: Final = 0.5
REPORTS_PER_S: Final = 500.0
"""Reports that all processes together are asked to send in a second: the more there are, the later each."""

_NO_LEDGERS: Final[Mapping[Key, Ledger]] = {}
_log = structlog.get_logger("central_hub.breakers")


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """Probes that a caller may make; `again_s` is when asking for more makes sense."""

    state: State
    granted: int = 0
    ttl_s: float = 0.0
    again_s: float = 0.0


class Named(Protocol):
    """Told when a tenant first names a service and route class."""

    def __call__(self, domain: DomainId, key: Key) -> None:
        """Take note of it; must not block."""
        ...


class SharedBreakers:
    """Judges what processes report, and leases probes.

    Args:
        view: the verdicts that are in force.
        sequencer: makes them durable.
        services: what callers see.
        plans: how strict a tenant's plan is.
        clock: wall time for verdicts, monotonic for evidence.
        ownership: whether this hub ends what nobody tries.
    """

    def __init__(
        self,
        view: BreakersView,
        sequencer: Sequencer,
        services: Services,
        plans: Plans,
        clock: Clock,
        ownership: Ownership,
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._services = services
        self._plans = plans
        self._clock = clock
        self._ownership = ownership
        self._ledgers: dict[DomainId, dict[Key, Ledger]] = {}
        self._pools: dict[Key, Pool] = {}
        self._due: dict[tuple[DomainId, Key, str], Callable[[Tx], None]] = {}
        self._wake = asyncio.Event()
        self._callers: dict[tuple[DomainId, str], float] = {}
        self.on_named: Named = _nobody
        self.reports = 0
        self.calls = 0
        self.dropped = 0
        self.undurable = 0
        self.trips: Counter[str] = Counter()
        self.recoveries: Counter[str] = Counter()
        self.probes = 0

    def report(self, ctx: TenantContext, caller: str, seen: CallsSeen) -> bool:
        """Take what a process saw of a service; says whether the caller sees that service."""
        home = self._services.home_of(ctx, seen.service_name)
        key = (seen.service_name, seen.route_class)
        ledger = None if home is None else self._ledger(ctx.domain, key)
        if ledger is None:
            return False
        now_s = self._clock.monotonic_ms() / 1_000
        self.reports += 1
        self.calls += seen.calls
        self._callers[ctx.domain, caller] = now_s
        ledger.add(caller, now_s, calls=seen.calls, failures=seen.failures, slow=seen.slow, age_s=seen.age_ms / 1_000)
        if seen.probes:
            self._tried(ctx.domain, key, seen)
        if (seen.failures or seen.slow) and self._view.verdict(ctx.domain, key) is None:
            policy = self.policy_of(ctx.domain, ctx.tier)
            judged = ledger.judge(now_s, policy)
            if judged is not None:
                self._trip(ctx.domain, key, judged[0], judged[1], policy)
        if home == SHARED and seen.calls:
            self._pool(ctx.domain, key, ledger, now_s)
        return True

    async def lease(self, ctx: TenantContext, service: str, route_class: str, wanted: int) -> Granted:
        """Lease probes of a service that is HALF_OPEN.

        Raises:
            HubError: `service_not_found` (404), `tier_too_low` (403); what the sequencer raises.
        """
        home = self._services.require(ctx, service)
        key = (service, route_class)
        domains = list(dict.fromkeys((ctx.domain, home)))
        now_ms = self._clock.now_ms()
        states = [state_of(self._view.verdict(domain, key), now_ms) for domain in domains]
        if State.HALF_OPEN not in states or State.OPEN in states:
            return self._not_now(domains, key, now_ms)
        committed = await self._sequencer.submit(
            ctx.actor, domains, lambda tx: self._lease(tx, ctx.domain, domains, key, wanted)
        )
        self.probes += committed.answer
        return Granted(
            state=State.HALF_OPEN,
            granted=committed.answer,
            ttl_s=LEASE_MS / 1_000,
            again_s=0.0 if committed.answer else AGAIN_S,
        )

    def again_s(self) -> float:
        """Return after how many seconds a process is to report again: the more there are, the later."""
        return max(AGAIN_S, len(self._callers) / REPORTS_PER_S)

    def has_named(self, domain: DomainId, key: Key) -> bool:
        """Say whether a tenant may hear of everyone's route class: of one that it has named itself, and of none."""
        return not key[1] or key in self._ledgers.get(domain, _NO_LEDGERS)

    def keys(self, domain: DomainId) -> list[Key]:
        """Return what a domain has named, or has a verdict on, in order."""
        return sorted({*self._ledgers.get(domain, _NO_LEDGERS), *self._view.verdicts(domain)})

    def evidence(self, domain: DomainId, key: Key) -> Evidence:
        """Return what a domain's processes saw in the last seconds."""
        ledger = self._ledgers.get(domain, _NO_LEDGERS).get(key)
        return Evidence() if ledger is None else ledger.evidence(self._clock.monotonic_ms() / 1_000)

    def policy_of(self, domain: DomainId, tier: str) -> Policy:
        """Return how strict a tenant's breakers are."""
        return tiers.policy_of(self._plans.words(domain, tier))

    def applied(self, batch: Sequence[Applied]) -> None:
        """Forget what was seen before a verdict began or ended: it says nothing about what comes now."""
        for one in batch:
            fact = one.fact
            if isinstance(fact, SharedBreakerTripped | SharedBreakerRecovered):
                key = (fact.service, fact.route_class)
                counted = self.trips if isinstance(fact, SharedBreakerTripped) else self.recoveries
                counted[fact.reason.value] += 1
                ledger = self._ledgers.get(one.domain, _NO_LEDGERS).get(key)
                if ledger is not None:
                    ledger.clear()

    @property
    def ledgers(self) -> int:
        """Pairs of service and route class that evidence is held of, of all tenants."""
        return sum(map(len, self._ledgers.values()))

    @property
    def callers(self) -> int:
        """Processes that reported lately."""
        return len(self._callers)

    async def run(self) -> None:
        """Make durable what was decided, and forget what is idle, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweeping())
            while True:
                await self._wake.wait()
                self._wake.clear()
                group.create_task(self.settle())

    async def settle(self) -> None:
        """Make durable what was decided up to now."""
        due, self._due = self._due, {}
        await asyncio.gather(*(self._commit(domain, key, decide) for (domain, key, _), decide in due.items()))

    def sweep(self) -> None:
        """Forget evidence of long ago, and end the verdicts that nobody tries."""
        now_s, now_ms = self._clock.monotonic_ms() / 1_000, self._clock.now_ms()
        self._callers = {one: at_s for one, at_s in self._callers.items() if now_s - at_s <= 2 * SWEEP_S}
        for domain, ledgers in list(self._ledgers.items()):
            for key in [key for key, ledger in ledgers.items() if now_s - ledger.heard_s > IDLE_S]:
                del ledgers[key]
            if not ledgers:
                del self._ledgers[domain]
        for key in [key for key, pool in self._pools.items() if now_s - pool.heard_until_s > IDLE_S]:
            del self._pools[key]
        for domain, key, verdict in self._in_force():
            if is_idle(verdict, now_ms) and self._ownership.owns(WORK, f"{domain}/{key[0]}"):
                self._recover(domain, key, Reason.IDLE)

    def _in_force(self) -> Iterator[tuple[DomainId, Key, Verdict]]:
        for domain in self._view.domains(PLATFORM):
            for key, verdict in list(self._view.verdicts(domain).items()):
                yield domain, key, verdict

    async def _sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()

    async def _commit(self, domain: DomainId, key: Key, decide: Callable[[Tx], None]) -> None:
        try:
            await self._sequencer.submit(HUB_ACTOR, (domain,), decide)
        except HubError as error:
            self.undurable += 1
            _log.warning("breakers.verdict_not_recorded", tenant=domain, service=key[0], code=error.code)

    def _ledger(self, domain: DomainId, key: Key) -> Ledger | None:
        ledgers = self._ledgers.setdefault(domain, {})
        found = ledgers.get(key)
        if found is None and len(ledgers) < LEDGERS_PER_DOMAIN_MAX:
            found = ledgers[key] = Ledger()
            self.on_named(domain, key)
        return found

    def _pool(self, domain: DomainId, key: Key, ledger: Ledger, now_s: float) -> None:
        """Have all tenants hear what one saw, and look whether that is a verdict for everyone, or the end of one."""
        pool = self._pools.get(key)
        if pool is None:
            if len(self._pools) >= LEDGERS_PER_DOMAIN_MAX:
                self._pools.pop(next(iter(self._pools)))
            pool = self._pools[key] = Pool(*key, _untold)
        outcomes = ledger.latest(now_s)
        if outcomes == 1:
            return
        # What a tenant says of its connections is its own word, and opens nothing for others: `unsent` is for processes
        # that see for themselves.
        pool.hear(domain, now_s, outcomes, unsent=0, whole=True)
        verdict = self._view.verdict(SHARED, key)
        if verdict is None:
            if pool.failing_until_s > now_s:
                self._trip(SHARED, key, Reason.ENDPOINT, pool.evidence, None)
        elif not outcomes & 1 and not pool.doubted:
            self._recover(SHARED, key, Reason.ANSWERED)

    def _trip(self, domain: DomainId, key: Key, reason: Reason, evidence: Evidence, policy: Policy | None) -> None:
        probes = EVERYONE_PROBES if policy is None else policy.probes
        fails_at = EVERYONE_FAILS_AT if policy is None else terms_of(policy).reopen_at[reason is Reason.SLOW]
        open_s = ENDPOINT_OPEN_S if policy is None else policy.open_s

        def decide(tx: Tx) -> None:
            tx.touch(domain, breaker_stream(key))
            if self._view.verdict(domain, key) is not None:
                return
            if len(self._view.verdicts(domain)) + tx.pending(domain, COUNT_VERDICTS) >= VERDICTS_PER_DOMAIN_MAX:
                return
            tripped = SharedBreakerTripped(
                service=key[0], route_class=key[1], previous=State.CLOSED, reason=reason, evidence=evidence,
                until_ms=tx.now_ms + int(open_s * 1_000), probes=probes, fails_at=fails_at, everyone=domain == SHARED,
            )  # fmt: skip
            tx.append(domain, tripped, streams=(breaker_stream(key),), counts={COUNT_VERDICTS: 1})

        self._soon(domain, key, "trip", decide)

    def _recover(self, domain: DomainId, key: Key, reason: Reason) -> None:
        def decide(tx: Tx) -> None:
            tx.touch(domain, breaker_stream(key))
            if self._view.verdict(domain, key) is not None:
                self._append_recovery(tx, domain, key, reason)

        self._soon(domain, key, "recover", decide)

    def _tried(self, tenant: DomainId, key: Key, seen: CallsSeen) -> None:
        """Take probes into account where they were leased: in the tenant's verdict, in everyone's, or in both."""
        for domain in dict.fromkeys((tenant, SHARED)):
            self._settle(domain, tenant, key, seen.probes - seen.probes_failed, seen.probes_failed)

    def _settle(self, domain: DomainId, tenant: DomainId, key: Key, succeeded: int, failed: int) -> None:
        """Take probes of a tenant into account in one verdict, and see what they decide."""
        if self._view.verdict(domain, key) is None:
            return

        def decide(tx: Tx) -> None:
            tx.touch(domain, breaker_stream(key))
            verdict = self._view.verdict(domain, key)
            if verdict is None or state_of(verdict, tx.now_ms) is not State.HALF_OPEN:
                return
            good, bad = accepted(verdict, tenant, succeeded, failed)
            if not good + bad:
                return
            tx.append(
                domain,
                BreakerProbesTried(service=key[0], route_class=key[1], tenant=tenant, succeeded=good, failed=bad),
                streams=(breaker_stream(key),),
            )
            self._conclude(tx, domain, with_outcome(verdict, tenant, good, bad, tx.now_ms))

        # Each outcome counts: none replaces another that waits.
        self._soon(domain, key, f"tried/{self.reports}/{tenant}", decide)

    def _conclude(self, tx: Tx, domain: DomainId, verdict: Verdict) -> None:
        everyone = domain == SHARED
        reason = decided(verdict, tx.now_ms, everyone=everyone)
        if reason is Reason.PROBES_SUCCEEDED:
            self._append_recovery(tx, domain, verdict.key, reason)
        elif reason is Reason.PROBES_FAILED:
            tried = [one for one in verdict.tried if tx.now_ms - one.at_ms <= ROUND_MS] if everyone else verdict.tried
            failures = sum(one.failed for one in tried)
            calls = failures + sum(one.succeeded for one in tried)
            open_ms = verdict.until_ms - verdict.since_ms
            tripped = SharedBreakerTripped(
                service=verdict.service, route_class=verdict.route_class, previous=State.HALF_OPEN, reason=reason,
                evidence=Evidence(calls=calls, failures=failures), until_ms=tx.now_ms + open_ms, probes=verdict.probes,
                fails_at=verdict.fails_at, everyone=everyone,
            )  # fmt: skip
            tx.append(domain, tripped, streams=(breaker_stream(verdict.key),))

    def _append_recovery(self, tx: Tx, domain: DomainId, key: Key, reason: Reason) -> None:
        recovered = SharedBreakerRecovered(
            service=key[0], route_class=key[1], reason=reason, everyone=domain == SHARED
        )  # fmt: skip
        tx.append(domain, recovered, streams=(breaker_stream(key),), counts={COUNT_VERDICTS: -1})

    def _lease(self, tx: Tx, tenant: DomainId, domains: Sequence[DomainId], key: Key, wanted: int) -> int:
        for domain in domains:
            tx.touch(domain, breaker_stream(key))
        trying: list[DomainId] = []
        for domain in domains:
            verdict = self._view.verdict(domain, key)
            if verdict is not None:
                wanted = leasable(verdict, tenant, wanted, tx.now_ms, everyone=domain == SHARED)
                trying.append(domain)
        for domain in trying if wanted else ():
            leased = BreakerProbesLeased(
                service=key[0], route_class=key[1], tenant=tenant, count=wanted, until_ms=tx.now_ms + LEASE_MS
            )
            tx.append(domain, leased, streams=(breaker_stream(key),))
        return wanted if trying else 0

    def _not_now(self, domains: Sequence[DomainId], key: Key, now_ms: int) -> Granted:
        """Answer where there is nothing to try: nothing is open, or it is too early."""
        until_ms = max((one.until_ms for domain in domains if (one := self._view.verdict(domain, key))), default=0)
        if until_ms <= now_ms:
            return Granted(state=State.CLOSED)
        return Granted(state=State.OPEN, again_s=(until_ms - now_ms) / 1_000)

    def _soon(self, domain: DomainId, key: Key, what: str, decide: Callable[[Tx], None]) -> None:
        if len(self._due) >= DUE_MAX:
            self.dropped += 1
            return
        self._due[domain, key, what] = decide
        self._wake.set()


def _nobody(domain: DomainId, key: Key) -> None:
    """Be told of a name before there is anybody to tell."""


def _untold(change: object) -> None:
    """Take no note: the hub's pools have no breakers that change."""
