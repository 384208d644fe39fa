"""Scenarios of a breaker as lines of text: `what happens | policy | steps`. See vectors/README.md for the words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from central_hub.breakers.model import Policy, State, Transition, Window
from central_hub.breakers.pool import Pool
from central_hub.breakers.rules import REFUSED, breaker
from central_hub.kernel.errors import HubError

FOLDER = Path(__file__).parent / "vectors"
START_S = 1_000.0
WORDS = {
    "rate": ("failure_rate", float),
    "confidence": ("confidence", float),
    "window": ("window", Window),
    "size": ("window_size", int),
    "min": ("minimum_calls", int),
    "slow": ("slow_call_s", float),
    "slow_rate": ("slow_rate", float),
    "open": ("open_s", float),
    "factor": ("open_factor", float),
    "open_max": ("open_max_s", float),
    "probes": ("probes", int),
    "wait": ("probe_wait_s", float),
    "wait_to": ("probe_wait_to", State),
    "early": ("early", lambda word: word == "yes"),
    "automatic": ("automatic", lambda word: word == "yes"),
    "forget": ("forget_s", float),
}
COUNTED = {"n": "calls", "f": "failures", "sl": "slow", "sf": "slow_failures", "r": "refused"}
OUTCOMES = ".xsXe"


@dataclass
class Scenario:
    """One line."""

    where: str
    name: str
    policy: Policy
    steps: list[str]


def scenarios(path: Path) -> list[Scenario]:
    """Read a file of scenarios."""
    found: list[Scenario] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, words, steps = (part.strip() for part in line.split("|"))
        members: dict[str, Any] = {}
        for word in words.split():
            key, _, value = word.partition("=")
            member, read = WORDS[key]
            members[member] = read(value)
        found.append(Scenario(f"{path.stem}:{number}", name, Policy(**members), steps.split()))
    return found


class Player:
    """Does what a scenario says, one word at a time."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.now_s = START_S
        self.told: list[Transition] = []
        self.pool = Pool("svc", "", self.told.append)
        self.breaker = breaker(policy, self.pool, "t")
        self.held: list[int] = []

    def play(self, word: str) -> None:
        repeated = re.fullmatch(r"(.+)\*(\d+)", word)
        if repeated:
            for _ in range(int(repeated[2])):
                self.play(repeated[1])
        elif word in OUTCOMES:
            permit = self.breaker.allow(self.now_s)
            assert permit != REFUSED, "was refused"
            self.settle(permit, word)
        elif word == "?":
            self.held.append(self.breaker.allow(self.now_s))
            assert self.held[-1] != REFUSED, "was refused"
        elif word == "!":
            assert self.breaker.allow(self.now_s) == REFUSED, "was let through"
        elif word[0] == "<":
            self.settle(self.held.pop(0), word[1])
        elif word[0] in "+-":
            self.now_s += float(word)
        elif word[0] == ">":
            self.move(word[1:])
        elif word[0] in "=~":
            state = self.breaker.state_at(self.now_s) if word[0] == "=" else self.breaker.peek(self.now_s)
            assert state == word[1:]
        else:
            self.check(*word.split("=", 1))

    def settle(self, permit: int, word: str) -> None:
        took_s = self.policy.slow_call_s + (word in "sX") if word in "sXe" else 0.0
        if word == "r":
            self.breaker.release(permit)
        elif word in "xX":
            self.breaker.failed(permit, self.now_s, took_s)
        else:
            self.breaker.succeeded(permit, self.now_s, took_s)

    def move(self, word: str) -> None:
        state, _, for_s = word.rstrip("!").partition(":")
        if word.endswith("!"):
            with pytest.raises(HubError) as refused:
                self.breaker.move(State(state), self.now_s)
            assert refused.value.code == "illegal_transition"
        else:
            self.breaker.move(State(state), self.now_s, for_s=float(for_s) if for_s else None)

    def check(self, what: str, value: str) -> None:
        seen = self.breaker.evidence_at(self.now_s)
        if what == "told":
            told = [f"{one.before}>{one.after}:{one.reason}" for one in self.told]
            self.told.clear()
            assert told == [word for word in value.split(",") if word]
        elif what == "until":
            assert self.told[-1].until_s - self.told[-1].at_s == pytest.approx(float(value))
        elif what in ("rate", "slow_rate"):
            policy, percent = self.policy, seen.failure_percent if what == "rate" else seen.slow_percent
            if policy.window is Window.CALLS and seen.calls < min(policy.minimum_calls, policy.window_size):
                percent = -1
            assert percent == pytest.approx(float(value))
        else:
            assert getattr(seen, COUNTED[what]) == int(value), what
