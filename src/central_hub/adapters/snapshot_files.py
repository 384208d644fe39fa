"""Snapshots in files: sealed section by section, checked as a whole, kept in twos.

A snapshot is written beside the old ones, synced, and renamed into place, so there is a whole one
at every moment. One that does not check is passed over, loudly, for the one before it; without
any, the hub replays its log. A file is a magic line, then frames (length, bytes), then an empty
frame and the SHA-256 of everything before it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import structlog

from central_hub.adapters.secret_files import sync_directory
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.ports import Sealer, Section

MAGIC: Final = b"central-hub snapshot 1\n"
KEPT: Final = 2
LENGTH_BYTES: Final = 4
DIGEST_BYTES: Final = 32
READ_BYTES: Final = 1024 * 1024

_log = structlog.get_logger("central_hub.snapshots")


class _Head(msgspec.Struct, frozen=True, array_like=True):
    pos: int
    incarnation: str
    sections: int


class _SectionHead(msgspec.Struct, frozen=True, array_like=True):
    view: str
    domain: str
    domain_seq: int
    chunks: int


class _Corrupt(Exception):
    """The file is not a whole snapshot."""


class FileSnapshots:
    """The `Snapshots` port over a directory.

    Args:
        directory: where they are kept; made when it is not there.
        sealer: seals each chunk under its domain's key.
    """

    def __init__(self, directory: Path, sealer: Sealer) -> None:
        self._directory = directory
        self._sealer = sealer

    async def save(self, pos: int, incarnation: str, sections: Sequence[Section]) -> int:
        """Keep a snapshot durably, drop all but the newest `KEPT`; returns the oldest one's position."""
        return await asyncio.to_thread(self._save, pos, incarnation, sections)

    async def load(self) -> tuple[int, str, list[Section]] | None:
        """Return the newest snapshot that checks, or None."""
        return await asyncio.to_thread(self._load)

    def _save(self, pos: int, incarnation: str, sections: Sequence[Section]) -> int:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        target = self._directory / f"{pos:020d}.snapshot"
        fresh = target.with_suffix(".new")
        with fresh.open("wb") as file:
            digest = hashlib.sha256()
            for part in self._parts(_Head(pos, incarnation, len(sections)), sections):
                digest.update(part)
                file.write(part)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(target)
        sync_directory(self._directory)
        files = self._files()
        for old in files[KEPT:]:
            old.unlink()
        # With one snapshot only there is nothing to fall back to but the whole log.
        return int(files[KEPT - 1].stem) if len(files) >= KEPT else 0

    def _parts(self, head: _Head, sections: Sequence[Section]) -> Iterator[bytes]:
        yield MAGIC
        yield _frame(msgspec.msgpack.encode(head))
        for section in sections:
            described = _SectionHead(section.view, section.domain, section.domain_seq, len(section.chunks))
            yield _frame(msgspec.msgpack.encode(described))
            for chunk in section.chunks:
                sealed = self._sealer.seal(section.domain, chunk, _associated(section.view, section.domain))
                yield _frame(msgspec.msgpack.encode(sealed))
        yield _frame(b"")

    def _load(self) -> tuple[int, str, list[Section]] | None:
        for path in self._files():
            try:
                return self._read(path)
            except (_Corrupt, msgspec.MsgspecError, HubError, OSError) as error:
                _log.warning("snapshots.file_passed_over", file=path.name, reason=type(error).__name__)
        return None

    def _read(self, path: Path) -> tuple[int, str, list[Section]]:
        with path.open("rb") as file:
            # First that it is whole: what does not check is not even parsed.
            size = os.fstat(file.fileno()).st_size - DIGEST_BYTES
            if _digest(file, size) != file.read(DIGEST_BYTES):
                raise _Corrupt
            file.seek(0)
            if _take(file, len(MAGIC)) != MAGIC:
                raise _Corrupt
            frames = iter(lambda: _next_frame(file), b"")
            head = msgspec.msgpack.decode(next(frames, b""), type=_Head)
            sections = [self._section(frames) for _ in range(head.sections)]
            if next(frames, None) is not None or file.tell() != size:
                raise _Corrupt
        return head.pos, head.incarnation, sections

    def _section(self, frames: Iterator[bytes]) -> Section:
        described = msgspec.msgpack.decode(next(frames, b""), type=_SectionHead)
        domain = DomainId(described.domain)
        shredded = self._sealer.is_shredded(domain)
        chunks: list[bytes] = []
        for _ in range(described.chunks):
            key_id, sealed = msgspec.msgpack.decode(next(frames, b""), type=tuple[str, bytes])
            if shredded:
                continue
            chunks.append(self._sealer.open(domain, key_id, sealed, _associated(described.view, domain)))
        return Section(view=described.view, domain=domain, domain_seq=described.domain_seq, chunks=tuple(chunks))

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob("*.snapshot"), reverse=True)


def _associated(view: str, domain: str) -> bytes:
    return f"snapshot\n{view}\n{domain}".encode()


def _frame(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def _next_frame(file: BinaryIO) -> bytes:
    return _take(file, int.from_bytes(_take(file, LENGTH_BYTES), "big"))


def _take(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise _Corrupt
    return data


def _digest(file: BinaryIO, size: int) -> bytes:
    digest = hashlib.sha256()
    while size > 0:
        part = file.read(min(size, READ_BYTES))
        if not part:
            raise _Corrupt
        digest.update(part)
        size -= len(part)
    return digest.digest()
