"""A second breaker, written to be read and not to be fast: it keeps every outcome in a list and works everything out
from there, each time. It shares no code with the first but the names of states and the policy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from central_hub.breakers.model import Policy, State, Window


@cache
def shown(calls: int, failures: int, rate: float, confidence: float) -> bool:
    """Whether so many failures are too many to be explained by a rate: by exact fractions."""
    p = Fraction(rate)
    chance = sum(math.comb(calls, k) * p**k * (1 - p) ** (calls - k) for k in range(failures, calls + 1))
    return float(chance) <= 1 - confidence


@dataclass
class Outcome:
    at_s: float
    failed: bool
    slow: bool
    sent: bool


@dataclass
class Heard:
    tenant: str
    outcomes: list[Outcome]
    at_s: float


@dataclass
class NaivePool:
    heard: list[Heard] = field(default_factory=list[Heard])
    spoke_at_s: float = -1.0
    failing_until_s: float = 0.0
    doubted: bool = False
    probes: list[float] = field(default_factory=list[float])

    def hear(self, tenant: str, now_s: float, last: list[Outcome], *, whole: bool) -> None:
        if not whole and now_s < self.spoke_at_s + 0.001:
            return
        self.spoke_at_s = now_s
        before = [one for one in self.heard if one.tenant == tenant]
        self.heard = [one for one in self.heard if one.tenant != tenant]
        if not whole:
            known = len(before[0].outcomes) if before and now_s - before[0].at_s <= 10.0 else 0
            last = last[-(known + 1) :]
        self.heard = [*self.heard, Heard(tenant, last[-6:], now_s)][-64:]
        if last[-1].failed:
            if self._fails(now_s, 1.0) or self._fails(now_s, 3.0) or self._fails(now_s, 10.0):
                self.failing_until_s, self.doubted = now_s + 10.0, True
        elif self.doubted and not self._fails(now_s, 3.0):
            self.failing_until_s, self.doubted = 0.0, False

    def _fails(self, now_s: float, span_s: float) -> bool:
        recent = [one for one in self.heard if now_s - one.at_s <= span_s]
        if not recent:
            return False
        left_out = max(recent, key=lambda one: blamed(one.outcomes))
        calls = sum(len(one.outcomes) for one in recent) - blamed(left_out.outcomes)
        failures = sum(each.failed for one in recent for each in one.outcomes) - blamed(left_out.outcomes)
        return failures > 0 and shown(calls, failures, 0.5, 0.98)

    def may_probe(self, now_s: float) -> bool:
        began = self.probes[0] if self.probes else None
        if began is None or now_s >= began + 1.0:
            self.probes = [now_s]
            return True
        if len(self.probes) >= 10:
            return False
        self.probes.append(now_s)
        return True


def blamed(outcomes: list[Outcome]) -> int:
    """How many failures may be the tenant's own doing: all but the newest ones in a row that nobody accepted."""
    unsent = 0
    for one in reversed(outcomes):
        if not one.failed or one.sent:
            break
        unsent += 1
    return sum(one.failed for one in outcomes) - unsent


