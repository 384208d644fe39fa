"""A tenant's secrets, as a section of the document that a tenant is exported as: their paths, never their values."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.secrets.view import SecretsView
from central_hub.tenants.transfers import TypedSection

NAME: Final = "secrets"


class _Path(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str
    version: int
    note: str = ""


class PortableSecrets(TypedSection[list[_Path]]):
    """The tenants' section of secrets: says which a tenant had, so that somebody puts them there again.

    Args:
        view: which there are.
    """

    def __init__(self, view: SecretsView) -> None:
        super().__init__(NAME, list[_Path])
        self._view = view

    def kept(self, domain: DomainId) -> list[_Path]:
        """Return which secrets a tenant has."""
        known = self._view.secrets(domain)
        return [
            _Path(path=path, version=known[path].newest.number, note=known[path].newest.note) for path in sorted(known)
        ]

    async def keep(self, ctx: TenantContext, domain: DomainId, kept: list[_Path]) -> None:
        """Take note of nothing: values do not travel. What refers to them is unresolved until they are put."""
