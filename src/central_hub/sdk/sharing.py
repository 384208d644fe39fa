"""What this process tells the hub of its calls, and what the hub says of services: verdicts of many processes.

Calls are counted here and reported twice a second or so, sooner when something looks wrong. Verdicts come with the
watch and open or close the breakers beside the calls, which go on deciding by themselves; probes of a service that may
be back are leased. A hub that is away, or does not know of this, leaves local rules in force. Nothing here delays a
call but the asking for a probe, whose alternative is to be refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from central_hub.breakers.leases import Leases
from central_hub.breakers.model import Evidence, Reason, State
from central_hub.breakers.pool import Pool
from central_hub.breakers.rules import Breaker
from central_hub.breakers.table import Breakers
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import is_name
from central_hub.sdk.link import HubLink
from central_hub.sdk.protocol import read, segment

REPORT_EVERY_S: Final = 0.5
GATHER_S: Final = 0.02
"""Time in which further outcomes join a report that cannot wait."""

GAP_S: Final = 0.1
"""Least time between two reports."""

ROWS_MAX: Final = 256
AGAIN_S_MAX: Final = 60.0
AWAY_S: Final = 5.0
"""How long a hub that did not answer is left alone; one that refuses, twelve times as long."""

PROBE_TIMEOUT_S: Final = 0.5
"""How long a call waits for leave to try a service out."""

GRACE_S: Final = 60.0
"""How long past its time a verdict of everyone's is believed without a further word."""

AGE_MS_MAX: Final = 60_000
TALLIES_MAX: Final = 10_000
FEW_CALLS: Final = 4
"""Calls since the last report up to which one that failed is said at once."""

_TWO_FAILED: Final = 0b11
_GIVE_UP: Final = frozenset({Kind.NOT_FOUND, Kind.METHOD, Kind.DENIED, Kind.UNAUTHENTICATED, Kind.MALFORMED})

EVERYONE: Final = "everyone"
ALL_EVENT: Final = "breakers"
EVENT: Final = "breaker"
EVENTS: Final = frozenset({EVENT, ALL_EVENT})


class Verdict(msgspec.Struct, frozen=True):
    """A verdict as the hub tells it."""

    service: str
    route_class: str
    of: str
    state: str
    reason: str = ""
    left_ms: int = 0
    calls: int = 0
    failures: int = 0
    slow: int = 0


class _All(msgspec.Struct, frozen=True):
    breakers: list[Verdict]


class _Taken(msgspec.Struct, frozen=True):
    again_s: float = REPORT_EVERY_S


class _Granted(msgspec.Struct, frozen=True):
    state: str
    granted: int = 0
    ttl_s: float = 0.0
    again_s: float = 0.0


class _Tally:
    """What was seen through one breaker since the last report: until the first failure, and from it on."""

    __slots__ = ("before", "began_s", "calls", "failed_s", "failures", "probes", "probes_failed", "slow")

    def __init__(self, now_s: float) -> None:
        self.began_s = now_s
        self.failed_s = 0.0
        self.before = self.calls = self.failures = self.slow = self.probes = self.probes_failed = 0

    def rows(self, now_s: float) -> Iterator[dict[str, int]]:
        """Yield what there is to say.

        Answers from before the first failure have their age, or they would speak against what came after. Where nothing
        failed they count as of now: those who report once a second would otherwise be half forgotten beside those who
        cannot wait, and everything would look worse than it is.
        """
        if not self.failures:
            yield {"calls": self.calls, "slow": self.slow, **self._probes()}
            return
        if self.before:
            yield {"calls": self.before, "age_ms": _half_ms(2 * now_s - self.began_s - self.failed_s)}
        yield {
            "calls": self.calls - self.before,
            "failures": self.failures,
            "slow": min(self.slow, self.calls - self.before),
            **self._probes(),
        }

    def _probes(self) -> dict[str, int]:
        return {"probes": self.probes, "probes_failed": self.probes_failed} if self.probes else {}


