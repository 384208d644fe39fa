"""What relays ask of others: the log, how a record is told, credentials, and which tenants are gone."""

from __future__ import annotations

from typing import Protocol

from central_hub.events.reading import Told
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied, Record


class WholeLog(Protocol):
    """The log, read across all domains."""

    async def read(self, after: int, limit: int) -> list[Record]:
        """Return up to `limit` records with `pos > after`, in order."""
        ...


class Applying(Protocol):
    """What was applied so far, and how a stored record is opened (kernel.runner.Runner)."""

    pos: int
    incarnation: str

    def opened(self, record: Record) -> Applied | None:
        """Open and decode; None for what can be ignored, or was shredded."""
        ...


class Telling(Protocol):
    """How a record is told (events.reading.EventReading)."""

    def told(self, applied: Applied) -> Told | None:
        """Return it as an event; None for one that is told to nobody."""
        ...


class Credentials(Protocol):
    """The values of secrets that relays name."""

    def value(self, path: str) -> str | None:
        """Return the newest value of a secret of the platform; None when there is none."""
        ...


class Shredded(Protocol):
    """Whose records are gone for good (kernel.ports.Sealer)."""

    def is_shredded(self, domain: DomainId) -> bool:
        """Say whether a domain was shredded."""
        ...
