"""The rows of rollouts and their handlers, which only translate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from central_hub.configuration.model import CONFIG_READ, SCOPE_ADMIN, SCOPE_WRITE
from central_hub.configuration.routes import CHANGE_SET_BYTES_MAX, ConfigurationRoutes
from central_hub.configuration.routes import REFUSED as CHANGE_REFUSED
from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.rollouts.followers import FollowerBook
from central_hub.rollouts.observing import Observing
from central_hub.rollouts.reading import RolloutsReading
from central_hub.rollouts.rules import Move
from central_hub.rollouts.schemas import (
    Promote,
    Report,
    ReportTaken,
    RolloutAnswer,
    RolloutList,
    RolloutPage,
    RunningList,
    RunningQuery,
    StartRollout,
    Why,
)
from central_hub.rollouts.stepping import Stepping
from central_hub.rollouts.strategies import gates_of, stages_of
from central_hub.rollouts.usecases import Plan, Rollouts, Step
from central_hub.rollouts.view import RolloutsView

TAG: Final = "rollouts"
AGAIN_S: Final = 5.0
"""Between two reports of an instance that no rollout looks at..."""
AGAIN_SOON_S: Final = 0.5
"""...and of one that a rollout does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRoutes:
    """The handlers and what they hand calls to."""

    rollouts: Rollouts
    reading: RolloutsReading
    stepping: Stepping
    book: FollowerBook
    observing: Observing
    view: RolloutsView
    configuration: ConfigurationRoutes

    async def start_rollout(self, call: Call) -> Reply:
        """Begin a rollout; its first step is made before the answer, where it can be."""
        body: StartRollout = call.body
        domain = _domain(call)
        wishes = [self.configuration.wish(call.ctx, each) for each in body.changes]
        plan = Plan(
            unit=body.strategy.unit, stages=stages_of(body.strategy), gates=gates_of(body.gates), reason=body.reason
        )
        rollout = await self.rollouts.start(call.ctx, domain, wishes, plan, key=call.idempotency_key)
        if not rollout.stage:
            await self.stepping.look_at(domain, rollout)
        return Reply(body=self._shown(domain, rollout.id))

    async def list_rollouts(self, call: Call) -> Reply:
        """List rollouts."""
        query: RolloutPage = call.query
        return Reply(body=self.reading.rollouts(_domain(call), query))

    async def get_rollout(self, call: Call) -> Reply:
        """Show a rollout."""
        return Reply(body=self._shown(_domain(call), call.path["rollout_id"]))

    async def pause_rollout(self, call: Call) -> Reply:
        """Let it go no further by itself."""
        return await self._move(call, Move.PAUSE)

    async def resume_rollout(self, call: Call) -> Reply:
        """Let it go on."""
        return await self._move(call, Move.RESUME)

    async def abort_rollout(self, call: Call) -> Reply:
        """Take it back."""
        return await self._move(call, Move.ABORT)

    async def promote_rollout(self, call: Call) -> Reply:
        """Go to the next stage at once."""
        body: Promote = call.body or Promote()
        domain, rollout_id = _domain(call), call.path["rollout_id"]
        rollout = self.rollouts.get(domain, rollout_id)
        step = await self.stepping.promote(domain, rollout, body.reason)
        if body.from_stage is not None:
            step = Step(
                move=Move.PROMOTE, stage=body.from_stage, thresholds=step.thresholds, reason=body.reason,
                evidence=step.evidence,
            )  # fmt: skip
        await self.rollouts.step(domain, rollout_id, step, actor=call.ctx.actor)
        return Reply(body=self._shown(domain, rollout_id))

    async def list_running(self, call: Call) -> Reply:
        """List what the instances run that follow a tenant's configuration."""
        query: RunningQuery = call.query
        return Reply(body=self.reading.running(_domain(call), query))

    async def report_config(self, call: Call) -> Reply:
        """Take what an instance says about the value it runs."""
        said: Report = call.body
        follower = self.book.report(call.ctx, call.path["service_name"], call.path["instance_id"], said)
        soon = self.view.any_open and self.observing.is_looked_at(follower)
        return Reply(body=ReportTaken(again_s=AGAIN_SOON_S if soon else AGAIN_S))

    async def _move(self, call: Call, move: Move) -> Reply:
        body: Why = call.body or Why()
        domain, rollout_id = _domain(call), call.path["rollout_id"]
        evidence = self.stepping.evidence(self.rollouts.get(domain, rollout_id))
        step = Step(move=move, reason=body.reason, evidence=evidence)
        await self.rollouts.step(domain, rollout_id, step, actor=call.ctx.actor)
        return Reply(body=self._shown(domain, rollout_id))

    def _shown(self, domain: DomainId, rollout_id: str) -> RolloutAnswer:
        return self.reading.rollout(domain, self.rollouts.get(domain, rollout_id))


