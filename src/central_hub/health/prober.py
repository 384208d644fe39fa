"""Decides when which instance is asked, asks, and turns answers into signs.

Every instance has a phase of its own within the interval, so probes are spread evenly; domains
take turns, so one with many instances delays nobody else's. A probe that is late because the hub
is busy proves nothing against its target.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from central_hub.health.keeper import Keeper
from central_hub.health.model import (
    PROBE_CONFIRM_MS,
    PROBE_LATE_MS,
    PROBES_RUNNING_PER_DOMAIN_MAX,
    PROTECTION_MAX_MS,
    REASON_OWN_FAULT,
    Sign,
)
from central_hub.health.rules import is_own_fault, probe_interval_ms, protected
from central_hub.health.view import Domain, Kept
from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import DomainId
from central_hub.kernel.probing import PROBE_TIMEOUT_S, Probe, ProbeOutcome, ProbeResult
from central_hub.kernel.wheel import ADVANCE_SLICE, Timer
from central_hub.registry.model import Status

PROBES_RUNNING_MAX: Final = 512
TIMEOUT_BELIEVED_MS: Final = PROBE_TIMEOUT_S * 1_000 + PROBE_LATE_MS
ERRORS_KEPT: Final = 4_096
"""Schedule errors kept for the metric."""

_SIGNS: Final = {
    ProbeResult.PASSED: Sign.PASS,
    ProbeResult.WARNED: Sign.WARN,
    ProbeResult.FAILED: Sign.FAIL,
    ProbeResult.TIMED_OUT: Sign.FAIL,
    ProbeResult.UNREACHABLE: Sign.FAIL,
    ProbeResult.UNRESOLVED: Sign.FAIL,
    ProbeResult.REFUSED: Sign.REFUSED,
}
_UNANSWERED: Final = frozenset({ProbeResult.TIMED_OUT, ProbeResult.UNREACHABLE, ProbeResult.UNRESOLVED})


class Prober:
    """Probes what the keeper has targets for.

    Args:
        keeper: targets, and where signs go.
        probe: asks.
        clock: wall and monotonic time.
        wake_journal: set when a probe changed what is to be journaled.
    """

    def __init__(self, keeper: Keeper, probe: Probe, clock: Clock, wake_journal: asyncio.Event) -> None:
        self._keeper = keeper
        self._probe = probe
        self._clock = clock
        self._wake_journal = wake_journal
        self._waiting: dict[DomainId, deque[tuple[Kept, float]]] = {}
        self._turns: deque[DomainId] = deque()
        self._running = 0
        self.skipped = 0
        self.results: dict[ProbeResult, int] = {}
        self.schedule_errors_ms: deque[float] = deque(maxlen=ERRORS_KEPT)

    def start_due(self, group: asyncio.TaskGroup) -> bool:
        """Start what is due as far as there is room; say whether more timers are due now."""
        due, more = self._keeper.probes.advance(self._clock.monotonic_ms(), ADVANCE_SLICE)
        for timer in due:
            self._enqueue(timer)
        self._start(group)
        return more

    def _enqueue(self, timer: Timer[Kept]) -> None:
        kept = timer.key
        if kept.probing or kept.probe is not timer:
            return
        if not self._keeper.judges(kept):
            self._keeper.schedule(kept, timer, self._clock.monotonic_ms())
            return
        queue = self._waiting.get(kept.domain)
        if queue is None:
            queue = self._waiting[kept.domain] = deque()
            self._turns.append(kept.domain)
        queue.append((kept, timer.deadline_ms))
        kept.probing = True

    def _start(self, group: asyncio.TaskGroup) -> None:
        """Take one of each domain in turn while there is room."""
        skipped = 0
        while self._turns and self._running < PROBES_RUNNING_MAX and skipped < len(self._turns):
            domain_id = self._turns.popleft()
            queue = self._waiting[domain_id]
            domain = self._keeper.population.domain(domain_id)
            if domain is not None and domain.probing >= PROBES_RUNNING_PER_DOMAIN_MAX:
                self._turns.append(domain_id)
                skipped += 1
                continue
            skipped = 0
            kept, due_ms = queue.popleft()
            if queue:
                self._turns.append(domain_id)
            else:
                del self._waiting[domain_id]
            self._running += 1
            kept.group.domain.probing += 1
            group.create_task(self._ask(group, kept, due_ms))

    async def _ask(self, group: asyncio.TaskGroup, kept: Kept, due_ms: float) -> None:
        target, timer = kept.target, kept.probe
        started_ms = self._clock.monotonic_ms()
        late_ms = started_ms - due_ms
        try:
            if late_ms > PROBE_LATE_MS and kept.standing.refusals != 1:
                self.skipped += 1
            elif target is not None:
                self.schedule_errors_ms.append(late_ms)
                outcome = await self._probe.probe(target)
                self.results[outcome.result] = self.results.get(outcome.result, 0) + 1
                if kept.target is target:
                    self._take(kept, outcome, started_ms)
        finally:
            kept.probing = False
            kept.group.domain.probing -= 1
            self._running -= 1
            if kept.probe is not None and (kept.probe is timer or not kept.probe.waiting):
                self._again(kept, due_ms)
        self._start(group)

    def _again(self, kept: Kept, due_ms: float) -> None:
        """Schedule the next probe: soon if a refusal waits to be confirmed, else in the instance's next turn."""
        at_ms = self._clock.monotonic_ms()
        standing = kept.standing
        assert kept.probe is not None
        if standing.refusals == 1 and standing.status is not Status.UNHEALTHY:
            self._keeper.probes.set(kept.probe, at_ms + PROBE_CONFIRM_MS)
            return
        # Half an interval on at the least: where turns have moved, nobody is asked twice in a row.
        half_ms = probe_interval_ms(self._keeper.targets) / 2
        self._keeper.schedule(kept, kept.probe, max(at_ms, due_ms + half_ms))

    def _take(self, kept: Kept, outcome: ProbeOutcome, started_ms: float) -> None:
        sign = _SIGNS.get(outcome.result)
        now_ms, at_ms = self._clock.now_ms(), self._clock.monotonic_ms()
        if sign is None:
            self._keeper.unprobeable(kept, now_ms)
        elif outcome.result is ProbeResult.TIMED_OUT and at_ms - started_ms > TIMEOUT_BELIEVED_MS:
            return
        else:
            domain = kept.group.domain
            domain.heard(kept, outcome.result not in _UNANSWERED)
            if kept.answered is False and self._blames_itself(domain, at_ms):
                self._keeper.judge(kept, protected(kept.standing, REASON_OWN_FAULT, now_ms=now_ms))
            else:
                latency_ms = float(outcome.latency_ms) if sign in (Sign.PASS, Sign.WARN) else None
                self._keeper.probed(kept, sign, latency_ms=latency_ms, at_ms=at_ms, now_ms=now_ms)
        if self._keeper.dirty:
            self._wake_journal.set()

    def _blames_itself(self, domain: Domain, at_ms: float) -> bool:
        """Say whether the domain's silence is put down to the hub; not for longer than `PROTECTION_MAX_MS`."""
        if not is_own_fault(domain.answered, domain.silent, len(domain.silent_services)):
            domain.blamed_ms = -1.0
            return False
        if domain.blamed_ms < 0:
            domain.blamed_ms = at_ms
        return at_ms - domain.blamed_ms < PROTECTION_MAX_MS
