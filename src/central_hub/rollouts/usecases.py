"""Commands about rollouts: begin one, hold it, hasten it, end it; and the steps that the hub takes by itself.

A rollout keeps what it changes to itself until everyone has it: the layers say the old values until the rollout is
completed, in one record set with their new revisions. So taking it back writes no configuration: nobody is exposed
any more, and that cannot be refused, whatever has become of the layers, the schemas or the plans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from central_hub.configuration.merging import decoded, encoded
from central_hub.configuration.model import Document, Json
from central_hub.configuration.usecases import Configuration, Edit, Wish
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.records import HUB_ACTOR, Actor
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.rollouts.model import (
    COUNT_RUNNING,
    NOTHING_SEEN,
    OPEN,
    RUNNING_PER_TENANT_MAX,
    RUNNING_PLATFORM_MAX,
    Change,
    Evidence,
    Gates,
    Rollout,
    RolloutEnded,
    RolloutPaused,
    RolloutResumed,
    RolloutStageEntered,
    RolloutStarted,
    Stage,
    State,
    Unit,
    rollout_stream,
)
from central_hub.rollouts.rules import Move, check_stages, invalid, led_to
from central_hub.rollouts.view import RolloutsView


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a change is to reach everyone."""

    unit: Unit
    stages: tuple[Stage, ...]
    gates: Gates
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is done to a rollout, and what it rests on.

    `stage` is the one that was looked at; a step that was decided about another stage does nothing.
    """

    move: Move
    stage: int | None = None
    thresholds: Mapping[str, int] = field(default_factory=dict[str, int])
    gate: str = ""
    reason: str = ""
    evidence: Evidence = NOTHING_SEEN


class Rollouts:
    """Begins, steps and ends rollouts.

    Args:
        view: what there is.
        sequencer: makes facts durable.
        configuration: checks changes, and makes them in the end.
        layers: what layers say.
    """

    def __init__(
        self, view: RolloutsView, sequencer: Sequencer, configuration: Configuration, layers: ConfigurationView
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._configuration = configuration
        self._layers = layers

    async def start(
        self, ctx: TenantContext, domain: DomainId, wishes: Sequence[Wish], plan: Plan, *, key: str | None = None
    ) -> Rollout:
        """Begin to roll out changes of one domain's layers; nobody is exposed yet.

        Raises:
            HubError: `invalid_rollout` (422), `layer_in_rollout`, `nothing_to_roll_out` (409), `limit_reached` (429),
                and what `Configuration.change` would.
        """
        self._configuration.check(ctx, wishes)
        if any(wish.layer.domain != domain for wish in wishes):
            raise invalid("its layers are all the platform's, or all of one tenant")
        check_stages(plan.stages, self._configuration.tiers, "" if domain == PLATFORM else domain)

        def decide(tx: Tx) -> str:
            self._configuration.touch(tx, wishes)
            self._check_room(tx, domain)
            for wish in wishes:
                self._configuration.check_free(wish.layer)
            changes = tuple(
                Change(layer=_names(wish), before=before.number, document=document)
                for wish, before, document in self._configuration.planned(wishes, new=True)
                if encoded(document) != before.document
            )
            if not changes:
                raise HubError(
                    "nothing_to_roll_out",
                    Kind.CONFLICT,
                    "The layers say this already.",
                    next_step="There is nothing to do.",
                )
            rollout_id = tx.new_id()
            fact = RolloutStarted(
                rollout_id=rollout_id, changes=changes, unit=plan.unit, stages=plan.stages, gates=plan.gates,
                reason=plan.reason,
            )  # fmt: skip
            streams = (rollout_stream(rollout_id), *(change.of.stream for change in changes))
            tx.append(domain, fact, streams=streams, counts={COUNT_RUNNING: 1})
            return rollout_id

        source = None if key is None else Idempotency(domain=domain, source=ctx.principal.id, id=f"rollout/{key}")
        committed = await self._sequencer.submit(ctx.actor, (domain,), decide, idempotency=source)
        return self.get(domain, committed.answer)

    def get(self, domain: DomainId, rollout_id: str) -> Rollout:
        """Return a rollout.

        Raises:
            HubError: `rollout_not_found` (404).
        """
        found = self._view.rollout(domain, rollout_id)
        if found is None:
            raise HubError(
                "rollout_not_found",
                Kind.NOT_FOUND,
                "There is no such rollout.",
                next_step="List what there is: central-hub rollout list",
            )
        return found

    async def step(self, domain: DomainId, rollout_id: str, step: Step, *, actor: Actor = HUB_ACTOR) -> Rollout:
        """Do something to a rollout, or nothing where it finds that somebody was first.

        Raises:
            HubError: `rollout_not_found` (404), `rollout_ended`, `stage_moved` (409); `revision_moved` (412) when a
                completed rollout is to be aborted whose layers were changed since.
        """

        def decide(tx: Tx) -> None:
            tx.touch(domain, rollout_stream(rollout_id))
            rollout = self.get(domain, rollout_id)
            to = led_to(rollout, step.move)
            if to is None:
                return
            if step.stage is not None and step.stage != rollout.stage:
                if step.move is Move.PROMOTE:
                    raise _stage_moved(rollout)
                return
            self._propose(tx, domain, rollout, step)

        await self._sequencer.submit(actor, (domain,), decide)
        return self.get(domain, rollout_id)

    def _propose(self, tx: Tx, domain: DomainId, rollout: Rollout, step: Step) -> None:
        stream = rollout_stream(rollout.id)
        match step.move:
            case Move.PAUSE:
                tx.append(domain, RolloutPaused(rollout_id=rollout.id, reason=step.reason), streams=(stream,))
            case Move.RESUME:
                tx.append(domain, RolloutResumed(rollout_id=rollout.id), streams=(stream,))
            case Move.ENTER | Move.PROMOTE if not rollout.is_last:
                entered = RolloutStageEntered(
                    rollout_id=rollout.id, stage=rollout.stage + 1, thresholds=dict(step.thresholds),
                    promoted=step.move is Move.PROMOTE, evidence=step.evidence,
                )  # fmt: skip
                tx.append(domain, entered, streams=(stream,))
            case Move.ENTER | Move.PROMOTE | Move.COMPLETE:
                self._end(tx, domain, rollout, State.COMPLETED, step, self._make(tx, domain, rollout))
            case Move.ROLL_BACK:
                self._end(tx, domain, rollout, State.ROLLED_BACK, step)
            case Move.ABORT:
                if rollout.state is State.COMPLETED:
                    self._restore(tx, domain, rollout)
                self._end(tx, domain, rollout, State.ABORTED, step)

    def _make(self, tx: Tx, domain: DomainId, rollout: Rollout) -> tuple[int, ...]:
        """Give the layers what the rollout tried out; returns their revisions."""
        wishes = [Wish(layer=change.of, if_match="*", edit=_replacing(change.document)) for change in rollout.changes]
        self._configuration.touch(tx, wishes)
        for change in rollout.changes:
            if self._layers.current(domain, change.of).number != change.before:
                raise _layer_moved(change)
        made = self._configuration.make(tx, wishes, _reason(rollout))
        return tuple(number for _, number in made)

    def _restore(self, tx: Tx, domain: DomainId, rollout: Rollout) -> None:
        """Take back what a completed rollout made, where nobody has made anything else since."""
        wishes: list[Wish] = []
        for change, revision in zip(rollout.changes, rollout.revisions, strict=True):
            tx.touch(domain, change.of.stream)
            before = self._layers.revision(domain, change.of, change.before)
            if before is None or self._layers.current(domain, change.of).number != revision:
                raise _layer_moved(change)
            self._configuration.check_free(change.of)
            document = decoded(before.document)
            wishes.append(Wish(layer=change.of, if_match="*", edit=_replacing(document), restores=change.before))
        self._configuration.touch(tx, wishes)
        self._configuration.make(tx, wishes, f"rollout {rollout.id} aborted")

    def _end(
        self,
        tx: Tx,
        domain: DomainId,
        rollout: Rollout,
        state: State,
        step: Step,
        revisions: tuple[int, ...] | None = None,
    ) -> None:
        fact = RolloutEnded(
            rollout_id=rollout.id, state=state, gate=step.gate, reason=step.reason,
            revisions=rollout.revisions if revisions is None else revisions, evidence=step.evidence,
        )  # fmt: skip
        streams = (rollout_stream(rollout.id), *(change.of.stream for change in rollout.changes))
        counts = {COUNT_RUNNING: -1} if rollout.state in OPEN else None
        tx.append(domain, fact, streams=streams, counts=counts)

    def _check_room(self, tx: Tx, domain: DomainId) -> None:
        limit = RUNNING_PLATFORM_MAX if domain == PLATFORM else RUNNING_PER_TENANT_MAX
        if len(self._view.going_on(domain)) + tx.pending(domain, COUNT_RUNNING) >= limit:
            raise HubError(
                "limit_reached", Kind.LIMIT, f"{limit} rollouts go on here already, which is the limit.",
                next_step="Wait for one of them, or abort it.", retry_after_s=10, fields={"limit": limit},
            )  # fmt: skip


def _names(wish: Wish) -> tuple[str, str, str, str]:
    layer = wish.layer
    return layer.tier, layer.tenant, layer.service, layer.environment


def _reason(rollout: Rollout) -> str:
    return rollout.reason or f"rollout {rollout.id}"


def _replacing(document: Document) -> Edit:
    def edit(before: Document) -> Json:
        return document

    return edit


def _stage_moved(rollout: Rollout) -> HubError:
    return HubError(
        "stage_moved",
        Kind.CONFLICT,
        f"The rollout is in stage {rollout.stage} by now.",
        next_step="Look at it again: central-hub rollout show",
        fields={"stage": rollout.stage},
    )


def _layer_moved(change: Change) -> HubError:
    return HubError(
        "revision_moved",
        Kind.PRECONDITION,
        f"{change.of.text} was changed since.",
        next_step=f"Go back by hand: central-hub config history {change.of.text}",
        fields={"layer": change.of.text},
    )
