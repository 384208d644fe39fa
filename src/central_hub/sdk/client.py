"""The client of a hub: find services, call them directly, register and drain instances."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

from central_hub.breakers.model import State
from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.call_reporting import CallReporter, report_outcomes
from central_hub.sdk.call_windows import CallWindows
from central_hub.sdk.calling import Caller, no_instance
from central_hub.sdk.circuits import Circuit, CircuitChange, Circuits, CircuitState
from central_hub.sdk.configuration_calls import ConfigurationCalls
from central_hub.sdk.context import RequestContext, current_context, request_context
from central_hub.sdk.event_calls import EventCalls
from central_hub.sdk.events import UNKNOWN_SOURCE
from central_hub.sdk.following import Follower
from central_hub.sdk.link import ATTEMPTS_MAX, HubLink
from central_hub.sdk.model import DEFAULT_URL, Endpoint, ServiceState
from central_hub.sdk.protocol import HubProtocol, instance_path, read, segment
from central_hub.sdk.routing import RoutingCalls
from central_hub.sdk.secret_values import SecretValues
from central_hub.sdk.store import ViewStore, default_directory, who

READY_S: Final = 5.0

T = TypeVar("T")
Json = dict[str, Any]  # Any: a JSON document


class HubClient(ConfigurationCalls, EventCalls, RoutingCalls):
    """A client of one hub, for one tenant or a platform credential.

    Opening it neither waits for the hub nor fails without it: the view of the last run is loaded
    from disk, and a single watch stream brings it up to date whenever the hub is there.

    Args:
        base_url: the hub, default `HUB_URL` or `http://127.0.0.1:7000`; several that share a store with commas.
        api_key: default `HUB_API_KEY`; goes to the hub only, never to a service.
        tenant_id: tenant to act for; None for the key's own.
        tier: claimed tier; the hub's record decides.
        user_id: user to act for.
        service_name: name of this process in the dependency graph.
        zone: instances of this zone are preferred.
        cache_dir: where the view is kept, default `HUB_CACHE_DIR` or the user's cache directory;
            "" keeps it in memory only.
        watch: services to follow from the start, `*` for all; others are followed from their first use.
        report_calls: publish what `request` saw (windows, failures, breakers) as events; needs a `service_name`.

    Raises:
        HubError: `invalid_hub_url`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        tenant_id: str | None = None,
        tier: str | None = None,
        user_id: str | None = None,
        service_name: str = "",
        zone: str = "",
        cache_dir: str | Path | None = None,
        watch: Collection[str] = (),
        report_calls: bool = True,
    ) -> None:
        url = base_url or os.environ.get("HUB_URL") or DEFAULT_URL
        key = api_key or os.environ.get("HUB_API_KEY") or None
        self._protocol = HubProtocol(
            url, key, tenant_id=tenant_id, tier=tier, user_id=user_id, service_name=service_name, mint=_mint,
            first=random.randrange(1 << 16),  # noqa: S311  # so that clients spread over several hubs
        )  # fmt: skip
        directory = os.environ.get("HUB_CACHE_DIR", str(default_directory())) if cache_dir is None else str(cache_dir)
        self.cache_dir = Path(directory) if directory else None
        store = None if self.cache_dir is None else ViewStore(self.cache_dir, who(url, key, tenant_id, tier))
        self._link = HubLink(self._protocol)
        kept = None if self.cache_dir is None else self.cache_dir / f"config-{who(url, key, tenant_id, tier)}.json"
        super().__init__(self._link, kept)
        EventCalls.__init__(self, self._link, f"/services/{service_name}" if service_name else UNKNOWN_SOURCE)
        self._secrets = SecretValues(self._link, tenant_id)
        self._follower = Follower(self._link, store, zone=zone, names=watch)
        self._windows = CallWindows(service_name if report_calls else "", _mint)
        self._calls = CallReporter(self._link, self._windows, f"/services/{service_name}")
        self._circuits = Circuits(self._link, tenant_id or "", told=self._windows.changed)
        self._follower.on_verdict = self._circuits.sharing.told
        self._caller = Caller(
            self._follower, self._circuits, self._windows,
            tenant_id=tenant_id, user_id=user_id, tier=tier, service_name=service_name,
        )  # fmt: skip
        self._tenant_id = tenant_id
        self._pools = self._follower.pools
        self._reporters: tuple[asyncio.Task[None], ...] = ()
        self.request = self._caller.request

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Load the view from disk and begin to follow the hub; returns at once."""
        if self._reporters:
            return
        await self._link.open()
        self._circuits.open()
        await self._caller.open()
        await self._follower.open()
        outcomes = report_outcomes(self._link, self._caller.outcomes, lambda: self.connected or self._has_routed)
        self._reporters = (asyncio.create_task(outcomes), asyncio.create_task(self._calls.run()))

    async def close(self) -> None:
        """Stop following, save the view and close every connection."""
        for reporter in self._reporters:
            reporter.cancel()
        await asyncio.gather(*self._reporters, return_exceptions=True)
        if self._reporters:
            await self._calls.last_word()
        self._reporters = ()
        await self._circuits.close()
        await self._close_configurations()
        await self._follower.close()
        await self._caller.close()
        await self._link.close()

    @property
    def base_url(self) -> str:
        """The hub's address; of several, of the one that is asked now."""
        return self._protocol.base_url

    @property
    def connected(self) -> bool:
        """Whether the watch stream is live."""
        return self._follower.connected

    @property
    def view_age_s(self) -> float | None:
        """Seconds since the hub last confirmed the view: 0 while connected, None when it never did."""
        return self._follower.age_s

    @property
    def last_refusal(self) -> HubError | None:
        """Why the stream is not there; None while it is."""
        return self._follower.last_refusal

    @property
    def position(self) -> str:
        """Where the view stands in the hub's log (opaque); empty before the first synchronisation."""
        return self._follower.view.position

    @property
    def stats(self) -> dict[str, int]:
        """Counters of `request` (calls, retries, failures, refused by breakers, fallbacks), of trips and streams.

        `moves` is how often another one of several hubs was turned to.
        """
        caller = self._caller
        return {
            "calls": caller.calls,
            "retries": caller.retries,
            "failures": caller.failures,
            "refused": self._circuits.refused,
            "fallbacks": caller.fallbacks,
            "trips": self._circuits.trips,
            "streams": self._follower.reconnects,
            "moves": self._link.moves,
        }

    def view(self) -> dict[str, ServiceState]:
        """Return the local view: state by service name."""
        return dict(self._follower.view.services)

    def follows(self, name: str) -> bool:
        """Say whether the local view knows about a service, be it that there is none."""
        return name in self._follower.view.services

    def resolve(self, name: str, avoid: Collection[str] = ()) -> Endpoint:
        """Choose an instance of a service from the local view, without I/O.

        Power of two choices over this process's calls in flight and what instances report, the
        client's zone first, slow start for new instances.

        Args:
            name: the service; its first use makes the client follow it (see `ready`).
            avoid: instance ids not to choose while there are others.

        Raises:
            HubError: `service_not_in_view` (404), `no_instance` (503).
        """
        pool = self._pools.get(name)
        if pool is not None and not avoid:
            target = pool.pick()
            if target is not None:
                return target.endpoint
        return self._resolve_slowly(name, avoid)

    def get_load_balanced_endpoint(self, name: str) -> Json:
        """Choose an instance like `resolve`.

        Returns:
            `{"host", "port", "load"}`; load from 0 to 1 as the instance last reported it, None if it never did.
        """
        endpoint = self.resolve(name)
        report = self._follower.view.loads.get(name, {}).get(endpoint.instance_id)
        return {"host": endpoint.host, "port": endpoint.port, "load": None if report is None else report.load}

    def get_circuit_state(self, name: str, route_class: str | None = None) -> CircuitState:
        """Return "CLOSED", "OPEN" or "HALF_OPEN": what a call to the service would meet now, for whom this task acts.

        Args:
            name: the service.
            route_class: None for the worst of its classes.
        """
        return self._circuits.state(name, self._acting(), route_class)

    def circuit_states(self) -> list[Circuit]:
        """Return the breakers of the tenant this task acts for, by service and route class, with their evidence."""
        return self._circuits.circuits(self._acting())

    async def circuit_changes(self) -> AsyncIterator[CircuitChange]:
        """Yield every breaker of this process that opens, is tried again or closes, whichever tenant's it is."""
        async for change in self._circuits.changes():
            yield change

    def tune_circuit(self, name: str, route_class: str | None = None, **policy: Any) -> None:
        """Say what a service's breakers are strict about, above what the tenant's plan says.

        Args:
            name: the service.
            route_class: None for all its classes.
            policy: members of a breaker policy, as `slow_call_s=0.5`; none goes back to the plan's.

        Raises:
            HubError: `invalid_breaker_policy`, `limit_reached`.
        """
        self._circuits.tune(name, route_class, policy)

    def force_circuit(self, name: str, state: str, route_class: str = "") -> None:
        """Bring a breaker into a state: "FORCED_OPEN", "DISABLED", "METRICS_ONLY", "OPEN", "HALF_OPEN", "CLOSED".

        Raises:
            HubError: `illegal_transition`.
            ValueError: no such state.
        """
        self._circuits.force(name, State(state), route_class, self._acting())

    async def ready(self, *names: str, timeout: float = READY_S) -> bool:  # noqa: ASYNC109  # its own bound, not a cancel scope
        """Follow services and wait until each has an instance to call; says whether they have."""
        until_s = time.monotonic() + timeout
        for name in names:
            while not self._has_instance(name):
                with contextlib.suppress(HubError):
                    await self._follower.fetch(name)
                left_s = until_s - time.monotonic()
                if self._has_instance(name):
                    break
                if left_s <= 0:
                    return False
                await self._follower.changed(name, min(left_s, 0.25))
        return True

    async def watch(self, *names: str) -> AsyncIterator[ServiceState]:
        """Yield the state of services now and whenever it changed; `*` for all that are visible."""
        async for state in self._follower.changes(names):
            yield state

    def acting_for(
        self, tenant_id: str, *, user_id: str | None = None, tier: str | None = None, correlation_id: str = ""
    ) -> AbstractContextManager[RequestContext]:
        """Return a context in which calls of this task carry another tenant's headers."""
        outer = current_context()
        return request_context(
            RequestContext(
                tenant_id=tenant_id,
                user_id=user_id,
                tier=tier,
                correlation_id=correlation_id or (outer.correlation_id if outer else ""),
                deadline_s=outer.deadline_s if outer else None,
            )
        )

    async def register_service(self, registration: Mapping[str, object] | None = None, /, **members: object) -> Json:
        """Register an instance; idempotent for the same `instance_id`.

        Args:
            registration, members: `name`, `host`, `port` and whatever else the hub takes.

        Returns:
            `{service_name, instance_id, tenant_id, tenant_namespace, lease, seq}`.

        Raises:
            HubError: what the hub refused; `hub_unreachable` after a few tries.
        """
        return await self._json(self._protocol.register({**(registration or {}), **members}))

    async def heartbeat(
        self,
        name: str,
        instance_id: str,
        *,
        in_flight: int | None = None,
        load: float | None = None,
        latency_ms_p95: float | None = None,
        acked_seq: int | None = None,
    ) -> Json:
        """Renew a lease and report; a `HubError` of kind NOT_FOUND means: register again."""
        report = {"in_flight": in_flight, "load": load, "latency_ms_p95": latency_ms_p95, "acked_seq": acked_seq}
        reply = await self._link.send(self._protocol.heartbeat(name, instance_id, report))
        return cast("Json", read(reply) or {})

    async def drain(self, name: str, instance_id: str) -> Json:
        """Take an instance out of discovery while it goes on serving; says who has seen it so far."""
        return await self._json(self._protocol.command("POST", f"{instance_path(name, instance_id)}/drain"))

    async def undrain(self, name: str, instance_id: str) -> Json:
        """Bring a drained instance back."""
        return await self._json(self._protocol.command("POST", f"{instance_path(name, instance_id)}/undrain"))

    async def deregister(self, name: str, instance_id: str) -> None:
        """Remove an instance; done already is done."""
        await self._json(self._protocol.command("DELETE", instance_path(name, instance_id)))

    async def list_services(self, **filters: object) -> Json:
        """Return `{"services": {name: …}}`, everything the caller may see; asks the hub."""
        return await self._json(self._protocol.get("/services/", filters))

    async def get_service(self, name: str) -> Json:
        """Return one service with its instances; asks the hub."""
        return await self._json(self._protocol.get(f"/services/{segment(name)}"))

    async def discover(self, name: str, **filters: object) -> Json:
        """Ask the hub where to call; while it is away answer from the local view, with `view_age_s`.

        Returns:
            `{service_name, recommended_endpoint, all_healthy_endpoints, confidence, connection_type, …}`.

        Raises:
            HubError: `service_not_found`, `tier_too_low`, …; `hub_unreachable` when the view knows nothing either.
        """
        self._follower.subscribe(name)
        try:
            return cast("Json", read(await self._link.send(self._protocol.discover(name, filters))))
        except HubError as error:
            state = self._follower.view.services.get(name)
            if error.code != "hub_unreachable" or filters or state is None or not state.known:
                raise
        return self._discover_locally(state)

    async def secret(self, path: str) -> str:
        """Return a secret's newest value; needs `secret:read`. While the hub is away, what was read before.

        Raises:
            HubError: `secret_not_found` (404), `scope_missing` (403), …; `hub_unreachable` when it was never read.
        """
        return await self._secrets.value(path)

    async def resolved(self, document: Json) -> Json:
        """Return a configuration with values where it refers to secrets; they are in memory only, as in `secret`."""
        return cast("Json", await self._secrets.resolved(document))

    async def ask(self, path: str, **query: object) -> Json:
        """Read from the hub's own API: `await hub.ask("/tenants/acme/usage")`.

        Raises:
            HubError: what the hub refused; `hub_unreachable` after a few tries.
        """
        return await self._json(self._protocol.get(path, query))

    async def command(self, method: str, path: str, body: object = None, *, attempts: int = ATTEMPTS_MAX) -> Json:
        """Send a command to the hub's own API; tried again with one idempotency key, so it is executed once.

        Raises:
            HubError: what the hub refused; `hub_unreachable` after `attempts` tries.
        """
        reply = await self._link.send_until(self._protocol.command(method, path, body), attempts=attempts)
        return cast("Json", read(reply) or {})

    def _acting(self) -> str:
        context = current_context()
        return (self._tenant_id if context is None else context.tenant_id) or ""

    def _discover_locally(self, state: ServiceState) -> Json:
        eligible = [instance for instance in state.instances.values() if instance.eligible]
        recommended = self.resolve(state.service) if eligible else None
        return {
            "service_name": state.service,
            "recommended_endpoint": recommended.url if recommended else None,
            "all_healthy_endpoints": [instance.url for instance in eligible],
            "confidence": {instance.url: 0.5 for instance in eligible},
            "connection_type": "direct_call",
            "view_age_s": self.view_age_s,
        }

    def _resolve_slowly(self, name: str, avoid: Collection[str]) -> Endpoint:
        pool = self._follower.pool(name)
        if pool is None:
            self._follower.subscribe(name)
            raise HubError(
                "service_not_in_view",
                Kind.NOT_FOUND,
                f"The local view has no service '{name}' yet.",
                next_step=f"await hub.ready('{name}') first, or name it in watch=.",
            )
        target = pool.pick_other(avoid)
        if target is None:
            raise no_instance(name)
        return target.endpoint

    def _has_instance(self, name: str) -> bool:
        pool = self._follower.pool(name)
        return pool is not None and pool.pick() is not None


def _mint() -> str:
    return os.urandom(16).hex()
