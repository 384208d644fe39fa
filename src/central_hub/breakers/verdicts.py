"""What the hub remembers of breakers that hold for many processes: facts, verdicts, and what probes decide. Pure.

A verdict is one tenant's, or everyone's (in the domain `shared`). It is OPEN until its time is over and HALF_OPEN from
then on; it ends when probes succeed, when somebody is answered, or when nobody tried for long. Only its beginning, its
end and its probes are facts: a hub that starts again knows how much open time is left.
"""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.breakers.model import IDLE_S, PROBES_MAX, Evidence, Reason, State
from central_hub.breakers.tiers import PROBES_DEFAULT
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import SHARED

SCOPE_READ: Final = "breakers:read"
SCOPE_WRITE: Final = "breakers:write"

VERDICTS_PER_DOMAIN_MAX: Final = 1_000
"""Verdicts of one tenant, or of everyone, that are in force; past it processes decide for themselves."""

LEDGERS_PER_DOMAIN_MAX: Final = 1_000
"""Pairs of service and route class of one tenant that evidence is kept of."""

CALLERS_PER_LEDGER_MAX: Final = 1_000
"""Processes whose evidence about one pair is kept; the one that was silent longest makes room."""

REPORTS_MAX: Final = 256
"""Rows of one report."""

CALLER_LENGTH_MAX: Final = 64
CALLS_MAX: Final = 1_000_000_000
AGE_MS_MAX: Final = 60_000
LEASE_MS: Final = 10_000
"""How long a probe may be outstanding; one that is not reported by then can be leased again."""

EVERYONE_PROBES: Final = PROBES_DEFAULT
EVERYONE_PROBES_PER_TENANT: Final = 2
"""Probes of one tenant in a round that is everyone's: what one tenant sends decides nothing for the others."""

EVERYONE_ANSWERS: Final = 2
"""Probes that have to succeed before everyone calls again."""

ROUND_MS: Final = 10_000
"""Age past which the outcome of a probe says nothing about now."""

IDLE_MS: Final = int(IDLE_S * 1_000)
COUNT_VERDICTS: Final = "count/breakers"

Key = tuple[str, str]
"""A service and a route class."""


class Leased(msgspec.Struct, frozen=True, gc=False):
    """Probes that a tenant may make, and until when."""

    tenant: str
    count: int
    until_ms: int


class Tried(msgspec.Struct, frozen=True, gc=False):
    """How probes of a tenant went."""

    tenant: str
    succeeded: int
    failed: int
    at_ms: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Calls to a service, of one route class, are refused until then, and tried by few afterwards.

    Args:
        probes, fails_at: how many calls try it, and how many of those have to fail for it to begin anew.
        leased, tried: those that are out, and those that are back.
    """

    service: str
    route_class: str
    reason: Reason
    evidence: Evidence
    since_ms: int
    until_ms: int
    probes: int
    fails_at: int
    leased: tuple[Leased, ...] = ()
    tried: tuple[Tried, ...] = ()

    @property
    def key(self) -> Key:
        """What it is about."""
        return self.service, self.route_class


class SharedBreakerTripped(Fact, frozen=True, kw_only=True):
    """What many processes saw of a service is enough: calls like these are refused until it tries again.

    `everyone` says that it holds for all who use the service, rather than for one tenant.
    """

    service: str
    route_class: str
    previous: State
    reason: Reason
    evidence: Evidence
    until_ms: int
    probes: int
    fails_at: int
    everyone: bool = False


class BreakerProbesLeased(Fact, frozen=True, kw_only=True):
    """A tenant's process may try a service out."""

    service: str
    route_class: str
    tenant: str
    count: int
    until_ms: int


class BreakerProbesTried(Fact, frozen=True, kw_only=True):
    """A tenant's process has tried a service out."""

    service: str
    route_class: str
    tenant: str
    succeeded: int
    failed: int


class SharedBreakerRecovered(Fact, frozen=True, kw_only=True):
    """Calls like these go through again."""

    service: str
    route_class: str
    reason: Reason
    everyone: bool = False


FACTS: Final = (SharedBreakerTripped, BreakerProbesLeased, BreakerProbesTried, SharedBreakerRecovered)


def breaker_stream(key: Key) -> str:
    """Return the name of a verdict's stream."""
    return f"breaker/{key[0]}/{key[1]}"


def state_of(verdict: Verdict | None, now_ms: int) -> State:
    """Return what a verdict says at a moment of wall time."""
    if verdict is None:
        return State.CLOSED
    return State.OPEN if now_ms < verdict.until_ms else State.HALF_OPEN


