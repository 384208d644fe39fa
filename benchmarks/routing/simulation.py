"""Runs a policy through a workload and writes down, for each decision, what every candidate would have given.

Time moves from event to event: arrivals, retries, outcomes that reach a hub, servers that are asked for their state,
and the registry noticing that a server is gone or back. A failed request is tried again at once, at a server not tried
yet, up to three times in all.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

import msgspec

from benchmarks.routing.model import Outcome, Policy, Report, Request, Setting, View
from benchmarks.routing.servers import Fate, Server
from benchmarks.routing.workload import Job, Workload

TOLD_AFTER_S: Final = 0.05
"""From the end of a request to its outcome at the hub."""
ATTEMPTS: Final = 3
GONE_AFTER: Final = 3.0
BACK_AFTER: Final = 1.0
"""In mean service times: until the registry drops a server that is down, and lists it again."""
FAILURE_COST: Final = 5.0
"""In mean service times: what a failed attempt costs in the judgement on top of the time it took."""

ARRIVAL, OUTCOME, ASK, LISTING = range(4)


class Entry(NamedTuple):
    """One decision as judged.

    Args:
        job: number of the request.
        attempt: 0 for the first.
        chosen: the server.
        start_s: when it got a slot.
        end_s: when it ended.
        cost_s: latency of this attempt, failure's cost included.
        best_s: the least cost any candidate would have given.
        candidates: how many there were.
        best_in_slo: whether some candidate would have met the SLO.
        in_slo: whether the chosen did.
        ok: whether it was answered.
        violation: whether the policy named a server that was no candidate.
    """

    job: int
    attempt: int
    chosen: int
    start_s: float
    end_s: float
    cost_s: float
    best_s: float
    candidates: int
    best_in_slo: bool
    in_slo: bool
    ok: bool
    violation: bool


class Tape(msgspec.Struct, frozen=True):
    """What a run left behind: its decisions in order, and each request's latency as its caller saw it."""

    entries: list[Entry]
    latencies_s: list[float]
    failed: int


class Knowing:
    """The policy that sees everything: it takes the candidate that gives this request the least."""

    name: Final = "oracle"


Chooser = Callable[[Setting], Policy] | Knowing
Foresight = tuple[float, ...]


