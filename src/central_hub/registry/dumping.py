"""A domain's services as of one moment, taken part by part while they go on changing.

A snapshot must show one moment, and no step may hold the event loop, however many services a tenant has. So what is
copied at that moment is only the list of services; each is put down when its part is taken, or before it changes,
whichever comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

import msgspec

from central_hub.registry.model import Instance
from central_hub.registry.service import Service, Tombstone

DUMP_CHUNK: Final = 256


class DumpedService(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """What a service knows that its instances do not say."""

    name: str
    created: int
    revision: int
    ranked: int
    rank_floor: int
    removed_horizon: int
    removed: dict[str, int]


class Dumped(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A chunk of the snapshot: services before their instances, with the little that is not derived from them."""

    instances: tuple[Instance, ...] = ()
    services: tuple[DumpedService, ...] = ()
    tombstones: dict[str, Tombstone] = {}
    horizon: int = 0


_Image = tuple[DumpedService, tuple[Instance, ...]]


class Dump:
    """One taking of a domain's state.

    Args:
        services: by name, as they are now; each must be shown to `keep` before it changes.
        tombstones: of services that vanished, oldest first.
        horizon: the position before which vanished services are forgotten.
    """

    def __init__(self, services: Mapping[str, Service], tombstones: Mapping[str, Tombstone], horizon: int) -> None:
        self._names = tuple(services)
        self._left = dict(services)
        self._images: dict[str, _Image] = {}
        self._tombstones = dict(tombstones)
        self._horizon = horizon

    def keep(self, service: Service) -> None:
        """Put a service down as it is, unless that was done."""
        if self._left.get(service.name) is service:
            del self._left[service.name]
            self._images[service.name] = _image(service)

    def chunks(self) -> Iterator[Dumped]:
        """Yield the state in chunks of about `DUMP_CHUNK` services and instances."""
        yield Dumped(horizon=self._horizon)
        buried = iter(self._tombstones.items())
        while part := dict(islice(buried, DUMP_CHUNK)):
            yield Dumped(tombstones=part, horizon=self._horizon)
        rows: list[DumpedService] = []
        instances: list[Instance] = []
        for name in self._names:
            row, held = self._take(name)
            rows.append(row)
            instances += held
            while len(rows) + len(instances) >= DUMP_CHUNK:
                yield Dumped(services=tuple(rows), instances=tuple(instances[:DUMP_CHUNK]))
                rows, instances = [], instances[DUMP_CHUNK:]
        if rows or instances:
            yield Dumped(services=tuple(rows), instances=tuple(instances))

    def _take(self, name: str) -> _Image:
        service = self._left.pop(name, None)
        return self._images.pop(name) if service is None else _image(service)


def _image(service: Service) -> _Image:
    row = DumpedService(
        name=service.name,
        created=service.created,
        revision=service.revision,
        ranked=service.ranked,
        rank_floor=service.rank_floor,
        removed_horizon=service.removed_horizon,
        removed=dict(service.removed or {}),
    )
    return row, tuple(service.instances.values())
