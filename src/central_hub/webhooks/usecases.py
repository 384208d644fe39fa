"""Commands about a tenant's endpoints."""

from __future__ import annotations

from collections.abc import Sequence, Set

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.messaging import Sender
from central_hub.kernel.ports import Idempotency, Sealer
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.kernel.signatures import secret_text
from central_hub.subscriptions.model import Filter
from central_hub.subscriptions.rules import check_filter
from central_hub.subscriptions.starting import Deliver, Starting
from central_hub.tenants.usecases import tenant_missing
from central_hub.webhooks.model import (
    COUNT_WEBHOOKS,
    ENDPOINTS_PER_TENANT_MAX,
    REPLAY_MAX,
    SECRET_BYTES,
    WEBHOOK_ID_PREFIX,
    DeadLetter,
    DisabledBecause,
    Status,
    TenantConfigurationValueChanged,
    TenantFlagsValueChanged,
    Topic,
    ValueKey,
    Webhook,
    WebhookCreated,
    WebhookDeleted,
    WebhookDisabled,
    WebhookEnabled,
    WebhookReplayAsked,
    WebhookSecretRotated,
    secret_data,
    value_stream,
    values_of,
    webhook_stream,
)
from central_hub.webhooks.ports import Customers, Values
from central_hub.webhooks.rules import check_events, target_of, webhook_missing
from central_hub.webhooks.view import WebhooksView


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of an endpoint."""

    url: str
    events: tuple[str, ...] = ()
    service: str = ""
    environment: str = ""
    description: str = ""
    filter: Filter = Filter()
    deliver: Deliver = Deliver()


class Minted(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint and its new secret; `secret` is empty when the answer is the replay of an earlier one."""

    webhook: Webhook
    secret: str


