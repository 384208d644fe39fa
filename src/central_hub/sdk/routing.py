"""What a client asks about models: which instance serves a request best, and how it went.

A call that is `routed` is told to the hub when it ends, with its latency and size, once a second with all others: that
is what the hub's predictions stand on.
"""

from __future__ import annotations

import random
import time
from bisect import bisect
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from itertools import accumulate
from typing import Any, Final, Self

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.calling import Caller, Outcome
from central_hub.sdk.link import HubLink
from central_hub.sdk.model import Endpoint
from central_hub.sdk.protocol import instance_path, read

Json = dict[str, Any]  # Any: a JSON document

FIRST_NAMES: Final = {"model_type": "task", "latency_requirement": "latency_ms"}
"""What the first users call requirements, beside `accuracy_requirement`."""
ACCURACY: Final = "accuracy_requirement"
ASKED_BESIDE: Final = frozenset({"service", "services", "prefer", "size_hint", "key", "work", "avoid", "limit"})
"""Members of a request that are no requirements."""


class RoutedOutcome(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """How a routed call went, as it is reported to the hub."""

    decision_id: str
    ok: bool
    latency_ms: float
    error: str = ""
    tokens: dict[str, float] | None = None


class RoutedCall:
    """A call to the instance that was chosen: leave it with an exception and it failed.

    `answer` is the hub's, `endpoint` where to send the request. Say `weighed(input, output)` what the request turned
    out to be, in the unit that is usual for its task.
    """

    def __init__(self, answer: Json, caller: Caller) -> None:
        self.answer = answer
        self.endpoint: str = answer["endpoint"]
        self.decision_id: str = answer["decision_id"]
        self._caller = caller
        self._tokens: dict[str, float] | None = None
        self._began_s = time.monotonic()

    def weighed(self, input: float = 0.0, output: float = 0.0) -> None:  # noqa: A002  # the wire's word
        """Say what the request turned out to be."""
        self._tokens = {"input": input, "output": output}

    async def __aenter__(self) -> Self:
        self._began_s = time.monotonic()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        latency_ms = (time.monotonic() - self._began_s) * 1_000
        self._caller.outcomes.append(
            RoutedOutcome(self.decision_id, kind is None, latency_ms, kind.__name__ if kind else "", self._tokens)
        )


class RouteLease:
    """Instances with their shares, to choose among without asking; renewed by `RoutingCalls.route_lease`.

    `pick` draws two by their shares and takes the one with less in flight for its share. Past its time a lease goes on
    to choose among what it has: that is what is known while the hub is away.
    """

    def __init__(self, answer: Json, caller: Caller) -> None:
        self.answer = answer
        self.until_s = time.monotonic() + float(answer["ttl_s"])
        self._endpoints: list[Json] = answer["endpoints"]
        self._sums = list(accumulate(float(one["weight"]) for one in self._endpoints))
        self._in_flight = [0] * len(self._endpoints)
        self._caller = caller

    @property
    def expired(self) -> bool:
        """Whether it is time to ask again."""
        return time.monotonic() >= self.until_s

    def pick(self) -> Json:
        """Return an instance: `{service_name, instance_id, endpoint, offering, model, weight}`."""
        return self._endpoints[self._place()]

    @asynccontextmanager
    async def call(self) -> AsyncGenerator[Json]:
        """Choose an instance for one call, which is counted and told of; left with an exception it failed."""
        at = self._place()
        self._in_flight[at] += 1
        began_s, failed = time.monotonic(), "failed"
        try:
            yield self._endpoints[at]
            failed = ""
        finally:
            self._in_flight[at] -= 1
            latency_ms = (time.monotonic() - began_s) * 1_000
            self._caller.outcomes.append(Outcome(self._endpoints[at]["instance_id"], not failed, latency_ms, failed))

    def _place(self) -> int:
        one, other = self._drawn(), self._drawn()
        if one == other:
            return one
        loads = [(1 + self._in_flight[at]) / max(self._endpoints[at]["weight"], 1e-6) for at in (one, other)]
        return one if loads[0] <= loads[1] else other

    def _drawn(self) -> int:
        drawn = random.random() * self._sums[-1]  # noqa: S311  # who is asked is no secret
        return min(bisect(self._sums, drawn), len(self._sums) - 1)


class RoutingCalls:
    """The part of `HubClient` that is about models."""

    _link: HubLink
    _caller: Caller
    _has_routed = False
    """Whether outcomes are told although no service is followed."""

    async def declare_offerings(
        self, service: str, instance_id: str, offerings: Iterable[Mapping[str, object]]
    ) -> Json:
        """Declare all that an instance offers, in place of what it offered.

        Args:
            service, instance_id: a registered instance of this key's.
            offerings: each with `id`, `model`, `task`, and what else is known of it.

        Returns:
            `{service_name, instance_id, offerings, seq}`.

        Raises:
            HubError: `invalid_offering`, `instance_not_found`, `not_owner`, …
        """
        path = f"{instance_path(service, instance_id)}/offerings"
        body = {"offerings": [dict(one) for one in offerings]}
        answer: Json = read(await self._link.send_until(self._link.protocol.command("PUT", path, body)))
        return answer

    async def route(
        self, require: Mapping[str, object] | None = None, *, reserve: bool = False, **asked: object
    ) -> Json:
        """Ask which instance would serve a request best.

        Args:
            require: what has to hold: `task`, `model`, `latency_ms`, `quality`, `data_size`, `region`, …
            reserve: whether the instance is to expect the request; then its outcome is to be told (see `routed`).
            asked: `service`, `strategy`, `prefer`, `size_hint`, `key`, `avoid`, `retry_of`, …

        Returns:
            `{decision_id, endpoint, instance_id, ranked, confidence, …}`.

        Raises:
            HubError: `no_candidate` (409) with `fields["relaxations"]`; `hub_unreachable` when the hub is away.
        """
        path = "/routing/reserve" if reserve else "/routing/decide"
        body = {"require": dict(require or {}), **{name: value for name, value in asked.items() if value is not None}}
        answer: Json = read(await self._link.send_until(self._link.protocol.command("POST", path, body)))
        return answer

    async def routed(self, require: Mapping[str, object] | None = None, **asked: object) -> RoutedCall:
        """Reserve the best instance for one call, whose outcome is told when it ends.

            async with await hub.routed({"task": "chat"}, size_hint={"input": 900}) as call:
                response = await session.post(call.endpoint + "/v1/chat", json=question)
                call.weighed(input=900, output=120)

        Raises:
            HubError: as `route`.
        """
        self._has_routed = True
        return RoutedCall(await self.route(require, reserve=True, **asked), self._caller)

    async def ai_aware_route(
        self,
        request: Mapping[str, object],
        available_services: Iterable[str] | None = None,
        routing_strategy: str = "performance_optimized",
        *,
        reserve: bool = False,
    ) -> Json:
        """Ask which instance would serve a request best, in the words of the first users.

        Args:
            request: `model_type`, `data_size`, `latency_requirement` ("< 100ms"), `accuracy_requirement` ("> 95%"), and
                whatever `route` knows.
            available_services: only these; None for all that the caller sees.
            routing_strategy: performance_optimized, cost_optimized, accuracy_optimized, balanced, least_loaded or
                sticky.
            reserve: as in `route`.

        Returns:
            As `route`. While the hub is away and exactly one service is named, an instance of it from the local view,
            with `basis` "local_view" and no prediction.

        Raises:
            HubError: as `route`.
        """
        asked: dict[str, object] = {name: value for name, value in request.items() if name in ASKED_BESIDE}
        require: dict[str, object] = {
            FIRST_NAMES.get(name, name): value
            for name, value in request.items()
            if name not in ASKED_BESIDE and name != ACCURACY
        }
        if ACCURACY in request:
            require["quality"] = {"accuracy": request[ACCURACY]}
        if available_services is not None:
            asked["services"] = list(available_services)
        try:
            return await self.route(require, reserve=reserve, strategy=routing_strategy, **asked)
        except HubError as error:
            named = [asked["service"]] if "service" in asked else asked.get("services")
            if error.kind is not Kind.UNAVAILABLE or not isinstance(named, list) or len(named) != 1:  # pyright: ignore[reportUnknownArgumentType]  # its length is all that is asked
                raise
            return self._routed_locally(str(named[0]), routing_strategy)  # pyright: ignore[reportUnknownArgumentType]  # a name

    async def route_lease(
        self, require: Mapping[str, object] | None = None, *, count: int = 8, ttl_s: float = 30.0, **asked: object
    ) -> RouteLease:
        """Ask for the best instances with their shares, to choose among without asking for every request.

        Args:
            require, asked: as in `route`.
            count: how many instances at most, 1 to 32.
            ttl_s: after how long to ask again, 1 to 300.

        Raises:
            HubError: as `route`.
        """
        given = {name: value for name, value in asked.items() if value is not None}
        body = {"require": dict(require or {}), "count": count, "ttl_s": ttl_s, **given}
        self._has_routed = True
        command = self._link.protocol.command("POST", "/routing/lease", body)
        return RouteLease(read(await self._link.send_until(command)), self._caller)

    async def simulate_routes(
        self, require: Mapping[str, object] | None = None, *, count: int = 100, every_ms: float = 10.0, **asked: object
    ) -> Json:
        """Ask where many requests would go and how long they would take, by each of `strategies`; nothing is held.

        Args:
            require, asked: as in `route`; `strategies` names several.
            count: how many requests, 1 to 500 for all strategies together.
            every_ms: from one to the next.

        Raises:
            HubError: as `route`, and `too_many_candidates`.
        """
        given = {name: value for name, value in asked.items() if value is not None}
        body = {"require": dict(require or {}), "count": count, "every_ms": every_ms, **given}
        answer: Json = read(await self._link.send_until(self._link.protocol.command("POST", "/routing/simulate", body)))
        return answer

    async def explain_route(self, decision_id: str) -> Json:
        """Return why a decision was as it was: every candidate with the parts of its score, and who was left out."""
        answer: Json = read(await self._link.send(self._link.protocol.get(f"/routing/decisions/{decision_id}")))
        return answer

    async def offerings(self, **query: object) -> Json:
        """Return a page of the models that this client may be routed to: `{offerings, next_cursor}`."""
        answer: Json = read(await self._link.send(self._link.protocol.get("/routing/offerings", query)))
        return answer

    def resolve(self, name: str) -> Endpoint:
        """Choose an instance from the local view; `HubClient` does."""
        raise NotImplementedError

    def _routed_locally(self, service: str, strategy: str) -> Json:
        endpoint = self.resolve(service)
        return {
            "decision_id": "", "service_name": service, "instance_id": endpoint.instance_id, "endpoint": endpoint.url,
            "strategy": strategy, "confidence": 0.0, "basis": "local_view", "ranked": [], "reserved": False,
        }  # fmt: skip
