"""Relays as the log tells them: which there are, and what each had to set aside. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied
from central_hub.relays.model import (
    FACTS,
    Parked,
    Relay,
    RelayChanged,
    RelayCreated,
    RelayDeleted,
    RelayEventParked,
    RelayPaused,
    RelayResumed,
    Start,
    Status,
)

CHUNK: Final = 256


class _Dump(msgspec.Struct, kw_only=True):
    relays: list[Relay] = []
    parked: list[tuple[str, Parked]] = []


class RelaysView:
    """Every relay, by name; all of them are the platform's."""

    def __init__(self) -> None:
        self._relays: dict[str, Relay] = {}
        self._parked: dict[str, list[Parked]] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "relays"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset(FACTS)

    def relays(self, domain: DomainId) -> tuple[Relay, ...]:
        """Return a domain's relays in order of their names; only the platform has any."""
        return tuple(sorted(self._relays.values(), key=lambda one: one.name)) if domain == PLATFORM else ()

    def named(self, domain: DomainId, name: str) -> Relay | None:
        """Return the relay of a name; None when there is none."""
        return next((one for one in self.relays(domain) if one.name == name), None)

    def relay(self, domain: DomainId, relay_id: str) -> Relay | None:
        """Return a relay by its id; None when there is none."""
        return self._relays.get(relay_id) if domain == PLATFORM else None

    def parked(self, domain: DomainId, relay_id: str) -> Sequence[Parked]:
        """Return what a relay set aside, oldest first."""
        return tuple(self._parked.get(relay_id, ())) if domain == PLATFORM else ()

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        match applied.fact:
            case RelayCreated(relay=relay, start=start):
                from_pos = applied.pos if start is Start.NOW else 0
                self._relays[relay.id] = msgspec.structs.replace(relay, from_pos=from_pos)
            case RelayChanged(relay_id=relay_id, settings=settings):
                self._change(relay_id, settings=settings)
            case RelayPaused(relay_id=relay_id, reason=reason):
                self._change(relay_id, status=Status.PAUSED, reason=reason.value)
            case RelayResumed(relay_id=relay_id):
                self._change(relay_id, status=Status.RUNNING, reason="")
            case RelayDeleted(relay_id=relay_id):
                self._relays.pop(relay_id, None)
                self._parked.pop(relay_id, None)
            case RelayEventParked(relay_id=relay_id, parked=parked):
                if relay_id in self._relays:
                    self._parked.setdefault(relay_id, []).append(parked)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` items."""
        if domain != PLATFORM or not self._relays:
            return
        yield _Dump(relays=list(self._relays.values()))
        parked = [(relay_id, one) for relay_id, some in self._parked.items() for one in some]
        for start in range(0, len(parked), CHUNK):
            yield _Dump(parked=parked[start : start + CHUNK])

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        assert domain == PLATFORM or not list(chunks), "relays are the platform's"
        for chunk in chunks:
            dumped = msgspec.msgpack.decode(chunk, type=_Dump)
            self._relays.update((relay.id, relay) for relay in dumped.relays)
            for relay_id, one in dumped.parked:
                self._parked.setdefault(relay_id, []).append(one)

    def _change(self, relay_id: str, **changes: Any) -> None:  # Any: the fields' types differ
        relay = self._relays[relay_id]
        self._relays[relay_id] = msgspec.structs.replace(relay, revision=relay.revision + 1, **changes)