class NaiveBreaker:
    def __init__(self, policy: Policy, pool: NaivePool, tenant: str) -> None:
        self.policy, self.pool, self.tenant = policy, pool, tenant
        self.state = State.CLOSED
        self.era = 1
        self.outcomes: list[Outcome] = []
        self.told_at_s: float | None = None
        self.since_s = self.until_s = 0.0
        self.times_open = 0
        self.running = 0
        self.refused = 0

    # -- what callers do

    def allow(self, now_s: float) -> int:
        if self.state is State.CLOSED and self.pool.failing_until_s <= now_s:
            return self.era
        self.look(now_s)
        if self.state is State.CLOSED:
            fails = self.policy.shares and self.pool.failing_until_s > now_s
            if not fails or self._own_last_call_worked(now_s):
                return self.era
            self._enter(State.OPEN, now_s)
        if self.state is State.OPEN and self._wait_is_over(now_s):
            self._enter(State.HALF_OPEN, now_s)
        may = self.state is State.HALF_OPEN and self.running + len(self.outcomes) < self.policy.probes
        if may and (not (self.policy.shares and self.pool.doubted) or self.pool.may_probe(now_s)):
            self.running += 1
            return self.era
        if self.state in (State.DISABLED, State.METRICS_ONLY):
            return self.era
        self.refused += 1
        return 0

    def settle(self, permit: int, now_s: float, took_s: float, failed: bool, sent: bool) -> None:
        if permit != self.era or self.state is State.DISABLED:
            return
        policy, told_at_s = self.policy, self.told_at_s
        silent = told_at_s is not None and policy.forget_s and now_s >= told_at_s + 0.1 + policy.forget_s
        if silent and self.state is not State.HALF_OPEN:
            self.outcomes = []
        at_s = now_s
        if self.outcomes and policy.window is Window.SECONDS:
            at_s = max(now_s, self.outcomes[-1].at_s)
        self.outcomes.append(Outcome(at_s, failed, took_s > policy.slow_call_s, sent))
        if told_at_s is None or now_s >= told_at_s + 0.1:
            self.told_at_s = now_s
            self._tell(now_s, whole=False)
        if self.state is State.HALF_OPEN:
            self.running -= 1
            self._weigh_probes(now_s)
        elif self.state is State.CLOSED:
            why = self._too_bad(now_s, failed)
            if why:
                self._open(now_s, why)

    def release(self, permit: int) -> None:
        if permit == self.era and self.state is State.HALF_OPEN and self.running:
            self.running -= 1

    def look(self, now_s: float) -> State:
        policy = self.policy
        if self.state is State.OPEN and policy.automatic and self._wait_is_over(now_s):
            self._enter(State.HALF_OPEN, now_s)
        elif self.state is State.HALF_OPEN and policy.probe_wait_s and now_s >= self.since_s + policy.probe_wait_s:
            self._enter(policy.probe_wait_to, now_s)
        return self.state

    def move(self, state: State, now_s: float) -> None:
        self._enter(state, now_s)

    def counted(self, now_s: float) -> tuple[int, int, int]:
        seen = self._window(now_s)
        return len(seen), sum(one.failed for one in seen), sum(one.slow for one in seen)

    def _tell(self, now_s: float, *, whole: bool) -> None:
        if self.policy.shares:
            most = min(6, self.policy.window_size) if self.policy.window is Window.CALLS else 6
            self.pool.hear(self.tenant, now_s, self.outcomes[-most:], whole=whole)

    def _open(self, now_s: float, why: str) -> None:
        if why != "slow":
            self._tell(now_s, whole=True)
        self._enter(State.OPEN, now_s)

    # -- how it makes up its mind

    def _window(self, now_s: float) -> list[Outcome]:
        if self.state is State.HALF_OPEN:
            return self.outcomes
        if self.policy.window is Window.CALLS:
            return self.outcomes[-self.policy.window_size :]
        newest = int(max([now_s, *(one.at_s for one in self.outcomes)]))
        return [one for one in self.outcomes if int(one.at_s) > newest - self.policy.window_size]

    def _too_bad(self, now_s: float, failed: bool) -> str:
        policy, seen = self.policy, self._window(now_s)
        if not policy.confidence:
            least = policy.minimum_calls
            if policy.window is Window.CALLS:
                least = min(least, policy.window_size)
            if len(seen) < least:
                return ""
            if Fraction(sum(one.failed for one in seen), len(seen)) >= Fraction(str(policy.failure_rate)):
                return "failures"
            too_slow = Fraction(sum(one.slow for one in seen), len(seen)) >= Fraction(str(policy.slow_rate))
            return "slow" if too_slow else ""
        why = ""
        for span in {*(6, 8, 12, 16, 24, 40), policy.window_size}:
            if span > policy.window_size or span > len(seen):
                continue
            last = seen[-span:]
            bad, slow = sum(one.failed for one in last), sum(one.slow for one in last)
            if failed and bad and shown(span, bad, policy.failure_rate, policy.confidence):
                return "failures"
            if last[-1].slow and slow and shown(span, slow, policy.slow_rate, policy.confidence):
                why = "slow"
        return why

    def _weigh_probes(self, now_s: float) -> None:
        policy, seen = self.policy, self.outcomes
        failed, slow = sum(one.failed for one in seen), sum(one.slow for one in seen)
        if policy.early:
            to_come = policy.probes - len(seen)
            at_failed, at_slow = (
                max(2 if policy.probes >= 5 else 1, math.ceil(Fraction(str(rate)) * policy.probes))
                for rate in (policy.failure_rate, policy.slow_rate)
            )
            if failed >= at_failed or slow >= at_slow:
                self._open(now_s, "probes")
            elif failed + to_come < at_failed and slow + to_come < at_slow:
                self._enter(State.CLOSED, now_s)
        elif len(seen) >= min(policy.minimum_calls, policy.probes):
            bad = Fraction(failed, len(seen)) >= Fraction(str(policy.failure_rate))
            bad = bad or Fraction(slow, len(seen)) >= Fraction(str(policy.slow_rate))
            if bad:
                self._open(now_s, "probes")
            else:
                self._enter(State.CLOSED, now_s)

    def _own_last_call_worked(self, now_s: float) -> bool:
        if not self.outcomes or self.told_at_s is None:
            return False
        return not self.outcomes[-1].failed and now_s < self.told_at_s + 0.1 + 10.0

    def _wait_is_over(self, now_s: float) -> bool:
        return now_s >= self.until_s and not (self.policy.shares and self.pool.failing_until_s > now_s)

    def _enter(self, state: State, now_s: float) -> None:
        if state is State.OPEN:
            again = self.times_open if self.state is State.HALF_OPEN else 0
            policy = self.policy
            self.until_s = now_s + min(policy.open_s * policy.open_factor**again, policy.open_max_s)
            self.times_open = again + 1
        elif state is not State.HALF_OPEN:
            self.times_open = 0
        self.state, self.since_s = state, now_s
        self.era += 1
        self.outcomes, self.running, self.refused = [], 0, 0
