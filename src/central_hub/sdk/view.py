"""The local view of services: what a hub's watch said, folded. Pure.

State, not history. Within one incarnation of the hub's log a service's revision never goes back.
A long snapshot arrives in parts; until its `sync`, what it has not confirmed yet stays
usable, and at `sync` whatever was not confirmed is dropped.
"""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.sdk.model import Instance, ReportedLoad, ServiceState
from central_hub.sdk.sse import Event

SAVED_FORMAT: Final = 1


class _Service(msgspec.Struct, frozen=True):
    revision: int
    domain: str = "shared"
    instances: tuple[Instance, ...] = ()


class _Snapshot(msgspec.Struct, frozen=True):
    services: dict[str, _Service | None]


class _Delta(msgspec.Struct, frozen=True):
    service: str
    revision: int
    domain: str = "shared"
    upsert: tuple[Instance, ...] = ()
    remove: tuple[str, ...] = ()
    gone: bool = False


class _Loads(msgspec.Struct, frozen=True):
    service: str
    loads: dict[str, ReportedLoad]


class SavedView(msgspec.Struct, frozen=True, kw_only=True):
    """A view as it is kept on disk; `saved_at_ms` is when the hub last confirmed it, wall clock."""

    format: int = SAVED_FORMAT
    position: str = ""
    names: tuple[str, ...] = ()
    saved_at_ms: int = 0
    services: dict[str, ServiceState] = {}


class LocalView:
    """Folds a watch's events into a map from service to state."""

    def __init__(self) -> None:
        self.services: dict[str, ServiceState] = {}
        self.loads: dict[str, dict[str, ReportedLoad]] = {}
        self.position = ""
        self.incarnation = ""
        self._unconfirmed: dict[str, set[str]] = {}
        self._counts_anew = False

    def begin(self, incarnation: str) -> None:
        """Take note that a stream begins.

        Args:
            incarnation: of the hub's log, empty when the hub did not say.
        """
        if incarnation and self.incarnation and incarnation != self.incarnation:
            self._counts_anew = True

    def apply(self, event: Event) -> frozenset[str]:
        """Fold one event.

        Returns:
            The services that may have changed.

        Raises:
            msgspec.DecodeError: the data is not what the event's name says.
        """
        if event.id:
            self.begin(event.id.split(".", 1)[0])
            self._at(event.id)
        match event.name:
            case "snapshot":
                return self._apply_snapshot(msgspec.json.decode(event.data, type=_Snapshot), is_whole=bool(event.id))
            case "delta":
                return self._apply_delta(msgspec.json.decode(event.data, type=_Delta))
            case "sync":
                return self._drop_unconfirmed()
            case "load":
                return self._apply_loads(msgspec.json.decode(event.data, type=_Loads))
            case _:
                return frozenset()

    def merge(self, state: ServiceState, incarnation: str) -> bool:
        """Take a service that was read beside the stream, unless the stream knows better.

        Args:
            state: the whole service.
            incarnation: of the log the answer came from, empty when unknown.
        """
        held = self.services.get(state.service)
        if held is not None and (state.revision < held.revision or incarnation != self.incarnation):
            return False
        self.services[state.service] = state
        self._unconfirmed.pop(state.service, None)
        return True

    def forget(self, names: frozenset[str]) -> None:
        """Drop services nobody asks for any more."""
        for name in names:
            self.services.pop(name, None)
            self.loads.pop(name, None)
            self._unconfirmed.pop(name, None)

    def save(self, names: tuple[str, ...], now_ms: int) -> SavedView:
        """Return the view as it is kept on disk.

        Args:
            names: services it was watching for; a position is only worth anything with them.
            now_ms: wall clock of the hub's last sign of life.
        """
        return SavedView(position=self.position, names=names, saved_at_ms=now_ms, services=dict(self.services))

    def restore(self, saved: SavedView) -> None:
        """Become what was saved."""
        self.services = dict(saved.services)
        self._unconfirmed = {}
        self.position = ""
        if saved.position:
            self._at(saved.position)

    def _at(self, position: str) -> None:
        self.position = position
        self.incarnation = position.split(".", 1)[0]

    def _apply_snapshot(self, snapshot: _Snapshot, *, is_whole: bool) -> frozenset[str]:
        if not is_whole:
            # The rest follows as deltas; if the stream breaks before, it has to begin anew.
            self.position = ""
        held = self.services
        self._unconfirmed = {
            name: set(state.instances) for name, state in held.items() if name not in snapshot.services
        }
        for name, service in snapshot.services.items():
            new, old = _state_of(name, service, held.get(name)), held.get(name)
            if old is None or self._counts_anew or new.revision >= old.revision:
                self.services[name] = new
        return frozenset(self.services)

    def _apply_delta(self, delta: _Delta) -> frozenset[str]:
        held = self.services.get(delta.service)
        unconfirmed = self._unconfirmed.get(delta.service)
        if held is not None and unconfirmed is None and not self._counts_anew and delta.revision < held.revision:
            return frozenset()
        if delta.gone:
            self._unconfirmed.pop(delta.service, None)
            self.services[delta.service] = ServiceState(
                service=delta.service, revision=delta.revision, domain=delta.domain, known=False
            )
            return frozenset((delta.service,))
        instances = dict(held.instances) if held is not None else {}
        for instance_id in delta.remove:
            instances.pop(instance_id, None)
        for instance in delta.upsert:
            instances[instance.instance_id] = instance
        if unconfirmed is not None:
            unconfirmed.difference_update(instance.instance_id for instance in delta.upsert)
        self.services[delta.service] = ServiceState(
            service=delta.service, revision=delta.revision, domain=delta.domain, instances=instances
        )
        return frozenset((delta.service,))

    def _apply_loads(self, loads: _Loads) -> frozenset[str]:
        self.loads[loads.service] = loads.loads
        return frozenset((loads.service,))

    def _drop_unconfirmed(self) -> frozenset[str]:
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        self._counts_anew = False
        for name, stale in unconfirmed.items():
            held = self.services.get(name)
            if held is None:
                continue
            instances = {key: value for key, value in held.instances.items() if key not in stale}
            self.services[name] = ServiceState(
                service=name,
                revision=held.revision,
                domain=held.domain,
                instances=instances,
                known=held.known and bool(instances),
            )
        return frozenset(unconfirmed)


def _state_of(name: str, service: _Service | None, held: ServiceState | None) -> ServiceState:
    if service is None:
        return ServiceState(service=name, revision=held.revision if held is not None else 0, known=False)
    instances = {instance.instance_id: instance for instance in service.instances}
    return ServiceState(service=name, revision=service.revision, domain=service.domain, instances=instances)
