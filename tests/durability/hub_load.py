"""A load on several hubs through the SDK, a book of what was answered, and a checker that holds the hubs against it.

Writers publish events under names of their own, one after another; readers discover without a pause; an instance keeps
its lease by heartbeats; a watcher follows. What a caller sees as an error is counted, not forgiven: the client turns to
another hub by itself, and a caller is to notice nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.hub_process import HubProcess
from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.client import HubClient

TYPE: Final = "com.example.counted"
SERVICE: Final = "risk"
INSTANCE: Final = "kept-1"
TTL_S: Final = 4.0
READ_EVERY_S: Final = 0.02
LOOK_EVERY_S: Final = 0.02
PAGE: Final = 500


@dataclass(slots=True)
class Book:
    """What was tried, what was answered, and what went wrong."""

    tried: set[str] = field(default_factory=set[str])
    acknowledged: list[str] = field(default_factory=list[str])
    reads: int = 0
    failed: list[str] = field(default_factory=list[str])
    refused: int = 0
    forgotten: int = 0
    longest_unwatched_s: float = 0.0
    longest_write_s: float = 0.0


class HubLoad:
    """Callers of several hubs until they are told to stop.

    Args:
        urls: the hubs, as the SDK takes them.
        key: an API key.
        writers, readers: how many at once.
        refusals_are_errors: whether a write that was refused after every try counts as failed: not so while the store
            is away, when it is to be refused.
    """

    def __init__(
        self, urls: str, key: str, *, writers: int = 4, readers: int = 4, refusals_are_errors: bool = True
    ) -> None:
        self._clients = [HubClient(urls, key, cache_dir="", watch=[SERVICE]) for _ in range(3)]
        self._writers = writers
        self._readers = readers
        self._refusals_are_errors = refusals_are_errors
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.book = Book()

    async def start(self) -> None:
        """Begin; returns when the instance is registered and every client is connected."""
        for client in self._clients:
            await client.open()
        await self._clients[0].register_service(
            name=SERVICE, instance_id=INSTANCE, host="127.0.0.1", port=9, lease_ttl_s=TTL_S
        )
        for client in self._clients:
            assert await client.ready(SERVICE)
        async with asyncio.timeout(5):
            while not all(client.connected for client in self._clients):
                await asyncio.sleep(0.01)
        work = [self._write(number) for number in range(self._writers)]
        work += [self._read(number) for number in range(self._readers)]
        work += [self._beat(), *(self._watch(client) for client in self._clients)]
        self._tasks = [asyncio.create_task(one) for one in work]

    async def acknowledged(self, more: int, *, within_s: float = 30.0) -> float:
        """Wait until so many more events were acknowledged; returns the seconds it took."""
        began, goal = time.monotonic(), len(self.book.acknowledged) + more
        while len(self.book.acknowledged) < goal:
            assert time.monotonic() - began < within_s, f"{goal - len(self.book.acknowledged)} short of {more}"
            await asyncio.sleep(0.005)
        return time.monotonic() - began

    async def stop(self) -> None:
        """Let every caller have its answer, and end."""
        self._stopping = True
        async with asyncio.timeout(30):
            await asyncio.gather(*self._tasks)
        for client in self._clients:
            await client.close()

    def _client(self, number: int) -> HubClient:
        return self._clients[number % len(self._clients)]

    async def _write(self, writer: int) -> None:
        for number in itertools.count():
            if self._stopping:
                return
            name = f"{writer:02d}-{number:06d}"
            self.book.tried.add(name)
            while True:
                asked = time.monotonic()
                try:
                    await self._client(writer).publish(TYPE, {"n": number}, id=name, source=f"/writers/{writer}")
                except HubError as error:
                    if self._refusals_are_errors or error.kind is not Kind.UNAVAILABLE:
                        self.book.failed.append(f"publish: {error.code}")
                    self.book.refused += 1
                    if self._stopping:
                        return
                    continue
                self.book.longest_write_s = max(self.book.longest_write_s, time.monotonic() - asked)
                self.book.acknowledged.append(name)
                break

    async def _read(self, reader: int) -> None:
        while not self._stopping:
            try:
                answer = await self._client(reader).discover(SERVICE)
                if "view_age_s" in answer:
                    self.book.failed.append("read: no hub answered")
            except HubError as error:
                self.book.failed.append(f"read: {error.code}")
            self.book.reads += 1
            await asyncio.sleep(READ_EVERY_S)

    async def _beat(self) -> None:
        while not self._stopping:
            try:
                await self._clients[0].heartbeat(SERVICE, INSTANCE, in_flight=1, load=0.5)
            except HubError as error:
                if error.kind is Kind.NOT_FOUND:
                    self.book.forgotten += 1
                else:
                    self.book.failed.append(f"heartbeat: {error.code}")
            await asyncio.sleep(TTL_S / 4)

    async def _watch(self, client: HubClient) -> None:
        since = time.monotonic()
        while not self._stopping:
            if client.connected:
                since = time.monotonic()
            self.book.longest_unwatched_s = max(self.book.longest_unwatched_s, time.monotonic() - since)
            await asyncio.sleep(LOOK_EVERY_S)


def published(hub: HubProcess, key: str) -> list[str]:
    """Return the names of all events of the load that a hub tells, in order."""
    names: list[str] = []
    after = "start"
    while True:
        page: Any = hub.must("GET", f"/events?after={after}&types={TYPE}&limit={PAGE}", key=key)
        names += [one["id"] for one in page["events"]]
        after = page["next"]
        if not page["more"]:
            return names


def faults(book: Book, names: list[str]) -> dict[str, list[str]]:
    """Hold what a hub tells against what was answered; returns what is wrong, by kind, empty when nothing is."""
    there = set(names)
    by_writer: dict[str, list[str]] = {}
    for name in names:
        by_writer.setdefault(name.partition("-")[0], []).append(name)
    found = {
        "lost": [name for name in book.acknowledged if name not in there],
        "phantom": [name for name in names if name not in book.tried],
        "twice": [name for name, count in Counter(names).items() if count > 1],
        "reordered": [writer for writer, told in by_writer.items() if told != sorted(told)],
    }
    return {kind: names[:5] for kind, names in found.items() if names}