def tripped(fact: SharedBreakerTripped, at_ms: int) -> Verdict:
    """Return the verdict that a fact begins."""
    return Verdict(
        service=fact.service, route_class=fact.route_class, reason=fact.reason, evidence=fact.evidence, since_ms=at_ms,
        until_ms=fact.until_ms, probes=fact.probes, fails_at=fact.fails_at,
    )  # fmt: skip


def leasable(verdict: Verdict, tenant: str, wanted: int, now_ms: int, *, everyone: bool) -> int:
    """Return how many probes a tenant may make now, of those it wants.

    Args:
        everyone: whether the verdict is everyone's: then no tenant makes all of them.
    """
    if state_of(verdict, now_ms) is not State.HALF_OPEN:
        return 0
    out = [one for one in verdict.leased if now_ms < one.until_ms]
    back = _recent(verdict, now_ms) if everyone else verdict.tried
    free = verdict.probes - sum(one.count for one in out) - sum(one.succeeded + one.failed for one in back)
    if everyone and tenant != SHARED:
        own = sum(one.count for one in out if one.tenant == tenant)
        own += sum(one.succeeded + one.failed for one in back if one.tenant == tenant)
        free = min(free, EVERYONE_PROBES_PER_TENANT - own)
    return max(0, min(wanted, free))


def with_lease(verdict: Verdict, fact: BreakerProbesLeased, at_ms: int) -> Verdict:
    """Return the verdict with probes that are out; those that were lost are forgotten."""
    out = tuple(one for one in verdict.leased if at_ms < one.until_ms)
    return msgspec.structs.replace(verdict, leased=(*out, Leased(fact.tenant, fact.count, fact.until_ms)))


def accepted(verdict: Verdict, tenant: str, succeeded: int, failed: int) -> tuple[int, int]:
    """Return which of the outcomes that a tenant tells are of probes it had; failures first, so that none is lost."""
    out = min(PROBES_MAX, sum(one.count for one in verdict.leased if one.tenant == tenant))
    failed = min(failed, out)
    return min(succeeded, out - failed), failed


def with_outcome(verdict: Verdict, tenant: str, succeeded: int, failed: int, at_ms: int) -> Verdict:
    """Return the verdict with probes that came back."""
    left, leased = succeeded + failed, list[Leased]()
    for one in verdict.leased:
        taken = min(left, one.count) if one.tenant == tenant else 0
        left -= taken
        if one.count > taken:
            leased.append(Leased(one.tenant, one.count - taken, one.until_ms))
    tried = (*verdict.tried, Tried(tenant, succeeded, failed, at_ms))
    return msgspec.structs.replace(verdict, leased=tuple(leased), tried=tried[-PROBES_MAX:])


def decided(verdict: Verdict, now_ms: int, *, everyone: bool) -> Reason | None:
    """Return what the probes say, as soon as they say something.

    A tenant's close a breaker when too few are left to reach `fails_at`. Of everyone's, failures of the tenant that
    failed most are left out: what one tenant sends keeps nothing shut for the others.
    """
    tried = _recent(verdict, now_ms) if everyone else verdict.tried
    succeeded, failed = sum(one.succeeded for one in tried), sum(one.failed for one in tried)
    if not everyone:
        if failed >= verdict.fails_at:
            return Reason.PROBES_FAILED
        left = verdict.probes - succeeded - failed
        return Reason.PROBES_SUCCEEDED if failed + left < verdict.fails_at else None
    by_tenant: dict[str, int] = {}
    for one in tried:
        by_tenant[one.tenant] = by_tenant.get(one.tenant, 0) + one.failed
    worst = max((count for tenant, count in by_tenant.items() if tenant != SHARED), default=0)
    if failed - worst >= min(verdict.fails_at, verdict.probes) and failed - worst > succeeded:
        return Reason.PROBES_FAILED
    return Reason.PROBES_SUCCEEDED if succeeded >= EVERYONE_ANSWERS else None


def is_idle(verdict: Verdict, now_ms: int) -> bool:
    """Say whether nobody has tried for long."""
    latest = max((one.until_ms for one in verdict.leased), default=0)
    latest = max(latest, *(one.at_ms for one in verdict.tried), verdict.until_ms) if verdict.tried else max(
        latest, verdict.until_ms
    )  # fmt: skip
    return now_ms - latest > IDLE_MS


def _recent(verdict: Verdict, now_ms: int) -> list[Tried]:
    return [one for one in verdict.tried if now_ms - one.at_ms <= ROUND_MS]
