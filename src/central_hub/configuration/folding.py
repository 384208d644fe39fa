"""From layers to the effective value: each leaf on its own, in the order of the layers, with what binds it. Pure.

Later layers win, within what earlier ones allow: a lock keeps what is there, a ceiling or floor bounds a number, a
type stays what the first layer made it, and what a plan grants layers may lower, never raise or take away: only the
plan grants. A tenant binds its own later layers only. What a later layer says beyond that has no effect, so that a
change above always takes hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast
from weakref import WeakValueDictionary

from central_hub.configuration.merging import covers, decoded, flattened
from central_hub.configuration.model import GUARDS, Document, Json

Number = int | float


class Absent:
    """What stands where no layer says anything."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = Absent()


class Compiled:
    """A layer's document as it is folded; equal documents share one. Never changed."""

    __slots__ = ("__weakref__", "ceilings", "deletes", "encoded", "floors", "guarded", "leaves", "locks")

    def __init__(self, encoded: bytes) -> None:
        document: Document = decoded(encoded)
        leaves = flattened(document)
        guards: Mapping[str, Any] = document.get(GUARDS, {})  # Any: JSON, checked when it was written
        self.encoded = encoded
        self.leaves: dict[str, Json] = {path: value for path, value in leaves.items() if value is not None}
        self.deletes = tuple(path for path, value in leaves.items() if value is None)
        self.locks: tuple[str, ...] = tuple(guards.get("lock", ()))
        self.ceilings: Mapping[str, Number] = guards.get("ceiling", {})
        self.floors: Mapping[str, Number] = guards.get("floor", {})
        self.guarded = bool(guards)

    def paths(self) -> Iterable[str]:
        """Return every place it says something about: itself, or with all below it."""
        return (*self.leaves, *self.deletes, *self.locks, *self.ceilings, *self.floors)


_shared: Final[WeakValueDictionary[bytes, Compiled]] = WeakValueDictionary()


def compiled(encoded: bytes) -> Compiled | None:
    """Return a document ready to be folded, None for one that says nothing."""
    if encoded == b"{}":
        return None
    found = _shared.get(encoded)
    if found is None:
        found = _shared[encoded] = Compiled(encoded)
    return found


class Placed(NamedTuple):
    """A layer at its place in the order; `own` is a tenant's own."""

    layer: Compiled | None
    own: bool


class Traced(NamedTuple):
    """A leaf's value, the place of the layer it is from, and the place of the one that binds it (-1 for none)."""

    value: Json | Absent
    place: int
    locked_by: int = -1
    limited_by: int = -1


class _Bound(NamedTuple):
    value: Number
    place: int
    own: bool


def kind_of(value: Json) -> str:
    """Return the type of a leaf: `boolean`, `number`, `string` or `array`; what a reference stands for is a string."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str | dict) else "array"


def trace(path: str, layers: Sequence[Placed], granted_paths: Mapping[str, Json]) -> Traced:
    """Fold one leaf.

    Args:
        path: its pointer.
        layers: in order.
        granted_paths: the leaves of the first layer, the plan's: layers may lower these and never raise them.
    """
    value: Json | Absent = ABSENT
    place = limited_by = -1
    kind = ""
    own_locked_by = -1
    ceilings: list[_Bound] = []
    floors: list[_Bound] = []
    granted: Json | Absent = granted_paths.get(path, ABSENT)
    for at, (layer, own) in enumerate(layers):
        if layer is None or (own and own_locked_by >= 0):
            continue
        said = layer.leaves.get(path, ABSENT)
        if said is not ABSENT:
            said_kind = kind_of(said)
            if said_kind == (kind or said_kind):
                kind = said_kind
                value, place, limited_by = said, at, -1
                if ceilings or floors:
                    value, limited_by = _bounded(value, ceilings, floors, own=own)
                if granted is not ABSENT and not _lowers(value, granted):
                    value, limited_by = granted, 0
        elif layer.deletes and granted is ABSENT and covers(layer.deletes, path):
            value, place, limited_by = ABSENT, at, -1
        if layer.guarded:
            if layer.locks and covers(layer.locks, path):
                if not own:
                    return Traced(value, place, at, limited_by)
                own_locked_by = at
            if path in layer.ceilings:
                ceilings.append(_Bound(layer.ceilings[path], at, own))
            if path in layer.floors:
                floors.append(_Bound(layer.floors[path], at, own))
    return Traced(value, place, own_locked_by, limited_by)


def _lowers(said: Json, granted: Json) -> bool:
    """Say whether a value is at most what is granted; what has no order can only be what it is."""
    return said <= granted if isinstance(said, int | float) else not differ(said, granted)


def _bounded(value: Json, ceilings: Sequence[_Bound], floors: Sequence[_Bound], *, own: bool) -> tuple[Json, int]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value, -1
    limited_by = -1
    for floor in floors:
        if value < floor.value and (own or not floor.own):
            value, limited_by = floor.value, floor.place
    for ceiling in ceilings:  # a floor above a ceiling gives way
        if value > ceiling.value and (own or not ceiling.own):
            value, limited_by = ceiling.value, ceiling.place
    return value, limited_by


def fold(layers: Sequence[Placed], granted_paths: Mapping[str, Json]) -> dict[str, Json]:
    """Return every leaf of the effective value by pointer."""
    paths = dict.fromkeys(path for layer, _ in layers if layer is not None for path in layer.leaves)
    leaves: dict[str, Json] = {}
    for path in paths:
        value = trace(path, layers, granted_paths).value
        if value is not ABSENT:
            leaves[path] = value
    return leaves


def touched(before: Sequence[Placed], after: Sequence[Placed]) -> frozenset[str]:
    """Return the places about which two lists of the same layers differ; each stands for all below it too."""
    found: set[str] = set()
    for (old, _), (new, _) in zip(before, after, strict=True):
        if old is new:
            continue
        if old is None or new is None:
            one = new if old is None else old
            found.update(() if one is None else one.paths())
            continue
        found.update(_unequal(old.leaves, new.leaves))
        found.update(_unequal(old.ceilings, new.ceilings))
        found.update(_unequal(old.floors, new.floors))
        found.update(set(old.deletes) ^ set(new.deletes))
        found.update(set(old.locks) ^ set(new.locks))
    return frozenset(found)


def _unequal(old: Mapping[str, Json], new: Mapping[str, Json]) -> set[str]:
    changed = set(cast(Mapping[str, object], old).keys() ^ new.keys())
    changed.update(path for path in old.keys() & new.keys() if differ(old[path], new[path]))
    return changed


def differ(one: Json | Absent, other: Json | Absent) -> bool:
    """Say whether two leaves differ as JSON: True is not 1, in a list neither, and 0.0 is not -0.0."""
    if one is other:
        return False
    if one != other or type(one) is not type(other):
        return True
    return isinstance(one, list | float) and repr(cast(object, one)) != repr(cast(object, other))
