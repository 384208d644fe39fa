"""What the registry's HTTP shapes add to its model: queries, commands and answers."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from central_hub.kernel.ids import INSTANCE_ID_PATTERN, NAME_PATTERN
from central_hub.registry import shown
from central_hub.registry.encoding import InstanceAnswer
from central_hub.registry.model import REGISTER_BATCH_MAX
from central_hub.registry.ports import LeaseTerms
from central_hub.registry.rules import Registration
from central_hub.registry.waiting import WAIT_S_MAX

CONFIG_PATTERN: Final = r"^[a-z0-9_,@*-]{1,2048}$"
WATCHED_PATTERN: Final = rf"^\*$|^{NAME_PATTERN[1:-1]}(,{NAME_PATTERN[1:-1]}){{0,255}}$"


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """A registration that holds.

    `seq` is the position in its domain at which it became true.
    """

    service_name: str
    instance_id: str
    tenant_id: str | None
    tenant_namespace: str | None
    lease: LeaseTerms
    seq: int = 0
    warnings: tuple[str, ...] = ()


class RegisterBatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Many registrations in one request; each is accepted or refused on its own."""

    instances: Annotated[tuple[Registration, ...], msgspec.Meta(extra_json_schema={"maxItems": REGISTER_BATCH_MAX})]


class BatchItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one registration of a batch: `status` as it would have been alone."""

    service_name: str
    status: int
    instance_id: str | None = None
    seq: int = 0
    code: str = ""
    detail: str = ""


class BatchRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a batch, item by item in the order they were sent."""

    registered: int
    refused: int
    results: tuple[BatchItem, ...]


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What an instance has to be to be shown; every one given has to hold.

    `tag` may be repeated; `metadata.<key>=<value>` compares the text of a scalar, with dots for
    nested keys; `healthy` keeps instances with status healthy that are not draining (`false`: the others).
    """

    tag: list[str] = []
    version: str | None = None
    zone: str | None = None
    metadata: dict[str, str] = {}
    healthy: bool | None = None

    @property
    def given(self) -> bool:
        """Whether any filter is given."""
        return bool(self.tag or self.metadata or self.version or self.zone or self.healthy is not None)


class ListQuery(Filters, frozen=True, kw_only=True):
    """Filters of a listing; `legacy_mode=true` asks for the shape and the view of callers from before tenants."""

    tenant_id: shown.Name | None = None
    legacy_mode: bool = False


class ServiceQuery(Filters, frozen=True, kw_only=True):
    """Filters of one service."""

    tenant_id: shown.Name | None = None


class DiscoverQuery(Filters, frozen=True, kw_only=True):
    """Filters of discovery, and how to wait and explain.

    `wait_seq` with `wait_s` blocks until the service's revision is past it; `near` prefers a zone.
    """

    tenant_id: shown.Name | None = None
    explain: bool = False
    near: str = ""
    wait_seq: Annotated[int, msgspec.Meta(ge=0)] | None = None
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=WAIT_S_MAX)] = 30.0


class DiscoverAnyQuery(DiscoverQuery, frozen=True, kw_only=True):
    """Discovery with the service in the query; without one it answers like the listing."""

    service_name: shown.Name | None = None
    legacy_mode: bool = False


class DiscoverBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Discovery as a command: the same as the query, in a body."""

    service_name: str | None = None
    tenant_id: shown.Name | None = None
    tenant_context: dict[str, Any] | None = None  # Any: claims of the caller; its tenant_id must be its own
    tag: list[str] = []
    tags: list[str] = []
    version: str | None = None
    zone: str | None = None
    metadata: dict[str, str] = {}
    healthy: bool | None = None
    near: str = ""
    explain: bool = False
    legacy_mode: bool = False

    def filters(self) -> Filters:
        """Return the filters it names."""
        return Filters(
            tag=[*self.tag, *self.tags],
            version=self.version,
            zone=self.zone,
            metadata=self.metadata,
            healthy=self.healthy,
        )


class NoQuery(msgspec.Struct, frozen=True, kw_only=True):
    """An operation without query parameters but the tenant."""

    tenant_id: shown.Name | None = None


class WatchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which services to watch, comma separated, or `*` for all that are visible; `load=true` adds load events.

    `config` adds the caller's effective configuration and every change of it: `*`, or `service@environment`, comma
    separated, where either side may be left out. With `instance` these are the values of that instance, which a rollout
    may reach before others. `breakers=true` adds what shared breakers say of the watched services.
    """

    services: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": WATCHED_PATTERN})] = ""
    load: bool = False
    breakers: bool = False
    config: Annotated[str, msgspec.Meta(extra_json_schema={"pattern": CONFIG_PATTERN})] | None = None
    instance: Annotated[str, msgspec.Meta(pattern=INSTANCE_ID_PATTERN)] | None = None
    tenant_id: shown.Name | None = None


class ServiceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A service with its instances."""

    service_name: str
    domain: str
    tenant_id: str | None
    tenant_namespace: str | None
    revision: int
    status: str
    instance_count: int
    instances: list[InstanceAnswer]


class ServicesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the caller sees, by name; `truncated` past the cap."""

    services: dict[str, ServiceAnswer]
    truncated: bool = False


class LegacyServiceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A service as callers from before tenants know it: the address of one instance beside all instances."""

    host: str
    port: int
    protocol: str
    health_endpoint: str
    metadata: dict[str, Any]  # Any: JSON of the registrant
    instances: list[InstanceAnswer]


class LegacyServicesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every shared service by name, as `legacy_mode=true` and legacy callers get it."""

    services: dict[str, LegacyServiceAnswer]
    truncated: bool = False


class ExplainPart(msgspec.Struct, frozen=True, kw_only=True):
    """How one candidate came to its probability."""

    instance_id: str
    endpoint: str
    status: str
    cost: float
    weight: int
    ramp: float
    standing: float
    share: float
    probability: float
    confidence: float


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why discovery answered what it did."""

    method: str
    domain: str
    required_tier: str | None
    filters: dict[str, Any]  # Any: the filters as they were given
    excluded: dict[str, str]
    near: str
    slot: int | None
    candidates: list[ExplainPart]


class DiscoveryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where to call: one recommended endpoint, all that may be called, and how sure the hub is of each.

    `recommended_endpoint` is null, with a `reason`, when no instance is eligible.
    """

    service_name: str
    recommended_endpoint: str | None
    recommended_instance: str | None
    reason: str | msgspec.UnsetType = msgspec.UNSET
    all_healthy_endpoints: list[str]
    confidence: dict[str, float]
    connection_type: str
    domain: str
    revision: int
    instances: list[InstanceAnswer]
    explain: Explanation | msgspec.UnsetType = msgspec.UNSET


class Acknowledged(msgspec.Struct, frozen=True, kw_only=True):
    """Who has seen a drain: watch streams, counted, and instances of the same domain, named."""

    watchers: int
    watchers_total: int
    instances: tuple[str, ...]


class DrainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a drain; ask again with the same call to see who has acknowledged since."""

    service_name: str
    instance_id: str
    draining: bool
    seq: int
    in_flight: int | None
    acknowledged: Acknowledged


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A dependency: `caller` needs `service`, as it declared, as it was seen looking it up, or both."""

    caller: str
    service: str
    declared: bool
    lookups: int
    known: bool


class DependencyGraph(msgspec.Struct, frozen=True, kw_only=True):
    """Who depends on whom, as far as the caller may see."""

    edges: tuple[Edge, ...]
    truncated: bool


BATCH_BYTES_MAX = REGISTER_BATCH_MAX * 8_192
