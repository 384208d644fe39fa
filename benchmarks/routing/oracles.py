"""What policies are held against.

`Knowing` (in `simulation`) is the myopic oracle with perfect information: of all candidates it takes the one that gives
*this* request the least. It is what "oracle" and "optimal" mean everywhere. It does not plan: a policy may beat it over
a run, because the best for one request may be worse for the next.

`Feasible` below is a reference for what information allows: it sees exactly what a policy sees, and in addition knows
the true speeds of the hardware, the distribution of sizes and the law of the hints' error. It takes the least expected
latency over what it does not know, by a few draws for each request. It is an approximation, not a bound.
"""

from __future__ import annotations

import random
from statistics import fmean
from typing import Final

from benchmarks.routing.model import Hint, Outcome, Request, Setting, View
from benchmarks.routing.simulation import TOLD_AFTER_S
from benchmarks.routing.traces import Source
from benchmarks.routing.workload import HINT_ERROR, Speeds, Workload

PARTICLES: Final = 4
OVERDUE_SHARE: Final = 0.25
"""An overdue request is expected to take this share of its expected time on top."""
SLOW_ABOVE: Final = 2.0
SLOW_FACTOR: Final = 4.0
DOUBT_S: Final = 8.0
"""After so long without evidence a server counts as well again."""
SHUN_S: Final = 1.0
"""After a failure a server is taken last for this long."""
SHUNNED_S: Final = 1e6

Draws = tuple[tuple[float, ...], ...]


class _Open:
    """A decision not known to have ended."""

    __slots__ = ("at_s", "decision", "services", "silent", "started_s")

    def __init__(self, decision: int, at_s: float, services: tuple[float, ...], *, silent: bool) -> None:
        self.decision = decision
        self.at_s = at_s
        self.services = services
        self.silent = silent
        self.started_s: float | None = None


class _Believed:
    """One server as the reference believes it to be."""

    def __init__(self, slots: int, kind: int) -> None:
        self.slots = slots
        self.kind = kind
        self.open: list[_Open] = []
        self.factor = 1.0
        self.factor_at = 0.0
        self.shun_until = 0.0

    def next_free(self, now: float, foreign: float) -> list[float]:
        """Return, for each particle, when a new arrival would get a slot."""
        self._forget(now)
        if len(self.open) < self.slots:  # a slot is free, as far as this hub's own decisions go
            return [now + foreign] * PARTICLES
        found: list[float] = []
        for particle in range(PARTICLES):
            free = [now] * self.slots
            for place, one in enumerate(self.open):
                service = one.services[particle] * self.factor
                if place < self.slots:
                    end = (one.started_s if one.started_s is not None else one.at_s) + service
                    if end < now - TOLD_AFTER_S and not one.silent:
                        end = now + OVERDUE_SHARE * service
                    free[place] = end  # it may have ended, and the next begun, without the hub having heard of it
                else:
                    first = min(range(self.slots), key=free.__getitem__)
                    free[first] = max(free[first], one.at_s) + service
            found.append(max(now, min(free)) + foreign)
        return found

    def start(self, now: float) -> None:
        """Give slots to those whose turn it is."""
        for one in self.open[: self.slots]:
            if one.started_s is None:
                one.started_s = max(now, one.at_s)

    def _forget(self, now: float) -> None:
        if self.factor > 1.0 and now - self.factor_at > DOUBT_S:
            self.factor = 1.0
        gone = [
            one
            for one in self.open[: self.slots]
            if one.silent and one.started_s is not None and one.started_s + fmean(one.services) * self.factor < now
        ]
        for one in gone:
            assert one.started_s is not None
            self.open.remove(one)
            self.start(one.started_s + fmean(one.services) * self.factor)
        for one in self.open[: self.slots]:
            if one.silent or one.started_s is None:
                continue
            if now - one.started_s - TOLD_AFTER_S > SLOW_ABOVE * max(one.services) and self.factor == 1.0:
                self.factor, self.factor_at = SLOW_FACTOR, now


class Feasible:
    """The information-feasible reference, one hub's."""

    def __init__(self, setting: Setting, workload: Workload, source: Source) -> None:
        """Know the true speeds and the distribution of sizes."""
        self._draw = random.Random(setting.seed)
        self._speeds = Speeds(workload.cell.fleet, workload.cell.slots, source)
        self._mix = workload.mix
        self._exact = workload.cell.hints == "exact"
        self._hubs = setting.hubs
        self._servers = [_Believed(fact.slots, workload.hardware[fact.id]) for fact in setting.servers]
        self._mean_s = workload.mean_service_s
        self._quiet = {job.caller for job in workload.jobs if not job.reports}

    def decide(self, request: Request, view: View) -> int:
        """Take the least expected latency."""
        drawn = self._services(request.hint)
        now = view.now_s
        best, best_cost = view.candidates[0], float("inf")
        for server in view.candidates:
            believed = self._servers[server]
            services = drawn[believed.kind]
            free = believed.next_free(now, self._foreign(server, view))
            cost = fmean(free) - now + fmean(services) * believed.factor
            if now < believed.shun_until:
                cost += SHUNNED_S
            if cost < best_cost:
                best, best_cost = server, cost
        chosen = self._servers[best]
        silent = request.caller in self._quiet
        chosen.open.append(_Open(request.decision, now, drawn[chosen.kind], silent=silent))
        chosen.start(now)
        return best

    def told(self, outcome: Outcome) -> None:
        """Take what ended out of the queue, and learn from how long it took."""
        believed = self._servers[outcome.server]
        ended = next((one for one in believed.open if one.decision == outcome.decision), None)
        if ended is None:
            return
        end = outcome.at_s - TOLD_AFTER_S
        believed.open.remove(ended)
        believed.start(end)
        if not outcome.ok:
            believed.shun_until = outcome.at_s + SHUN_S
            return
        if ended.started_s is not None:
            nominal = self._speeds.services_s(outcome.prompt_tokens, outcome.output_tokens)[believed.kind]
            slow = end - ended.started_s > SLOW_ABOVE * nominal
            believed.factor, believed.factor_at = (SLOW_FACTOR if slow else 1.0), end

    def _foreign(self, server: int, view: View) -> float:
        """Return the seconds of work that other hubs seem to have put there."""
        report = view.reports[server]
        if self._hubs == 1 or report is None:
            return 0.0
        believed = self._servers[server]
        own = sum(one.at_s <= report.at_s for one in believed.open)
        others = max(0, report.running + report.queued - own)
        spare = max(0, others + len(believed.open) - believed.slots + 1)
        return min(others, spare) * self._mean_s / believed.slots

    def _services(self, hint: Hint | None) -> Draws:
        if hint is not None and self._exact:
            one = self._speeds.services_s(hint.prompt_tokens, hint.output_tokens)
            return tuple((seconds,) * PARTICLES for seconds in one)
        drawn: list[tuple[float, ...]] = []
        for _ in range(PARTICLES):
            if hint is None:
                size = self._draw.choice(self._mix)
                drawn.append(self._speeds.services_s(size.prompt, size.output))
            else:
                low, high = 1 - HINT_ERROR, 1 + HINT_ERROR
                prompt = round(hint.prompt_tokens / self._draw.uniform(low, high))
                drawn.append(self._speeds.services_s(prompt, hint.output_tokens / self._draw.uniform(low, high)))
        return tuple(zip(*drawn, strict=True))
