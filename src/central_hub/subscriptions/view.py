"""Subscriptions as the log tells them, and their dead letters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied
from central_hub.subscriptions.model import (
    FACTS,
    Letter,
    Status,
    Subscription,
    SubscriptionChanged,
    SubscriptionCreated,
    SubscriptionDeleted,
    SubscriptionDeliveryParked,
    SubscriptionLettersEnded,
    SubscriptionMoved,
    SubscriptionPaused,
    SubscriptionReplayAsked,
    SubscriptionResumed,
)
from central_hub.tenants.model import TenantShredded

CHUNK: Final = 256
_NONE: Final[Mapping[int, Letter]] = {}


class _Dump(msgspec.Struct, kw_only=True):
    subscriptions: list[Subscription] = []
    letters: list[tuple[str, Letter]] = []


class _Own:
    """What one domain has."""

    __slots__ = ("by_id", "letters", "names")

    def __init__(self) -> None:
        self.by_id: dict[str, Subscription] = {}
        self.names: dict[str, str] = {}
        self.letters: dict[str, dict[int, Letter]] = {}


class SubscriptionsView:
    """Every domain's subscriptions, by name, in order of their creation."""

    def __init__(self) -> None:
        self._own: dict[DomainId, _Own] = {}

    @property
    def name(self) -> str:
        """The view's name in snapshots."""
        return "subscriptions"

    @property
    def facts(self) -> frozenset[type[Fact]]:
        """The types it folds."""
        return frozenset((*FACTS, TenantShredded))

    def domains(self) -> tuple[DomainId, ...]:
        """Return the domains that have subscriptions, for what follows the log for them."""
        return tuple(self._own)

    def subscriptions(self, domain: DomainId) -> tuple[Subscription, ...]:
        """Return a domain's subscriptions, oldest first."""
        own = self._own.get(domain)
        return () if own is None else tuple(own.by_id.values())

    def count(self, domain: DomainId) -> int:
        """Return how many subscriptions a domain has."""
        own = self._own.get(domain)
        return 0 if own is None else len(own.by_id)

    def named(self, domain: DomainId, name: str) -> Subscription | None:
        """Return a domain's subscription by its name; None when it is missing or another domain's."""
        own = self._own.get(domain)
        found = None if own is None else own.names.get(name)
        return None if own is None or found is None else own.by_id[found]

    def subscription(self, domain: DomainId, subscription_id: str) -> Subscription | None:
        """Return a domain's subscription by its id."""
        own = self._own.get(domain)
        return None if own is None else own.by_id.get(subscription_id)

    def letters(self, domain: DomainId, subscription_id: str) -> Mapping[int, Letter]:
        """Return a subscription's dead letters by position."""
        own = self._own.get(domain)
        return _NONE if own is None else own.letters.get(subscription_id, _NONE)

    def apply(self, applied: Applied) -> None:
        """Fold one fact."""
        domain, seq = applied.domain, applied.domain_seq
        match applied.fact:
            case SubscriptionCreated(subscription=subscription):
                own = self._own.setdefault(domain, _Own())
                start = seq if subscription.from_now else subscription.from_seq
                own.by_id[subscription.id] = msgspec.structs.replace(subscription, from_seq=start, era=seq)
                own.names[subscription.name] = subscription.id
            case SubscriptionChanged() as fact:
                self._change(
                    domain, fact.subscription_id, filter=fact.filter, terms=fact.terms, description=fact.description
                )
            case SubscriptionMoved() as fact:
                start = seq if fact.from_now else fact.from_seq
                self._change(domain, fact.subscription_id, from_seq=start, era=seq)
            case SubscriptionPaused() as fact:
                self._change(domain, fact.subscription_id, status=Status.PAUSED, reason=fact.reason.value)
            case SubscriptionResumed() as fact:
                self._change(domain, fact.subscription_id, status=Status.ACTIVE, reason="")
            case SubscriptionDeleted() as fact:
                self._delete(domain, fact.subscription_id)
            case SubscriptionDeliveryParked() as fact:
                self._own[domain].letters.setdefault(fact.subscription_id, {})[fact.letter.seq] = fact.letter
            case SubscriptionReplayAsked() as fact:
                letters = self._own[domain].letters[fact.subscription_id]
                for letter_seq, at_ms in fact.at_ms:
                    letters[letter_seq] = msgspec.structs.replace(letters[letter_seq], replay_at_ms=at_ms)
            case SubscriptionLettersEnded() as fact:
                self._end_letters(domain, fact)
            case TenantShredded(tenant_id=tenant_id):
                self._own.pop(DomainId(tenant_id), None)
            case _:
                raise AssertionError(f"{applied.type} is not folded here")

    def dump(self, domain: DomainId) -> Iterator[object]:
        """Yield the domain's state in chunks of at most `CHUNK` items."""
        own = self._own.get(domain)
        if own is None:
            return
        subscriptions = list(own.by_id.values())
        for start in range(0, len(subscriptions), CHUNK):
            yield _Dump(subscriptions=subscriptions[start : start + CHUNK])
        letters = [(subscription_id, one) for subscription_id, some in own.letters.items() for one in some.values()]
        for start in range(0, len(letters), CHUNK):
            yield _Dump(letters=letters[start : start + CHUNK])

    def restore(self, domain: DomainId, chunks: Iterable[bytes]) -> None:
        """Take back what `dump` yielded."""
        for chunk in chunks:
            dumped = msgspec.msgpack.decode(chunk, type=_Dump)
            own = self._own.setdefault(domain, _Own())
            for one in dumped.subscriptions:
                own.by_id[one.id] = one
                own.names[one.name] = one.id
            for subscription_id, letter in dumped.letters:
                own.letters.setdefault(subscription_id, {})[letter.seq] = letter

    def _change(self, domain: DomainId, subscription_id: str, **changes: Any) -> None:  # Any: the fields' types differ
        by_id = self._own[domain].by_id
        by_id[subscription_id] = msgspec.structs.replace(by_id[subscription_id], **changes)

    def _delete(self, domain: DomainId, subscription_id: str) -> None:
        own = self._own[domain]
        del own.names[own.by_id.pop(subscription_id).name]
        own.letters.pop(subscription_id, None)
        if not own.by_id:
            del self._own[domain]

    def _end_letters(self, domain: DomainId, fact: SubscriptionLettersEnded) -> None:
        letters = self._own[domain].letters
        for seq in fact.seqs:
            letters[fact.subscription_id].pop(seq, None)
        if not letters[fact.subscription_id]:
            del letters[fact.subscription_id]
