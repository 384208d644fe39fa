"""A tenant's own types of events, as a section of the document that a tenant is exported as."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from central_hub.events.describing import OwnTypes, Wanted, schema_of
from central_hub.events.model import Compatibility, UnknownTypes
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.tenants.transfers import TypedSection

NAME: Final = "event_types"


class _Type(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: str
    json_schema: dict[str, Any]  # Any: a JSON Schema
    compatibility: Compatibility
    description: str = ""


class _Types(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    unknown_types: UnknownTypes = UnknownTypes.ALLOWED
    types: tuple[_Type, ...] = ()


class PortableEventTypes(TypedSection[_Types]):
    """The tenants' section of a tenant's own types as they are now, without their earlier versions.

    Args:
        own: what there is, and takes it in through its ordinary commands.
    """

    def __init__(self, own: OwnTypes) -> None:
        super().__init__(NAME, _Types)
        self._own = own

    def kept(self, domain: DomainId) -> _Types:
        """Return a tenant's types, and what becomes of others."""
        newest = [(name, versions[-1]) for name, versions in self._own.all(domain)]
        return _Types(
            unknown_types=self._own.policy(domain),
            types=tuple(
                _Type(
                    type=name, json_schema=schema_of(one), compatibility=one.compatibility, description=one.description
                )
                for name, one in newest
            ),
        )

    async def keep(self, ctx: TenantContext, domain: DomainId, kept: _Types) -> None:
        """Describe what was exported, and say what becomes of others."""
        for one in kept.types:
            wanted = Wanted(
                type=one.type,
                schema=one.json_schema,
                compatibility=one.compatibility,
                description=one.description,
            )
            await self._own.describe(ctx, domain, wanted)
        if kept.unknown_types is not self._own.policy(domain):
            await self._own.set_policy(ctx, domain, kept.unknown_types)
