"""Rollouts as the log tells them. Pure.

Keyed by domain first: those of a tenant's own layers in its own, all others in the platform's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from central_hub.configuration.model import Layer
from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied
from central_hub.rollouts.model import (
    ENDED_KEPT_MAX,
    FACTS,
    OPEN,
    Entered,
    Rollout,
    RolloutEnded,
    RolloutPaused,
    RolloutResumed,
    RolloutStageEntered,
    RolloutStarted,
    State,
)
from central_hub.tenants.model import TenantShredded

_NONE: Final[Mapping[str, Rollout]] = {}


class RolloutsView:
    """Which rollouts there are and were, and which layers are held for one.

    `generation` moves with everything that may change who gets what.
    """

    def __init__(self) -> None:
        self._rollouts: dict[DomainId, dict[str, Rollout]] = {}
        self._open: dict[DomainId, dict[str, Rollout]] = {}
        self.generation = 0

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "rollouts"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*FACTS, TenantShredded))

    @property
    def any_open(self) -> bool:
        """Whether somebody may have other values than the rest."""
        return bool(self._open)

    def rollout(self, domain: DomainId, rollout_id: str) -> Rollout | None:
        """Return one rollout."""
        return self._rollouts.get(domain, _NONE).get(rollout_id)

    def rollouts(self, domain: DomainId) -> Sequence[Rollout]:
        """Return a domain's rollouts, the newest first."""
        return list(self._rollouts.get(domain, _NONE).values())[::-1]

    def going_on(self, domain: DomainId) -> Mapping[str, Rollout]:
        """Return a domain's rollouts that are not over."""
        return self._open.get(domain, _NONE)

    def holder(self, domain: DomainId, layer: Layer) -> str:
        """Return the rollout that a layer is held for, empty when it is free."""
        names = tuple(layer)
        for rollout in self.going_on(domain).values():
            if any(change.layer == names for change in rollout.changes):
                return rollout.id
        return ""

    def domains(self, domain: DomainId) -> list[DomainId]:
        """Return the domains in which a rollout goes on: all of them for the platform, which steps them."""
        return [each for each in self._open if domain in (each, PLATFORM)]

    def count_open(self, domain: DomainId) -> int:
        """Return how many rollouts of a domain go on; for the platform, of all domains."""
        return sum(len(self._open[each]) for each in self.domains(domain))

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        fact, domain = applied.fact, applied.domain
        match fact:
            case RolloutStarted():
                self._start(applied, fact)
            case RolloutStageEntered():
                before = self._rollouts[domain][fact.rollout_id]
                entered = Entered(
                    stage=fact.stage, time_ms=applied.time_ms, promoted=fact.promoted, evidence=fact.evidence
                )
                self._put(
                    domain, before, state=State.RUNNING, stage=fact.stage, thresholds=fact.thresholds,
                    since_ms=applied.time_ms, entered=(*before.entered, entered),
                )  # fmt: skip
            case RolloutPaused(rollout_id=rollout_id):
                self._put(domain, self._rollouts[domain][rollout_id], state=State.PAUSED)
            case RolloutResumed(rollout_id=rollout_id):
                self._put(domain, self._rollouts[domain][rollout_id], state=State.RUNNING, since_ms=applied.time_ms)
            case RolloutEnded():
                self._put(
                    domain, self._rollouts[domain][fact.rollout_id], state=fact.state, ended_ms=applied.time_ms,
                    ended_by=applied.actor.principal, gate=fact.gate, ended_reason=fact.reason,
                    revisions=fact.revisions, evidence=fact.evidence,
                )  # fmt: skip
            case TenantShredded(tenant_id=tenant_id):
                self._rollouts.pop(DomainId(tenant_id), None)
                self._open.pop(DomainId(tenant_id), None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")
        self.generation += 1

    def _start(self, applied: Applied, fact: RolloutStarted) -> None:
        rollout = Rollout(
            id=fact.rollout_id, changes=fact.changes, unit=fact.unit, stages=fact.stages, gates=fact.gates,
            reason=fact.reason, author=applied.actor.principal, started_ms=applied.time_ms, since_ms=applied.time_ms,
        )  # fmt: skip
        self._keep(applied.domain, rollout)

    def _put(self, domain: DomainId, before: Rollout, **now: object) -> None:
        self._keep(domain, msgspec.structs.replace(before, **now))

    def _keep(self, domain: DomainId, rollout: Rollout) -> None:
        kept = self._rollouts.setdefault(domain, {})
        kept[rollout.id] = rollout
        going_on = self._open.setdefault(domain, {})
        if rollout.state in OPEN:
            going_on[rollout.id] = rollout
            return
        going_on.pop(rollout.id, None)
        if not going_on:
            del self._open[domain]
        ended = [each.id for each in kept.values() if each.state not in OPEN]
        for rollout_id in ended[:-ENDED_KEPT_MAX]:
            del kept[rollout_id]

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's rollouts, one at a time."""
        yield from self._rollouts.get(domain, _NONE).values()

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            self._keep(domain, msgspec.msgpack.decode(chunk, type=Rollout))
        self.generation += 1
