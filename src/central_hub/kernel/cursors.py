"""The port for cursors: how far each follower of the log has come.

A cursor is written sparingly and may be behind after a crash: what follows it is then told again, under the same
ids. It is never ahead of what was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from central_hub.kernel.ids import DomainId


class Cursor(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where a follower stands: everything of the domain up to `seq` is done; `state` is the follower's own."""

    consumer: str
    domain: DomainId
    seq: int
    state: bytes = b""


class Cursors(Protocol):
    """Keeps cursors. When the backend is away both methods raise `HubError` `store_unavailable`."""

    async def load(self) -> list[Cursor]:
        """Return every cursor."""
        ...

    async def save(self, cursors: Sequence[Cursor], *, dropped: Sequence[str] = ()) -> None:
        """Keep cursors, and forget those of the consumers that are dropped, all in one step."""
        ...
