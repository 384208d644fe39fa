"""The registry's operations: what HTTP offers, in handlers that only translate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from central_hub.edge.authenticate import Authenticate
from central_hub.edge.operations import Call, Operation, Reply
from central_hub.edge.streams import MEDIA_TYPE as EVENT_STREAM
from central_hub.edge.streams import Sink
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId, is_name
from central_hub.registry.dependencies import Dependencies
from central_hub.registry.encoding import InstanceAnswer
from central_hub.registry.model import SCOPE_READ, SCOPE_WRITE, Instance
from central_hub.registry.ports import BreakerEvents, ConfigEvents
from central_hub.registry.reading import Read, Reading
from central_hub.registry.rules import Registration
from central_hub.registry.schemas import (
    BATCH_BYTES_MAX,
    Acknowledged,
    BatchRegistered,
    DependencyGraph,
    DiscoverAnyQuery,
    DiscoverBody,
    DiscoverQuery,
    DiscoveryAnswer,
    DrainAnswer,
    LegacyServicesAnswer,
    ListQuery,
    NoQuery,
    RegisterBatch,
    Registered,
    ServiceAnswer,
    ServiceQuery,
    ServicesAnswer,
    WatchQuery,
)
from central_hub.registry.signals import Loads
from central_hub.registry.usecases import Registry
from central_hub.registry.visibility import viewer_of
from central_hub.registry.watching import ALL, SERVICES_PER_WATCH_MAX, WatchHub

OnClose = Callable[[], None]

REGISTRY: Final = "registry"
DISCOVERY: Final = "discovery"
MISSING: Final = ("service_not_found", "tier_too_low")
REFUSED: Final = (
    "invalid_name",
    "reserved_name",
    "invalid_instance_id",
    "invalid_field",
    "unknown_tier",
    "resource_limits_above_tier",
    "not_owner",
    "instance_limit",
    "service_limit",
    "service_instance_limit",
    "contended",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryRoutes:
    """The handlers and what they hand calls to."""

    registry: Registry
    reading: Reading
    dependencies: Dependencies
    watch: WatchHub
    config: ConfigEvents
    breakers: BreakerEvents
    loads: Loads
    authenticate: Authenticate

    async def register(self, call: Call) -> Reply:
        """Answer POST /services/register."""
        wanted: Registration = call.body
        return Reply(await self.registry.register(call.ctx, wanted, key=call.idempotency_key))

    async def register_batch(self, call: Call) -> Reply:
        """Answer POST /services/register/batch."""
        batch: RegisterBatch = call.body
        contexts = [self._context_for(call.ctx, wanted) for wanted in batch.instances]
        return Reply(await self.registry.register_batch(contexts, batch.instances, key=call.idempotency_key))

    async def list_services(self, call: Call) -> Reply:
        """Answer GET /services/."""
        query: ListQuery = call.query
        return _reply(call, await self.reading.services(call.ctx, query, legacy_mode=query.legacy_mode))

    async def get_service(self, call: Call) -> Reply:
        """Answer GET /services/{service_name}."""
        query: ServiceQuery = call.query
        return _reply(call, await self.reading.service(call.ctx, call.path["service_name"], query))

    async def get_instance(self, call: Call) -> Reply:
        """Answer GET /services/{service_name}/instances/{instance_id}."""
        return _reply(call, await self.reading.instance(call.ctx, call.path["service_name"], call.path["instance_id"]))

    async def discover_service(self, call: Call) -> Reply:
        """Answer GET /services/discover/{service_name}."""
        query: DiscoverQuery = call.query
        return _reply(call, await self.reading.discover(call.ctx, call.path["service_name"], query))

    async def discover(self, call: Call) -> Reply:
        """Answer GET /services/discover: one service, or without a name everything visible."""
        query: DiscoverAnyQuery = call.query
        if query.service_name is None:
            return _reply(call, await self.reading.services(call.ctx, query, legacy_mode=query.legacy_mode))
        return _reply(call, await self.reading.discover(call.ctx, query.service_name, query))

    async def discover_by_body(self, call: Call) -> Reply:
        """Answer POST /services/discover."""
        wanted: DiscoverBody = call.body or DiscoverBody()
        filters = wanted.filters()
        if wanted.service_name is None:
            return Reply((await self.reading.services(call.ctx, filters, legacy_mode=wanted.legacy_mode)).body)
        query = DiscoverQuery(**msgspec.structs.asdict(filters), explain=wanted.explain, near=wanted.near)
        return Reply((await self.reading.discover(call.ctx, wanted.service_name, query)).body)

    async def drain(self, call: Call) -> Reply:
        """Answer POST …/drain."""
        return Reply(self._drained(*await self._set_drain(call, draining=True)))

    async def undrain(self, call: Call) -> Reply:
        """Answer POST …/undrain."""
        return Reply(self._drained(*await self._set_drain(call, draining=False)))

    async def deregister(self, call: Call) -> Reply:
        """Answer DELETE …; an instance that is gone already is gone."""
        await self.registry.deregister(call.ctx, call.path["service_name"], call.path["instance_id"])
        return Reply(None)

    async def list_dependencies(self, call: Call) -> Reply:
        """Answer GET /dependencies."""
        return Reply(self.dependencies.graph(viewer_of(call.ctx)))

    async def watch_services(self, call: Call) -> Reply:
        """Answer GET /watch with a stream of events."""
        query: WatchQuery = call.query
        names = watched_names(query.services) if query.services or query.config is None else frozenset[str]()
        beginnings: list[Callable[[Sink], OnClose]] = []
        if query.config is not None:
            beginnings.append(self.config.admit(call.ctx, query.config, query.instance or ""))
        if query.breakers:
            beginnings.append(self.breakers.admit(call.ctx, names))
        await self.reading.prepare(call.ctx, names or ())
        self.watch.admit(call.ctx)
        last_id = call.headers.get("last-event-id") or ""

        def on_open(sink: Sink) -> OnClose:
            endings = [begin(sink) for begin in beginnings]
            watcher = self.watch.open(call.ctx, names, sink, load=query.load, last_id=last_id)

            def on_close() -> None:
                self.watch.close(watcher)
                for end in endings:
                    end()

            return on_close

        return Reply(media_type=EVENT_STREAM, stream=on_open)

    def _context_for(self, ctx: TenantContext, wanted: Registration) -> TenantContext | HubError:
        if wanted.tenant_id is None or wanted.tenant_id == ctx.tenant_id:
            return ctx
        try:
            return self.authenticate.assume(ctx, wanted.tenant_id)
        except HubError as error:
            return error

    async def _set_drain(self, call: Call, *, draining: bool) -> tuple[DomainId, Instance]:
        name, instance_id = call.path["service_name"], call.path["instance_id"]
        return await self.registry.drain(call.ctx, name, instance_id, draining=draining)

    def _drained(self, domain: DomainId, instance: Instance) -> DrainAnswer:
        name, instance_id = instance.service_name, instance.instance_id
        seen, total = self.watch.acknowledged(domain, name, instance.drain_seq)
        load = self.loads.of(domain, name, instance_id)
        return DrainAnswer(
            service_name=name,
            instance_id=instance_id,
            draining=instance.draining,
            seq=instance.drain_seq or instance.revision,
            in_flight=None if load is None else load.in_flight,
            acknowledged=Acknowledged(
                watchers=seen,
                watchers_total=total,
                instances=tuple(self.loads.acknowledged(domain, instance.drain_seq)),
            ),
        )


def watched_names(services: str) -> frozenset[str] | None:
    """Read the `services` of a watch: names separated by commas, or `*` (None) for all.

    Raises:
        HubError: `invalid_query` (400).
    """
    if services == ALL:
        return None
    names = frozenset(services.split(","))
    if len(names) > SERVICES_PER_WATCH_MAX or not all(is_name(name) for name in names):
        raise HubError(
            "invalid_query",
            Kind.INVALID,
            f"'services' is '*' or 1 to {SERVICES_PER_WATCH_MAX} service names separated by commas.",
            next_step="Correct the query string, or open a further watch.",
        )
    return names


def _reply(call: Call, read: Read) -> Reply:
    """Answer with the bytes, or 304 when the client has them."""
    if not read.etag:
        return Reply(read.body)
    given = call.headers.get("if-none-match")
    if given is not None and (given.strip() == "*" or read.etag in (tag.strip() for tag in given.split(","))):
        return Reply(None, status=304, headers=(("etag", read.etag),))
    return Reply(read.body, headers=(("etag", read.etag),))


def operations(routes: RegistryRoutes) -> tuple[Operation, ...]:
    """Return the registry's rows of the table."""
    return (*_registering(routes), *_leaving(routes), *_reads(routes), *_discovery(routes))


