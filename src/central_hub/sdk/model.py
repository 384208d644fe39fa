"""What the SDK knows about services: instances as the hub shows them, endpoints, and every limit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

DEFAULT_URL: Final = "http://127.0.0.1:7000"
ALL: Final = "*"

HUB_TIMEOUT_S: Final = 5.0
CALL_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
"""Longest wait for a connection to an instance before another one is tried."""

CALL_ATTEMPTS_MAX: Final = 4
CALL_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
HUB_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
SUBSCRIPTIONS_MAX: Final = 256
"""Services named in one watch; a client that needs more watches all (`*`)."""

EVENT_BYTES_MAX: Final = 64 * 1024 * 1024
STREAM_SILENCE_S: Final = 40.0
"""Silence after which a stream counts as dead; the hub comments every 15 s."""

VIEW_SAVE_S: Final = 1.0
"""Shortest time between two writes of the view to disk."""

NAME_LENGTH_MAX: Final = 63


class Instance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One running copy of a service, as the hub shows it; members this version does not know are ignored."""

    instance_id: str
    host: str
    port: int
    protocol: str = "http"
    endpoint: str = ""
    status: str = "unknown"
    draining: bool = False
    version: str = ""
    zone: str = ""
    weight: int = 100
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # Any: JSON of the registrant
    registered_at: datetime | None = None

    @property
    def url(self) -> str:
        """The beginning of its URLs: `http://host:port`."""
        return self.endpoint or f"{self.protocol}://{self.host}:{self.port}"

    @property
    def eligible(self) -> bool:
        """Whether it may be called: not known to be unhealthy and not draining."""
        return self.status != "unhealthy" and not self.draining


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """Where to call: what `resolve` returns. `url` is `http://host:port`."""

    service: str
    instance_id: str
    host: str
    port: int
    url: str


class ServiceState(msgspec.Struct, frozen=True, kw_only=True):
    """A service in the local view; no instances and `known=False` when the hub shows the caller no such service."""

    service: str
    revision: int
    domain: str = "shared"
    instances: dict[str, Instance] = {}
    known: bool = True


class ReportedLoad(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an instance last reported about itself; None where it did not say."""

    in_flight: int | None = None
    load: float | None = None
    latency_ms_p95: float | None = None
