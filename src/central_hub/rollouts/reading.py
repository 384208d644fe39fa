"""What is shown of rollouts, and of which instance runs what."""

from __future__ import annotations

from central_hub.configuration.in_force import InForce
from central_hub.configuration.rules import etag_of
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.rollouts.exposing import Exposing
from central_hub.rollouts.followers import Follower, FollowerBook
from central_hub.rollouts.model import OPEN, Evidence, Rollout, State
from central_hub.rollouts.rules import is_acknowledged
from central_hub.rollouts.schemas import (
    EnteredAnswer,
    RolledLayer,
    RolloutAnswer,
    RolloutList,
    RolloutPage,
    RunningInstance,
    RunningList,
    RunningQuery,
)
from central_hub.rollouts.stepping import Stepping
from central_hub.rollouts.view import RolloutsView


class RolloutsReading:
    """Answers questions.

    Args:
        view: the rollouts.
        layers: what layers say.
        stepping: what was last seen of those that go on.
        book: who follows what.
        exposing: who tries out what.
        in_force: the values.
        clock: monotonic time.
    """

    def __init__(
        self,
        view: RolloutsView,
        layers: ConfigurationView,
        stepping: Stepping,
        book: FollowerBook,
        exposing: Exposing,
        in_force: InForce,
        clock: Clock,
    ) -> None:
        self._view = view
        self._layers = layers
        self._stepping = stepping
        self._book = book
        self._exposing = exposing
        self._in_force = in_force
        self._clock = clock

    def rollout(self, domain: DomainId, rollout: Rollout) -> RolloutAnswer:
        """Show a rollout as it stands."""
        evidence = self._stepping.evidence(rollout)
        revisions = rollout.revisions or (0,) * len(rollout.changes)
        layers: list[RolledLayer] = []
        for change, number in zip(rollout.changes, revisions, strict=True):
            made = self._layers.revision(domain, change.of, number) if number else None
            etag = "" if made is None else etag_of(made)
            layers.append(
                RolledLayer(
                    layer=change.of.text, before=change.before, document=change.document, revision=number, etag=etag
                )
            )
        return RolloutAnswer(
            rollout_id=rollout.id,
            state=rollout.state.value,
            stage=rollout.stage,
            stages=list(rollout.stages),
            unit=rollout.unit,
            gates=rollout.gates,
            reason=rollout.reason,
            author=rollout.author,
            started_at=rfc3339(rollout.started_ms),
            stage_since=rfc3339(rollout.since_ms),
            layers=layers,
            entered=[
                EnteredAnswer(
                    stage=each.stage, at=rfc3339(each.time_ms), promoted=each.promoted, evidence=each.evidence
                )
                for each in rollout.entered
            ],
            evidence=evidence,
            waits_for=_waits_for(rollout, evidence),
            ended_at=rfc3339(rollout.ended_ms) if rollout.ended_ms else "",
            ended_by=rollout.ended_by,
            failed_gate=rollout.gate,
            ended_reason=rollout.ended_reason,
        )

    def rollouts(self, domain: DomainId, page: RolloutPage) -> RolloutList:
        """List a domain's rollouts, the newest first."""
        found = self._view.rollouts(domain)
        if page.cursor is not None:
            found = [each for each in found if each.id < page.cursor]
        shown = found[: page.limit]
        more = shown[-1].id if len(found) > page.limit else None
        return RolloutList(rollouts=[self.rollout(domain, each) for each in shown], next_cursor=more)

    def running(self, domain: DomainId, query: RunningQuery) -> RunningList:
        """List the instances that follow a tenant's configuration, and what each of them runs."""
        found = sorted(
            (_named(each), each)
            for each in self._book.of(domain)
            if query.service is None or each.service == query.service
        )
        rest = [each for each in found if query.cursor is None or each[0] > query.cursor]
        shown = rest[: query.limit]
        more = shown[-1][0] if len(rest) > query.limit else None
        return RunningList(instances=[self._running(each) for _, each in shown], next_cursor=more)

    def _running(self, follower: Follower) -> RunningInstance:
        tier = self._in_force.effective.tier_of(follower.domain) or follower.tier
        try:
            expected = self._in_force.at(
                follower.domain, tier, follower.service, follower.environment, follower.instance
            ).etag
        except HubError:  # its tier is gone
            expected = ""
        spoke = follower.etag == expected
        return RunningInstance(
            service_name=follower.service,
            instance_id=follower.instance,
            environment=follower.environment,
            etag=follower.etag,
            expected=expected,
            state=("refused" if follower.refused else "applied") if spoke else "silent",
            since=rfc3339(follower.since_ms) if follower.since_ms else "",
            connected=follower.is_there(self._clock.monotonic_ms()),
            reason=follower.reason,
            rollouts=tuple(self._exposing.reached(follower.domain, tier, follower.service, follower.instance)),
        )


def _named(follower: Follower) -> str:
    return f"{follower.service}/{follower.instance}@{follower.environment}"


def _waits_for(rollout: Rollout, evidence: Evidence) -> str:
    """Say in words what a rollout waits for."""
    if rollout.state not in OPEN:
        return ""
    if rollout.state is State.PAUSED:
        return "resume"
    if rollout.current is None:
        return "its first stage"
    if not is_acknowledged(rollout.gates, evidence):
        return f"acknowledgements: {evidence.acknowledged} of {evidence.exposed}"
    return f"{rollout.current.bake_s:g} s of its stage"