def _registering(routes: RegistryRoutes) -> tuple[Operation, ...]:
    return (
        Operation(
            id="register_service",
            method="POST",
            path="/services/register",
            handler=routes.register,
            scope=SCOPE_WRITE,
            summary="Register an instance of a service",
            description="Idempotent for the same instance_id; an identical registration changes nothing and wakes "
            "nobody. Private to the caller's tenant, or shared with the scope registry:shared.",
            tag=REGISTRY,
            body=Registration,
            answer=Registered,
            status=201,
            problems=REFUSED,
            hot=True,
        ),
        Operation(
            id="register_services",
            method="POST",
            path="/services/register/batch",
            handler=routes.register_batch,
            scope=SCOPE_WRITE,
            summary="Register many instances",
            description="Each item is accepted or refused on its own; the answer has one result per item, in order.",
            tag=REGISTRY,
            body=RegisterBatch,
            body_bytes_max=BATCH_BYTES_MAX,
            answer=BatchRegistered,
            problems=("batch_too_large",),
            hot=True,
        ),
    )


def _leaving(routes: RegistryRoutes) -> tuple[Operation, ...]:
    instance = "/services/{service_name}/instances/{instance_id}"
    return (
        Operation(
            id="drain_instance",
            method="POST",
            path=f"{instance}/drain",
            handler=routes.drain,
            scope=SCOPE_WRITE,
            summary="Take an instance out of recommendations",
            description="Says who has seen it; the same call again says who has seen it since.",
            tag=REGISTRY,
            answer=DrainAnswer,
            status=202,
            problems=("service_not_found", "instance_not_found", "not_owner"),
        ),
        Operation(
            id="undrain_instance",
            method="POST",
            path=f"{instance}/undrain",
            handler=routes.undrain,
            scope=SCOPE_WRITE,
            summary="Take a drained instance back in",
            tag=REGISTRY,
            answer=DrainAnswer,
            problems=("service_not_found", "instance_not_found", "not_owner"),
        ),
        Operation(
            id="deregister_instance",
            method="DELETE",
            path=instance,
            handler=routes.deregister,
            scope=SCOPE_WRITE,
            summary="Remove an instance",
            description="Idempotent: an instance that is not there is already removed.",
            tag=REGISTRY,
            status=204,
            problems=("not_owner",),
        ),
    )


