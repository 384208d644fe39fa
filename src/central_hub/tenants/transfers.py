"""One tenant as a document: out of one hub, into the same one under another id, or into another one.

What is taken along is what describes the tenant: its record, what stands above its plan, its configuration, its
flags. What only means something here stays: keys (a secret is never written down), instances, quota leases, the trail.

An import is made of steps that can be repeated. Until the last one the tenant is suspended, so that nobody acts on
half of it; sending the same document again goes on where a failure left it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.tenants.model import TENANT_STREAM, State, Tenant, TenantStateChanged
from central_hub.tenants.usecases import Created, NewKey, NewTenant, Tenants
from central_hub.tenants.view import TenantsView

Kept = TypeVar("Kept")

FORMAT: Final = "central-hub/tenant/1"
IMPORTING: Final = "importing"
"""Why a tenant is suspended whose import has not come to its end."""


class ExportedTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant's own record."""

    id: str
    name: str
    tier: str
    status: State
    reason: str = ""
    trial_ends_at_ms: int = 0


class TenantDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tenant with everything that describes it; each section is what one part of the hub keeps for it."""

    format: str
    exported_at: str
    tenant: ExportedTenant
    sections: dict[str, Any]  # Any: JSON that the section's own part of the hub reads


class Section(Protocol):
    """A part of the hub that keeps something for a tenant which can be taken along."""

    @property
    def name(self) -> str:
        """The section's name in documents."""
        ...

    def export(self, domain: DomainId) -> object:
        """Return what is kept for a tenant, as plain data."""
        ...

    async def take(self, ctx: TenantContext, domain: DomainId, data: object) -> None:
        """Keep what was exported, checked as if it were sent anew; doing it again changes nothing.

        Raises:
            HubError: `invalid_export` (422), or as the part's own commands.
        """
        ...


class TypedSection(ABC, Generic[Kept]):
    """A section whose form is a type: what is exported is of it, and nothing else is taken.

    Args:
        name: the section's, in documents.
        kind: the type; unknown members are refused where it refuses them.
    """

    def __init__(self, name: str, kind: type[Kept]) -> None:
        self._name = name
        self._kind = kind

    @property
    def name(self) -> str:
        """The section's name in documents."""
        return self._name

    def export(self, domain: DomainId) -> object:
        """Return what is kept for a tenant, as plain data."""
        return msgspec.to_builtins(self.kept(domain))

    async def take(self, ctx: TenantContext, domain: DomainId, data: object) -> None:
        """Keep what was exported; see `Section`."""
        try:
            kept = msgspec.convert(data, self._kind)
        except msgspec.ValidationError as error:
            raise self.refusal(str(error)) from None
        await self.keep(ctx, domain, kept)

    def refusal(self, reason: str) -> HubError:
        """Return the refusal of a document for what stands in this section."""
        return invalid_export(f"{self._name}: {reason}")

    @abstractmethod
    def kept(self, domain: DomainId) -> Kept:
        """Return what is kept for a tenant."""

    @abstractmethod
    async def keep(self, ctx: TenantContext, domain: DomainId, kept: Kept) -> None:
        """Keep it for a tenant, through the ordinary commands.

        Raises:
            HubError: as those.
        """


class Transfers:
    """Exports and imports tenants.

    Args:
        view: who exists.
        tenants: makes the record and the first key.
        sequencer: makes facts durable.
        clock: wall time.
        sections: what is taken along, in the order in which it is taken in.
    """

    def __init__(
        self, view: TenantsView, tenants: Tenants, sequencer: Sequencer, clock: Clock, sections: Sequence[Section]
    ) -> None:
        self._view = view
        self._tenants = tenants
        self._sequencer = sequencer
        self._clock = clock
        self._sections = {section.name: section for section in sections}

    def export(self, tenant_id: str) -> TenantDocument:
        """Return a tenant as a document.

        Raises:
            HubError: `tenant_not_found` (404).
        """
        tenant = self._tenants.get(tenant_id)
        domain = DomainId(tenant_id)
        return TenantDocument(
            format=FORMAT,
            exported_at=rfc3339(self._clock.now_ms()),
            tenant=ExportedTenant(
                id=tenant.id,
                name=tenant.name,
                tier=tenant.tier,
                status=tenant.state,
                reason=tenant.reason,
                trial_ends_at_ms=tenant.trial_until_ms,
            ),
            sections={name: section.export(domain) for name, section in self._sections.items()},
        )

    async def take(
        self, ctx: TenantContext, document: TenantDocument, *, tenant_id: str | None = None, first_key: NewKey | None
    ) -> Created:
        """Make a tenant from a document, under its own id or another one.

        Raises:
            HubError: `invalid_export` (422), `tenant_exists` (409), or as what is taken in.
        """
        _check(document, self._sections.keys())
        told = document.tenant
        wanted = NewTenant(
            id=tenant_id or told.id,
            name=told.name,
            tier=told.tier,
            state=State.SUSPENDED,
            reason=IMPORTING,
            trial_until_ms=told.trial_ends_at_ms,
            first_key=first_key,
            provisioned=False,  # what it was configured with comes with the document
        )
        domain = DomainId(wanted.id)
        found = self._view.tenant(domain)
        if found is not None and not _is_unfinished(found):
            raise HubError(
                "tenant_exists",
                Kind.CONFLICT,
                f"There is a tenant '{wanted.id}' already.",
                next_step="Import it under another id, or shred the one that is there.",
            )
        made = await self._tenants.create(ctx, wanted)
        for name, section in self._sections.items():
            if name in document.sections:
                await section.take(ctx, domain, document.sections[name])
        await self._finish(ctx, domain, told)
        return Created(tenant=self._tenants.get(wanted.id), key=made.key)

    async def _finish(self, ctx: TenantContext, domain: DomainId, told: ExportedTenant) -> None:
        def decide(tx: Tx) -> None:
            tx.touch(domain, TENANT_STREAM)
            found = self._view.tenant(domain)
            if found is not None and _is_unfinished(found):
                fact = TenantStateChanged(state=told.status, previous_state=found.state, reason=told.reason)
                tx.append(domain, fact, streams=(TENANT_STREAM,))

        await self._sequencer.submit(ctx.actor, (domain,), decide)


def invalid_export(reason: str) -> HubError:
    """Return the refusal of a document."""
    return HubError(
        "invalid_export",
        Kind.MALFORMED,
        f"The document is not a tenant that can be imported: {reason}.",
        next_step="Send what GET /tenants/{tenant_id}/export answered, as it was.",
    )


def _is_unfinished(tenant: Tenant) -> bool:
    return tenant.state is State.SUSPENDED and tenant.reason == IMPORTING


def _check(document: TenantDocument, known: Any) -> None:  # Any: a dict's keys
    if document.format != FORMAT:
        raise invalid_export(f"its format is not '{FORMAT}'")
    if document.tenant.status is State.DELETED:
        raise invalid_export("the tenant was deleted")
    if document.tenant.reason == IMPORTING:
        raise invalid_export("it was exported before its own import had come to an end")
    unknown = sorted(document.sections.keys() - known)
    if unknown:
        raise invalid_export(f"this hub keeps nothing called '{unknown[0][:64]}'")
