"""A tenant's own layers, as a section of the document that a tenant is exported as."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from central_hub.configuration.merging import decoded
from central_hub.configuration.model import CHANGES_PER_SET_MAX, Document, Json, Layer
from central_hub.configuration.rules import ANY
from central_hub.configuration.usecases import Configuration, Edit, Wish
from central_hub.configuration.view import ConfigurationView
from central_hub.kernel.context import TenantContext
from central_hub.kernel.ids import DomainId
from central_hub.tenants.transfers import TypedSection

NAME: Final = "configuration"
REASON: Final = "imported"


class _Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    document: dict[str, Any]  # Any: JSON
    service: str = ""
    environment: str = ""


class PortableConfiguration(TypedSection[list[_Layer]]):
    """The tenants' section of a tenant's layers as they are now, without their history.

    Args:
        view: what there is.
        configuration: takes it in, through its ordinary command.
    """

    def __init__(self, view: ConfigurationView, configuration: Configuration) -> None:
        super().__init__(NAME, list[_Layer])
        self._view = view
        self._configuration = configuration

    def kept(self, domain: DomainId) -> list[_Layer]:
        """Return a tenant's layers."""
        return [
            _Layer(
                document=decoded(history.revisions[-1].document), service=layer.service, environment=layer.environment
            )
            for layer, history in sorted(self._view.layers(domain).items())
        ]

    async def keep(self, ctx: TenantContext, domain: DomainId, kept: list[_Layer]) -> None:
        """Make all of a tenant's layers what was exported, or none."""
        if len(kept) > CHANGES_PER_SET_MAX:
            raise self.refusal(f"there are more than {CHANGES_PER_SET_MAX} layers")
        wishes = [
            Wish(
                layer=Layer(tenant=domain, service=one.service, environment=one.environment),
                if_match=ANY,
                edit=_replacing(one.document),
                unresolved=True,
            )
            for one in kept
        ]
        if wishes:
            await self._configuration.change(ctx, wishes, reason=REASON)


def _replacing(document: Document) -> Edit:
    def edit(before: Document) -> Json:
        return document

    return edit
