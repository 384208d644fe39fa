"""A receiver of webhooks as a process of its own: what it answered with 2xx is in its file.

    python -m tests.durability.receiving FILE SECRETS SEED

SECRETS is a file of JSON, path to secret, read again when it changes. A line is written before the answer: path, id,
and the event. Some messages are refused, and some connections dropped after the line, as real receivers do; but no
message twice, since the hub then rightly waits for minutes, and a test does not.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from pathlib import Path
from typing import Any, Final

from central_hub.kernel.signatures import SignatureError, secret_bytes, verify

REFUSED_SHARE: Final = 0.004
DROPPED_SHARE: Final = 0.004


class Receiver:
    """Takes messages, one for each connection."""

    def __init__(self, file: Path, secrets: Path, seed: int) -> None:
        self._file = file.open("a", buffering=1, encoding="utf-8")
        self._secrets = secrets
        self._draw = random.Random(seed)
        self._failed: set[tuple[str, str]] = set()

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take one message."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
            request, *lines = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            writer.write(self._answer(request.split(" ")[1], headers, body))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the hub was killed
        finally:
            writer.close()

    def _answer(self, path: str, headers: dict[str, str], body: bytes) -> bytes:
        secret = json.loads(self._secrets.read_text("utf-8"))[path]
        try:
            message_id = verify(headers, body, [secret_bytes(secret)], now_s=time.time())
        except SignatureError as error:
            self._write({"path": path, "violation": str(error)})
            return b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
        drawn = self._draw.random() if (path, message_id) not in self._failed else 1.0
        if drawn < REFUSED_SHARE + DROPPED_SHARE:
            self._failed.add((path, message_id))
        if drawn < REFUSED_SHARE:
            return b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n"
        self._write({"path": path, "id": message_id, "event": json.loads(body)})
        return b"" if drawn < REFUSED_SHARE + DROPPED_SHARE else b"HTTP/1.1 204 No Content\r\n\r\n"

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")


async def main(file: str, secrets: str, seed: str) -> None:
    """Receive until the process ends; the first line on stdout is the port."""
    receiver = Receiver(Path(file), Path(secrets), int(seed))
    server = await asyncio.start_server(receiver.talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