def _domain(call: Call) -> DomainId:
    tenant = call.path.get("tenant_id")
    return PLATFORM if tenant is None else DomainId(tenant)


def operations(routes: RolloutRoutes) -> tuple[Operation, ...]:
    """Return the rows of rollouts."""
    platform: dict[str, Any] = {"platform": True}  # Any: Operation's own types
    own: dict[str, Any] = {"tenant_param": "tenant_id"}  # Any: as above
    return (
        *_rollouts(routes, "", "/rollouts", "the platform's layers", platform, SCOPE_ADMIN, SCOPE_ADMIN),
        *_rollouts(
            routes, "tenant_", "/tenants/{tenant_id}/rollouts", "a tenant's own layers", own, CONFIG_READ, SCOPE_WRITE
        ),
        Operation(
            id="list_running_config", method="GET", path="/config/{tenant_id}/instances", handler=routes.list_running,
            query=RunningQuery, answer=RunningList, tag=TAG, scope=CONFIG_READ,
            summary="Say which instances run which value of a tenant's configuration, and since when.", **own,
        ),
        Operation(
            id="report_config", method="PUT", path="/services/{service_name}/instances/{instance_id}/config",
            handler=routes.report_config, body=Report, answer=ReportTaken, tag=TAG, scope=CONFIG_READ, signal=True,
            needs_tenant=True, problems=("instance_not_found", "not_owner", "too_many_followers"),
            summary="Acknowledge or refuse the configuration an instance was told, and say how its requests went.",
        ),
    )  # fmt: skip


def _rollouts(
    routes: RolloutRoutes,
    prefix: str,
    path: str,
    what: str,
    more: dict[str, Any],  # Any: Operation's own types
    read_scope: str,
    write_scope: str,
) -> tuple[Operation, ...]:
    one = path + "/{rollout_id}"
    read: dict[str, Any] = {"tag": TAG, "scope": read_scope, **more}  # Any: as above
    write: dict[str, Any] = {"tag": TAG, "scope": write_scope, "answer": RolloutAnswer, **more}  # Any: as above
    ended = ("rollout_not_found", "rollout_ended")
    return (
        Operation(
            id=f"start_{prefix}rollout", method="POST", path=path, handler=routes.start_rollout, body=StartRollout,
            status=201, body_bytes_max=CHANGE_SET_BYTES_MAX,
            problems=(*CHANGE_REFUSED, "invalid_change_set", "invalid_rollout", "nothing_to_roll_out"),
            summary=f"Roll out changes of {what}: to a few first, and back by itself when a gate fails.", **write,
        ),
        Operation(
            id=f"list_{prefix}rollouts", method="GET", path=path, handler=routes.list_rollouts, query=RolloutPage,
            answer=RolloutList, summary=f"List rollouts of {what}, the newest first.", **read,
        ),
        Operation(
            id=f"get_{prefix}rollout", method="GET", path=one, handler=routes.get_rollout, answer=RolloutAnswer,
            problems=("rollout_not_found",), summary="Show how far a rollout is and what its gates see.", **read,
        ),
        Operation(
            id=f"pause_{prefix}rollout", method="POST", path=one + "/pause", handler=routes.pause_rollout, body=Why,
            body_optional=True, problems=ended, summary="Let a rollout go no further by itself; its gates go on.",
            **write,
        ),
        Operation(
            id=f"resume_{prefix}rollout", method="POST", path=one + "/resume", handler=routes.resume_rollout, body=Why,
            body_optional=True, problems=ended, summary="Let a paused rollout go on; its stage begins anew.", **write,
        ),
        Operation(
            id=f"promote_{prefix}rollout", method="POST", path=one + "/promote", handler=routes.promote_rollout,
            body=Promote, body_optional=True, problems=(*ended, "stage_moved", "revision_moved"),
            summary="Take a rollout into its next stage at once; after the last one it is completed.", **write,
        ),
        Operation(
            id=f"abort_{prefix}rollout", method="POST", path=one + "/abort", handler=routes.abort_rollout, body=Why,
            body_optional=True, problems=("rollout_not_found", "revision_moved", "layer_in_rollout"),
            summary="Take a rollout back, whatever it is doing; a completed one too, while nothing came after it.",
            **write,
        ),
    )  # fmt: skip
