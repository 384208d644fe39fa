"""Heartbeats as the lane takes them: the same use case, without the framework's way around it."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from central_hub.edge.decoding import decode_body
from central_hub.health.schemas import Heartbeat, Renewed
from central_hub.health.usecases import Heartbeats
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import INSTANCE_ID_PATTERN, NAME_PATTERN

_SERVICE: Final = NAME_PATTERN[1:-1].encode("ascii")
_INSTANCE_ID: Final = INSTANCE_ID_PATTERN[1:-1].encode("ascii")
_REQUEST: Final = re.compile(
    rb"PUT /services/(" + _SERVICE + rb")/instances/(" + _INSTANCE_ID + rb")/heartbeat HTTP/1\.1\r\n"
)


class HeartbeatLane:
    """Implements the lane's signals on heartbeats.

    Args:
        heartbeats: the use case.
    """

    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats
        self._encode = msgspec.json.Encoder().encode

    @property
    def request(self) -> re.Pattern[bytes]:
        """The request line of a single heartbeat."""
        return _REQUEST

    def take(self, ctx: TenantContext, names: tuple[str, ...], body: bytes) -> bytes | None:
        """Renew the lease; None for every refusal, so that refusals are made in one place."""
        service, instance_id = names
        try:
            said: Heartbeat | None = decode_body(body, Heartbeat) if body else None
            lease = self._heartbeats.beat(ctx, service, instance_id, said)
        except HubError:
            return None
        return self._encode(Renewed(lease=lease))
