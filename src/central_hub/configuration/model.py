"""What is remembered of configuration: layers and their order, facts, stream names and limits. Pure."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId

DOCUMENT_BYTES_MAX: Final = 65_536
DOCUMENT_DEPTH_MAX: Final = 16
DOCUMENT_LEAVES_MAX: Final = 2_048
KEY_LENGTH_MAX: Final = 128
GUARDS_MAX: Final = 512
HISTORY_MAX: Final = 50
"""Revisions of one layer that can be shown, compared and gone back to; the audit trail has all."""
PLATFORM_LAYERS_MAX: Final = 4_096
TENANT_LAYERS_MAX: Final = 256
CHANGES_PER_SET_MAX: Final = 256
PATCH_OPERATIONS_MAX: Final = 512
REASON_LENGTH_MAX: Final = 256
SECTIONS_MAX: Final = 256
TEMPLATES_MAX: Final = 256
PARAMETERS_MAX: Final = 64
SCHEMA_BYTES_MAX: Final = 65_536
SCHEMA_DEPTH_MAX: Final = 16

CONFIG_READ: Final = "config:read"
SCOPE_WRITE: Final = "config:write"
SCOPE_ADMIN: Final = "config:admin"

GUARDS: Final = "$guards"
"""The member of a document that binds the layers after it: `lock`, `ceiling` and `floor`."""

TEMPLATES_STREAM: Final = "config/templates"
SCHEMAS_STREAM: Final = "config/schemas"
COUNT_LAYERS: Final = "count/config-layers"

Document = dict[str, Any]  # Any: JSON
Json = Any  # Any: JSON


class Layer(NamedTuple):
    """Whom a document is about; all empty is everyone."""

    tier: str = ""
    tenant: str = ""
    service: str = ""
    environment: str = ""

    @property
    def text(self) -> str:
        """The layer's name: `global`, `tier/pro`, `tenant/acme+service/risk`."""
        named = [f"{kind}/{name}" for kind, name in zip(Layer._fields, self, strict=True) if name]
        return "+".join(named) or "global"

    @property
    def domain(self) -> DomainId:
        """Whose log its document is kept in: a tenant's own, otherwise the platform's."""
        return DomainId(self.tenant) if self.tenant else PLATFORM

    @property
    def stream(self) -> str:
        """The aggregate that its revisions belong to."""
        return f"config/{self.text}"


GLOBAL: Final = Layer()


def layers_for(tier: str, tenant: str, service: str, environment: str) -> tuple[Layer | None, ...]:
    """Return the layers that apply, in the order in which they do; None where one would need a name that is not given.

    A single name first, in the order global, tier, tenant, service, environment; then combinations of two, then of
    three: who is named exactly comes last and wins.
    """
    s, e = service, environment
    return (
        GLOBAL,
        Layer(tier=tier),
        Layer(tenant=tenant) if tenant else None,
        Layer(service=s) if s else None,
        Layer(environment=e) if e else None,
        Layer(tier=tier, service=s) if s else None,
        Layer(tier=tier, environment=e) if e else None,
        Layer(tenant=tenant, service=s) if tenant and s else None,
        Layer(tenant=tenant, environment=e) if tenant and e else None,
        Layer(service=s, environment=e) if s and e else None,
        Layer(tier=tier, service=s, environment=e) if s and e else None,
        Layer(tenant=tenant, service=s, environment=e) if tenant and s and e else None,
    )


OWN_PLACES: Final = (2, 7, 8, 11)
"""Where in that order a tenant's own layers stand."""


class _LayerRevised(Fact, frozen=True, kw_only=True):
    """A layer has a new revision: its whole document, and why."""

    layer: tuple[str, str, str, str]
    revision: int
    document: Document
    reason: str = ""
    restores: int = 0
    change_set: str = ""


class TenantConfigurationChanged(_LayerRevised, frozen=True, kw_only=True):
    """A tenant's own layer has a new revision."""


class ConfigurationReloaded(_LayerRevised, frozen=True, kw_only=True):
    """A layer of the platform has a new revision."""


class ConfigurationSchemaSet(Fact, frozen=True, kw_only=True):
    """A section of configuration is described by this schema from now on; None: it is no section any more."""

    section: str
    document: Document | None


class Template(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document with parameters: each has a schema, which may name a default; `${name}` stands for its value."""

    parameters: dict[str, dict[str, Any]]  # Any: JSON
    document: Document


class ConfigurationTemplateSet(Fact, frozen=True, kw_only=True):
    """A template is kept under this name from now on; None: none is."""

    name: str
    template: Template | None


LayerRevised = TenantConfigurationChanged | ConfigurationReloaded

FACTS: Final[tuple[type[Fact], ...]] = (
    TenantConfigurationChanged,
    ConfigurationReloaded,
    ConfigurationSchemaSet,
    ConfigurationTemplateSet,
)


class Revision(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One state of a layer: its document as JSON in a canonical form, who made it, when and why."""

    number: int
    document: bytes
    author: str
    time_ms: int
    reason: str = ""
    restores: int = 0
    change_set: str = ""


EMPTY: Final = Revision(number=0, document=b"{}", author="", time_ms=0)
"""What a layer is before anybody wrote it."""
