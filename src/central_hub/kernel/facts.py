"""Facts: what the log remembers, how a type is named, and how its body is encoded.

A fact's type on the log is the name of its class; the body is MessagePack. Fields are only
ever added, with defaults, so an old record decodes in a newer hub.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from central_hub.kernel.errors import HubError, Kind


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything the log remembers."""


_ENCODER = msgspec.msgpack.Encoder()


def encode_fact(fact: Fact) -> bytes:
    """Encode the body of a fact."""
    return _ENCODER.encode(fact)


class FactTypes:
    """The types this hub understands, by name."""

    def __init__(self, types: Iterable[type[Fact]], *, ignorable: Iterable[str] = ()) -> None:
        self._decoders = {kind.__name__: msgspec.msgpack.Decoder(kind) for kind in types}
        self._ignorable = frozenset(ignorable)

    def decode(self, type_name: str, data: bytes) -> Fact | None:
        """Decode a body; None for a type flagged ignorable.

        Raises:
            HubError: `unknown_record_type`: the log was written by a newer hub.
        """
        decoder = self._decoders.get(type_name)
        if decoder is not None:
            return decoder.decode(data)
        if type_name in self._ignorable:
            return None
        raise HubError(
            "unknown_record_type",
            Kind.INTERNAL,
            f"The log holds a record of type '{type_name}', which this version does not know.",
            next_step="Start a hub at least as new as the one that wrote this log.",
        )
