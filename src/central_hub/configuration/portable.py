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
from central_hub.tenants.transfers import invalid_export

NAME: Final = "configuration"
REASON: Final = "imported"


class _Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    document: dict[str, Any]  # Any: JSON
    service: str = ""
    environment: str = ""


class PortableConfiguration:
    """Implements the tenants' `Section` for a tenant's layers as they are now, without their history.

    Args:
        view: what there is.
        configuration: takes it in, through its ordinary command.
    """

    def __init__(self, view: ConfigurationView, configuration: Configuration) -> None:
        self._view = view
        self._configuration = configuration

    @property
    def name(self) -> str:
        """The section's name."""
        return NAME

    def export(self, domain: DomainId) -> object:
        """Return a tenant's layers."""
        found = [
            _Layer(
                document=decoded(history.revisions[-1].document), service=layer.service, environment=layer.environment
            )
            for layer, history in sorted(self._view.layers(domain).items())
        ]
        return msgspec.to_builtins(found)

    async def take(self, ctx: TenantContext, domain: DomainId, data: object) -> None:
        """Make all of a tenant's layers what was exported, or none."""
        try:
            layers = msgspec.convert(data, list[_Layer])
        except msgspec.ValidationError as error:
            raise invalid_export(f"{NAME}: {error}") from None
        if len(layers) > CHANGES_PER_SET_MAX:
            raise invalid_export(f"{NAME}: there are more than {CHANGES_PER_SET_MAX} layers")
        wishes = [
            Wish(
                layer=Layer(tenant=domain, service=one.service, environment=one.environment),
                if_match=ANY,
                edit=_replacing(one.document),
                unresolved=True,
            )
            for one in layers
        ]
        if wishes:
            await self._configuration.change(ctx, wishes, reason=REASON)


def _replacing(document: Document) -> Edit:
    def edit(before: Document) -> Json:
        return document

    return edit