class Sharing:
    """Tells the hub, and listens to it.

    Args:
        link: how the hub is reached.
        table: the breakers of this process.
        tenant_id: whose client it is; empty for the key's own tenant.
        now_s: monotonic seconds.
    """

    def __init__(self, link: HubLink, table: Breakers, tenant_id: str, now_s: Callable[[], float]) -> None:
        self._link = link
        self._table = table
        self._tenant_id = tenant_id
        self._now_s = now_s
        self._caller = f"{random.getrandbits(64):016x}"  # tells processes apart, proves nothing
        self._tallies: dict[Breaker, _Tally] = {}
        self._reported_s = -math.inf
        self._urgent = asyncio.Event()
        self._every_s = REPORT_EVERY_S
        self._silent_until_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self.reports = 0
        self.verdicts = 0

    def open(self) -> None:
        """Begin to report."""
        self._task = asyncio.create_task(self._run(), name="central_hub.breaker_reports")

    async def close(self) -> None:
        """Stop reporting."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def saw(self, breaker: Breaker, *, leased: bool, failed: bool, slow: bool) -> None:
        """Count an outcome.

        Args:
            leased: the call was a probe that the hub leased.
        """
        tally = self._tallies.get(breaker)
        if tally is None:
            tally = self._begun(breaker)
            if tally is None:
                return
        if leased:
            tally.probes += 1
            tally.probes_failed += failed
            self._urgent.set()
            return
        tally.calls += 1
        if slow:
            tally.slow += 1
        if failed:
            if not tally.failures:
                tally.before, tally.failed_s = tally.calls - 1, self._now_s()
            tally.failures += 1
            # Of many calls one that failed can wait; of few it may be what others need to know.
            if tally.calls <= FEW_CALLS or breaker.trip is not None or breaker.fails & _TWO_FAILED == _TWO_FAILED:
                self._urgent.set()

    def told(self, event: str, data: bytes | str) -> None:
        """Take what the watch says.

        Raises:
            msgspec.DecodeError: it is nothing that a hub says.
        """
        if event == EVENT:
            self._take(msgspec.json.decode(data, type=Verdict))
            return
        everything = msgspec.json.decode(data, type=_All).breakers
        self._forget_all_but(everything)
        for verdict in everything:
            self._take(verdict)

    def states(self, service: str, route_class: str | None) -> set[str]:
        """Return what the hub says to everyone about a service: nothing, "OPEN" or "HALF_OPEN"."""
        now_s = self._now_s()
        return {
            "OPEN" if now_s < leases.until_s else "HALF_OPEN"
            for pool in self._table.pools()
            if pool.service == service
            and (route_class is None or pool.route_class == route_class)
            and (leases := pool.leases) is not None
            and leases.everyone
            and pool.failing_until_s > now_s
        }

    async def probe(self, breaker: Breaker) -> bool:
        """Ask the hub for leave to try a service out; says whether it makes sense to try the breaker again."""
        leases, tenant, pool = breaker.pool.leases, breaker.tenant, breaker.pool
        now_s = self._now_s()
        if leases is None or tenant not in leases.wanted or not leases.may_ask(tenant, now_s):
            return False
        leases.grant(tenant, 0, 0.0, again_s=now_s + PROBE_TIMEOUT_S)  # nobody else asks meanwhile
        body = {"route_class": pool.route_class, **self._whose(breaker)}
        request = self._link.protocol.command("POST", f"/circuits/{segment(pool.service)}/probes", body)
        try:
            granted = msgspec.convert(read(await self._link.send(request, timeout_s=PROBE_TIMEOUT_S)), _Granted)
        except HubError as error:
            leases.local_until_s = self._now_s() + (AWAY_S * 12 if error.kind in _GIVE_UP else AWAY_S)
            return True
        except msgspec.ValidationError:
            leases.local_until_s = self._now_s() + AWAY_S
            return True
        now_s = self._now_s()
        if granted.state == State.CLOSED:
            self._ended(pool, leases, tenant)
        elif granted.granted:
            leases.grant(tenant, granted.granted, now_s + granted.ttl_s, again_s=0.0)
        else:
            leases.grant(tenant, 0, 0.0, again_s=now_s + max(GAP_S, granted.again_s) * (0.75 + 0.5 * random.random()))  # noqa: S311  # jitter
            return False
        return True

    def _begun(self, breaker: Breaker) -> _Tally | None:
        if self._task is None or len(self._tallies) >= TALLIES_MAX or self._now_s() < self._silent_until_s:
            return None
        pool = breaker.pool
        if not is_name(pool.service) or not pool.route_class.isprintable():
            return None
        if self._now_s() - self._reported_s >= self._every_s:
            # After a silence it is said at once, good or bad: of processes that all begin to call, a hub that first
            # heard of failures only would think that everything fails.
            self._urgent.set()
        tally = self._tallies[breaker] = _Tally(self._now_s())
        return tally

    async def _run(self) -> None:
        while True:
            wait_s = self._every_s * (0.75 + 0.5 * random.random())  # noqa: S311  # jitter
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._urgent.wait()
            await asyncio.sleep(GATHER_S)
            self._urgent.clear()
            if self._tallies:
                await self._report()
                await asyncio.sleep(GAP_S)

    async def _report(self) -> None:
        tallies, self._tallies = self._tallies, {}
        self._reported_s = self._now_s()
        rows = [
            {
                "service_name": breaker.pool.service,
                "route_class": breaker.pool.route_class,
                **row,
                **self._whose(breaker),
            }
            for breaker, tally in tallies.items()
            for row in tally.rows(self._reported_s)
        ]
        for start in range(0, len(rows), ROWS_MAX):
            body = {"caller": self._caller, "reports": rows[start : start + ROWS_MAX]}
            try:
                request = self._link.protocol.command("POST", "/circuits", body)
                taken = msgspec.convert(read(await self._link.send(request)), _Taken)
            except msgspec.ValidationError:
                return
            except HubError as error:
                # What could not be said now is of no use later.
                self._silent_until_s = self._now_s() + (AWAY_S * 12 if error.kind in _GIVE_UP else REPORT_EVERY_S)
                return
            self.reports += 1
            self._every_s = min(AGAIN_S_MAX, max(REPORT_EVERY_S, taken.again_s))

    def _whose(self, breaker: Breaker) -> dict[str, object]:
        return {} if breaker.tenant in ("", self._tenant_id) else {"tenant_id": breaker.tenant}

    def _take(self, verdict: Verdict) -> None:
        self.verdicts += 1
        pool, now_s = self._table.pool(verdict.service, verdict.route_class), self._now_s()
        leases = pool.leases = pool.leases or Leases()
        leases.local_until_s = 0.0
        seen = Evidence(calls=verdict.calls, failures=verdict.failures, slow=verdict.slow)
        until_s = now_s + verdict.left_ms / 1_000
        whose = None if verdict.of == EVERYONE else self._tenant_id
        if verdict.state == State.CLOSED:
            self._end(pool, leases, whose)
        elif whose is None:
            leases.everyone, leases.until_s = True, until_s
            pool.failing_until_s, pool.doubted, pool.evidence = until_s + GRACE_S, True, seen
        else:
            leases.tenants.add(whose)
            breaker = self._table.of(whose, verdict.service, verdict.route_class)
            if verdict.left_ms or breaker.peek(now_s) is not State.HALF_OPEN:
                breaker.told_open(now_s, until_s, seen)

    def _ended(self, pool: Pool, leases: Leases, tenant: str) -> None:
        """Take note that the hub knows of nothing that a tenant's calls would have to wait for."""
        if leases.everyone:
            self._end(pool, leases, None)
        if tenant in leases.tenants:
            self._end(pool, leases, tenant)

    def _end(self, pool: Pool, leases: Leases, whose: str | None) -> None:
        leases.end(whose)
        now_s = self._now_s()
        if whose is not None:
            self._table.of(whose, pool.service, pool.route_class).told_closed(now_s)
        else:
            pool.failing_until_s, pool.doubted = 0.0, False
            for breaker in self._table.of_pool(pool.service, pool.route_class):
                if breaker.trip is not None and breaker.trip.reason in (Reason.ENDPOINT, Reason.WAITED):
                    breaker.told_closed(now_s)
        if leases.is_empty:
            pool.leases = None

    def _forget_all_but(self, verdicts: Iterable[Verdict]) -> None:
        """End what the hub does not say any more."""
        said = {(one.service, one.route_class, one.of == EVERYONE) for one in verdicts}
        for pool in self._table.pools():
            leases, key = pool.leases, (pool.service, pool.route_class)
            if leases is not None and leases.everyone and (*key, True) not in said:
                self._end(pool, leases, None)
            if leases is not None and self._tenant_id in leases.tenants and (*key, False) not in said:
                self._end(pool, leases, self._tenant_id)


def _half_ms(seconds: float) -> int:
    """Return half of a time in milliseconds, as far as the hub takes it."""
    return min(AGE_MS_MAX, max(0, int(seconds * 500)))
