"""Whether the hub is ready follows its store: not while the disk is full, and again when there is room."""

from __future__ import annotations

from pathlib import Path

from central_hub.adapters.sqlite.log import RESERVED_BYTES
from central_hub.adapters.stores import open_directory
from central_hub.app import build
from central_hub.settings import Settings

PLENTY = 1 << 40


class Room:
    """A file system whose free space a test sets."""

    def __init__(self) -> None:
        self.bytes = PLENTY
        self.fails = False

    def free(self, path: Path) -> int:
        assert path.is_dir()
        if self.fails:
            raise OSError(5, "Input/output error")
        return self.bytes


async def test_a_hub_is_not_ready_while_the_disk_is_full_and_ready_again_when_there_is_room(tmp_path: Path) -> None:
    room = Room()
    stores = await open_directory(tmp_path / "hub", incarnation="one", free=room.free)
    readiness = build(Settings(open=True), stores).observing.readiness
    readiness.started = True
    try:
        assert readiness.reasons() == {}
        room.bytes = RESERVED_BYTES - 1
        assert "full" in readiness.reasons()["store"]
        room.bytes = RESERVED_BYTES
        assert readiness.reasons() == {}
        room.fails = True
        assert "cannot be told" in readiness.reasons()["store"]
    finally:
        await stores.log.close()
