"""The blocking face of the client: the same names, on an event loop in a thread of its own.

What needs no I/O (`resolve`, `get_circuit_state`, …) runs in the calling thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from central_hub.kernel.errors import HubError
from central_hub.sdk.answer import ServiceResponse
from central_hub.sdk.circuits import Circuit, CircuitChange, CircuitState
from central_hub.sdk.client import READY_S, HubClient
from central_hub.sdk.configuration import AS_IT_IS, FIRST_VALUE_S, ConfigDiff
from central_hub.sdk.context import RequestContext
from central_hub.sdk.fallback import Fallback
from central_hub.sdk.model import CALL_TIMEOUT_S, Endpoint, ServiceState
from central_hub.sdk.sync_subscriptions import SyncConsumer

T = TypeVar("T")
Json = dict[str, Any]  # Any: a JSON document
STOP_S: Final = 10.0


class SyncHubClient:
    """A `HubClient` for code without an event loop; the arguments are the same.

    Use it as `with SyncHubClient() as hub:`, from any number of threads.
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
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="central_hub", daemon=True)
        self._client = HubClient(
            base_url,
            api_key,
            tenant_id=tenant_id,
            tier=tier,
            user_id=user_id,
            service_name=service_name,
            zone=zone,
            cache_dir=cache_dir,
            watch=watch,
            report_calls=report_calls,
        )

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def open(self) -> None:
        """Start the thread and open the client."""
        self._thread.start()
        self._run(self._client.open())

    def close(self) -> None:
        """Close the client and end the thread."""
        if self._thread.is_alive():
            self._run(self._client.close())
            self._run(_end_the_rest())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STOP_S)
        self._loop.close()

    @property
    def base_url(self) -> str:
        """The hub's address."""
        return self._client.base_url

    @property
    def connected(self) -> bool:
        """Whether the watch stream is live."""
        return self._client.connected

    @property
    def view_age_s(self) -> float | None:
        """Seconds since the hub last confirmed the view: 0 while connected, None when it never did."""
        return self._client.view_age_s

    @property
    def last_refusal(self) -> HubError | None:
        """Why the stream is not there; None while it is."""
        return self._client.last_refusal

    @property
    def position(self) -> str:
        """Where the view stands in the hub's log (opaque)."""
        return self._client.position

    @property
    def stats(self) -> dict[str, int]:
        """Counters of calls, retries, failures and streams."""
        return self._client.stats

    def view(self) -> dict[str, ServiceState]:
        """Return the local view: state by service name."""
        return self._client.view()

    def resolve(self, name: str, avoid: Collection[str] = ()) -> Endpoint:
        """Choose an instance from the local view; as `HubClient.resolve`, but a first use waits for the view."""
        if not self._client.follows(name):
            self._run(self._client.ready(name, timeout=READY_S))
        return self._client.resolve(name, avoid)

    def get_load_balanced_endpoint(self, name: str) -> Json:
        """Choose an instance; as `HubClient.get_load_balanced_endpoint`."""
        self.resolve(name)
        return self._client.get_load_balanced_endpoint(name)

    def get_circuit_state(self, name: str, route_class: str | None = None) -> CircuitState:
        """Return the state of a breaker; as `HubClient.get_circuit_state`."""
        return self._client.get_circuit_state(name, route_class)

    def circuit_states(self) -> list[Circuit]:
        """Return the tenant's breakers; as `HubClient.circuit_states`."""

        async def showing() -> list[Circuit]:
            return self._client.circuit_states()

        return self._run(showing())

    def circuit_changes(self) -> Iterator[CircuitChange]:
        """Yield every breaker that changes; as `HubClient.circuit_changes`."""
        changes = self._client.circuit_changes()

        async def following() -> CircuitChange | None:
            return await anext(changes, None)

        while (change := self._run(following())) is not None:
            yield change

    def tune_circuit(self, name: str, route_class: str | None = None, **policy: Any) -> None:
        """Say what a service's breakers are strict about; as `HubClient.tune_circuit`."""

        async def tuning() -> None:
            self._client.tune_circuit(name, route_class, **policy)

        self._run(tuning())

    def force_circuit(self, name: str, state: str, route_class: str = "") -> None:
        """Bring a breaker into a state; as `HubClient.force_circuit`."""

        async def forcing() -> None:
            self._client.force_circuit(name, state, route_class)

        self._run(forcing())

    def ready(self, *names: str, timeout: float = READY_S) -> bool:
        """Wait until services have an instance; as `HubClient.ready`."""
        return self._run(self._client.ready(*names, timeout=timeout))

    def watch(self, *names: str) -> Iterator[ServiceState]:
        """Yield the state of services now and whenever it changed; as `HubClient.watch`."""
        changes = self._client.watch(*names)

        async def following() -> ServiceState | None:
            return await anext(changes, None)

        while (state := self._run(following())) is not None:
            yield state

    def acting_for(
        self, tenant_id: str, *, user_id: str | None = None, tier: str | None = None, correlation_id: str = ""
    ) -> AbstractContextManager[RequestContext]:
        """Return a context in which calls of this thread carry another tenant's headers."""
        return self._client.acting_for(tenant_id, user_id=user_id, tier=tier, correlation_id=correlation_id)

    def request(
        self,
        service: str,
        method: str,
        path: str,
        *,
        json: object = None,
        data: bytes | None = None,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = CALL_TIMEOUT_S,
        attempt_timeout: float | None = None,
        idempotency_key: str | None = None,
        route_class: str = "",
        fallback: Fallback | None = None,
    ) -> ServiceResponse:
        """Call an instance of a service directly; as `HubClient.request`."""
        return self._run(
            self._client.request(
                service,
                method,
                path,
                json=json,
                data=data,
                params=params,
                headers=headers,
                timeout=timeout,
                attempt_timeout=attempt_timeout,
                idempotency_key=idempotency_key,
                route_class=route_class,
                fallback=fallback,
            )
        )

    def register_service(self, registration: Mapping[str, object] | None = None, /, **members: object) -> Json:
        """Register an instance; as `HubClient.register_service`."""
        return self._run(self._client.register_service(registration, **members))

    def heartbeat(
        self,
        name: str,
        instance_id: str,
        *,
        in_flight: int | None = None,
        load: float | None = None,
        latency_ms_p95: float | None = None,
        acked_seq: int | None = None,
    ) -> Json:
        """Renew a lease; as `HubClient.heartbeat`."""
        return self._run(
            self._client.heartbeat(
                name,
                instance_id,
                in_flight=in_flight,
                load=load,
                latency_ms_p95=latency_ms_p95,
                acked_seq=acked_seq,
            )
        )

    def drain(self, name: str, instance_id: str) -> Json:
        """Take an instance out of discovery; as `HubClient.drain`."""
        return self._run(self._client.drain(name, instance_id))

    def undrain(self, name: str, instance_id: str) -> Json:
        """Bring a drained instance back."""
        return self._run(self._client.undrain(name, instance_id))

    def deregister(self, name: str, instance_id: str) -> None:
        """Remove an instance; done already is done."""
        self._run(self._client.deregister(name, instance_id))

    def list_services(self, **filters: object) -> Json:
        """Return everything the caller may see."""
        return self._run(self._client.list_services(**filters))

    def get_service(self, name: str) -> Json:
        """Return one service with its instances."""
        return self._run(self._client.get_service(name))

    def discover(self, name: str, **filters: object) -> Json:
        """Ask the hub where to call; as `HubClient.discover`."""
        return self._run(self._client.discover(name, **filters))

    def config(
        self, kind: type[T] = AS_IT_IS, *, service: str = "", environment: str = "",
        timeout: float = FIRST_VALUE_S,
    ) -> T:  # fmt: skip
        """Return the tenant's effective configuration; as `HubClient.config`."""
        return self._run(self._client.config(kind, service=service, environment=environment, timeout=timeout))

    def secret(self, path: str) -> str:
        """Return a secret's newest value; as `HubClient.secret`."""
        return self._run(self._client.secret(path))

    def resolved(self, document: Json) -> Json:
        """Return a configuration with values where it refers to secrets; as `HubClient.resolved`."""
        return self._run(self._client.resolved(document))

    def config_changes(self, *, service: str = "", environment: str = "") -> Iterator[ConfigDiff]:
        """Yield the configuration now and whenever it is another one; as `HubClient.config_changes`."""
        changes = self._client.config_changes(service=service, environment=environment)

        async def following() -> ConfigDiff | None:
            return await anext(changes, None)

        while (diff := self._run(following())) is not None:
            yield diff

    def update_global_config(
        self, changes: Mapping[str, object], *, reason: str = "", strategy: Mapping[str, object] | None = None
    ) -> Json:
        """Roll out changes of the layer of everyone; as `HubClient.update_global_config`."""
        return self._run(self._client.update_global_config(changes, reason=reason, strategy=strategy))

    def describe_event_type(self, name: str, schema: Mapping[str, object], **said: Any) -> Json:
        """Describe one of the tenant's own types of events; as `HubClient.describe_event_type`."""
        return self._run(self._client.describe_event_type(name, schema, **said))

    def subscribe(self, name: str, **said: Any) -> SyncConsumer:
        """Follow a durable subscription; as `HubClient.subscribe`, with `with` and `for`."""
        return SyncConsumer(self._client.subscribe(name, **said), self._run)

    def ask(self, path: str, **query: object) -> Json:
        """Read from the hub's own API; as `HubClient.ask`."""
        return self._run(self._client.ask(path, **query))

    def command(self, method: str, path: str, body: object = None) -> Json:
        """Send a command to the hub's own API; as `HubClient.command`."""
        return self._run(self._client.command(method, path, body))

    def declare_offerings(self, service: str, instance_id: str, offerings: Iterable[Mapping[str, object]]) -> Json:
        """Declare what an instance offers; as `HubClient.declare_offerings`."""
        return self._run(self._client.declare_offerings(service, instance_id, offerings))

    def route(self, require: Mapping[str, object] | None = None, *, reserve: bool = False, **asked: object) -> Json:
        """Ask which instance would serve a request best; as `HubClient.route`."""
        return self._run(self._client.route(require, reserve=reserve, **asked))

    def ai_aware_route(
        self,
        request: Mapping[str, object],
        available_services: Iterable[str] | None = None,
        routing_strategy: str = "performance_optimized",
        *,
        reserve: bool = False,
    ) -> Json:
        """Ask which instance would serve a request best; as `HubClient.ai_aware_route`."""
        return self._run(self._client.ai_aware_route(request, available_services, routing_strategy, reserve=reserve))

    def explain_route(self, decision_id: str) -> Json:
        """Return why a decision was as it was."""
        return self._run(self._client.explain_route(decision_id))

    def offerings(self, **query: object) -> Json:
        """Return a page of the models that this client may be routed to."""
        return self._run(self._client.offerings(**query))

    @property
    def asynchronous(self) -> HubClient:
        """The client underneath; what awaits it is given to `run`."""
        return self._client

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the client's event loop and wait for it; from any thread but that loop's."""
        return self._run(work)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _end_the_rest() -> None:
    """End what is still going on in this loop: renewals of what nobody released, changes nobody reads on."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
