"""Which instance follows which value, and what it last said of it: signals, kept in memory and told again when lost.

An instance is known here once it opens a stream that names it, or reports. What it says is only believed of whoever
registered it. After a restart of the hub instances connect and report again; nothing is concluded before they can.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.registry.model import SCOPE_ADMIN
from central_hub.rollouts.ports import Instances
from central_hub.rollouts.schemas import Report

FOLLOWERS_PER_TENANT_MAX: Final = 10_000
REPORTS_KEPT_MAX: Final = 32
RECENT_MS: Final = 60_000.0
"""How far back the time before a change goes."""
REPORT_FRESH_MS: Final = 30_000.0
"""An instance without a stream is there for this long after a report."""
LOST_AFTER_MS: Final = 2_500.0
"""A stream that broke is opened again sooner than this, if whoever had it is still there."""

Key = tuple[str, str, str]
"""A service, an environment, an instance."""


class Follower:
    """One instance that follows one value of one tenant. Times are monotonic but `since_ms`, which is wall time."""

    __slots__ = (
        "__weakref__",
        "domain",
        "environment",
        "errors",
        "etag",
        "here",
        "instance",
        "principal",
        "reason",
        "recent",
        "refused",
        "reported_ms",
        "requests",
        "service",
        "since_ms",
        "streamless_ms",
        "streams",
        "tier",
    )

    def __init__(self, domain: DomainId, key: Key, principal: str, now_ms: float) -> None:
        self.domain = domain
        self.service, self.environment, self.instance = key
        self.principal = principal
        self.here = True
        """Whether it is connected to this hub, or was last: not where another hub tells of it."""
        self.tier = ""
        """Claimed; only that of a tenant without a record counts."""
        self.etag = ""
        self.refused = False
        self.reason = ""
        self.since_ms = 0
        self.streams = 0
        self.streamless_ms = now_ms
        self.reported_ms = -math.inf
        self.requests = 0
        self.errors = 0
        self.recent: deque[tuple[float, int, int]] = deque(maxlen=REPORTS_KEPT_MAX)

    @property
    def key(self) -> Key:
        """What it is kept under in its domain."""
        return self.service, self.environment, self.instance

    def is_there(self, now_ms: float) -> bool:
        """Say whether it has a stream, or had a moment ago, or reports."""
        return (
            self.streams > 0
            or now_ms - self.streamless_ms < LOST_AFTER_MS
            or (now_ms - self.reported_ms < REPORT_FRESH_MS and self.reported_ms > self.streamless_ms)
        )

    def before(self, now_ms: float) -> tuple[tuple[int, int, int], ...]:
        """Return what the reports of the last minute said: the second of each, its requests, its errors."""
        return tuple(
            (int(at_ms / 1_000), requests, errors)
            for at_ms, requests, errors in self.recent
            if now_ms - at_ms <= RECENT_MS
        )


class ToldFollower(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one hub tells the others of an instance that is connected to it; requests and errors since it last did."""

    domain: str
    key: Key
    principal: str
    tier: str
    etag: str
    refused: bool
    reason: str
    since_ms: int
    requests: int
    errors: int


_NONE: Final[Mapping[Key, Follower]] = {}


