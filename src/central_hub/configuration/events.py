"""The events of configuration: layers have new revisions. Values stay where they are; readers ask for them."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from central_hub.configuration.model import ConfigurationReloaded, Layer, TenantConfigurationChanged
from central_hub.kernel.events import TYPE_PREFIX, EventType


def _layer(fact: Any) -> Layer:  # Any: either fact
    return Layer(*fact.layer)


class RevisionData(msgspec.Struct, frozen=True, kw_only=True):
    """A layer's new revision; `restores` is the one it goes back to, `change_set` what it was made together with."""

    layer: str
    revision: int
    reason: str
    restores: int | None
    change_set: str | None


def _data(fact: Any) -> RevisionData:  # Any: as above
    return RevisionData(
        layer=_layer(fact).text,
        revision=fact.revision,
        reason=fact.reason,
        restores=fact.restores or None,
        change_set=fact.change_set or None,
    )


EVENTS: Final[tuple[EventType, ...]] = (
    EventType(
        name=f"{TYPE_PREFIX}config.layer-changed.v1", fact=TenantConfigurationChanged, order="config/{layer}",
        example=TenantConfigurationChanged(
            layer=("", "acme", "risk-management", ""), revision=4, document={}, reason="a lower ceiling",
        ),
        subject=lambda fact: f"config/{_layer(fact).text}", service=lambda fact: _layer(fact).service, data=_data,
        shape=RevisionData,
        summary="A tenant's own layer of configuration has a new revision.",
    ),
    EventType(
        name=f"{TYPE_PREFIX}config.reloaded.v1", fact=ConfigurationReloaded, order="config/{layer}",
        example=ConfigurationReloaded(layer=("", "pro", "", ""), revision=2, document={}, reason="spring prices"),
        subject=lambda fact: f"config/{_layer(fact).text}", service=lambda fact: _layer(fact).service, data=_data,
        shape=RevisionData,
        summary="A layer of the platform has a new revision.",
    ),
)  # fmt: skip
