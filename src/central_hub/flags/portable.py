"""What a tenant gets of flags instead of what their rules say, as a section of the document it is exported as."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.flags.model import Override
from central_hub.flags.usecases import Flags
from central_hub.flags.view import FlagsView
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.tenants.transfers import TypedSection

NAME: Final = "flags"


class _Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str
    variant: str
    environments: tuple[str, ...] = ()
    reason: str = ""


class PortableOverrides(TypedSection[list[_Override]]):
    """The tenants' section of a tenant's overrides of flags.

    Args:
        view: what there is.
        flags: takes it in, through its ordinary command.
    """

    def __init__(self, view: FlagsView, flags: Flags) -> None:
        super().__init__(NAME, list[_Override])
        self._view = view
        self._flags = flags

    def kept(self, domain: DomainId) -> list[_Override]:
        """Return a tenant's overrides."""
        return [
            _Override(key=one.key, variant=one.variant, environments=one.environments, reason=one.reason)
            for one in self._view.overrides(domain)
        ]

    async def keep(self, ctx: TenantContext, domain: DomainId, kept: list[_Override]) -> None:
        """Give a tenant the overrides that were exported; their flags have to be defined here."""
        for one in kept:
            wanted = Override(key=one.key, variant=one.variant, environments=one.environments, reason=one.reason)
            await self._flags.override(ctx, domain, wanted)
