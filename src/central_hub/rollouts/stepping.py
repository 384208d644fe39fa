"""The one place that steps rollouts: looks at each that goes on, asks the gates, and makes a step of what they say.

Nothing here is remembered: a start finds in the log how far each rollout is, and looks at its stage for the whole time
again. Only the hub that owns the stepping does any of it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

import structlog

from central_hub.configuration.ports import Customers
from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ownership import Ownership
from central_hub.rollouts.followers import FollowerBook
from central_hub.rollouts.model import OPEN, Evidence, Rollout, Stage, State, Unit
from central_hub.rollouts.observing import Observation, Observing
from central_hub.rollouts.ports import Instances
from central_hub.rollouts.rules import EVERYONE, Move, Verdict, bucket, judge, raised
from central_hub.rollouts.usecases import Rollouts, Step
from central_hub.rollouts.view import RolloutsView

LOOK_S: Final = 0.25
"""Between two looks at what goes on, and..."""
LOOKING_SHARE: Final = 4.0
"""...how many times as long as a look takes, where there is much to look at."""
SWEEP_S: Final = 60.0
GRACE_MS: Final = 3_000.0
"""After a start, for instances to connect and report again before anything is concluded from their absence."""
PAGE: Final = 256
WORK: Final = "rollout"
"""Stepping a domain's rollouts, as work of one of several hubs."""
RETRY_S: Final = 0.5
_TRY_AGAIN: Final = frozenset({Kind.UNAVAILABLE, Kind.STORAGE_FULL, Kind.TIMEOUT, Kind.INTERNAL})
"""Refusals that say nothing about the change."""

_log = structlog.get_logger("central_hub.rollouts")


