"""What a policy is given and what it answers. Everything here is plain data: nothing leads back to the simulation.

A policy sees what a hub would: who asks, the size the caller declares (noisy, or not at all), what servers last said of
themselves and when, and the outcomes that callers chose to report. The judge applies age and noise before it hands
anything over, so no policy can look past them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec


class Hint(msgspec.Struct, frozen=True, gc=False):
    """The size a caller declares, in tokens; never the truth unless the cell says `exact`."""

    prompt_tokens: float
    output_tokens: float


class Request(msgspec.Struct, frozen=True, gc=False):
    """One question for a server.

    Args:
        decision: the number of this decision; a retry is a new one.
        at_s: now.
        tenant: who pays.
        caller: the process that asks; the same caller reports always or never.
        capability: what is needed; `View.candidates` holds the servers that have it.
        slo_s: the latency the caller wants, the same for every size, so it says nothing of the size.
        attempt: 0, or how often the request has failed before.
        prefix: the conversation it continues, if any.
        hint: the declared size, if any.
    """

    decision: int
    at_s: float
    tenant: str
    caller: int
    capability: int
    slo_s: float
    attempt: int = 0
    prefix: int | None = None
    hint: Hint | None = None


class Report(msgspec.Struct, frozen=True, gc=False):
    """What a server said of itself when it was last asked.

    Args:
        at_s: when that was; `View.now_s - at_s` is its age.
        running: requests in its slots.
        queued: requests that wait for one.
        slots: how many it works on at a time.
        utilization: share of its slots' time that completed requests took, smoothed like the rates.
        requests_per_s: completed, smoothed.
        errors_per_s: failed, smoothed.
        service_s: time in the slot of recently completed requests, smoothed; 0 before the first.
        latency_s: time from arrival to answer of the same, smoothed; 0 before the first.
        latency_at_load_s: latency of those that arrived when as many were in flight as now (Prequal's estimate).
    """

    at_s: float
    running: int
    queued: int
    slots: int
    utilization: float
    requests_per_s: float
    errors_per_s: float
    service_s: float
    latency_s: float
    latency_at_load_s: float


class View(msgspec.Struct, frozen=True, gc=False):
    """What a hub knows at the moment of a decision.

    Args:
        now_s: the time.
        candidates: servers that are capable, listed by the registry and not yet tried for this request; never empty.
        reports: the last report of every server by its number, None before the first.
    """

    now_s: float
    candidates: tuple[int, ...]
    reports: tuple[Report | None, ...]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What a caller reports of one decision, a moment after it ended.

    Args:
        decision: which one.
        server: whom it called.
        at_s: when the hub hears of it.
        ok: whether it was answered.
        latency_s: from the decision to the answer or the failure.
        prompt_tokens, output_tokens: what it really was; 0 when it failed.
    """

    decision: int
    server: int
    at_s: float
    ok: bool
    latency_s: float
    prompt_tokens: int
    output_tokens: int


class ServerFacts(msgspec.Struct, frozen=True, gc=False):
    """What a server registered: its number, slots, zone, and the name of its hardware (not its speed)."""

    id: int
    slots: int
    zone: int
    hardware: str


class Setting(msgspec.Struct, frozen=True):
    """What a policy is born with, once per hub.

    Args:
        servers: the fleet as registered.
        hubs: how many hubs decide side by side; they share no policy state.
        ledger_ttl_s: after this long an unreported decision is taken to have ended.
        seed: for the policy's own draws.
    """

    servers: tuple[ServerFacts, ...]
    hubs: int
    ledger_ttl_s: float
    seed: str


class Policy(Protocol):
    """One way to choose."""

    def decide(self, request: Request, view: View) -> int:
        """Return one of the view's candidates; anything else counts as a violation."""
        ...

    def told(self, outcome: Outcome) -> None:
        """Hear of an outcome that a caller reported to this hub."""
        ...


Maker = Callable[[Setting], Policy]
"""Makes one hub's policy."""