class Webhooks:
    """Creates and changes endpoints.

    Args:
        view: what there is.
        sequencer: makes facts durable.
        sealer: seals secrets under the tenant's own data key.
        types: the types of events that the hub tells, and that services report.
        values: what endpoints are told of by fingerprint.
        sender: says which addresses may be reached.
        customers: which tenants are there.
        starting: finds where an endpoint begins.
        plain: whether `http` is allowed.
    """

    def __init__(
        self,
        view: WebhooksView,
        sequencer: Sequencer,
        sealer: Sealer,
        types: Set[str],
        values: Values,
        sender: Sender,
        customers: Customers,
        starting: Starting,
        *,
        plain: bool,
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._sealer = sealer
        self._types = types
        self._values = values
        self._sender = sender
        self._customers = customers
        self._starting = starting
        self._plain = plain

    async def create(
        self, ctx: TenantContext, domain: DomainId, wanted: NewWebhook, *, key: str | None = None
    ) -> Minted:
        """Create an endpoint; it is told what becomes true from where it begins.

        Raises:
            HubError: `tenant_not_found` (404), `invalid_webhook_url`, `unknown_event_type` (422),
                `webhook_address_denied`, `environment_denied` (403), `limit_reached` (429), `invalid_filter` (422),
                `position_gone` (410), `invalid_position`, `invalid_query` (400).
        """
        if not self._customers.is_told(domain):
            raise tenant_missing()
        target = target_of(wanted.url, plain=self._plain)
        if not self._sender.granted(domain, target.host, target.port):
            raise _address_denied()
        if ctx.principal.environment not in ("", wanted.environment):
            raise _environment_denied()
        events, more = check_events(wanted.events, self._types), check_filter(wanted.filter)
        start = await self._starting.after(domain, wanted.deliver, msgspec.structs.replace(more, types=events))
        secrets: list[str] = []

        def decide(tx: Tx) -> str:
            if len(self._view.webhooks(domain)) + tx.pending(domain, COUNT_WEBHOOKS) >= ENDPOINTS_PER_TENANT_MAX:
                raise _limit()
            webhook_id = WEBHOOK_ID_PREFIX + tx.new_id().replace("-", "")
            sealed_by, sealed = self._sealed(tx, domain, webhook_id, secrets)
            webhook = Webhook(
                id=webhook_id,
                url=wanted.url,
                events=events,
                sealed_by=sealed_by,
                sealed=sealed,
                service=wanted.service,
                environment=wanted.environment,
                description=wanted.description,
                created_at_ms=tx.now_ms,
                created_by=ctx.principal.id,
                start_seq=-1 if start is None else start,
                filter=more,
            )
            # What its values are now comes first: the endpoint is told of later changes only.
            for value in values_of(webhook):
                self.note(tx, domain, value, wanted=True)
            tx.append(
                domain, WebhookCreated(webhook=webhook), streams=(webhook_stream(webhook_id),),
                counts={COUNT_WEBHOOKS: 1},
            )  # fmt: skip
            return webhook_id

        committed = await self._sequencer.submit(
            ctx.actor, (domain,), decide, idempotency=_idempotency(ctx, domain, "create_webhook", key)
        )
        return Minted(webhook=self.get(ctx, domain, committed.answer), secret="" if committed.replayed else secrets[0])

    def note(self, tx: Tx, domain: DomainId, key: ValueKey, *, wanted: bool = False) -> bool:
        """Propose that a value is something else than was told of it; says whether it is.

        Args:
            tx: the step.
            domain: the tenant's.
            key: which value.
            wanted: whether to begin to follow it; otherwise only one that is followed is looked at.
        """
        tx.touch(domain, value_stream(key))
        told, now = self._view.value(domain, key), self._values.fingerprint(domain, key)
        if now is None or now == told or (told is None and not wanted):
            return False
        kind = TenantConfigurationValueChanged if key.topic == Topic.CONFIG.value else TenantFlagsValueChanged
        fact = kind(service=key.service, environment=key.environment, fingerprint=now)
        tx.append(domain, fact, streams=(value_stream(key),))
        return True

    def get(self, ctx: TenantContext, domain: DomainId, webhook_id: str) -> Webhook:
        """Return an endpoint.

        Raises:
            HubError: `webhook_not_found` (404), for another tenant's or another environment's too.
        """
        found = self._view.webhook(domain, webhook_id)
        if found is None or not _speaks_for(ctx, found):
            raise webhook_missing()
        return found

    def list(self, ctx: TenantContext, domain: DomainId, *, after: str, limit: int) -> Sequence[Webhook]:
        """Return up to `limit` endpoints with an id above `after`, oldest first."""
        found = [one for one in self._view.webhooks(domain) if one.id > after and _speaks_for(ctx, one)]
        return found[:limit]

    async def rotate(
        self, ctx: TenantContext, domain: DomainId, webhook_id: str, *, grace_s: int, key: str | None = None
    ) -> Minted:
        """Give an endpoint a new secret; for `grace_s` seconds the one before signs beside it.

        Raises:
            HubError: `webhook_not_found` (404).
        """
        secrets: list[str] = []

        def decide(tx: Tx) -> None:
            tx.touch(domain, webhook_stream(webhook_id))
            self.get(ctx, domain, webhook_id)
            sealed_by, sealed = self._sealed(tx, domain, webhook_id, secrets)
            fact = WebhookSecretRotated(
                webhook_id=webhook_id, sealed_by=sealed_by, sealed=sealed,
                previous_until_ms=tx.now_ms + grace_s * 1_000,
            )  # fmt: skip
            tx.append(domain, fact, streams=(webhook_stream(webhook_id),))

        committed = await self._sequencer.submit(
            ctx.actor, (domain,), decide, idempotency=_idempotency(ctx, domain, f"rotate_webhook/{webhook_id}", key)
        )
        return Minted(webhook=self.get(ctx, domain, webhook_id), secret="" if committed.replayed else secrets[0])

    async def enable(self, ctx: TenantContext, domain: DomainId, webhook_id: str) -> Webhook:
        """Tell an endpoint again, beginning with what waited; one that is enabled stays as it is.

        Raises:
            HubError: `webhook_not_found` (404).
        """
        return await self._set(ctx, domain, webhook_id, Status.ENABLED, WebhookEnabled(webhook_id=webhook_id))

    async def disable(self, ctx: TenantContext, domain: DomainId, webhook_id: str) -> Webhook:
        """Tell an endpoint nothing until it is enabled again; one that is disabled stays as it is.

        Raises:
            HubError: `webhook_not_found` (404).
        """
        fact = WebhookDisabled(webhook_id=webhook_id, reason=DisabledBecause.ASKED)
        return await self._set(ctx, domain, webhook_id, Status.DISABLED, fact)

    async def delete(self, ctx: TenantContext, domain: DomainId, webhook_id: str) -> None:
        """Forget an endpoint and its dead letters; one that is not there is forgotten already."""

        def decide(tx: Tx) -> None:
            tx.touch(domain, webhook_stream(webhook_id))
            found = self._view.webhook(domain, webhook_id)
            if found is None or not _speaks_for(ctx, found):
                return
            tx.append(
                domain, WebhookDeleted(webhook_id=webhook_id), streams=(webhook_stream(webhook_id),),
                counts={COUNT_WEBHOOKS: -1},
            )  # fmt: skip

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    async def replay(
        self,
        ctx: TenantContext,
        domain: DomainId,
        webhook_id: str,
        *,
        seqs: Sequence[int] | None = None,
        limit: int = REPLAY_MAX,
        dry_run: bool = False,
    ) -> tuple[Sequence[DeadLetter], int]:
        """Send dead letters again, oldest first, under the ids they had; the endpoint's place in the log stays.

        Args:
            ctx: who asks.
            domain: the tenant's.
            webhook_id: the endpoint.
            seqs: which, by position; all of them when it is None.
            limit: how many at most, 1 to `REPLAY_MAX`.
            dry_run: only say which.

        Returns:
            The dead letters that are sent, and how many others remain.

        Raises:
            HubError: `webhook_not_found` (404), `webhook_disabled` (409).
        """

        def decide(tx: Tx) -> list[DeadLetter]:
            tx.touch(domain, webhook_stream(webhook_id))
            webhook = self.get(ctx, domain, webhook_id)
            if webhook.status is Status.DISABLED and not dry_run:
                raise HubError(
                    "webhook_disabled", Kind.CONFLICT, "The webhook is disabled.",
                    next_step="Enable it first; its dead letters stay.",
                )  # fmt: skip
            waiting = [one for one in self._view.letters(domain, webhook_id).values() if not one.replaying]
            chosen = [one for one in waiting if seqs is None or one.seq in seqs][:limit]
            if chosen and not dry_run:
                fact = WebhookReplayAsked(webhook_id=webhook_id, seqs=tuple(one.seq for one in chosen))
                tx.append(domain, fact, streams=(webhook_stream(webhook_id),))
            return chosen

        chosen = (await self._sequencer.submit(ctx.actor, (domain,), decide)).answer
        waiting = sum(not one.replaying for one in self._view.letters(domain, webhook_id).values())
        return chosen, waiting - (len(chosen) if dry_run else 0)

    async def _set(self, ctx: TenantContext, domain: DomainId, webhook_id: str, status: Status, fact: Fact) -> Webhook:
        def decide(tx: Tx) -> None:
            tx.touch(domain, webhook_stream(webhook_id))
            if self.get(ctx, domain, webhook_id).status is not status:
                tx.append(domain, fact, streams=(webhook_stream(webhook_id),))

        await self._sequencer.submit(ctx.actor, (domain,), decide)
        return self.get(ctx, domain, webhook_id)

    def _sealed(self, tx: Tx, domain: DomainId, webhook_id: str, secrets: list[str]) -> tuple[str, bytes]:
        """Mint a secret; returns it sealed, and leaves it in `secrets`, alone."""
        raw = tx.random(SECRET_BYTES)
        secrets[:] = [secret_text(raw)]
        return self._sealer.seal(domain, raw, secret_data(domain, webhook_id))


def _speaks_for(ctx: TenantContext, webhook: Webhook) -> bool:
    """Say whether a credential that may be bound to an environment may see an endpoint."""
    return ctx.principal.environment in ("", webhook.environment)


def _address_denied() -> HubError:
    return HubError(
        "webhook_address_denied",
        Kind.DENIED,
        "The hub may not connect to that address for this tenant.",
        next_step="Ask the operator to grant the network with --webhook-networks.",
    )


def _environment_denied() -> HubError:
    return HubError(
        "environment_denied",
        Kind.DENIED,
        "The credential speaks for one environment, and this is about another or about all.",
        next_step="Name the credential's own environment.",
    )


def _limit() -> HubError:
    return HubError(
        "limit_reached",
        Kind.LIMIT,
        f"There are {ENDPOINTS_PER_TENANT_MAX} webhooks already, which is the limit.",
        next_step="Delete webhooks that are not needed.",
        retry_after_s=60,
        fields={"limit": ENDPOINTS_PER_TENANT_MAX},
    )


def _idempotency(ctx: TenantContext, domain: DomainId, operation: str, key: str | None) -> Idempotency | None:
    return None if key is None else Idempotency(domain=domain, source=ctx.principal.id, id=f"{operation}/{key}")
