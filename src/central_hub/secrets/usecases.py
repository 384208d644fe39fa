"""Commands about secrets: put a version, read one, delete all of them. No value leaves without a durable record."""

from __future__ import annotations

from dataclasses import dataclass
from hmac import compare_digest
from math import ceil

import msgspec

from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.records import Category
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.secrets.model import (
    COUNT_SEALED,
    COUNT_SECRETS,
    READS_BURST,
    READS_PER_S,
    READS_STREAM,
    Secret,
    SecretDeleted,
    SecretPut,
    SecretRead,
    Source,
    secret_stream,
)
from central_hub.secrets.ports import Access, Customers, Vault
from central_hub.secrets.reading import KnownSecrets
from central_hub.secrets.rules import (
    bound_to,
    check_environment,
    check_path,
    check_precondition,
    check_room,
    check_value,
    secret_missing,
    version_missing,
)
from central_hub.secrets.view import SecretsView
from central_hub.tenants.model import TENANT_STREAM


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVersion:
    """A value on its way in: for which version, and whether every tenant may read it (the platform's only)."""

    path: str
    value: str
    if_match: str | None = None
    note: str = ""
    shared: bool = False

    def __repr__(self) -> str:
        """Show nothing of the value, whoever prints it."""
        return f"NewVersion(path={self.path!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A value on its way out."""

    path: str
    version: int
    value: str
    source: Source

    def __repr__(self) -> str:
        """Show nothing of the value, whoever prints it."""
        return f"Opened(path={self.path!r}, version={self.version})"


class _Put(msgspec.Struct, frozen=True, kw_only=True):
    version: int
    created: bool


