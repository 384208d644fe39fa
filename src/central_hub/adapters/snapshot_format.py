"""What a snapshot looks like as bytes, wherever it is kept: sealed section by section, checked as a whole.

A magic line, then frames (length, bytes), then an empty frame and the SHA-256 of everything before it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import BinaryIO, Final

import msgspec

from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Sealer, Section

MAGIC: Final = b"central-hub snapshot 1\n"
LENGTH_BYTES: Final = 4
DIGEST_BYTES: Final = 32
READ_BYTES: Final = 1024 * 1024


class _Head(msgspec.Struct, frozen=True, array_like=True):
    pos: int
    incarnation: str
    sections: int


class _SectionHead(msgspec.Struct, frozen=True, array_like=True):
    view: str
    domain: str
    domain_seq: int
    chunks: int


class CorruptSnapshot(Exception):
    """The bytes are not a whole snapshot."""


def write_snapshot(file: BinaryIO, pos: int, incarnation: str, sections: Sequence[Section], sealer: Sealer) -> None:
    """Write a whole snapshot, each chunk sealed under its domain's key."""
    digest = hashlib.sha256()
    for part in _parts(_Head(pos, incarnation, len(sections)), sections, sealer):
        digest.update(part)
        file.write(part)
    file.write(digest.digest())


def read_snapshot(file: BinaryIO, sealer: Sealer) -> tuple[int, str, list[Section]]:
    """Read a whole snapshot; what belongs to a shredded domain is empty.

    Raises:
        CorruptSnapshot, msgspec.MsgspecError, HubError: it is not whole, or does not open.
    """
    # First that it is whole: what does not check is not even parsed.
    size = os.fstat(file.fileno()).st_size - DIGEST_BYTES
    if _digest(file, size) != file.read(DIGEST_BYTES):
        raise CorruptSnapshot
    file.seek(0)
    if _take(file, len(MAGIC)) != MAGIC:
        raise CorruptSnapshot
    frames = iter(lambda: _next_frame(file), b"")
    head = msgspec.msgpack.decode(next(frames, b""), type=_Head)
    sections = [_section(frames, sealer) for _ in range(head.sections)]
    if next(frames, None) is not None or file.tell() != size:
        raise CorruptSnapshot
    return head.pos, head.incarnation, sections


def _parts(head: _Head, sections: Sequence[Section], sealer: Sealer) -> Iterator[bytes]:
    yield MAGIC
    yield _frame(msgspec.msgpack.encode(head))
    for section in sections:
        described = _SectionHead(section.view, section.domain, section.domain_seq, len(section.chunks))
        yield _frame(msgspec.msgpack.encode(described))
        for chunk in section.chunks:
            sealed = sealer.seal(section.domain, chunk, _associated(section.view, section.domain))
            yield _frame(msgspec.msgpack.encode(sealed))
    yield _frame(b"")


def _section(frames: Iterator[bytes], sealer: Sealer) -> Section:
    described = msgspec.msgpack.decode(next(frames, b""), type=_SectionHead)
    domain = DomainId(described.domain)
    shredded = sealer.is_shredded(domain)
    chunks: list[bytes] = []
    for _ in range(described.chunks):
        key_id, sealed = msgspec.msgpack.decode(next(frames, b""), type=tuple[str, bytes])
        if shredded:
            continue
        chunks.append(sealer.open(domain, key_id, sealed, _associated(described.view, domain)))
    return Section(view=described.view, domain=domain, domain_seq=described.domain_seq, chunks=tuple(chunks))


def _associated(view: str, domain: str) -> bytes:
    return f"snapshot\n{view}\n{domain}".encode()


def _frame(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def _next_frame(file: BinaryIO) -> bytes:
    return _take(file, int.from_bytes(_take(file, LENGTH_BYTES), "big"))


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise CorruptSnapshot
    return data


def _digest(file: BinaryIO, size: int) -> bytes:
    digest = hashlib.sha256()
    while size > 0:
        part = file.read(min(size, READ_BYTES))
        if not part:
            raise CorruptSnapshot
        digest.update(part)
        size -= len(part)
    return digest.digest()
