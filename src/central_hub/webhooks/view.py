"""Webhooks as the log tells them: a tenant's endpoints, their dead letters, and the values it was told of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from central_hub.kernel.dumping import at_once
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.tenants.model import TenantShredded
from central_hub.webhooks.model import (
    FACTS,
    DeadLetter,
    Status,
    TenantConfigurationValueChanged,
    TenantFlagsValueChanged,
    ValueKey,
    Webhook,
    WebhookCreated,
    WebhookDeadLetterEnded,
    WebhookDeleted,
    WebhookDeliveryParked,
    WebhookDisabled,
    WebhookEnabled,
    WebhookReplayAsked,
    WebhookSecretRotated,
    value_key,
    values_of,
)

CHUNK: Final = 256
_NONE: Final[Mapping[int, DeadLetter]] = {}


class _Dump(msgspec.Struct, kw_only=True):
    webhooks: list[Webhook] = []
    letters: list[tuple[str, DeadLetter]] = []
    values: list[tuple[ValueKey, str]] = []


class _Own:
    """What one domain has."""

    __slots__ = ("letters", "values", "webhooks")

    def __init__(self) -> None:
        self.webhooks: dict[str, Webhook] = {}
        self.letters: dict[str, dict[int, DeadLetter]] = {}
        self.values: dict[ValueKey, str] = {}


class WebhooksView:
    """Every tenant's endpoints, in order of their ids."""

    def __init__(self) -> None:
        self._own: dict[DomainId, _Own] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "webhooks"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*FACTS, TenantShredded))

    def domains(self) -> tuple[DomainId, ...]:
        """Return the domains that have endpoints, for the follower."""
        return tuple(domain for domain, own in self._own.items() if own.webhooks)

    def webhooks(self, domain: DomainId) -> tuple[Webhook, ...]:
        """Return a domain's endpoints, oldest first."""
        own = self._own.get(domain)
        return () if own is None else tuple(own.webhooks.values())

    def webhook(self, domain: DomainId, webhook_id: str) -> Webhook | None:
        """Return an endpoint of a domain; None when it is missing or another domain's."""
        own = self._own.get(domain)
        return None if own is None else own.webhooks.get(webhook_id)

    def letters(self, domain: DomainId, webhook_id: str) -> Mapping[int, DeadLetter]:
        """Return an endpoint's dead letters by position, oldest first."""
        own = self._own.get(domain)
        return _NONE if own is None else own.letters.get(webhook_id, _NONE)

    def value(self, domain: DomainId, key: ValueKey) -> str | None:
        """Return the fingerprint of a value as it was last told; None when nobody wants to know."""
        own = self._own.get(domain)
        return None if own is None else own.values.get(key)

    def wanted_values(self, domain: DomainId) -> tuple[ValueKey, ...]:
        """Return the values of a domain that its endpoints want to know of."""
        own = self._own.get(domain)
        return () if own is None else tuple(own.values)

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        domain = applied.domain
        match applied.fact:
            case WebhookCreated(webhook=webhook):
                own = self._own.setdefault(domain, _Own())
                start = applied.domain_seq if webhook.start_seq < 0 else webhook.start_seq
                own.webhooks[webhook.id] = msgspec.structs.replace(webhook, from_seq=start)
            case WebhookSecretRotated() as fact:
                before = self._own[domain].webhooks[fact.webhook_id]
                self._change(
                    domain, fact.webhook_id, sealed_by=fact.sealed_by, sealed=fact.sealed,
                    previous_sealed_by=before.sealed_by, previous_sealed=before.sealed,
                    previous_until_ms=fact.previous_until_ms,
                )  # fmt: skip
            case WebhookDisabled(webhook_id=webhook_id, reason=reason):
                self._change(domain, webhook_id, status=Status.DISABLED, reason=reason.value)
            case WebhookEnabled(webhook_id=webhook_id):
                self._change(domain, webhook_id, status=Status.ENABLED, reason="")
            case WebhookDeleted(webhook_id=webhook_id):
                self._delete(domain, webhook_id)
            case WebhookDeliveryParked(webhook_id=webhook_id, letter=letter):
                self._own[domain].letters.setdefault(webhook_id, {})[letter.seq] = letter
            case WebhookReplayAsked(webhook_id=webhook_id, seqs=seqs):
                letters = self._own[domain].letters[webhook_id]
                for seq in seqs:
                    letters[seq] = msgspec.structs.replace(letters[seq], replaying=True)
            case WebhookDeadLetterEnded(webhook_id=webhook_id, seq=seq):
                self._end_letter(domain, webhook_id, seq)
            case TenantConfigurationValueChanged() | TenantFlagsValueChanged() as fact:
                self._own.setdefault(domain, _Own()).values[value_key(fact)] = fact.fingerprint
            case TenantShredded(tenant_id=tenant_id):
                self._own.pop(DomainId(tenant_id), None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    @at_once
    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` items."""
        own = self._own.get(domain)
        if own is None:
            return
        yield _Dump(webhooks=list(own.webhooks.values()), values=list(own.values.items()))
        letters = [(webhook_id, letter) for webhook_id, some in own.letters.items() for letter in some.values()]
        for start in range(0, len(letters), CHUNK):
            yield _Dump(letters=letters[start : start + CHUNK])

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            dumped = msgspec.msgpack.decode(chunk, type=_Dump)
            own = self._own.setdefault(domain, _Own())
            own.webhooks.update((webhook.id, webhook) for webhook in dumped.webhooks)
            own.values.update(dumped.values)
            for webhook_id, letter in dumped.letters:
                own.letters.setdefault(webhook_id, {})[letter.seq] = letter

    def _change(self, domain: DomainId, webhook_id: str, **changes: Any) -> None:  # Any: the fields' types differ
        webhooks = self._own[domain].webhooks
        webhooks[webhook_id] = msgspec.structs.replace(webhooks[webhook_id], **changes)

    def _delete(self, domain: DomainId, webhook_id: str) -> None:
        own = self._own[domain]
        del own.webhooks[webhook_id]
        own.letters.pop(webhook_id, None)
        wanted = {key for webhook in own.webhooks.values() for key in values_of(webhook)}
        for key in [key for key in own.values if key not in wanted]:
            del own.values[key]
        if not own.webhooks:
            del self._own[domain]

    def _end_letter(self, domain: DomainId, webhook_id: str, seq: int) -> None:
        letters = self._own[domain].letters
        letters[webhook_id].pop(seq, None)
        if not letters[webhook_id]:
            del letters[webhook_id]