class FollowerBook:
    """Implements configuration's `Followers`, and takes reports.

    Args:
        instances: who registered what.
        clock: wall and monotonic time.
    """

    def __init__(self, instances: Instances, clock: Clock) -> None:
        self._instances = instances
        self._clock = clock
        self._followers: dict[DomainId, dict[Key, Follower]] = {}
        self._environments: dict[DomainId, dict[tuple[str, str], set[str]]] = {}
        self.reports = 0
        self.refusals = 0

    def of(self, domain: DomainId) -> Collection[Follower]:
        """Return the followers of one tenant's values."""
        return self._followers.get(domain, _NONE).values()

    def everywhere(self) -> Iterator[Follower]:
        """Iterate over all of them, for a rollout of the platform's."""
        for followers in list(self._followers.values()):
            yield from list(followers.values())

    def __len__(self) -> int:
        return sum(map(len, self._followers.values()))

    def opened(self, ctx: TenantContext, service: str, environment: str, instance: str) -> None:
        """Take note that an instance follows a value by a stream; somebody else's instance is only a reader."""
        owner = self._instances.owner(ctx.domain, service, instance) if service else ""
        if owner == "" or (owner is not None and not _may_speak(ctx, owner)):
            return
        follower = self._take(ctx, (service, environment, instance))
        if follower is not None:
            follower.streams += 1

    def closed(self, domain: DomainId, service: str, environment: str, instance: str) -> None:
        """Take note that one stream of it has ended."""
        follower = self._followers.get(domain, _NONE).get((service, environment, instance))
        if follower is None or not follower.streams:
            return
        follower.streams -= 1
        if not follower.streams:
            follower.streamless_ms = self._clock.monotonic_ms()

    def report(self, ctx: TenantContext, service: str, instance: str, said: Report) -> Follower:
        """Take what an instance says about the value it runs, and how its requests went.

        Raises:
            HubError: `instance_not_found` (404), `not_owner` (403), `too_many_followers` (429).
        """
        owner = self._instances.owner(ctx.domain, service, instance)
        if owner is None:
            raise HubError(
                "instance_not_found",
                Kind.NOT_FOUND,
                f"There is no instance '{instance}' of '{service}': it never registered, left, or its lease ended.",
                next_step="Register it again.",
            )
        if not _may_speak(ctx, owner):
            raise HubError(
                "not_owner",
                Kind.DENIED,
                f"The instance '{instance}' of '{service}' was registered by somebody else.",
                next_step="Use the credential that registered it, or one with the scope registry:admin.",
            )
        follower = self._take(ctx, (service, said.environment or "", instance))
        if follower is None:
            raise HubError(
                "too_many_followers",
                Kind.LIMIT,
                f"{FOLLOWERS_PER_TENANT_MAX} instances follow values of this tenant, which is the limit.",
                next_step="Let fewer instances report.",
                retry_after_s=60,
            )
        self._note(follower, said)
        return follower

    def near(self) -> Iterator[Follower]:
        """Iterate over those that are there by this hub's own knowledge, to tell other hubs of them."""
        now_ms = self._clock.monotonic_ms()
        return (one for one in self.everywhere() if one.here and one.is_there(now_ms))

    def heard(self, domain: DomainId, key: Key, told: ToldFollower) -> None:
        """Take what another hub tells of an instance that is connected there; one that is connected here is known."""
        follower = self._kept(domain, key, told.principal)
        if follower is None or follower.streams:
            return
        now_ms = self._clock.monotonic_ms()
        follower.here = False
        follower.principal, follower.tier = told.principal, told.tier
        follower.streamless_ms = now_ms
        if told.etag:
            follower.etag, follower.refused, follower.reason = told.etag, told.refused, told.reason
            follower.since_ms = told.since_ms
        if told.requests:
            follower.requests += told.requests
            follower.errors += told.errors
            follower.recent.append((now_ms, told.requests, told.errors))

    def forget(self, domain: DomainId, service: str, instance: str) -> None:
        """Let go of an instance that left as it should: nobody is to miss it."""
        for own in list(self._followers) if domain == SHARED else [domain]:
            for environment in tuple(self._environments.get(own, {}).get((service, instance), ())):
                self._drop(own, (service, environment, instance))

    def sweep(self) -> None:
        """Let go of whoever is neither there nor registered."""
        now_ms = self._clock.monotonic_ms()
        for domain, followers in list(self._followers.items()):
            for key, follower in list(followers.items()):
                gone = not follower.is_there(now_ms)
                if gone and self._instances.owner(domain, follower.service, follower.instance) is None:
                    self._drop(domain, key)

    def _take(self, ctx: TenantContext, key: Key) -> Follower | None:
        follower = self._kept(ctx.domain, key, ctx.principal.id)
        if follower is not None:
            follower.here = True
            follower.principal, follower.tier = ctx.principal.id, ctx.tier
        return follower

    def _kept(self, domain: DomainId, key: Key, principal: str) -> Follower | None:
        """Return the follower of a value, a new one where there is none and room for it."""
        followers = self._followers.setdefault(domain, {})
        follower = followers.get(key)
        if follower is None:
            if len(followers) >= FOLLOWERS_PER_TENANT_MAX:
                return None
            follower = followers[key] = Follower(domain, key, principal, self._clock.monotonic_ms())
            named = self._environments.setdefault(domain, {})
            named.setdefault((key[0], key[2]), set()).add(key[1])
        return follower

    def _drop(self, domain: DomainId, key: Key) -> None:
        followers, named = self._followers[domain], self._environments[domain]
        service, environment, instance = key
        del followers[key]
        named[(service, instance)].discard(environment)
        if not named[(service, instance)]:
            del named[(service, instance)]
        if not followers:
            del self._followers[domain], self._environments[domain]

    def _note(self, follower: Follower, said: Report) -> None:
        now_ms = self._clock.monotonic_ms()
        self.reports += 1
        refused = said.state == "refused"
        if said.etag and (said.etag, refused) != (follower.etag, follower.refused):
            follower.since_ms = self._clock.now_ms()
            self.refusals += refused
        if said.etag:
            follower.etag, follower.refused, follower.reason = said.etag, refused, said.reason
        follower.reported_ms = now_ms
        if said.ok or said.errors:
            follower.requests += said.ok + said.errors
            follower.errors += said.errors
            follower.recent.append((now_ms, said.ok + said.errors, said.errors))


def _may_speak(ctx: TenantContext, owner: str) -> bool:
    return owner == ctx.principal.id or ctx.principal.holds(SCOPE_ADMIN)
