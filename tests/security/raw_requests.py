"""Requests that no client library would send, and how the answers to them are read.

Each is built around a registration that a valid key sends: if any reader took it for one, the log would move.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

ANSWER_S = 20.0
"""How long a connection may stay open once nothing more is sent: more than the hub's own timeouts."""
READ_BYTES_MAX = 4_194_304

INTRUDER = {"name": "intruder", "host": "10.6.6.6", "port": 666, "instance_id": "i-666", "lease_ttl_s": 60}


@dataclass(frozen=True, slots=True)
class Attack:
    """What is sent, in pieces with a pause between, and whether the end of sending is announced.

    `fine` are the statuses besides 4xx that it may get: what is merely odd may be answered.
    `count` is how many answers it has to get, where that is certain.
    """

    name: str
    pieces: tuple[bytes, ...]
    pause_s: float = 0.0
    half_close: bool = False
    hang_up: bool = False
    fine: frozenset[int] = frozenset()
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What the hub said on a connection, and whether it closed it."""

    said: bytes
    closed: bool


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer from the wire."""

    status: int
    media_type: str
    code: str


def body(**changes: Any) -> bytes:
    """Return the registration's JSON."""
    return json.dumps(INTRUDER | changes).encode()


def request(
    key: str,
    content: bytes = b"",
    *,
    line: bytes = b"POST /services/register HTTP/1.1",
    headers: Iterable[bytes] = (),
    framing: bytes | None = None,
    close: bool = True,
) -> bytes:
    """Build a request; `framing` replaces the content-length line, `close` asks the hub to hang up afterwards."""
    lines = [line, b"host: 127.0.0.1", b"authorization: Bearer " + key.encode(), b"content-type: application/json"]
    lines += [b"content-length: %d" % len(content)] if framing is None else [framing] if framing else []
    lines += headers
    lines += [b"connection: close"] if close else []
    return b"\r\n".join(lines) + b"\r\n\r\n" + content


async def strike(port: int, attack: Attack) -> Heard:
    """Send an attack and read until the hub closes the connection, or has kept it open for too long."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reading = asyncio.create_task(_read(reader))
    try:
        with contextlib.suppress(ConnectionError):
            for piece in attack.pieces:
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), ANSWER_S)
                if attack.pause_s:
                    await asyncio.sleep(attack.pause_s)
                if reading.done():
                    break
            if attack.half_close and not writer.is_closing():
                writer.write_eof()
        if attack.hang_up:
            writer.close()
        return await reading
    finally:
        reading.cancel()
        writer.close()
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Heard:
    said = b""
    try:
        async with asyncio.timeout(ANSWER_S):
            while len(said) < READ_BYTES_MAX and (part := await reader.read(65_536)):
                said += part
    except TimeoutError:
        return Heard(said, closed=False)
    except ConnectionError:
        pass  # hung up on
    return Heard(said, closed=True)


def answers(said: bytes) -> Iterator[Answered]:
    """Read the answers one after another; what is none fails."""
    while said:
        head, separator, rest = said.partition(b"\r\n\r\n")
        assert separator, said[:200]
        first, *lines = head.decode("ascii").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), first
        headers = dict(line.lower().split(": ", 1) for line in lines)
        if status == "100":
            said = rest
            continue
        length = int(headers.get("content-length", 0))
        assert len(rest) >= length, "an answer that was cut short"
        content, said = rest[:length], rest[length:]
        media_type = headers.get("content-type", "")
        code = json.loads(content)["code"] if media_type == "application/problem+json" else ""
        yield Answered(int(status), media_type, code)