class Secrets:
    """Keeps secrets, and hands them out to those who may have them.

    Args:
        view: which there are.
        known: which one a path means.
        sequencer: makes facts durable.
        vault: seals and opens.
        access: whether a caller still is who it was.
        customers: which tenants there are.
        clock: monotonic time, for how often may be read.
    """

    def __init__(
        self,
        view: SecretsView,
        known: KnownSecrets,
        sequencer: Sequencer,
        vault: Vault,
        access: Access,
        customers: Customers,
        clock: Clock,
    ) -> None:
        self._view = view
        self._known = known
        self._sequencer = sequencer
        self._vault = vault
        self._access = access
        self._customers = customers
        self._clock = clock
        self._free_at_ms: dict[DomainId, float] = {}
        self.reads = 0
        self.puts = 0

    async def put(
        self, ctx: TenantContext, domain: DomainId, wanted: NewVersion, *, key: str | None = None
    ) -> tuple[Secret, bool]:
        """Give a secret a new version, or make it; the value that it has already is no new version.

        Returns:
            The secret, and whether it was made.

        Raises:
            HubError: `invalid_secret_path`, `invalid_secret` (422), `secret_too_large` (413),
                `precondition_required` (428), `revision_moved` (412), `limit_reached` (429), `tenant_not_found` (404),
                `environment_denied` (403).
        """
        path, value = check_path(wanted.path), check_value(wanted.value)
        self.check_domain(domain)
        check_environment(ctx.principal, path)

        def decide(tx: Tx) -> _Put:
            self._hold(tx, ctx, domain, path)
            current = self._view.secret(domain, path)
            check_precondition(wanted.if_match, current)
            if current is not None and self._is_same(domain, current, value, wanted):
                return _Put(version=current.newest.number, created=False)
            number = self._view.next_version(domain, path)
            key_id, sealed = self._vault.seal(domain, value, bound_to(domain, path, number))
            counts = {COUNT_SEALED: len(sealed), COUNT_SECRETS: int(current is None)}
            check_room(
                domain,
                secrets=len(self._view.secrets(domain)) + tx.pending(domain, COUNT_SECRETS) + counts[COUNT_SECRETS],
                sealed_bytes=self._view.sealed_bytes(domain) + tx.pending(domain, COUNT_SEALED) + len(sealed),
            )
            fact = SecretPut(
                path=path, version=number, key_id=key_id, sealed=sealed, note=wanted.note, shared=wanted.shared
            )
            tx.append(domain, fact, streams=(secret_stream(path),), counts=counts)
            return _Put(version=number, created=current is None)

        source = None if key is None else Idempotency(domain=domain, source=ctx.principal.id, id=f"secret/{key}")
        committed = await self._sequencer.submit(ctx.actor, (domain,), decide, idempotency=source)
        self.puts += 1
        put = msgspec.convert(committed.answer, _Put) if committed.replayed else committed.answer
        secret = self._view.secret(domain, path)
        if secret is None:  # deleted meanwhile
            raise secret_missing()
        return secret, put.created

    async def read(self, ctx: TenantContext, domain: DomainId, path: str, version: int | None = None) -> Opened:
        """Return a value, once it is on record that it was read.

        Raises:
            HubError: `secret_not_found`, `secret_version_not_found`, `tenant_not_found` (404), `invalid_secret_path`
                (422), `too_many_requests` (429); `store_unavailable` (503): what cannot be recorded is not read.
        """
        check_path(path)
        self.check_domain(domain)
        check_environment(ctx.principal, path)
        self._admit(domain)

        def decide(tx: Tx) -> tuple[DomainId, Source, Secret, int]:
            tx.touch(domain, secret_stream(path))
            tx.touch(PLATFORM, secret_stream(path))
            found = self._known.find(domain, path)
            if found is None:
                raise secret_missing()
            home, source, secret = found
            number = secret.newest.number if version is None else version
            if secret.version(number) is None:
                raise version_missing(secret)
            fact = SecretRead(path=path, version=number, source=source)
            tx.append(domain, fact, streams=(READS_STREAM,), category=Category.AUDIT)
            return home, source, secret, number

        committed = await self._sequencer.submit(ctx.actor, (domain,), decide)
        home, source, secret, number = committed.answer
        self.reads += 1
        return Opened(path=path, version=number, value=self._open(home, secret, number), source=source)

    async def delete(self, ctx: TenantContext, domain: DomainId, path: str, *, if_match: str | None = None) -> None:
        """Let go of a secret and all of its versions; one that is not there is gone already.

        Raises:
            HubError: `revision_moved` (412), `tenant_not_found` (404), `invalid_secret_path` (422).
        """
        check_path(path)
        self.check_domain(domain)
        check_environment(ctx.principal, path)

        def decide(tx: Tx) -> None:
            self._hold(tx, ctx, domain, path)
            current = self._view.secret(domain, path)
            if current is None:
                return
            if if_match is not None:
                check_precondition(if_match, current)
            fact = SecretDeleted(path=path, last_version=current.newest.number)
            counts = {COUNT_SECRETS: -1, COUNT_SEALED: -current.sealed_bytes}
            tx.append(domain, fact, streams=(secret_stream(path),), counts=counts)

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    def get(self, ctx: TenantContext, domain: DomainId, path: str) -> Secret:
        """Return a domain's own secret, sealed.

        Raises:
            HubError: `secret_not_found`, `tenant_not_found` (404), `invalid_secret_path` (422), `environment_denied`
                (403).
        """
        self.check_domain(domain)
        check_environment(ctx.principal, path)
        found = self._view.secret(domain, check_path(path))
        if found is None:
            raise secret_missing(self._known.suggest(domain, path))
        return found

    def check_domain(self, domain: DomainId) -> None:
        """Refuse a tenant that there is no record of: it has no place to keep anything.

        Raises:
            HubError: `tenant_not_found` (404).
        """
        if domain != PLATFORM and not self._customers.is_tenant(domain):
            raise HubError(
                "tenant_not_found",
                Kind.NOT_FOUND,
                "There is no such tenant.",
                next_step="Check the tenant id; a key sees its own tenant only.",
            )

    def _admit(self, domain: DomainId) -> None:
        """Let a read through: each leaves a record for good, so there are fewer of them than of other reads."""
        now_ms = self._clock.monotonic_ms()
        free_at_ms = max(self._free_at_ms.get(domain, 0.0), now_ms)
        wait_ms = free_at_ms - now_ms - 1_000.0 * READS_BURST / READS_PER_S
        if wait_ms > 0:
            raise HubError(
                "too_many_requests",
                Kind.LIMIT,
                f"A tenant's secrets are read {READS_PER_S} times a second at most.",
                next_step="Keep values in memory for as long as they are needed.",
                retry_after_s=max(1, ceil(wait_ms / 1_000)),
            )
        self._free_at_ms[domain] = free_at_ms + 1_000.0 / READS_PER_S

    def _hold(self, tx: Tx, ctx: TenantContext, domain: DomainId, path: str) -> None:
        tx.touch(domain, TENANT_STREAM)
        tx.touch(domain, secret_stream(path))
        self._access.current(ctx)

    def _is_same(self, domain: DomainId, current: Secret, value: bytes, wanted: NewVersion) -> bool:
        newest = current.newest
        if (current.shared, newest.note) != (wanted.shared, wanted.note):
            return False
        known = self._vault.open(domain, newest.key_id, newest.sealed, bound_to(domain, current.path, newest.number))
        return compare_digest(known, value)

    def _open(self, home: DomainId, secret: Secret, number: int) -> str:
        kept = secret.version(number)
        assert kept is not None, "the decision found it"
        return self._vault.open(home, kept.key_id, kept.sealed, bound_to(home, secret.path, number)).decode()
