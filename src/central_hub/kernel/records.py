"""Records: the stored form of what happened, its encryption envelope and its hash chain.

A record's `data` is sealed under its domain's data key; the chain is per domain and covers the
stored bytes, so a domain can be verified, purged or shredded without any other domain's help.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId

SCHEMA_REV: Final = 1
GENESIS_HASH: Final = bytes(32)
STREAM_SEPARATOR: Final = "\n"

_encode_header: Final = msgspec.msgpack.Encoder().encode


class Category(StrEnum):
    """What a record is for: facts rebuild views, events are delivered, audit is kept."""

    FACT = "fact"
    EVENT = "event"
    AUDIT = "audit"


class Actor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who did it, from where, under which correlation; never a secret."""

    principal: str
    kind: str
    origin: str = ""
    correlation: str = ""


HUB_ACTOR: Final = Actor(principal="hub", kind="hub")


class Draft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record that was decided but has no position yet.

    `once` names it within its domain: of all that have the same name the first is written.
    """

    domain: DomainId
    streams: tuple[str, ...]
    fact: Fact
    category: Category = Category.FACT
    once: str = ""


class Record(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record as a store keeps it; `data` and `meta` are sealed bytes.

    `streams[0]` is the aggregate the record belongs to, further entries are counting or
    uniqueness streams that it changes too. `version` is `domain_seq`: positions within a domain
    order every aggregate of that domain.
    """

    pos: int
    domain: DomainId
    domain_seq: int
    streams: tuple[str, ...]
    category: Category
    type: str
    schema_rev: int
    id: str
    time_ms: int
    actor: Actor
    key_id: str
    prev_hash: bytes
    hash: bytes
    data: bytes


class Applied(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A record as views and listeners see it: positioned, opened and decoded."""

    pos: int
    domain: DomainId
    domain_seq: int
    streams: tuple[str, ...]
    category: Category
    type: str
    id: str
    time_ms: int
    actor: Actor
    fact: Fact


def associated_data(domain: str, record_id: str, type_name: str) -> bytes:
    """Bind sealed bytes to the record they belong to: moved elsewhere, they do not open."""
    return f"{domain}\n{record_id}\n{type_name}".encode()


def chain_hash(prev_hash: bytes, header: bytes, data: bytes) -> bytes:
    """Link a record to the one before it in its domain: SHA-256 over link, header and sealed data."""
    return hashlib.sha256(b"".join((prev_hash, len(header).to_bytes(4, "big"), header, data))).digest()


def chain_header(
    domain: str,
    domain_seq: int,
    streams: tuple[str, ...],
    category: str,
    type_name: str,
    schema_rev: int,
    record_id: str,
    time_ms: int,
    actor: Actor,
    key_id: str,
) -> bytes:
    """Serialise what the chain covers besides the data, so that no two records read alike.

    `pos` is left out on purpose. It counts all domains together: were it in the hash, one tenant
    could not verify its chain without learning how much the others wrote.
    """
    return _encode_header(
        (
            domain,
            domain_seq,
            STREAM_SEPARATOR.join(streams),
            category,
            type_name,
            schema_rev,
            record_id,
            time_ms,
            actor.principal,
            actor.kind,
            actor.origin,
            actor.correlation,
            key_id,
        )
    )


def record_hash(record: Record) -> bytes:
    """Compute the hash a stored record must carry."""
    header = chain_header(
        record.domain, record.domain_seq, record.streams, record.category, record.type, record.schema_rev, record.id,
        record.time_ms, record.actor, record.key_id,
    )  # fmt: skip
    return chain_hash(record.prev_hash, header, record.data)
