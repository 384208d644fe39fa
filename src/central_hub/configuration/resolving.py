"""Effective values, resolved once and shared: by all tenants of a tier without layers of their own, and by those
whose own layers say the same.

A `Stack` is what the platform says to one tier, service and environment. A `Resolved` is a stack with the few leaves
in which a tenant's own layers change it. When the platform's layers change, a tenant's leaves are folded again only
where both have something to say.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from central_hub.configuration.folding import (
    ABSENT,
    Absent,
    Compiled,
    Placed,
    Traced,
    differ,
    fold,
    touched,
    trace,
)
from central_hub.configuration.merging import altered, covers, nested, ordered
from central_hub.configuration.model import OWN_PLACES, Document, Json
from central_hub.kernel.ids import DomainId

_encode: Final = msgspec.json.Encoder().encode
ETAG_HEX: Final = 24
OwnLayers = tuple[Compiled | None, ...]
"""A tenant's own layers at `OWN_PLACES`."""
NO_OWN: Final[OwnLayers] = (None,) * len(OWN_PLACES)


class Move:
    """What is different between two states of a stack."""

    __slots__ = ("places", "prefixes", "values")

    def __init__(self, before: Stack, after: Stack) -> None:
        self.places = touched(before.layers, after.layers)
        known = before.values.keys() | after.values.keys()
        self.prefixes = tuple(place for place in self.places if place not in known)
        self.values = frozenset(
            path for path in known if differ(before.values.get(path, ABSENT), after.values.get(path, ABSENT))
        )


class Stack:
    """What the layers of the platform say to one tier, service and environment. Never changed."""

    __slots__ = ("__weakref__", "_moves", "document", "granted", "layers", "tier", "values")

    def __init__(self, tier: str, layers: tuple[Placed, ...], granted: Mapping[str, Json]) -> None:
        self.tier = tier
        self.layers = layers
        self.granted = granted
        self.values = fold(layers, granted)
        self.document = ordered(nested(self.values))
        self._moves: dict[Stack, Move] = {}

    def move_to(self, after: Stack) -> Move:
        """Return what is different in another stack; found once for all tenants."""
        found = self._moves.get(after)
        if found is None:
            self._moves.clear()  # one at a time: whoever is behind comes to the newest
            found = self._moves[after] = Move(self, after)
        return found

    def with_own(self, own: OwnLayers) -> list[Placed]:
        """Return the whole order of layers, a tenant's own at their places."""
        layers = list(self.layers)
        for place, layer in zip(OWN_PLACES, own, strict=True):
            layers[place + 1] = Placed(layer, own=True)
        return layers


class Resolved:
    """An effective value: a stack, and the leaves in which a tenant's own layers change it. Never changed."""

    __slots__ = ("__weakref__", "_config", "_etag", "overlay", "own", "stack")

    def __init__(self, stack: Stack, own: OwnLayers, overlay: dict[str, Json | Absent]) -> None:
        self.stack = stack
        self.own = own
        self.overlay = overlay
        self._config = b""
        self._etag = ""

    def at(self, path: str) -> Json | Absent:
        """Return a leaf by its pointer, ABSENT when there is none."""
        found = self.overlay.get(path)
        return self.stack.values.get(path, ABSENT) if found is None else found

    @property
    def leaves(self) -> dict[str, Json]:
        """Every leaf by its pointer."""
        if not self.overlay:
            return self.stack.values
        leaves = {**self.stack.values, **self.overlay}
        return {path: value for path, value in leaves.items() if value is not ABSENT}

    @property
    def document(self) -> Document:
        """The value as JSON, keys in order; parts of it are shared and none is to be changed."""
        return altered(self.stack.document, self.overlay) if self.overlay else self.stack.document

    @property
    def config(self) -> bytes:
        """The value, encoded."""
        if not self._config:
            self._config = _encode(self.document)
        return self._config

    @property
    def etag(self) -> str:
        """The strong entity tag: the same exactly where tier and value are."""
        if not self._etag:
            digest = hashlib.sha256(self.stack.tier.encode() + b"\n" + self.config)
            self._etag = f'"{digest.hexdigest()[:ETAG_HEX]}"'
        return self._etag

    def forget_encoded(self) -> None:
        """Let go of the encoded form; it is made again when it is asked for."""
        self._config = b""

    def differs(self, other: Resolved) -> bool:
        """Say whether two values of one caller are different, at the cost of what may be."""
        if self is other:
            return False
        if self.stack.tier != other.stack.tier:
            return True
        changed = other.stack.move_to(self.stack).values if self.stack is not other.stack else frozenset[str]()
        if self.overlay is other.overlay:
            return not changed <= self.overlay.keys()
        return any(differ(self.at(path), other.at(path)) for path in changed.union(self.overlay, other.overlay))

    def trace(self) -> dict[str, Traced]:
        """Return where every leaf came from."""
        layers = self.stack.with_own(self.own)
        return {path: trace(path, layers, self.stack.granted) for path in sorted(self.leaves)}


