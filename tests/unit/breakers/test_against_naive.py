"""Random lives of breakers, step by step the same as those of the naive ones."""

from __future__ import annotations

import math
import random

import pytest

from central_hub.breakers import tiers
from central_hub.breakers.model import Policy, State, Window
from central_hub.breakers.pool import Pool
from central_hub.breakers.rules import REFUSED, Breaker, breaker
from central_hub.kernel.errors import HubError
from tests.unit.breakers.naive import NaiveBreaker, NaivePool

STEPS_PER_LIFE = 250


def random_policy(chance: random.Random) -> Policy:
    if chance.random() < 0.3:
        return tiers.policy_of({"breaker_failure_rate": chance.choice((0.5, 0.3, 0.1)), "breaker_open_s": 10})
    confidence = chance.choice((0.0, 0.0, 0.9, 0.95, 0.99))
    seconds = not confidence and chance.random() < 0.4
    open_s = chance.choice((0.5, 5.0, 10.0))
    return Policy(
        failure_rate=chance.choice((0.1, 0.3, 0.5, 0.75, 0.9)),
        confidence=confidence,
        window=Window.SECONDS if seconds else Window.CALLS,
        window_size=chance.choice((1, 2, 3, 10, 60)) if seconds else chance.choice((1, 3, 5, 6, 10, 20, 64, 100)),
        minimum_calls=chance.choice((1, 3, 5, 10, 100)),
        slow_call_s=chance.choice((math.inf, 1.0)),
        slow_rate=chance.choice((0.3, 0.5, 0.9)),
        open_s=open_s,
        open_factor=chance.choice((1.0, 1.5, 2.0)),
        open_max_s=chance.choice((open_s * 3, 86_400.0)),
        probes=chance.choice((1, 2, 4, 5, 10)),
        probe_wait_s=chance.choice((0.0, 0.0, 1.0, 20.0)),
        probe_wait_to=chance.choice((State.OPEN, State.CLOSED)),
        early=chance.random() < 0.5,
        automatic=chance.random() < 0.5,
        forget_s=chance.choice((0.0, 0.0, 30.0)),
        shares=chance.random() < 0.6,
    )


class Life:
    """Some tenants' breakers of one service, in two versions, with the same calls."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now_s = 1_000.0
        policy = random_policy(chance)
        tenants = [f"t{number}" for number in range(chance.choice((1, 2, 5, 12)))]
        pool, naive_pool = Pool("svc", "", lambda _: None), NaivePool()
        self.pairs = [(breaker(policy, pool, name), NaiveBreaker(policy, naive_pool, name)) for name in tenants]
        self.poisoned = chance.choice(tenants)
        self.base = chance.choice((0.0, 0.05, 0.5, 0.95))
        self.pace_s = chance.choice((0.01, 0.3, 2.0, 20.0))
        self.running: list[tuple[Breaker, NaiveBreaker, int, int]] = []

    def step(self) -> None:
        chance = self.chance
        self.now_s += chance.choice((0.0, 1.0)) * chance.expovariate(1 / self.pace_s)
        if chance.random() < 0.002:
            self.base = chance.choice((0.0, 0.05, 0.5, 1.0))
        kind = chance.random()
        first, second = chance.choice(self.pairs)
        if kind < 0.5:
            ours, theirs = first.allow(self.now_s), second.allow(self.now_s)
            assert (ours == REFUSED) == (theirs == 0)
            if ours != REFUSED:
                self.running.append((first, second, ours, theirs))
        elif kind < 0.97 and self.running:
            self.come_back(*self.running.pop(chance.randrange(len(self.running))))
        elif kind < 0.972:
            self.move(first, second)
        self.compare()

    def come_back(self, first: Breaker, second: NaiveBreaker, ours: int, theirs: int) -> None:
        chance = self.chance
        if chance.random() < 0.05:
            first.release(ours)
            second.release(theirs)
            return
        failed = first.tenant == self.poisoned or chance.random() < self.base
        took_s = chance.choice((0.1, 1.0, 3.0))
        sent = chance.random() < 0.5
        if failed:
            first.failed(ours, self.now_s, took_s, sent=sent)
        else:
            first.succeeded(ours, self.now_s, took_s)
        second.settle(theirs, self.now_s, took_s, failed, sent or not failed)

    def move(self, first: Breaker, second: NaiveBreaker) -> None:
        state = self.chance.choice(list(State))
        try:
            first.move(state, self.now_s)
        except HubError:
            assert (second.state, state) == (State.CLOSED, State.HALF_OPEN)
            return
        second.move(state, self.now_s)

    def compare(self) -> None:
        for first, second in self.pairs:
            # Looking makes what is due happen, so the second is looked at only where the first was.
            peeked = first.peek(self.now_s)
            if self.chance.random() < 0.5:
                assert first.state_at(self.now_s) == second.look(self.now_s) == peeked
            if second.state in (State.CLOSED, State.HALF_OPEN, State.METRICS_ONLY):
                seen = first.evidence_at(self.now_s)
                assert (seen.calls, seen.failures, seen.slow) == second.counted(self.now_s)
            elif second.state is not State.DISABLED:
                assert first.evidence_at(self.now_s).refused == second.refused


def live(seed: int, steps: int) -> dict[State, int]:
    chance = random.Random(seed)
    been = dict.fromkeys(State, 0)
    for done in range(0, steps, STEPS_PER_LIFE):
        life = Life(chance)
        for number in range(STEPS_PER_LIFE):
            try:
                life.step()
            except AssertionError as error:
                policy = life.pairs[0][0].terms.policy
                raise AssertionError(f"seed {seed}, life {done // STEPS_PER_LIFE}, step {number}, {policy}") from error
            been[life.pairs[0][1].state] += 1
    return been


def test_ten_thousand_steps_do_not_diverge() -> None:
    been = live(seed=1, steps=20_000)
    assert all(been[state] for state in State), been


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_million_steps_do_not_diverge(seed: int) -> None:
    live(seed=seed, steps=100_000)
