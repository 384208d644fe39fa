"""What a tenant gets of flags instead of what their rules say, as a section of the document it is exported as."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.flags.model import Override
from central_hub.flags.usecases import Flags
from central_hub.flags.view import FlagsView
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.tenants.transfers import invalid_export

NAME: Final = "flags"


class _Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    key: str
    variant: str
    environments: tuple[str, ...] = ()
    reason: str = ""


class PortableOverrides:
    """Implements the tenants' `Section` for a tenant's overrides of flags.

    Args:
        view: what there is.
        flags: takes it in, through its ordinary command.
    """

    def __init__(self, view: FlagsView, flags: Flags) -> None:
        self._view = view
        self._flags = flags

    @property
    def name(self) -> str:
        """The section's name."""
        return NAME

    def export(self, domain: DomainId) -> object:
        """Return a tenant's overrides."""
        return msgspec.to_builtins(
            [
                _Override(key=one.key, variant=one.variant, environments=one.environments, reason=one.reason)
                for one in self._view.overrides(domain)
            ]
        )

    async def take(self, ctx: TenantContext, domain: DomainId, data: object) -> None:
        """Give a tenant the overrides that were exported; their flags have to be defined here."""
        try:
            overrides = msgspec.convert(data, list[_Override])
        except msgspec.ValidationError as error:
            raise invalid_export(f"{NAME}: {error}") from None
        for one in overrides:
            wanted = Override(key=one.key, variant=one.variant, environments=one.environments, reason=one.reason)
            await self._flags.override(ctx, domain, wanted)