def _reads(routes: RegistryRoutes) -> tuple[Operation, ...]:
    return (
        Operation(
            id="list_services",
            method="GET",
            path="/services/",
            handler=routes.list_services,
            scope=SCOPE_READ,
            summary="List everything the caller sees",
            tag=DISCOVERY,
            query=ListQuery,
            answer=ServicesAnswer | LegacyServicesAnswer,
            legacy=True,
        ),
        Operation(
            id="get_service",
            method="GET",
            path="/services/{service_name}",
            handler=routes.get_service,
            scope=SCOPE_READ,
            summary="Show one service with its instances",
            tag=DISCOVERY,
            query=ServiceQuery,
            answer=ServiceAnswer,
            statuses=(304,),
            problems=MISSING,
            legacy=True,
        ),
        Operation(
            id="get_instance",
            method="GET",
            path="/services/{service_name}/instances/{instance_id}",
            handler=routes.get_instance,
            scope=SCOPE_READ,
            summary="Show one instance",
            tag=DISCOVERY,
            query=NoQuery,
            answer=InstanceAnswer,
            problems=(*MISSING, "instance_not_found"),
        ),
        Operation(
            id="list_dependencies",
            method="GET",
            path="/dependencies",
            handler=routes.list_dependencies,
            scope=SCOPE_READ,
            summary="Show who depends on whom",
            description="From depends_on of what the caller sees, and from its own look-ups (x-service-name).",
            tag=DISCOVERY,
            query=NoQuery,
            answer=DependencyGraph,
        ),
        Operation(
            id="watch_services",
            method="GET",
            path="/watch",
            handler=routes.watch_services,
            scope=SCOPE_READ,
            summary="Watch services as a stream of server-sent events",
            description="snapshot, sync, then delta events; resumes from Last-Event-ID. Delivers state, not history.",
            tag=DISCOVERY,
            query=WatchQuery,
            media_type=EVENT_STREAM,
            problems=("too_many_watchers",),
            hot=True,  # a stream would hold the framework's frames for as long as it is open
        ),
    )


def _discovery(routes: RegistryRoutes) -> tuple[Operation, ...]:
    waiting = ("position_gone", "too_many_waiters")
    return (
        Operation(
            id="discover_service",
            method="GET",
            path="/services/discover/{service_name}",
            handler=routes.discover_service,
            scope=SCOPE_READ,
            summary="Find where to call a service",
            description="With wait_seq and wait_s it blocks until the service changed; explain=1 says why.",
            tag=DISCOVERY,
            query=DiscoverQuery,
            answer=DiscoveryAnswer,
            statuses=(304,),
            problems=(*MISSING, *waiting),
            hot=True,
            legacy=True,
        ),
        Operation(
            id="discover_services",
            method="GET",
            path="/services/discover",
            handler=routes.discover,
            scope=SCOPE_READ,
            summary="Find where to call a service, or list everything visible",
            tag=DISCOVERY,
            query=DiscoverAnyQuery,
            answer=DiscoveryAnswer | ServicesAnswer | LegacyServicesAnswer,
            statuses=(304,),
            problems=(*MISSING, *waiting),
            legacy=True,
        ),
        Operation(
            id="discover_services_by_body",
            method="POST",
            path="/services/discover",
            handler=routes.discover_by_body,
            scope=SCOPE_READ,
            summary="Find where to call a service, asked in a body",
            tag=DISCOVERY,
            body=DiscoverBody,
            body_optional=True,
            answer=DiscoveryAnswer | ServicesAnswer | LegacyServicesAnswer,
            problems=MISSING,
            legacy=True,
        ),
    )
