"""What a decision works with: it reads over committed state, and proposes facts."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import UUID_RANDOM_BYTES, DomainId, uuid7
from central_hub.kernel.ports import StreamKey
from central_hub.kernel.randomness import Randomness
from central_hub.kernel.records import Category, Draft


class StreamBusy(Exception):
    """A touched stream has a write that is not yet durable."""

    def __init__(self, key: StreamKey) -> None:
        super().__init__(key)
        self.key = key


class Tx:
    """What a decision may use: reads it declares, facts it proposes, time and ids it is given."""

    __slots__ = ("_pending", "_random", "_writing", "counts", "drafts", "now_ms", "reads")

    def __init__(
        self, now_ms: int, random: Randomness, writing: dict[StreamKey, int], pending: dict[StreamKey, int]
    ) -> None:
        self.now_ms = now_ms
        self._random = random
        self._writing = writing
        self._pending = pending
        self.reads: set[StreamKey] = set()
        self.drafts: list[Draft] = []
        self.counts: dict[StreamKey, int] = {}

    def touch(self, domain: DomainId, stream: str) -> None:
        """Declare that the decision depends on this aggregate; call it before looking at the view."""
        key = (domain, stream)
        if key in self._writing:
            raise StreamBusy(key)
        self.reads.add(key)

    def touch_all(self, keys: AbstractSet[StreamKey], beginning: str) -> None:
        """Declare that the decision depends on many aggregates, and on whichever like them is being written.

        Args:
            keys: domains and streams, put together beforehand: a decision is one step of the event loop.
            beginning: of the streams' names; one that is being written and not among the keys is waited for too.
        """
        for key in self._writing:
            if key in keys or key[1].startswith(beginning):
                raise StreamBusy(key)
        self.reads |= keys

    def pending(self, domain: DomainId, stream: str) -> int:
        """Return what is decided but not yet durable on a counting stream, this command included.

        Only increases count: a decrease frees nothing before it is durable.
        """
        key = (domain, stream)
        self.reads.add(key)
        return self._pending.get(key, 0) + max(0, self.counts.get(key, 0))

    def append(
        self,
        domain: DomainId,
        fact: Fact,
        *,
        streams: Sequence[str],
        counts: dict[str, int] | None = None,
        category: Category = Category.FACT,
        once: str = "",
    ) -> None:
        """Propose a fact.

        Args:
            domain: whose log it belongs to.
            fact: what became true.
            streams: the aggregates it changes; the first is the one it belongs to.
            counts: counting streams it moves, with the change.
            category: facts rebuild views; events are delivered; audit is kept.
            once: name of what is told, within the domain; what was told under it before is not told again.
        """
        names = tuple(streams)
        if counts:
            for stream, change in counts.items():
                key = (domain, stream)
                self.counts[key] = self.counts.get(key, 0) + change
            names += tuple(counts)
        self.drafts.append(Draft(domain=domain, streams=names, fact=fact, category=category, once=once))

    def written(self) -> tuple[StreamKey, ...]:
        """Return the streams that must be durable before another command may look at them; no view follows events."""
        counted = self.counts
        keys = {
            (draft.domain, stream)
            for draft in self.drafts
            if draft.category is not Category.EVENT
            for stream in draft.streams
        }
        return tuple(keys.difference(counted) if counted else keys)

    def new_id(self) -> str:
        """Mint a UUIDv7."""
        return uuid7(self.now_ms, self._random(UUID_RANDOM_BYTES))

    def random(self, count: int) -> bytes:
        """Return `count` random bytes (for secrets a decision mints)."""
        return self._random(count)