class Simulation:
    """One policy in one workload."""

    def __init__(self, workload: Workload, chooser: Chooser, policy_name: str) -> None:
        """Make the fleet and one policy a hub."""
        cell = workload.cell
        self.workload = workload
        self.servers = [
            Server(fact.id, fact.slots, kind, phases)
            for fact, kind, phases in zip(workload.servers, workload.hardware, workload.phases, strict=True)
        ]
        self._every_s = cell.report_every * workload.mean_service_s
        self._cost_s = FAILURE_COST * workload.mean_service_s
        self._plain = not any(workload.phases) and not cell.sessions
        self._policies: list[Policy | None] = [
            None
            if isinstance(chooser, Knowing)
            else chooser(
                Setting(
                    workload.servers,
                    cell.hubs,
                    workload.ledger_ttl_s,
                    f"{cell.name}/{workload.seed}/{policy_name}/{hub}",
                )
            )
            for hub in range(cell.hubs)
        ]
        self._reports: list[list[Report | None]] = [[None] * cell.servers for _ in range(cell.hubs)]
        self._shown: list[tuple[Report | None, ...] | None] = [None] * cell.hubs
        self._gone: set[int] = set()
        self._tried: dict[int, tuple[int, ...]] = {}
        self._events: list[tuple[float, int, int, tuple[int, ...] | Outcome]] = []
        self._order = 0
        self.entries: list[Entry] = []
        """What was decided so far."""
        self._latencies = [0.0] * len(workload.jobs)
        self._failed = 0
        self.forced: dict[int, int] = {}
        """By number of the decision, the server it goes to whatever the policy says: for replays."""
        self.foreseen: dict[int, dict[int, Fate]] = {}
        """By number of the decision, what each candidate would give; kept for those in `watched`."""
        self.watched: set[int] = set()

    def run(self) -> Tape:
        """Run to the last arrival and what follows from it."""
        self._schedule()
        last_s = self.workload.jobs[-1].at_s
        events = self._events
        while events:
            now, _, kind, data = heappop(events)
            if kind == ARRIVAL:
                assert isinstance(data, tuple)
                self._decide(self.workload.jobs[data[0]], data[1], now)
            elif kind == OUTCOME:
                assert isinstance(data, Outcome)
                hub = self.workload.jobs[self.entries[data.decision].job].hub
                policy = self._policies[hub]
                if policy is not None:
                    policy.told(data)
            elif kind == ASK:
                assert isinstance(data, tuple)
                if now <= last_s:
                    self._ask(data[0], data[1], now)
            else:
                assert isinstance(data, tuple)
                (self._gone.add if data[1] else self._gone.discard)(data[0])
        return Tape(self.entries, self._latencies, self._failed)

    def _push(self, at_s: float, kind: int, data: tuple[int, ...] | Outcome) -> None:
        self._order += 1
        heappush(self._events, (at_s, self._order, kind, data))

    def _schedule(self) -> None:
        workload = self.workload
        unit = workload.mean_service_s
        self._events = [(job.at_s, job.number, ARRIVAL, (job.number, 0)) for job in workload.jobs]
        self._order = len(workload.jobs)
        heapify(self._events)
        for server, phases in enumerate(workload.phases):
            for phase in phases:
                # Down for less than the registry takes to notice is not noticed.
                if phase.speed == 0.0 and phase.end_s - phase.start_s > GONE_AFTER * unit:
                    self._push(phase.start_s + GONE_AFTER * unit, LISTING, (server, 1))
                    self._push(phase.end_s + BACK_AFTER * unit, LISTING, (server, 0))
        if self._every_s and any(policy is not None for policy in self._policies):
            count = len(self.servers)
            for hub in range(workload.cell.hubs):
                for server in range(count):
                    phase_share = (server + hub / workload.cell.hubs) / count
                    self._push(phase_share * self._every_s, ASK, (hub, server))

    def _ask(self, hub: int, server: int, now: float) -> None:
        if not self.servers[server].is_down(now):
            self._reports[hub][server] = self.servers[server].report(now)
            self._shown[hub] = None
        self._push(now + self._every_s, ASK, (hub, server))

    def _candidates(self, job: Job, tried: tuple[int, ...]) -> tuple[int, ...]:
        capable = self.workload.capable[job.capability]
        if not self._gone and not tried:
            return capable
        listed = tuple(server for server in capable if server not in self._gone) or capable
        return tuple(server for server in listed if server not in tried) or listed

    def _view(self, hub: int, candidates: tuple[int, ...], now: float) -> View:
        if not self._every_s:
            for server in candidates:
                if not self.servers[server].is_down(now):
                    self._reports[hub][server] = self.servers[server].report(now)
            self._shown[hub] = None
        shown = self._shown[hub]
        if shown is None:
            shown = self._shown[hub] = tuple(self._reports[hub])
        return View(now, candidates, shown)

    def _service_s(self, job: Job, server: Server, now: float) -> float:
        service = job.services_s[server.hardware]
        if job.prefix is not None and server.has(job.prefix, now):
            service -= job.spared_s[server.hardware]
        return service

    def _fates(self, job: Job, candidates: tuple[int, ...], now: float) -> list[Fate]:
        servers = [self.servers[number] for number in candidates]
        return [server.foresee(self._service_s(job, server, now), now) for server in servers]

    def _costs(self, job: Job, candidates: tuple[int, ...], now: float) -> tuple[list[float], bool]:
        """Return what each candidate would cost, and whether one of them would meet the SLO."""
        fates = self._fates(job, candidates, now)
        costs = [fate.end_s - now if fate.ok else fate.end_s - now + self._cost_s for fate in fates]
        return costs, any(fate.ok and fate.end_s - now <= self.workload.slo_s for fate in fates)

    def _plain_costs(self, job: Job, candidates: tuple[int, ...], now: float) -> tuple[list[float], bool]:
        """Return the same where nothing fails and no prefix is kept, with the same operations in the same order."""
        services, servers = job.services_s, self.servers
        costs: list[float] = []
        for number in candidates:
            server = servers[number]
            free = server.free[0]
            costs.append((free if free > now else now) + services[server.hardware] - now)
        return costs, min(costs) <= self.workload.slo_s

    def _decide(self, job: Job, attempt: int, now: float) -> None:
        decision = len(self.entries)
        tried = self._tried.get(job.number, ())
        candidates = self._candidates(job, tried)
        costs, in_slo = self._plain_costs(job, candidates, now) if self._plain else self._costs(job, candidates, now)
        best = min(costs)
        policy = self._policies[job.hub]
        if policy is None:
            chosen = candidates[costs.index(best)]
        else:
            request = Request(
                decision, now, job.tenant, job.caller, job.capability, self.workload.slo_s, attempt, job.prefix,
                job.hint,
            )  # fmt: skip
            chosen = policy.decide(request, self._view(job.hub, candidates, now))
        if decision in self.watched:
            self.foreseen[decision] = dict(zip(candidates, self._fates(job, candidates, now), strict=True))
        chosen = self.forced.get(decision, chosen)
        violation = chosen not in candidates
        if violation:
            chosen = candidates[0]
        at = candidates.index(chosen)
        server = self.servers[chosen]
        fate = server.accept(self._service_s(job, server, now), now, job.prefix)
        slo = self.workload.slo_s
        self.entries.append(
            Entry(
                job.number, attempt, chosen, fate.start_s, fate.end_s, costs[at], best, len(candidates), in_slo,
                fate.ok and fate.end_s - now <= slo, fate.ok, violation,
            )
        )  # fmt: skip
        self._follow_up(job, attempt, decision, fate, now)

    def _follow_up(self, job: Job, attempt: int, decision: int, fate: Fate, now: float) -> None:
        chosen = self.entries[decision].chosen
        if job.reports and self._policies[job.hub] is not None:
            size = job.size if fate.ok else None
            told_at = fate.end_s + TOLD_AFTER_S
            outcome = Outcome(
                decision, chosen, told_at, fate.ok, fate.end_s - now,
                size.prompt if size else 0, size.output if size else 0,
            )  # fmt: skip
            self._push(told_at, OUTCOME, outcome)
        self._latencies[job.number] = fate.end_s - job.at_s
        if fate.ok:
            self._tried.pop(job.number, None)
        elif attempt + 1 < ATTEMPTS:
            self._tried[job.number] = (*self._tried.get(job.number, ()), chosen)
            self._push(fate.end_s, ARRIVAL, (job.number, attempt + 1))
        else:
            self._failed += 1
            self._latencies[job.number] += self._cost_s
