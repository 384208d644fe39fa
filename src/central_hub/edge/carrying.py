"""From ASGI's scope and messages to the pipeline's request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from starlette.types import Receive, Scope, Send

from central_hub.edge.operations import Found, Headers
from central_hub.edge.pipeline import Answer, BodyTooLarge, ClientGone, Request

PIECE_BYTES: Final = 128 * 1024
"""How much of a long body is sent in one step."""
CONNECTION: Final = "central_hub.connection"
"""Key in the scope's extensions under which the hub's own connections can be told something."""
BODY_ARRIVED: Final = "central_hub.body_arrived"
"""Set in a scope by the hub's own connections once the request's last byte is there."""


def raw_request(scope: Scope, receive: Receive, found: Found | None = None) -> Request:
    """Return the request that a scope describes; its body is read when it is asked for.

    Args:
        scope, receive: ASGI's.
        found: the operation, if the caller has looked for it.
    """
    query: bytes = scope["query_string"]
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode("latin-1", "replace")
    return Request(
        method=scope["method"],
        path=scope["path"],
        target=raw_path + b"?" + query if query else raw_path,
        query=query,
        headers=Headers(scope["headers"]),
        origin=scope["client"][0] if scope.get("client") else "",
        read_body=_reader(receive),
        found=found,
        whole=BODY_ARRIVED in scope,
    )


def tell_connection(scope: Scope, answer: Answer) -> None:
    """Tell the hub's own connection, if this is one, that its caller has to wait."""
    if answer.hold is not None:
        connection = scope.get("extensions", {}).get(CONNECTION)
        if connection is not None:
            connection.told(answer.hold)


async def send_body(pieces: Sequence[bytes], send: Send) -> None:
    """Send a body; a long one in pieces, with a turn for others after each.

    Args:
        pieces: what it consists of.
        send: ASGI's.
    """
    begun = size = 0
    for at, piece in enumerate(pieces):
        size += len(piece)
        if size >= PIECE_BYTES and at + 1 < len(pieces):
            await send({"type": "http.response.body", "body": b"".join(pieces[begun : at + 1]), "more_body": True})
            await asyncio.sleep(0)
            begun, size = at + 1, 0
    await send({"type": "http.response.body", "body": b"".join(pieces[begun:])})


def _reader(receive: Receive) -> Callable[[int], Awaitable[bytes]]:
    async def read(limit: int) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks) if len(chunks) > 1 else chunk

    return read
