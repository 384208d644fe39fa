"""What is seen of a rollout that goes on: who acknowledged, who fails, how requests go, among the exposed and the rest.

An observation is kept in memory and begins anew with the hub: the gates then look for their whole time again. What it
rests on are signals; what follows from it are facts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Final

from central_hub.configuration.effective import Effective
from central_hub.configuration.in_force import InForce
from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.rollouts.exposing import Exposing
from central_hub.rollouts.followers import Follower, FollowerBook
from central_hub.rollouts.model import KINDS_KEPT_MAX, SUSPECTS_SHOWN_MAX, Evidence, Rates, Rollout, Suspect
from central_hub.rollouts.ports import Instances
from central_hub.rollouts.rules import (
    COMPARED_MIN,
    bounds,
    bucket,
    instance_stratum,
    instance_target,
    is_acknowledged,
    is_exposed,
)

SLICE: Final = 64
"""Followers looked at before others have their turn."""


class _Mark:
    """How a follower stood when it was first looked at as one of the exposed, or of the others."""

    __slots__ = ("before", "errors", "requests", "unwell")

    def __init__(self, follower: Follower, now_ms: float, *, unwell: bool) -> None:
        self.begin(follower)
        self.before = follower.before(now_ms)
        self.unwell = unwell

    def begin(self, follower: Follower) -> None:
        """Count requests from now on."""
        self.requests = follower.requests
        self.errors = follower.errors

    def since(self, follower: Follower) -> tuple[int, int]:
        """Return requests and errors since then."""
        return follower.requests - self.requests, follower.errors - self.errors


class Observation:
    """One rollout as this hub sees it. Times are monotonic.

    `began_ms` is when this hub began to look at the stage, `settled_ms` since when enough have acknowledged.
    """

    __slots__ = ("began_ms", "evidence", "exposed", "others", "settled_ms", "stage")

    def __init__(self) -> None:
        self.stage: tuple[int, int] | None = None
        self.began_ms = 0.0
        self.settled_ms: float | None = None
        self.exposed: dict[Follower, _Mark] = {}
        self.others: dict[Follower, _Mark] = {}
        self.evidence = Evidence()

    def enter(self, rollout: Rollout, now_ms: float) -> None:
        """Begin to look at a stage, unless that is what it does already."""
        stage = (rollout.stage, rollout.since_ms)
        if self.stage != stage:
            self.stage, self.began_ms, self.settled_ms = stage, now_ms, None
            # Errors are compared within one stage, from its start on: what both had before it says nothing.
            self.others.clear()
            for follower, mark in self.exposed.items():
                mark.begin(follower)

    def note(self, rollout: Rollout, evidence: Evidence, now_ms: float) -> None:
        """Take what was seen now."""
        self.evidence = evidence
        if not is_acknowledged(rollout.gates, evidence):
            self.settled_ms = None
        elif self.settled_ms is None:
            self.settled_ms = now_ms


class Observing:
    """Looks at everyone whom a rollout concerns.

    Args:
        book: who follows what.
        exposing: what rollouts have some try out.
        in_force: the values.
        instances: how registered instances are.
        clock: monotonic time.
    """

    def __init__(
        self, book: FollowerBook, exposing: Exposing, in_force: InForce, instances: Instances, clock: Clock
    ) -> None:
        self._book = book
        self._exposing = exposing
        self._in_force = in_force
        self._instances = instances
        self._clock = clock

    async def targets(self, domain: DomainId, rollout: Rollout) -> dict[str, list[int]]:
        """Return the buckets of the instances that a rollout concerns, by stratum."""
        found: dict[str, list[int]] = {}
        async for follower, tier in self._concerned(domain, rollout):
            place = bucket(rollout.id, instance_target(follower.domain, follower.service, follower.instance))
            found.setdefault(instance_stratum(tier, follower.service), []).append(place)
        return found

    async def evidence(self, domain: DomainId, rollout: Rollout, observation: Observation) -> Evidence:
        """Return what there is to see of a rollout now."""
        now_ms = self._clock.monotonic_ms()
        seen = _Sums()
        there: set[Follower] = set()
        async for follower, tier in self._concerned(domain, rollout):
            there.add(follower)
            kind = instance_stratum(tier, follower.service)
            unwell = self._is_unwell(follower, now_ms)
            if is_exposed(rollout, follower.domain, tier, follower.service, follower.instance):
                observation.others.pop(follower, None)
                mark = observation.exposed.get(follower)
                if mark is None:
                    mark = observation.exposed[follower] = _Mark(follower, now_ms, unwell=unwell)
                expected = self._in_force.at(
                    follower.domain, tier, follower.service, follower.environment, follower.instance
                ).etag
                seen.add_exposed(follower, mark, expected, kind, unwell=unwell)
            else:
                mark = observation.others.get(follower)
                if mark is None:
                    mark = observation.others[follower] = _Mark(follower, now_ms, unwell=unwell)
                seen.add_other(follower, mark, kind, unwell=unwell)
        for follower in [each for each in observation.exposed if each not in there]:
            # It is not registered any more: an instance that left as it should was taken out of the book.
            if follower in self._book.of(follower.domain):
                seen.add_vanished(follower)
            else:
                del observation.exposed[follower]
        for follower in [each for each in observation.others if each not in there]:
            if follower in self._book.of(follower.domain):
                seen.add_other_vanished()
            else:
                del observation.others[follower]
        return seen.evidence()

    def is_looked_at(self, follower: Follower) -> bool:
        """Say whether a rollout that goes on concerns a follower."""
        for domain in dict.fromkeys((PLATFORM, follower.domain)):
            for rollout in self._exposing.going_on(domain):
                if self._is_concerned(self._exposing.effective_with([rollout]), follower) is not None:
                    return True
        return False

    async def _concerned(self, domain: DomainId, rollout: Rollout) -> AsyncIterator[tuple[Follower, str]]:
        """Yield the instances whose value a rollout makes another one, with their tier."""
        tried = self._exposing.effective_with([rollout])
        known: dict[tuple[DomainId, str, str, str], str | None] = {}
        every: Iterable[Follower] = self._book.everywhere() if domain == PLATFORM else list(self._book.of(domain))
        for at, follower in enumerate(every):
            if at % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            asked = (follower.domain, follower.service, follower.environment, follower.tier)
            if asked not in known:  # instances of one service are alike in this
                known[asked] = self._is_concerned(tried, follower)
            tier = known[asked]
            if tier is None:
                continue
            owner = self._instances.owner(follower.domain, follower.service, follower.instance)
            if owner is not None:
                yield follower, tier

    def _is_concerned(self, tried: Effective, follower: Follower) -> str | None:
        """Return the tier of a follower whose value a rollout makes another one, None for others."""
        effective = self._in_force.effective
        tier = effective.tier_of(follower.domain) or follower.tier
        try:
            now = effective.at(follower.domain, tier, follower.service, follower.environment)
            then = tried.at(follower.domain, tier, follower.service, follower.environment)
        except HubError:  # the tier is gone; whoever is at it is cut elsewhere
            return None
        return tier if then.etag != now.etag else None

    def _is_unwell(self, follower: Follower, now_ms: float) -> bool:
        return not follower.is_there(now_ms) or self._instances.is_unhealthy(
            follower.domain, follower.service, follower.instance
        )


class _Requests:
    """Requests and errors of one kind: of the exposed, of the others, and of the exposed before, second by second."""

    __slots__ = ("before", "exposed", "others")

    def __init__(self) -> None:
        self.exposed: tuple[int, int] = (0, 0)
        self.others: tuple[int, int] = (0, 0)
        self.before: dict[int, tuple[int, int]] = {}

    def rates(self, kind: str) -> Rates:
        """Return the rate of the exposed, and what it is compared with."""
        other, name = self.others, "others"
        if other[0] < COMPARED_MIN and self.before:
            other, name = self._worst_before(), "before"
        return Rates(
            kind=kind,
            requests=self.exposed[0],
            errors=self.exposed[1],
            compared_with=name if other[0] else "",
            compared_requests=other[0],
            compared_errors=other[1],
        )

    def add_before(self, before: Iterable[tuple[int, int, int]]) -> None:
        """Add what the reports of an instance said before it was exposed."""
        for second, requests, errors in before:
            self.before[second] = _plus(self.before.get(second, (0, 0)), (requests, errors))

    def _worst_before(self) -> tuple[int, int]:
        """Return all of the time before, or the second of it in which most requests failed.

        Errors come in bursts. With others to compare with these are hit by the same; with the time before, what is
        seen now has to be worse than the worst of it.
        """
        whole = (0, 0)
        for second in self.before.values():
            whole = _plus(whole, second)
        telling = [second for second in self.before.values() if second[0] >= COMPARED_MIN]
        return max([whole, *telling], key=lambda each: bounds(each[1], each[0])[1] if each[0] else 0.0)


class _Sums:
    """What one look adds up."""

    def __init__(self) -> None:
        self._exposed = self._acknowledged = self._refused = self._failing = 0
        self._others = self._others_failing = 0
        self._kinds: dict[str, _Requests] = {}
        self._suspects: list[Suspect] = []

    def add_exposed(self, follower: Follower, mark: _Mark, expected: str, kind: str, *, unwell: bool) -> None:
        """Add an instance that has the new value, or should."""
        self._exposed += 1
        if follower.etag == expected:
            self._refused += follower.refused
            self._acknowledged += not follower.refused
            if follower.refused:
                self._suspect(follower, follower.reason)
        if unwell and not mark.unwell:
            self._failing += 1
            self._suspect(follower, "unhealthy, or not there any more")
        requests = self._kinds.setdefault(kind, _Requests())
        requests.exposed = _plus(requests.exposed, mark.since(follower))
        requests.add_before(mark.before)

    def add_other(self, follower: Follower, mark: _Mark, kind: str, *, unwell: bool) -> None:
        """Add an instance that has the old value."""
        self._others += 1
        self._others_failing += unwell and not mark.unwell
        requests = self._kinds.setdefault(kind, _Requests())
        requests.others = _plus(requests.others, mark.since(follower))

    def add_vanished(self, follower: Follower) -> None:
        """Add an instance that had the new value and is not even registered any more."""
        self._exposed += 1
        self._failing += 1
        self._suspect(follower, "gone without having left")

    def add_other_vanished(self) -> None:
        """Add an instance that had the old value and is not even registered any more."""
        self._others += 1
        self._others_failing += 1

    def evidence(self) -> Evidence:
        """Return the sums, and with whom the exposed are compared."""
        together = _Requests()
        for each in self._kinds.values():
            together.exposed = _plus(together.exposed, each.exposed)
            together.others = _plus(together.others, each.others)
            together.add_before((second, *counts) for second, counts in each.before.items())
        rates = together.rates("")
        kinds = [each.rates(kind) for kind, each in self._kinds.items()] if len(self._kinds) > 1 else []
        kinds.sort(key=lambda each: -each.errors)
        return Evidence(
            population=self._exposed + self._others,
            exposed=self._exposed,
            acknowledged=self._acknowledged,
            refused=self._refused,
            failing=self._failing,
            requests=rates.requests,
            errors=rates.errors,
            others=self._others,
            others_failing=self._others_failing,
            compared_with=rates.compared_with,
            compared_requests=rates.compared_requests,
            compared_errors=rates.compared_errors,
            kinds=tuple(kinds[:KINDS_KEPT_MAX]),
            suspects=tuple(self._suspects),
        )

    def _suspect(self, follower: Follower, reason: str) -> None:
        if len(self._suspects) < SUSPECTS_SHOWN_MAX:
            self._suspects.append(
                Suspect(
                    tenant_id=follower.domain,
                    service_name=follower.service,
                    instance_id=follower.instance,
                    reason=reason,
                )
            )


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
