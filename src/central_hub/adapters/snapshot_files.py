"""Snapshots in files: sealed section by section, checked as a whole, kept in twos.

A snapshot is written beside the old ones, synced, and renamed into place, so there is a whole one
at every moment. One that does not check is passed over, loudly, for the one before it; without
any, the hub replays its log.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from central_hub.adapters.secret_files import sync_directory
from central_hub.adapters.snapshot_format import CorruptSnapshot, read_snapshot, write_snapshot
from central_hub.kernel.errors import HubError
from central_hub.kernel.ports import Sealer, Section

KEPT: Final = 2

_log = structlog.get_logger("central_hub.snapshots")


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
            write_snapshot(file, pos, incarnation, sections, self._sealer)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(target)
        sync_directory(self._directory)
        files = self._files()
        for old in files[KEPT:]:
            old.unlink()
        # With one snapshot only there is nothing to fall back to but the whole log.
        return int(files[KEPT - 1].stem) if len(files) >= KEPT else 0

    def _load(self) -> tuple[int, str, list[Section]] | None:
        for path in self._files():
            try:
                with path.open("rb") as file:
                    return read_snapshot(file, self._sealer)
            except (CorruptSnapshot, msgspec.MsgspecError, HubError, OSError) as error:
                _log.warning("snapshots.file_passed_over", file=path.name, reason=type(error).__name__)
        return None

    def _files(self) -> list[Path]:
        return sorted(self._directory.glob("*.snapshot"), reverse=True)
