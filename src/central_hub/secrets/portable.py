"""A tenant's secrets, as a section of the document that a tenant is exported as: their paths, never their values."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.secrets.view import SecretsView
from central_hub.tenants.transfers import invalid_export

NAME: Final = "secrets"


class _Path(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str
    version: int
    note: str = ""


class PortableSecrets:
    """Implements the tenants' `Section`: says which secrets a tenant had, so that somebody puts them there again.

    Args:
        view: which there are.
    """

    def __init__(self, view: SecretsView) -> None:
        self._view = view

    @property
    def name(self) -> str:
        """The section's name."""
        return NAME

    def export(self, domain: DomainId) -> object:
        """Return which secrets a tenant has."""
        known = self._view.secrets(domain)
        return msgspec.to_builtins(
            [
                _Path(path=path, version=known[path].newest.number, note=known[path].newest.note)
                for path in sorted(known)
            ]
        )

    async def take(self, ctx: TenantContext, domain: DomainId, data: object) -> None:
        """Take note of nothing: values do not travel. What refers to them is unresolved until they are put."""
        try:
            msgspec.convert(data, list[_Path])
        except msgspec.ValidationError as error:
            raise invalid_export(f"{NAME}: {error}") from None
