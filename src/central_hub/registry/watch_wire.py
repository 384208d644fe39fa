"""The watch's events: what a change, a whole service or a set of services looks like on the stream.

Rendered once for everybody who sees the same thing; only the id belongs to a group of watchers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from central_hub.edge.streams import Frame
from central_hub.kernel.ids import SHARED, DomainId
from central_hub.registry.catalogue import Catalogue
from central_hub.registry.encoding import encode_instance
from central_hub.registry.ports import HealthOf
from central_hub.registry.service import Service
from central_hub.registry.signals import Loads
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import Viewer, revision_for, scope_word, visible

RENDERED_MAX: Final = 256
"""Deltas remembered between groups; they are alike for all tenants that see a shared service."""

_json: Final = msgspec.json.Encoder()

_DeltaKey = tuple[str, DomainId | None, int, int, tuple[str, ...], tuple[str, ...], bool]


class WatchWire:
    """Renders the data of watch events.

    Args:
        view: what is registered.
        catalogue: encoded services.
        health: this hub's own verdicts.
        loads: what instances report.
    """

    def __init__(self, view: RegistryView, catalogue: Catalogue, health: HealthOf, loads: Loads) -> None:
        self._view = view
        self._catalogue = catalogue
        self._health = health
        self._loads = loads
        self._deltas: dict[_DeltaKey, bytes] = {}

    def snapshot(self, viewer: Viewer, names: Iterable[str]) -> bytes:
        """Render services in full; a name without a visible service is null."""
        pieces: list[bytes] = []
        for name in names:
            found = visible(self._view, viewer, name)
            value = b"null" if found is None else self._service(viewer, found[0], found[1])
            pieces.append(_json.encode(name) + b":" + value)
        return b'{"services":{' + b",".join(pieces) + b"}}"

    def full(self, viewer: Viewer, name: str) -> bytes:
        """Render a delta that brings everything about a service."""
        found = visible(self._view, viewer, name)
        if found is None:
            return self.gone(viewer, name, ())
        domain, service = found
        return self._delta(viewer, name, domain, self._catalogue.entry(domain, service).encoded, ())

    def gone(self, viewer: Viewer, name: str, instance_ids: Sequence[str], domain: DomainId = SHARED) -> bytes:
        """Render a delta that takes a service away.

        Args:
            instance_ids: those the watcher may hold.
            domain: where the service was last seen.
        """
        return self._delta(viewer, name, domain, (), instance_ids, gone=True)

    def delta(
        self,
        viewer: Viewer,
        name: str,
        domain: DomainId,
        service: Service,
        upsert: Iterable[str],
        remove: Iterable[str],
    ) -> bytes:
        """Render a delta of some instances; alike for everyone who counts the same revision."""
        revision = revision_for(self._view, viewer, name)
        wanted, gone = tuple(sorted(upsert)), tuple(sorted(remove))
        key = (name, domain, service.revision, revision, wanted, gone, False)
        rendered = self._deltas.get(key)
        if rendered is None:
            encoded = [
                encode_instance(service.instances[one], self._health.verdict(domain, name, one)) for one in wanted
            ]
            rendered = self._delta(viewer, name, domain, encoded, gone)
            if len(self._deltas) >= RENDERED_MAX:
                self._deltas.clear()
            self._deltas[key] = rendered
        return rendered

    def forget_rendered(self) -> None:
        """Drop remembered deltas, after verdicts moved without a fact."""
        self._deltas.clear()

    def loads(self, domain: DomainId, service: Service, now_ms: float) -> bytes | None:
        """Render the load event of a service; None when no instance reports."""
        loads: dict[str, dict[str, float]] = {}
        for instance_id in service.instances:
            load = self._loads.fresh(domain, service.name, instance_id, now_ms)
            if load is None:
                continue
            values = (("in_flight", load.in_flight), ("load", load.load), ("latency_ms_p95", load.latency_ms_p95))
            loads[instance_id] = {name: value for name, value in values if value is not None}
        return _json.encode({"service": service.name, "loads": loads}) if loads else None

    def _service(self, viewer: Viewer, domain: DomainId, service: Service) -> bytes:
        head = {"revision": revision_for(self._view, viewer, service.name), "domain": scope_word(domain)}
        encoded = self._catalogue.entry(domain, service).encoded
        return b"".join((_json.encode(head)[:-1], b',"instances":[', b",".join(encoded), b"]}"))

    def _delta(
        self,
        viewer: Viewer,
        name: str,
        domain: DomainId,
        encoded: Sequence[bytes],
        remove: Sequence[str],
        *,
        gone: bool = False,
    ) -> bytes:
        head = {"service": name, "revision": revision_for(self._view, viewer, name), "domain": scope_word(domain)}
        return b"".join(
            (
                _json.encode(head)[:-1],
                b',"upsert":[',
                b",".join(encoded),
                b'],"remove":',
                _json.encode(remove),
                b',"gone":true}' if gone else b"}",
            )
        )


def frame_of(events: Sequence[tuple[str, bytes]], position: str) -> Frame:
    """Frame events that belong together; the id stands on the last, so that a cut repeats them all.

    Args:
        events: (name, data) pairs.
        position: id to resume from; none when empty.
    """
    last = len(events) - 1
    pieces: list[bytes] = []
    for index, (event, data) in enumerate(events):
        head = f"event: {event}\nid: {position}\n" if position and index == last else f"event: {event}\n"
        pieces.append(b"%bdata: %b\n\n" % (head.encode("ascii"), data))
    return Frame(b"".join(pieces))
