"""A load of appends on a log, a book of what was answered, and a checker that holds a store against the book.

Every command carries an idempotency key. What was refused is sent again; what was sent and not answered is sent again
under its key until the store says what became of it. The checker then looks for what was lost, what nobody wrote,
what is there twice, gaps, and what changed its order.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Accepted, Append, Log
from central_hub.kernel.records import Record
from tests.adapters.logs import command, key, record

DOMAINS = [DomainId(name) for name in ("acme", "other", "third")]
AGAIN_S = 0.02


@dataclass(slots=True)
class Book:
    """What was tried and what was answered."""

    tried: set[str] = field(default_factory=set)
    acknowledged: dict[str, int] = field(default_factory=dict)
    unknown: int = 0
    resolved: int = 0
    refused: int = 0
    slowest_refusal_s: float = 0.0
    last_answer_s: float = 0.0


class Load:
    """Writers on one log until they are told to stop.

    Args:
        log: what they write to.
        writers: how many at once.
        seed: of what they write.
    """

    def __init__(self, log: Log, *, writers: int = 4, seed: int = 1) -> None:
        self._log = log
        self._draw = random.Random(seed)
        self._writers = writers
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []
        self.book = Book()

    def start(self) -> None:
        """Begin to write."""
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(self._writers)]

    async def acknowledged(self, more: int, *, within_s: float = 20.0) -> float:
        """Wait until so many more records were acknowledged; returns the seconds it took."""
        began, goal = time.monotonic(), len(self.book.acknowledged) + more
        while len(self.book.acknowledged) < goal:
            assert time.monotonic() - began < within_s, f"{goal - len(self.book.acknowledged)} short of {more}"
            await asyncio.sleep(0.005)
        return time.monotonic() - began

    async def stop(self) -> None:
        """Let every writer have its answer, and end."""
        self._stopping = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    async def abandon(self) -> None:
        """End without waiting for answers: the store will not give any."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def _write(self, writer: int) -> None:
        for number in itertools.count():
            if self._stopping:
                return
            batch = self._batch(f"{writer:02d}-{number:06d}")
            await self._answered(batch)

    def _batch(self, name: str) -> list[Append]:
        made: list[Append] = []
        for part in range(self._draw.randint(1, 6)):
            identity = f"{name}-{part}"
            self.book.tried.add(identity)
            domain = self._draw.choice(DOMAINS)
            one = record(domain, f"thing/{identity}", id=identity, data=self._draw.randbytes(40))
            made.append(command(one, key=key(identity, domain), result=identity.encode()))
        return made

    async def _answered(self, batch: Sequence[Append]) -> None:
        unknown = False
        while True:
            asked = time.monotonic()
            try:
                verdicts = await self._log.append(batch)
            except HubError as refused:
                if refused.code == "outcome_unknown":
                    unknown = True
                    self.book.unknown += 1
                elif refused.code != "store_unavailable":
                    raise
                else:
                    self.book.refused += 1
                    self.book.slowest_refusal_s = max(self.book.slowest_refusal_s, time.monotonic() - asked)
                await asyncio.sleep(AGAIN_S)
                continue
            for one, verdict in zip(batch, verdicts, strict=True):
                position = verdict.records[0].pos if isinstance(verdict, Accepted) else 0
                assert position or unknown, "a duplicate of what was never in doubt"
                self.book.resolved += not position
                self.book.acknowledged[one.records[0].id] = position
            self.book.last_answer_s = time.monotonic()
            return


def faults(book: Book, records: Sequence[Record]) -> dict[str, list[str]]:
    """Hold what a store has against what was answered; returns what is wrong, by kind, empty when nothing is."""
    at = {one.id: one.pos for one in records}
    counted = Counter(one.id for one in records)
    found = {
        "lost": [name for name in book.acknowledged if name not in at],
        "phantom": [name for name in at if name not in book.tried],
        "twice": [name for name, count in counted.items() if count > 1],
        "moved": [name for name, pos in book.acknowledged.items() if pos and at.get(name, pos) != pos],
        "gap": [str(one.pos) for expected, one in enumerate(records, 1) if one.pos != expected],
        "gap in a domain": [],
        "reordered": [],
    }
    for domain in DOMAINS:
        seqs = [one.domain_seq for one in records if one.domain == domain]
        found["gap in a domain"] += [str(seq) for expected, seq in enumerate(seqs, 1) if seq != expected]
    by_writer: dict[str, list[str]] = {}
    for one in records:
        by_writer.setdefault(one.id.partition("-")[0], []).append(one.id)
    found["reordered"] = [writer for writer, names in by_writer.items() if names != sorted(names)]
    return {kind: names[:5] for kind, names in found.items() if names}
