"""The port for ownership: which of several hubs does what only one may do.

Following a tenant's log for its subscriptions, relaying to a broker, asking an instance how it is, ending a lease:
each is a piece of work with a key. A hub that stands alone does all of it. Several share it out, and a hub asks
before each step, not once: what it was given can be taken from it while it stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Ownership(Protocol):
    """Says what is this hub's to do. All methods answer from memory, at once."""

    def owns(self, work: str, key: str) -> bool:
        """Say whether this hub, and no other, does `work` for `key` at this moment.

        Args:
            work: the kind of work, such as `delivery`; a name that stays.
            key: what it is done for: a tenant, an instance, a relay.
        """
        ...

    def likely_owns(self, work: str, key: str) -> bool:
        """Say whether it is this hub's by all it knows, be it that it cannot be sure: for what may be done twice.

        Asking an instance how it is goes on by this when the store is away, and nobody can own anything.
        """
        ...

    def owner(self, work: str, key: str) -> str | None:
        """Return the base URL of the hub that does it; None when it is this one or nobody."""
        ...

    def on_change(self, told: Callable[[], None]) -> None:
        """Call `told` whenever an answer may be another one, or signals of other hubs may have been missed.

        It must not block or raise.
        """
        ...


class Alone:
    """A hub that stands alone does everything."""

    def owns(self, work: str, key: str) -> bool:
        """Say yes."""
        return True

    def likely_owns(self, work: str, key: str) -> bool:
        """Say yes."""
        return True

    def owner(self, work: str, key: str) -> str | None:
        """Say that it is this one."""
        return None

    def on_change(self, told: Callable[[], None]) -> None:
        """Never call it: nothing changes."""
