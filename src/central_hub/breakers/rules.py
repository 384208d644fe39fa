"""One breaker: is a call let through, and what does its outcome change. Pure.

    CLOSED     lets through; opens when its evidence says so, or when all tenants' common evidence does and this
               tenant's own last call does not speak against it
    OPEN       refuses for a while
    HALF_OPEN  lets some probes through, and their outcomes decide

An outcome counts only in the state in which its call was let through: a permit names the state's generation, and
what comes back with an older one says nothing about now. Time that goes back is taken as standing still.

Source: the state machine is that of resilience4j's circuit breaker; a trip by confidence bounds is ours (`bounds`).
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from central_hub.breakers.model import (
    WITNESS_AGE_S,
    WITNESS_EVERY_S,
    Evidence,
    Policy,
    Reason,
    State,
    Transition,
    Window,
    illegal_move,
)
from central_hub.breakers.pool import Pool
from central_hub.breakers.terms import Terms, above, any_span, terms_of
from central_hub.breakers.window import SecondsWindow

REFUSED: Final = 0
"""The permit that is none."""


class Trip(msgspec.Struct, eq=False, gc=False):
    """Of a breaker that is not simply closed: its state, and what it counts there."""

    state: State
    since_s: float
    until_s: float
    reason: Reason
    evidence: Evidence
    opened: int = 0
    permits: int = 0
    calls: int = 0
    failures: int = 0
    slow: int = 0
    slow_failures: int = 0
    refused: int = 0
    told: frozenset[Reason] = frozenset()


class Breaker(msgspec.Struct, eq=False, gc=False):
    """A breaker of one tenant, service and route class, with a window of calls.

    Args:
        terms: how strict it is.
        pool: the common evidence about what it guards.
        tenant: whose calls.
    """

    terms: Terms
    pool: Pool
    tenant: str
    generation: int = 1
    fails: int = 1
    """Outcomes, the newest in the lowest bit, below a leading one that says how many there are."""
    slows: int = 0
    due_s: float = 0.0
    """From when on the next outcome is also told to the pool, and time is looked at."""
    unsent: int = 0
    """How many of the newest failed in a row without being sent."""
    trip: Trip | None = None

    def allow(self, now_s: float) -> int:
        """Return a permit for a call, to be given back with its outcome; `REFUSED` when it may not be made.

        Args:
            now_s: monotonic seconds.
        """
        if self.trip is None and self.pool.failing_until_s <= now_s:
            return self.generation
        return self._allow_thoughtfully(now_s)

    def succeeded(self, permit: int, now_s: float, took_s: float = 0.0) -> None:
        """Take note of an answer.

        Args:
            permit: with which the call was let through.
            now_s: monotonic seconds.
            took_s: how long it took.
        """
        terms = self.terms
        if permit != self.generation or self.trip is not None or terms.careful:
            self._settle(permit, now_s, took_s, failed=False, sent=True)
            return
        is_due = now_s >= self.due_s
        if is_due:
            self._note(now_s)
        self.unsent = 0
        bits = self.fails << 1
        self.fails = bits if bits < terms.top else (bits & terms.mask) | terms.sentinel
        if is_due and now_s >= self.pool.heard_until_s:
            self._witness(now_s)

    def failed(self, permit: int, now_s: float, took_s: float = 0.0, *, sent: bool = True) -> None:
        """Take note of a failure.

        Args:
            permit, now_s, took_s: as of `succeeded`.
            sent: False when nothing was sent: then it is certainly not what the tenant asked.
        """
        self._settle(permit, now_s, took_s, failed=True, sent=sent)

    def release(self, permit: int) -> None:
        """Give a permit back whose call says nothing about the service."""
        trip = self.trip
        if permit == self.generation and trip is not None and trip.state is State.HALF_OPEN:
            trip.permits = min(trip.permits + 1, self.terms.policy.probes - trip.calls)

    def state_at(self, now_s: float) -> State:
        """Return its state at a moment; what is due by then happens."""
        self._advance(now_s)
        return State.CLOSED if self.trip is None else self.trip.state

    def peek(self, now_s: float) -> State:
        """Return its state at a moment without making anything happen; safe beside another thread."""
        trip, policy = self.trip, self.terms.policy
        if trip is None:
            return State.CLOSED
        if trip.state is State.OPEN and policy.automatic and self._is_over(trip, now_s):
            return State.HALF_OPEN
        if trip.state is State.HALF_OPEN and policy.probe_wait_s and now_s >= trip.since_s + policy.probe_wait_s:
            return policy.probe_wait_to
        return trip.state

    def evidence_at(self, now_s: float) -> Evidence:
        """Return what it has seen: in its window, in the one it opened by, or of its probes."""
        trip = self.trip
        if trip is None or trip.state is State.METRICS_ONLY:
            return self._counted(now_s)
        if trip.state is State.HALF_OPEN:
            return Evidence(
                calls=trip.calls,
                failures=trip.failures,
                slow=trip.slow,
                slow_failures=trip.slow_failures,
                refused=trip.refused,
            )
        return msgspec.structs.replace(trip.evidence, refused=trip.refused)

    def move(self, state: State, now_s: float, *, for_s: float | None = None) -> None:
        """Bring it into a state; the same one begins anew, which nobody is told.

        Args:
            for_s: how long OPEN refuses, otherwise what the policy says.

        Raises:
            HubError: `illegal_transition`: what is closed cannot become half open.
        """
        before = State.CLOSED if self.trip is None else self.trip.state
        if before is State.CLOSED and state is State.HALF_OPEN:
            raise illegal_move(before, state)
        self._become(state, now_s, Reason.OPERATOR, Evidence(), for_s=for_s)

    def told_open(self, now_s: float, until_s: float, evidence: Evidence) -> None:
        """Open, or stay open, because the hub says so; what somebody forced or disabled stays as it is."""
        trip = self.trip
        if not self.terms.policy.shares or (trip is not None and trip.state not in (State.OPEN, State.HALF_OPEN)):
            return
        if trip is not None and trip.state is State.OPEN:
            trip.until_s = until_s
        else:
            self._become(State.OPEN, now_s, Reason.SHARED, evidence, for_s=until_s - now_s)

    def told_closed(self, now_s: float) -> None:
        """Close because the hub says that the service is back."""
        if self.terms.policy.shares and self.trip is not None and self.trip.state in (State.OPEN, State.HALF_OPEN):
            self._become(State.CLOSED, now_s, Reason.SHARED, self.evidence_at(now_s))

    def is_leased(self, permit: int, now_s: float) -> bool:
        """Say whether a call that was let through is a probe that the hub leased."""
        trip, leases = self.trip, self.pool.leases
        return (
            leases is not None
            and trip is not None
            and trip.state is State.HALF_OPEN
            and permit == self.generation
            and leases.govern(self.tenant, now_s)
        )

    def adopt(self, terms: Terms) -> None:
        """Go on with other terms; what was seen stays as far as it fits."""
        if terms.policy.window is not self.terms.policy.window:
            self._clear()
        self.terms = terms
        if self.fails >= terms.top:
            self.fails = (self.fails & terms.mask) | terms.sentinel
        self.slows &= terms.mask

    def is_idle(self, now_s: float, for_s: float) -> bool:
        """Say whether it is closed and had no outcome for a while."""
        return self.trip is None and now_s - self.due_s > for_s

    def _allow_thoughtfully(self, now_s: float) -> int:
        pool, shares = self.pool, self.terms.policy.shares
        self._advance(now_s)
        if self.trip is None:
            if not shares or pool.failing_until_s <= now_s or self._works(now_s):
                return self.generation
            leases = pool.leases
            left_s = None if leases is None or not leases.everyone else max(0.0, leases.until_s - now_s)
            self._become(State.OPEN, now_s, Reason.ENDPOINT, pool.evidence, for_s=left_s)
        trip = self.trip
        assert trip is not None, "it has just become open"
        if trip.state is State.OPEN and self._is_over(trip, now_s):
            self._become(State.HALF_OPEN, now_s, Reason.WAITED, trip.evidence)
            trip = self.trip
            assert trip is not None, "it has just become half open"
        if (
            trip.state is State.HALF_OPEN
            and trip.permits > 0
            and (not shares or not (pool.doubted or pool.leases) or pool.may_probe(self.tenant, now_s))
        ):
            trip.permits -= 1
            return self.generation
        if trip.state in (State.DISABLED, State.METRICS_ONLY):
            return self.generation
        trip.refused += 1
        return REFUSED

    def _settle(self, permit: int, now_s: float, took_s: float, *, failed: bool, sent: bool) -> None:
        trip = self.trip
        if permit != self.generation or (trip is not None and trip.state is State.DISABLED):
            return
        is_due = now_s >= self.due_s
        if is_due:
            self._note(now_s)
        slow = took_s > self.terms.policy.slow_call_s
        self._count(now_s, failed=failed, slow=slow)
        self.unsent = self.unsent + 1 if failed and not sent else 0
        if is_due and now_s >= self.pool.heard_until_s:
            self._witness(now_s)
        if trip is not None and trip.state is State.HALF_OPEN:
            self._probed(trip, now_s, failed=failed, slow=slow)
            return
        reason = self._exceeded(now_s, failed=failed, slow=slow)
        if reason is None:
            return
        if trip is None:
            self._open(now_s, reason, self._counted(now_s))
        elif reason not in trip.told:
            trip.told |= {reason}
            self._tell(State.METRICS_ONLY, State.METRICS_ONLY, reason, now_s, 0.0, self._counted(now_s))

    def _note(self, now_s: float) -> None:
        """Do what is done now and then only, so that a call costs little: look how long nothing happened."""
        forget_s, trip = self.terms.policy.forget_s, self.trip
        is_silent = forget_s and self.due_s and now_s - self.due_s >= forget_s
        if is_silent and (trip is None or trip.state is not State.HALF_OPEN):  # probes are not forgotten
            self._clear()
        self.due_s = now_s + WITNESS_EVERY_S

    def _witness(self, now_s: float) -> None:
        if self.terms.policy.shares:
            self.pool.hear(self.tenant, now_s, self.fails, unsent=self.unsent)

    def _open(self, now_s: float, reason: Reason, evidence: Evidence) -> None:
        """Open on its own evidence, which the pool hears of at once."""
        if self.terms.policy.shares and reason is not Reason.SLOW:
            self.pool.hear(self.tenant, now_s, self.fails, unsent=self.unsent, whole=True)
        self._become(State.OPEN, now_s, reason, evidence)

    def _works(self, now_s: float) -> bool:
        """Say whether this tenant's own last call was answered, and not long ago."""
        return self.fails > 1 and not self.fails & 1 and now_s < self.due_s + WITNESS_AGE_S

    def _count(self, now_s: float, *, failed: bool, slow: bool) -> None:
        terms = self.terms
        bits = self.fails << 1 | failed
        self.fails = bits if bits < terms.top else (bits & terms.mask) | terms.sentinel
        self.slows = (self.slows << 1 | slow) & terms.mask

    def _counted(self, now_s: float) -> Evidence:
        fails = self.fails
        return Evidence(
            calls=fails.bit_length() - 1,
            failures=fails.bit_count() - 1,
            slow=self.slows.bit_count(),
            # The leading one of the failures is above every slow call.
            slow_failures=(fails & self.slows).bit_count(),
        )

    def _clear(self) -> None:
        self.fails, self.slows, self.unsent = 1, 0, 0

    def _exceeded(self, now_s: float, *, failed: bool, slow: bool) -> Reason | None:
        if not self.terms.policy.confidence:
            return above(self.terms, self._counted(now_s), self.terms.minimum)
        held = self.fails.bit_length() - 1
        if failed and any_span(self.terms.fail_spans, self.fails, held):
            return Reason.FAILURES
        return Reason.SLOW if slow and any_span(self.terms.slow_spans, self.slows, held) else None

    def _probed(self, trip: Trip, now_s: float, *, failed: bool, slow: bool) -> None:
        policy = self.terms.policy
        trip.calls += 1
        trip.failures += failed
        trip.slow += slow
        trip.slow_failures += failed and slow
        if policy.early:
            left = policy.probes - trip.calls
            at_failures, at_slow = self.terms.reopen_at
            if trip.failures >= at_failures or trip.slow >= at_slow:
                self._open(now_s, Reason.PROBES_FAILED, self.evidence_at(now_s))
            elif trip.failures + left < at_failures and trip.slow + left < at_slow:
                self._become(State.CLOSED, now_s, Reason.PROBES_SUCCEEDED, self.evidence_at(now_s))
            return
        if trip.calls >= min(policy.minimum_calls, policy.probes):
            seen = self.evidence_at(now_s)
            bad = above(self.terms, seen, 1) is not None
            if bad:
                self._open(now_s, Reason.PROBES_FAILED, seen)
            else:
                self._become(State.CLOSED, now_s, Reason.PROBES_SUCCEEDED, seen)

    def _advance(self, now_s: float) -> None:
        trip, policy = self.trip, self.terms.policy
        if trip is None:
            return
        if trip.state is State.OPEN and policy.automatic and self._is_over(trip, now_s):
            self._become(State.HALF_OPEN, now_s, Reason.WAITED, trip.evidence)
        elif trip.state is State.HALF_OPEN and policy.probe_wait_s and now_s >= trip.since_s + policy.probe_wait_s:
            self._become(policy.probe_wait_to, now_s, Reason.PROBES_SILENT, self.evidence_at(now_s))

    def _is_over(self, trip: Trip, now_s: float) -> bool:
        """Say whether the time to refuse is over; while the service fails for everyone it is not."""
        return now_s >= trip.until_s and not (self.terms.policy.shares and self.pool.refuses(now_s))

    def _become(
        self, state: State, now_s: float, reason: Reason, evidence: Evidence, *, for_s: float | None = None
    ) -> None:
        before, policy = self.trip, self.terms.policy
        self.generation += 1
        self._clear()
        until_s = 0.0
        if state is State.CLOSED:
            self.trip = None
        else:
            # How often in a row it opened is known as long as it is open or half open.
            opened = before.opened if before is not None else 0
            if state is State.OPEN:
                opened = opened if before is not None and before.state is State.HALF_OPEN else 0
                lasts_s = min(policy.open_s * policy.open_factor**opened, policy.open_max_s)
                until_s = now_s + (lasts_s if for_s is None else for_s)
                opened += 1
            elif state is not State.HALF_OPEN:
                opened = 0
                until_s = math.inf if state is State.FORCED_OPEN else 0.0
            self.trip = Trip(state, now_s, until_s, reason, evidence, opened, policy.probes)
        was = State.CLOSED if before is None else before.state
        if was is not state:
            self._tell(was, state, reason, now_s, until_s, evidence)

    def _tell(
        self, before: State, after: State, reason: Reason, now_s: float, until_s: float, evidence: Evidence
    ) -> None:
        self.pool.changed(
            Transition(
                tenant=self.tenant,
                service=self.pool.service,
                route_class=self.pool.route_class,
                before=before,
                after=after,
                reason=reason,
                at_s=now_s,
                until_s=until_s,
                evidence=evidence,
            )
        )


class SecondsBreaker(Breaker, eq=False, gc=False):
    """A breaker with a window of seconds."""

    seconds: SecondsWindow | None = None

    def _count(self, now_s: float, *, failed: bool, slow: bool) -> None:
        super()._count(now_s, failed=failed, slow=slow)
        if self.seconds is None:
            self.seconds = SecondsWindow(self.terms.policy.window_size)
        self.seconds.add(now_s, failed=failed, slow=slow)

    def _counted(self, now_s: float) -> Evidence:
        return Evidence() if self.seconds is None else self.seconds.evidence(now_s)

    def _clear(self) -> None:
        super()._clear()
        self.seconds = None


def breaker(policy: Policy, pool: Pool, tenant: str) -> Breaker:
    """Return a closed breaker."""
    kind = Breaker if policy.window is Window.CALLS else SecondsBreaker
    return kind(terms_of(policy), pool, tenant)