def resolve(stack: Stack, own: OwnLayers) -> Resolved:
    """Fold a tenant's own layers into a stack."""
    said = [layer for layer in own if layer is not None]
    paths = {path for layer in said for path in layer.paths()}
    below = tuple({path for layer in said for path in (*layer.deletes, *layer.locks)})
    if below:
        paths.update(path for path in stack.values if covers(below, path))
    return Resolved(stack, own, _overlay(stack, own, paths, {}))


def moved(before: Resolved, stack: Stack) -> Resolved:
    """Bring an effective value to another state of its stack; folds only where both say something."""
    move = before.stack.move_to(stack)
    said = [layer for layer in before.own if layer is not None]
    if any(layer.locks or layer.deletes for layer in said):
        return resolve(stack, before.own)
    concerned: set[str] = set()
    for layer in said:
        concerned.update(move.places & layer.leaves.keys())
        if layer.guarded:
            concerned.update(move.places & (layer.ceilings.keys() | layer.floors.keys()))
        if move.prefixes:
            concerned.update(path for path in layer.leaves if covers(move.prefixes, path))
    overlay = _overlay(stack, before.own, concerned, before.overlay) if concerned else before.overlay
    return Resolved(stack, before.own, overlay)


def _overlay(
    stack: Stack, own: OwnLayers, paths: set[str], before: Mapping[str, Json | Absent]
) -> dict[str, Json | Absent]:
    overlay = dict(before)
    layers = stack.with_own(own)
    for path in paths:
        value = trace(path, layers, stack.granted).value
        if differ(value, stack.values.get(path, ABSENT)):
            overlay[path] = value
        else:
            overlay.pop(path, None)
    return overlay


class Shared:
    """Effective values by what they are made of, so that equal ones are one; and the state each tenant was last in."""

    def __init__(self) -> None:
        self._by_parts: WeakValueDictionary[tuple[int, OwnLayers], Resolved] = WeakValueDictionary()
        self._of: dict[DomainId, dict[tuple[str, str], Resolved]] = {}

    def get(self, domain: DomainId, variant: tuple[str, str], stack: Stack, own: OwnLayers) -> Resolved:
        """Return the effective value of a tenant that has layers of its own.

        Args:
            domain: the tenant's.
            variant: service and environment, empty where no layer names them.
            stack: what the platform says.
            own: what the tenant says.
        """
        kept = self._of.setdefault(domain, {})
        found = kept.get(variant)
        if found is not None and found.stack is stack and found.own == own:
            return found
        parts = (id(stack), own)
        alike = self._by_parts.get(parts)
        if alike is None or alike.stack is not stack:
            alike = moved(found, stack) if found is not None and found.own == own else resolve(stack, own)
            self._by_parts[parts] = alike
        kept[variant] = alike
        return alike
