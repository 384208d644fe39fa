"""Facts: what the log remembers, how a type is named, and how its body is encoded.

A fact's type on the log is the name of its class; the body is MessagePack. Fields are added with
defaults, so an old record decodes in a newer hub. Where that is not enough a type has upcasts: pure
functions, each from one revision of the body to the next, applied as old records are read. What is
stored is never rewritten, and every reader sees today's shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from central_hub.kernel.errors import HubError, Kind


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything the log remembers."""


FIRST_REVISION: Final = 1

Body = dict[str, Any]  # Any: a body of any revision, as MessagePack has it
Upcast = Callable[[Body], Body]
"""Makes a body of one revision one of the next; it may change what it is given."""

_ENCODER = msgspec.msgpack.Encoder()
_BODY = msgspec.msgpack.Decoder(Body)
_NO_UPCASTS: Final[Mapping[str, Sequence[Upcast]]] = MappingProxyType({})


def encode_fact(fact: Fact) -> bytes:
    """Encode the body of a fact."""
    return _ENCODER.encode(fact)


class FactTypes:
    """The types this hub understands, by name.

    Args:
        types: them.
        ignorable: names of types that are passed over.
        upcasts: by name of a type, what brings its bodies from revision 1 to 2, from 2 to 3 and so on.
    """

    def __init__(
        self,
        types: Iterable[type[Fact]],
        *,
        ignorable: Iterable[str] = (),
        upcasts: Mapping[str, Sequence[Upcast]] = _NO_UPCASTS,
    ) -> None:
        self._types = {kind.__name__: kind for kind in types}
        self._decoders = {name: msgspec.msgpack.Decoder(kind) for name, kind in self._types.items()}
        self._ignorable = frozenset(ignorable)
        self._upcasts = {name: tuple(chain) for name, chain in upcasts.items() if chain}
        if not self._upcasts.keys() <= self._types.keys():
            raise ValueError("an upcast is of a type that there is")

    def revision(self, type_name: str) -> int:
        """Return the revision that bodies of a type are written in."""
        return FIRST_REVISION + len(self._upcasts.get(type_name, ()))

    def decode(self, type_name: str, data: bytes, revision: int = FIRST_REVISION) -> Fact | None:
        """Decode a body of any revision as the type is today; None for a type flagged ignorable.

        Raises:
            HubError: `unknown_record_type`: the log was written by a newer hub.
        """
        decoder = self._decoders.get(type_name)
        if decoder is not None:
            if revision == FIRST_REVISION and type_name not in self._upcasts:
                return decoder.decode(data)
            return self._upcast(type_name, data, revision)
        if type_name in self._ignorable:
            return None
        raise HubError(
            "unknown_record_type",
            Kind.INTERNAL,
            f"The log holds a record of type '{type_name}', which this version does not know.",
            next_step="Start a hub at least as new as the one that wrote this log.",
        )

    def _upcast(self, type_name: str, data: bytes, revision: int) -> Fact:
        today = self.revision(type_name)
        if not FIRST_REVISION <= revision <= today:
            raise HubError(
                "unknown_record_type",
                Kind.INTERNAL,
                f"The log holds a '{type_name}' of revision {revision}; this version knows it up to {today}.",
                next_step="Start a hub at least as new as the one that wrote this log.",
            )
        if revision == today:
            return self._decoders[type_name].decode(data)
        body = _BODY.decode(data)
        for upcast in self._upcasts[type_name][revision - FIRST_REVISION :]:
            body = upcast(body)
        # Encoded once more, so that it is decoded by the rules that today's records are.
        return self._decoders[type_name].decode(_ENCODER.encode(body))