class Stepping:
    """Steps rollouts.

    Args:
        view: which there are.
        rollouts: makes steps durable.
        observing: what is seen of them.
        book: who follows what.
        instances: what is registered.
        customers: which tenants there are.
        clock: monotonic time.
        ownership: which hub steps a domain's rollouts.
        others_tell: whether instances are connected to other hubs as well, which tell of them a moment later.
    """

    def __init__(
        self,
        view: RolloutsView,
        rollouts: Rollouts,
        observing: Observing,
        book: FollowerBook,
        instances: Instances,
        customers: Customers,
        clock: Clock,
        ownership: Ownership,
        *,
        others_tell: bool = False,
    ) -> None:
        self._view = view
        self._rollouts = rollouts
        self._observing = observing
        self._book = book
        self._instances = instances
        self._customers = customers
        self._clock = clock
        self._ownership = ownership
        self._others_tell = others_tell
        self._observations: dict[str, Observation] = {}
        self._wake = asyncio.Event()
        self._began_ms = clock.monotonic_ms()
        ownership.on_change(self._shared_out_anew)
        self.ended: Counter[str] = Counter()
        self.failed_gates: Counter[str] = Counter()

    def changed(self) -> None:
        """Be told that something became of a rollout."""
        self._wake.set()

    def _shared_out_anew(self) -> None:
        """Begin as after a start: what another hub saw of a stage is not known here."""
        self._began_ms = self._clock.monotonic_ms()
        self._observations.clear()
        self._wake.set()

    async def run(self) -> None:
        """Look and step until cancelled."""
        self._began_ms = self._clock.monotonic_ms()
        while True:
            if not self._view.any_open:
                self._observations.clear()
                try:
                    async with asyncio.timeout(SWEEP_S):
                        await self._wake.wait()
                except TimeoutError:
                    self._book.sweep()
            self._wake.clear()
            began_ms = self._clock.monotonic_ms()
            try:
                await self.look()
            except HubError as error:
                _log.warning("rollouts.step_not_recorded", code=error.code)
                await asyncio.sleep(RETRY_S)
            taken_s = (self._clock.monotonic_ms() - began_ms) / 1_000
            await asyncio.sleep(max(LOOK_S, LOOKING_SHARE * taken_s))

    async def look(self) -> None:
        """Look once at everything that goes on.

        Raises:
            HubError: a step could not be made durable.
        """
        for domain in self._view.domains(PLATFORM):
            if not self._ownership.owns(WORK, domain):
                continue
            for rollout in list(self._view.going_on(domain).values()):
                await self.look_at(domain, rollout)

    async def look_at(self, domain: DomainId, rollout: Rollout) -> None:
        """Look at one rollout and make the step that its gates ask for.

        Raises:
            HubError: the step could not be made durable.
        """
        observation = self._observations.setdefault(rollout.id, Observation())
        now_ms = self._clock.monotonic_ms()
        observation.enter(rollout, now_ms)
        evidence = await self._observing.evidence(domain, rollout, observation)
        observation.note(rollout, evidence, now_ms)
        if self._is_too_early(domain, now_ms) or (
            self._others_tell and rollout.stage == 0 and now_ms - observation.began_ms < GRACE_MS
        ):
            return
        settled_s = 0.0 if observation.settled_ms is None else (now_ms - observation.settled_ms) / 1_000
        verdict = judge(rollout, evidence, elapsed_s=(now_ms - observation.began_ms) / 1_000, settled_s=settled_s)
        if rollout.stage == 0 and rollout.state is State.RUNNING and _tells_nothing(rollout, evidence):
            verdict = Verdict(move=Move.COMPLETE)
        if verdict.move is None:
            return
        step = await self._step(domain, rollout, verdict, evidence)
        try:
            stepped = await self._rollouts.step(domain, rollout.id, step)
        except HubError as error:
            if verdict.move is not Move.COMPLETE or error.kind in _TRY_AGAIN or error.code == "contended":
                raise
            # What was valid when it began is not any more: a schema, a lock or the layer itself has changed.
            step = Step(move=Move.ROLL_BACK, stage=rollout.stage, gate="change", reason=error.code, evidence=evidence)
            stepped = await self._rollouts.step(domain, rollout.id, step)
        self._count(rollout, stepped)

    async def promote(self, domain: DomainId, rollout: Rollout, reason: str) -> Step:
        """Return the step into the next stage, whatever the gates would say."""
        thresholds = dict(rollout.thresholds) if rollout.is_last else await self.thresholds(domain, rollout)
        return Step(
            move=Move.PROMOTE, stage=rollout.stage, thresholds=thresholds, reason=reason,
            evidence=self.evidence(rollout),
        )  # fmt: skip

    def evidence(self, rollout: Rollout) -> Evidence:
        """Return what was last seen of a rollout."""
        observation = self._observations.get(rollout.id)
        return rollout.evidence if observation is None or rollout.state not in OPEN else observation.evidence

    async def thresholds(self, domain: DomainId, rollout: Rollout) -> dict[str, int]:
        """Return the thresholds with which the next stage begins."""
        stage: Stage = rollout.stages[rollout.stage]
        if stage.percent <= 0 or stage.percent >= EVERYONE:
            return dict(rollout.thresholds)
        if rollout.unit is Unit.TENANT:
            targets = await self._tenants(domain, rollout)
        else:
            targets = await self._observing.targets(domain, rollout)
        return raised(rollout, stage.percent, targets)

    async def _step(self, domain: DomainId, rollout: Rollout, verdict: Verdict, evidence: Evidence) -> Step:
        assert verdict.move is not None, "there is something to do"
        thresholds = await self.thresholds(domain, rollout) if verdict.move is Move.ENTER else {}
        return Step(
            move=verdict.move, stage=rollout.stage, thresholds=thresholds, gate=verdict.gate, reason=verdict.reason,
            evidence=evidence,
        )  # fmt: skip

    async def _tenants(self, domain: DomainId, rollout: Rollout) -> dict[str, list[int]]:
        """Return the buckets of the tenants whose layers a rollout changes, by tier."""
        if domain != PLATFORM:
            tier = self._customers.tier_of(domain)
            return {} if tier is None else {tier: [bucket(rollout.id, domain)]}
        tiers = {change.of.tier for change in rollout.changes}
        found: dict[str, list[int]] = {}
        cursor = ""
        while page := self._customers.after(cursor, PAGE):
            for tenant, tier in page:
                if "" in tiers or tier in tiers:
                    found.setdefault(tier, []).append(bucket(rollout.id, tenant))
            cursor = page[-1][0]
            await asyncio.sleep(0)
        return found

    def _is_too_early(self, domain: DomainId, now_ms: float) -> bool:
        return now_ms - self._began_ms < GRACE_MS and self._instances.any(domain)

    def _count(self, before: Rollout, now: Rollout) -> None:
        if before.state in OPEN and now.state not in OPEN:
            self.ended[now.state.value] += 1
            if now.gate:
                self.failed_gates[now.gate] += 1
            _log.info(
                "rollouts.rollout_ended", rollout=now.id, state=now.state.value, gate=now.gate, stage=now.stage,
                exposed=now.evidence.exposed, population=now.evidence.population,
            )  # fmt: skip


def _tells_nothing(rollout: Rollout, evidence: Evidence) -> bool:
    """Say whether there is nobody to try it out on: no instance follows a value that it changes."""
    named = any(stage.tenants or stage.tiers for stage in rollout.stages)
    return rollout.unit is Unit.INSTANCE and not evidence.population and not named
