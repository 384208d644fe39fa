"""The events of rollouts: a change of configuration goes out in stages, and ends for good or ill."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from central_hub.kernel.events import TYPE_PREFIX, EventType, fields_of
from central_hub.rollouts.model import (
    Gates,
    RolloutEnded,
    RolloutPaused,
    RolloutResumed,
    RolloutStageEntered,
    RolloutStarted,
    State,
    Unit,
)


class StartedData(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout that is to begin: of how many layers, in how many stages, and why."""

    rollout_id: str
    layers: int
    stages: int
    reason: str


def _of_rollout(fact: Any) -> str:  # Any: a fact about one rollout
    return f"rollout/{fact.rollout_id}"


def _started(fact: RolloutStarted) -> StartedData:
    return StartedData(
        rollout_id=fact.rollout_id, layers=len(fact.changes), stages=len(fact.stages), reason=fact.reason
    )


_ID: Final = "0198a3c4-0000-7000-8000-000000000007"
_ORDER: Final = "rollout/{rollout_id}"

EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}rollout.started.v1", fact=RolloutStarted, order=_ORDER, subject=_of_rollout, data=_started,
        shape=StartedData,
        example=RolloutStarted(rollout_id=_ID, changes=(), unit=Unit.INSTANCE, stages=(), gates=Gates(), reason="ai"),
        summary="A change of configuration is to be rolled out; nobody has it yet.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}rollout.stage-entered.v1", fact=RolloutStageEntered, order=_ORDER, subject=_of_rollout,
        data=fields_of("rollout_id", "stage", "promoted"),
        example=RolloutStageEntered(rollout_id=_ID, stage=1, thresholds={}),
        summary="More have the change from now on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}rollout.paused.v1", fact=RolloutPaused, order=_ORDER, subject=_of_rollout,
        data=fields_of("rollout_id", "reason"), example=RolloutPaused(rollout_id=_ID, reason="a look at the figures"),
        summary="A rollout goes no further by itself.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}rollout.resumed.v1", fact=RolloutResumed, order=_ORDER, subject=_of_rollout,
        data=fields_of("rollout_id"), example=RolloutResumed(rollout_id=_ID), summary="A rollout goes on.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}rollout.ended.v1", fact=RolloutEnded, order=_ORDER, subject=_of_rollout,
        data=fields_of("rollout_id", "state", "gate", "reason"),
        example=RolloutEnded(rollout_id=_ID, state=State.COMPLETED),
        summary="A rollout is over: everybody has the change, or nobody.",
    ),
)  # fmt: skip
