"""Subscriptions over a WebSocket: deliveries go out, and what becomes of them comes in over the same connection.

hub:      {"type": "open", "subscription": …, "ack_wait_s": …, "max_held": …}
          {"type": "delivery", "id": …, "attempt": …, "ack_wait_s": …, "event": {…}}
consumer: {"ack": [ids], "nack": [{"id": …, "delay_s": …}], "extend": [ids], "release": [ids], "ref": …}
hub:      {"type": "settled", "ref": …, "acked": …, "nacked": …, "extended": …, "released": …, "unknown": [ids]}
          {"type": "error", "ref": …, "code": …, "detail": …}
          {"type": "end", "code": …, "detail": …}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from central_hub.edge.decoding import check_depth, decode_body
from central_hub.edge.sockets import SocketSink
from central_hub.kernel.errors import HubError
from central_hub.subscriptions.consumers import Given
from central_hub.subscriptions.schemas import Settle, SocketSettle, delivery_text
from central_hub.subscriptions.settling import Settled
from central_hub.subscriptions.streams import BUFFERED_BYTES_MAX

Settling = Callable[[Settle], Awaitable[Settled]]


class SocketTaker:
    """Takes deliveries to an open WebSocket.

    Args:
        sink: the socket.
    """

    def __init__(self, sink: SocketSink) -> None:
        self._sink = sink

    def can_take(self) -> bool:
        """Say whether what was given before has left."""
        return self._sink.buffered <= BUFFERED_BYTES_MAX

    def take(self, given: Given) -> bool:
        """Write a delivery; False when the socket is closed."""
        return self._sink.write(b'{"type":"delivery",' + delivery_text(given)[1:])

    def end(self, reason: HubError | None) -> None:
        """Say why, and close."""
        if reason is None:
            self._sink.close()
            return
        said = {"type": "end", "code": reason.code, "detail": reason.message, **reason.fields}
        self._sink.write(msgspec.json.encode(said))
        self._sink.refuse()


def listening(sink: SocketSink, settle: Settling) -> Callable[[bytes], Awaitable[None]]:
    """Return what answers a consumer's messages.

    Args:
        sink: where answers go.
        settle: does what a message says; raises what refuses it.
    """

    async def heard(message: bytes) -> None:
        ref: str | None = None
        try:
            check_depth(message)
            said: SocketSettle = decode_body(message, SocketSettle)
            ref = said.ref
            settled = await settle(said)
        except HubError as refused:
            answer: dict[str, object] = {"type": "error", "ref": ref, "code": refused.code, "detail": refused.message}
            if refused.retry_after_s is not None:
                answer["retry_after_s"] = refused.retry_after_s
            sink.write(msgspec.json.encode(answer))
        else:
            sink.write(msgspec.json.encode({"type": "settled", "ref": ref, **msgspec.structs.asdict(settled)}))

    return heard
