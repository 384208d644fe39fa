"""What is remembered of a rollout: what it changes, its stages and gates, how far it is; facts and limits. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.configuration.model import Document, Layer
from central_hub.kernel.facts import Fact

STAGES_MAX: Final = 20
NAMED_MAX: Final = 256
"""Instances, tenants or tiers that one stage names."""
RUNNING_PLATFORM_MAX: Final = 4
RUNNING_PER_TENANT_MAX: Final = 2
"""Rollouts of one domain that go on at a time; each multiplies the values that are kept."""
ENDED_KEPT_MAX: Final = 50
"""Rollouts of one domain that are over and still shown; the audit trail has all."""
REASON_LENGTH_MAX: Final = 256
SUSPECTS_SHOWN_MAX: Final = 5
KINDS_KEPT_MAX: Final = 32
"""Kinds of instances with rates of their own in what was seen: those with the most errors."""
BAKE_S_MAX: Final = 86_400.0
ACKNOWLEDGED_WITHIN_S_MAX: Final = 3_600.0

ROLLOUTS_STREAM: Final = "rollouts"
COUNT_RUNNING: Final = "count/rollouts"


class Unit(StrEnum):
    """What a percentage is a percentage of."""

    INSTANCE = "instance"
    TENANT = "tenant"


class State(StrEnum):
    """How a rollout stands."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


OPEN: Final = frozenset({State.RUNNING, State.PAUSED})
"""States in which somebody may have other values than the rest."""


class Stage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Whom a stage reaches, all that it says together; and how long it is looked at.

    `instances` are ids, or `service/id`.
    """

    percent: float = 0.0
    instances: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    bake_s: float = 10.0


class Gates(msgspec.Struct, frozen=True, kw_only=True):
    """What must hold for a rollout to go on; otherwise it is taken back.

    Args:
        acknowledged_percent: of the exposed instances that must have acknowledged...
        acknowledged_within_s: ...this long after the stage began.
        refused_max: exposed instances that may refuse.
        failing_max: exposed instances that may become unhealthy or vanish beyond the share of the others that do.
        error_rise_percent: points by which the error rate may certainly be above that of the others, or of before.
    """

    acknowledged_percent: float = 95.0
    acknowledged_within_s: float = 10.0
    refused_max: int = 0
    failing_max: int = 0
    error_rise_percent: float = 1.0


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A layer's document as it is to be, and the revision that it was made for."""

    layer: tuple[str, str, str, str]
    before: int
    document: Document

    @property
    def of(self) -> Layer:
        """The layer."""
        return Layer(*self.layer)


class Suspect(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An instance because of which a gate failed, and what it said."""

    tenant_id: str
    service_name: str
    instance_id: str
    reason: str = ""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """How requests went where a change is in force, and with what that is compared: `others`, or `before`.

    `kind` is `tier/service`, empty for all together.
    """

    kind: str = ""
    requests: int = 0
    errors: int = 0
    compared_with: str = ""
    compared_requests: int = 0
    compared_errors: int = 0


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen: of the exposed, and of the others (or of the exposed before) that they are compared with.

    `kinds` has the rates of each kind of instance on its own: what harms one tier only is drowned by the rest.
    """

    population: int = 0
    exposed: int = 0
    acknowledged: int = 0
    refused: int = 0
    failing: int = 0
    requests: int = 0
    errors: int = 0
    others: int = 0
    others_failing: int = 0
    compared_with: str = ""
    compared_requests: int = 0
    compared_errors: int = 0
    kinds: tuple[Rates, ...] = ()
    suspects: tuple[Suspect, ...] = ()


NOTHING_SEEN: Final = Evidence()


class RolloutStarted(Fact, frozen=True, kw_only=True):
    """A change of layers is to be rolled out; nobody is exposed to it yet, and its layers are held for it."""

    rollout_id: str
    changes: tuple[Change, ...]
    unit: Unit
    stages: tuple[Stage, ...]
    gates: Gates
    reason: str = ""


class RolloutStageEntered(Fact, frozen=True, kw_only=True):
    """A stage began: who is at or below a threshold is exposed from now on, besides those whom stages name."""

    rollout_id: str
    stage: int
    thresholds: dict[str, int]
    promoted: bool = False
    evidence: Evidence = NOTHING_SEEN


class RolloutPaused(Fact, frozen=True, kw_only=True):
    """It goes no further by itself; its gates go on looking."""

    rollout_id: str
    reason: str = ""


class RolloutResumed(Fact, frozen=True, kw_only=True):
    """It goes on; the time of its stage begins anew."""

    rollout_id: str


class RolloutEnded(Fact, frozen=True, kw_only=True):
    """It is over. Completed: its layers have the revisions named here. Otherwise nobody has its values any more."""

    rollout_id: str
    state: State
    gate: str = ""
    reason: str = ""
    revisions: tuple[int, ...] = ()
    evidence: Evidence = NOTHING_SEEN


FACTS: Final[tuple[type[Fact], ...]] = (
    RolloutStarted,
    RolloutStageEntered,
    RolloutPaused,
    RolloutResumed,
    RolloutEnded,
)


class Entered(msgspec.Struct, frozen=True, kw_only=True):
    """When a stage began, and what had been seen by then."""

    stage: int
    time_ms: int
    promoted: bool
    evidence: Evidence


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as it stands. `stage` counts from 1; 0 is before the first.

    `thresholds` say by stratum up to which bucket targets are exposed.
    """

    id: str
    changes: tuple[Change, ...]
    unit: Unit
    stages: tuple[Stage, ...]
    gates: Gates
    reason: str
    author: str
    started_ms: int
    state: State = State.RUNNING
    stage: int = 0
    thresholds: dict[str, int] = {}
    since_ms: int = 0
    entered: tuple[Entered, ...] = ()
    ended_ms: int = 0
    ended_by: str = ""
    gate: str = ""
    ended_reason: str = ""
    revisions: tuple[int, ...] = ()
    evidence: Evidence = NOTHING_SEEN

    @property
    def current(self) -> Stage | None:
        """The stage it is in, None before the first."""
        return self.stages[self.stage - 1] if self.stage else None

    @property
    def reached(self) -> tuple[Stage, ...]:
        """The stages that were entered."""
        return self.stages[: self.stage]

    @property
    def is_last(self) -> bool:
        """Whether no stage is left."""
        return self.stage == len(self.stages)


def rollout_stream(rollout_id: str) -> str:
    """Name the aggregate of one rollout."""
    return f"rollout/{rollout_id}"
