"""What a service is called, and what it shows to whatever serves it: its own socket, or an ASGI server.

Those who serve know this, and nothing of the service itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import msgspec

from central_hub.sdk.idempotency import Once
from central_hub.sdk.meter import Meter

if TYPE_CHECKING:
    from aiohttp import web

    from central_hub.sdk.webhooks import WebhookReceiver

LEASE_TTL_S: Final = 15.0
DRAIN_S: Final = 10.0


class _Named(msgspec.Struct, frozen=True):
    service_name: str
    version: str = ""
    port: int = 0


class ServiceConfig(_Named, frozen=True, kw_only=True):
    """What a service is called and where it can be reached.

    Args:
        service_name: as others look it up.
        version: shown in discovery.
        port: 0 lets a stand-alone service take a free one.
        host: address that others connect to, and that a stand-alone service listens on.
        listen: address to listen on where it differs from `host`.
        instance_id: default `HUB_INSTANCE_ID`, or an id that is minted once and kept in the cache directory.
        lease_ttl_s: renewed every third of it, 1 to 3600.
        drain_s: longest wait for requests in flight when leaving.
        max_in_flight: requests at which the service counts as fully loaded (reported as load).
        shared: register as shared although the key belongs to a tenant (needs `registry:shared`).
        environment: whose configuration `on_config` is given, as "production"; none in particular when empty.
        webhook_path: where the hub's webhooks are received, as "/hub"; nowhere when empty.
        webhook_secrets: the endpoint's `whsec_…`, two while it is rotated; default `HUB_WEBHOOK_SECRETS`, by commas.
    """

    host: str = "127.0.0.1"
    listen: str = ""
    instance_id: str | None = None
    protocol: str = "http"
    health_endpoint: str = "/health"
    lease_ttl_s: float = LEASE_TTL_S
    drain_s: float = DRAIN_S
    max_in_flight: int | None = None
    zone: str = ""
    weight: int = 100
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # Any: JSON of the registrant
    depends_on: tuple[str, ...] = ()
    subscription_requirements: tuple[str, ...] = ()
    resource_tier: str = "basic"
    tenant_id: str | None = None
    tenant_namespace: str | None = None
    shared: bool = False
    environment: str = ""
    webhook_path: str = ""
    webhook_secrets: tuple[str, ...] = ()


Handler: TypeAlias = "Callable[[web.Request], Awaitable[Any]]"  # Any: a JSON value, or a web.StreamResponse
Result = tuple[int, str, bytes]
"""What is kept of an answer: status, media type, body."""


class Served(Protocol):
    """A service as those see it who serve it."""

    @property
    def config(self) -> ServiceConfig:
        """What it is called and where it can be reached."""
        ...

    @property
    def meter(self) -> Meter:
        """Counts its requests."""
        ...

    @property
    def once(self) -> Once[Result]:
        """What was executed under which key."""
        ...

    @property
    def handlers(self) -> Mapping[tuple[str, str], tuple[Handler, bool]]:
        """By method and path, with whether they are idempotent."""
        ...

    @property
    def webhooks(self) -> WebhookReceiver | None:
        """Who takes the hub's webhooks."""
        ...

    @property
    def draining(self) -> bool:
        """Whether it is leaving."""
        ...

    async def health(self) -> tuple[int, dict[str, object]]:
        """Return status and body of the health endpoint."""
        ...

    async def start(self) -> None:
        """Begin to be registered."""
        ...

    async def leave(self) -> int:
        """Drain and deregister; returns how many requests were not done in time."""
        ...

    async def stop_asgi(self) -> None:
        """Leave, where that has not been done, and close the client."""
        ...
