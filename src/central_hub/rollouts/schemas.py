"""What rollouts say and take over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from central_hub.configuration.model import CHANGES_PER_SET_MAX
from central_hub.configuration.schemas import LayerChange, Name, Reason
from central_hub.kernel.ids import INSTANCE_ID_PATTERN
from central_hub.rollouts.model import (
    ACKNOWLEDGED_WITHIN_S_MAX,
    BAKE_S_MAX,
    NAMED_MAX,
    REASON_LENGTH_MAX,
    STAGES_MAX,
    Evidence,
    Gates,
    Stage,
    Unit,
)

PAGE_MAX = 100
ETAG_LENGTH_MAX = 64

Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=BAKE_S_MAX)]
InstanceName = Annotated[
    str, msgspec.Meta(pattern=INSTANCE_ID_PATTERN[:1] + r"([a-z0-9][a-z0-9_-]{0,62}/)?" + INSTANCE_ID_PATTERN[1:])
]
Names = Annotated[tuple[Name, ...], msgspec.Meta(max_length=NAMED_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class StageBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom a stage reaches, all that it names together with a share of the rest; and how long it is looked at."""

    percent: Percent = 0.0
    instances: Annotated[tuple[InstanceName, ...], msgspec.Meta(max_length=NAMED_MAX)] = ()
    tenants: Names = ()
    tiers: Names = ()
    bake_s: Seconds | None = None


class Strategy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a change reaches everyone.

    `all_at_once`; `linear` in `steps` equal ones; `canary`: a share, or whom it names, and then everyone; `stages` as
    they are listed. `unit` is what a percentage is one of.
    """

    kind: Literal["all_at_once", "linear", "canary", "stages"] = "canary"
    unit: Unit = Unit.INSTANCE
    percent: Percent | None = None
    instances: Annotated[tuple[InstanceName, ...], msgspec.Meta(max_length=NAMED_MAX)] = ()
    tenants: Names = ()
    tiers: Names = ()
    steps: Annotated[int, msgspec.Meta(ge=1, le=STAGES_MAX)] | None = None
    stages: Annotated[tuple[StageBody, ...], msgspec.Meta(max_length=STAGES_MAX)] = ()
    bake_s: Seconds = 10.0


class GatesBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold for a rollout to go on; otherwise it is taken back.

    `acknowledged_percent` of the exposed instances acknowledge within `acknowledged_within_s` of a stage; at most
    `refused_max` refuse; at most `failing_max` become unhealthy or vanish beyond the share of the others that do; the
    error rate is not certainly more than `error_rise_percent` points above that of the others, or of before.
    """

    acknowledged_percent: Percent = 95.0
    acknowledged_within_s: Annotated[float, msgspec.Meta(ge=0.1, le=ACKNOWLEDGED_WITHIN_S_MAX)] = 10.0
    refused_max: Count = 0
    failing_max: Count = 0
    error_rise_percent: Percent = 1.0


class StartRollout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Changes of layers, and how they are to reach everyone; canary over a tenth of the instances when left out."""

    changes: Annotated[list[LayerChange], msgspec.Meta(min_length=1, max_length=CHANGES_PER_SET_MAX)]
    reason: Reason = ""
    strategy: Strategy = Strategy()
    gates: GatesBody = GatesBody()


class Why(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why something is done to a rollout."""

    reason: Annotated[str, msgspec.Meta(max_length=REASON_LENGTH_MAX)] = ""


class Promote(Why, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Go to the next stage without waiting; with `from_stage` only from that one, so that two do not skip one."""

    from_stage: Annotated[int, msgspec.Meta(ge=0, le=STAGES_MAX)] | None = None


class RolloutPage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of the list, newest first: `cursor` is the rollout to go on after."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)] = PAGE_MAX
    cursor: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class EnteredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """When a stage began, by whom, and what had been seen in the one before it."""

    stage: int
    at: str
    promoted: bool
    evidence: Evidence


class RolledLayer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A layer that a rollout changes: from which revision, what it is to say, and the revision that it became."""

    layer: str
    before: int
    document: dict[str, Any]  # Any: JSON
    revision: int = 0
    etag: str = ""


class RolloutAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A rollout as it stands: `stage` counts from 1, 0 is before the first. `evidence` is the latest."""

    rollout_id: str
    state: str
    stage: int
    stages: list[Stage]
    unit: Unit
    gates: Gates
    reason: str
    author: str
    started_at: str
    stage_since: str
    layers: list[RolledLayer]
    entered: list[EnteredAnswer]
    evidence: Evidence
    waits_for: str = ""
    ended_at: str = ""
    ended_by: str = ""
    failed_gate: str = ""
    ended_reason: str = ""


class RolloutList(msgspec.Struct, frozen=True, kw_only=True):
    """Rollouts, the newest first."""

    rollouts: list[RolloutAnswer]
    next_cursor: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an instance says about the configuration it runs, and how its requests went since its last report.

    `etag` is that of the value it was told; it took it up (`applied`) or goes on with the one before (`refused`).
    """

    etag: Annotated[str, msgspec.Meta(max_length=ETAG_LENGTH_MAX)] = ""
    state: Literal["applied", "refused"] = "applied"
    reason: Reason = ""
    environment: Name | None = None
    ok: Count = 0
    errors: Count = 0


class ReportTaken(msgspec.Struct, frozen=True, kw_only=True):
    """After how many seconds to report again: soon while a rollout looks at this instance."""

    again_s: float


class RunningQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which service; of all when left out. `cursor` is the `service/instance@environment` to go on after."""

    service: Name | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1000
    cursor: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class RunningInstance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an instance runs. `state` is `applied`, `refused` or `silent` about the value that it should run.

    `etag` is the value it last spoke of; `expected` the one that is in force for it; `rollouts` those it tries out.
    """

    service_name: str
    instance_id: str
    environment: str
    etag: str
    expected: str
    state: str
    since: str
    connected: bool
    reason: str = ""
    rollouts: tuple[str, ...] = ()


class RunningList(msgspec.Struct, frozen=True, kw_only=True):
    """Instances that follow a tenant's configuration, in order of service and id."""

    instances: list[RunningInstance]
    next_cursor: str | None = None
