"""The port for signals between hubs: small, soft, and lost without harm.

What a heartbeat said, that a lease was renewed: whoever hears of it makes use of it, whoever does not goes on without.
Nothing that has to be true travels this way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Heard = Callable[[bytes], None]


class Signals(Protocol):
    """Carries signals to the other hubs; lossy by contract, never slow."""

    def send(self, kind: str, body: bytes) -> None:
        """Let the others hear something soon, or lose it.

        Args:
            kind: what it is; a name that stays.
            body: at most `SIGNAL_BYTES_MAX`.
        """
        ...

    def on(self, kind: str, heard: Heard) -> None:
        """Call `heard` with what another hub sends; it must not block or raise."""
        ...

    @property
    def anybody(self) -> bool:
        """Whether there is another hub to hear it."""
        ...

    def counts(self) -> dict[str, int]:
        """Return how many signals were sent, taken, refused (not sealed by a hub of this store) and lost."""
        ...


SIGNAL_BYTES_MAX = 4_096
"""Of one signal; several travel together."""


class Silence:
    """A hub that stands alone hears nothing and says nothing."""

    def send(self, kind: str, body: bytes) -> None:
        """Say it to nobody."""

    def on(self, kind: str, heard: Heard) -> None:
        """Hear nothing."""

    @property
    def anybody(self) -> bool:
        """Say that there is nobody."""
        return False

    def counts(self) -> dict[str, int]:
        """Count nothing."""
        return {}
