"""Secrets beside a process: asked for by path, held in memory only, and put in the place of references.

While the hub is away a value that was read before is still handed out. Nothing of it is ever on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.link import HubLink
from central_hub.sdk.protocol import read, segment

REFERENCE: Final = "$secret"
HELD_MAX: Final = 1_024
"""Values held for when the hub is away; past that they are asked for each time."""

Json = Any  # Any: a JSON document


class SecretValues:
    """Reads secrets of one tenant.

    Args:
        link: how the hub is reached.
        tenant_id: whose; None for the credential's own.
    """

    def __init__(self, link: HubLink, tenant_id: str | None) -> None:
        self._link = link
        self._tenant_id = tenant_id
        self._held: dict[str, str] = {}

    def __repr__(self) -> str:
        """Show nothing of what is held, whoever prints it."""
        return f"SecretValues(held={len(self._held)})"

    async def value(self, path: str) -> str:
        """Return a secret's newest value; each time is on record at the hub.

        Raises:
            HubError: `secret_not_found` (404), `scope_missing` (403), `tenant_required` (400) for a credential of no
                tenant; `hub_unreachable` for a value that was never read.
        """
        try:
            answer = await self._ask(f"/tenants/{segment(await self._tenant())}/secrets/value", {"path": path})
        except HubError as error:
            if error.kind is Kind.UNAVAILABLE and path in self._held:
                return self._held[path]
            if error.kind is not Kind.UNAVAILABLE:
                self._held.pop(path, None)
            raise
        value = str(answer["value"])
        if path in self._held or len(self._held) < HELD_MAX:
            self._held[path] = value
        return value

    async def resolved(self, document: Json) -> Json:
        """Return a document with values in the place of its references; the one that was given stays as it is.

        Raises:
            HubError: as `value`.
        """
        if not isinstance(document, Mapping):
            return document
        members = cast("Mapping[str, Json]", document)
        path = members.get(REFERENCE)
        if isinstance(path, str) and len(members) == 1:
            return await self.value(path)
        return {key: await self.resolved(each) for key, each in members.items()}

    async def _tenant(self) -> str:
        if self._tenant_id is None:
            self._tenant_id = (await self._ask("/whoami", None))["tenant_id"]
            if self._tenant_id is None:
                raise HubError(
                    "tenant_required",
                    Kind.INVALID,
                    "This credential belongs to no tenant.",
                    next_step="Name one with tenant_id=….",
                )
        return self._tenant_id

    async def _ask(self, path: str, query: Mapping[str, object] | None) -> Json:
        return read(await self._link.send_until(self._link.protocol.get(path, query)))
