"""Commands about a domain's subscriptions."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import DomainId, check_name
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.subscriptions.model import (
    COUNT_SUBSCRIPTIONS,
    ID_PREFIX,
    REPLAY_MAX,
    SUBSCRIPTIONS_PER_TENANT_MAX,
    Cause,
    Filter,
    Letter,
    PausedBecause,
    Status,
    Subscription,
    SubscriptionChanged,
    SubscriptionCreated,
    SubscriptionDeleted,
    SubscriptionLettersEnded,
    SubscriptionMoved,
    SubscriptionPaused,
    SubscriptionReplayAsked,
    SubscriptionResumed,
    Terms,
    name_stream,
    subscription_stream,
)
from central_hub.subscriptions.rules import check_filter, check_terms, subscription_missing
from central_hub.subscriptions.starting import Deliver, Starting
from central_hub.subscriptions.view import SubscriptionsView


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a subscription."""

    name: str
    filter: Filter = Filter()
    terms: Terms = Terms()
    deliver: Deliver = Deliver()
    description: str = ""


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters that a command is about, and how many others remain."""

    letters: Sequence[Letter]
    remaining: int


class Subscriptions:
    """Creates and changes subscriptions.

    Args:
        view: what there is.
        sequencer: makes facts durable.
        starting: finds where one begins.
    """

    def __init__(self, view: SubscriptionsView, sequencer: Sequencer, starting: Starting) -> None:
        self._view = view
        self._sequencer = sequencer
        self._starting = starting

    def get(self, domain: DomainId, name: str) -> Subscription:
        """Return a subscription.

        Raises:
            HubError: `subscription_not_found` (404), for another tenant's too.
        """
        found = self._view.named(domain, name)
        if found is None:
            raise subscription_missing()
        return found

    def list(self, domain: DomainId, *, after: str, limit: int) -> Sequence[Subscription]:
        """Return up to `limit` subscriptions, in order of name, beginning behind a name."""
        found = sorted((one for one in self._view.subscriptions(domain) if one.name > after), key=lambda one: one.name)
        return found[:limit]

    async def create(self, ctx: TenantContext, domain: DomainId, wish: Wish, *, key: str | None = None) -> Subscription:
        """Create a subscription; it is told of everything after the position where it begins.

        Raises:
            HubError: `invalid_name`, `invalid_filter`, `invalid_terms` (422),
                `subscription_exists` (409), `limit_reached` (429), `position_gone` (410), `invalid_position` (400).
        """
        name = check_name(wish.name, "subscription")
        wanted, terms = check_filter(wish.filter), check_terms(wish.terms)
        start = await self._starting.after(domain, wish.deliver, wanted)

        def decide(tx: Tx) -> None:
            tx.touch(domain, name_stream(name))
            if self._view.named(domain, name) is not None:
                raise _exists(name)
            if self._view.count(domain) + tx.pending(domain, COUNT_SUBSCRIPTIONS) >= SUBSCRIPTIONS_PER_TENANT_MAX:
                raise _limit()
            subscription = Subscription(
                id=ID_PREFIX + tx.new_id().replace("-", ""),
                name=name,
                filter=wanted,
                terms=terms,
                description=wish.description,
                from_seq=start or 0,
                from_now=start is None,
                created_at_ms=tx.now_ms,
                created_by=ctx.principal.id,
            )
            tx.append(
                domain, SubscriptionCreated(subscription=subscription),
                streams=(subscription_stream(subscription.id), name_stream(name)), counts={COUNT_SUBSCRIPTIONS: 1},
            )  # fmt: skip

        await self._sequencer.submit(
            ctx.actor, (domain,), decide, idempotency=_idempotency(ctx, domain, "create_subscription", key)
        )
        return self.get(domain, name)

    async def change(
        self,
        ctx: TenantContext,
        domain: DomainId,
        name: str,
        *,
        wanted: Filter | None = None,
        terms: Terms | None = None,
        description: str | None = None,
    ) -> Subscription:
        """Change what a subscription wants, or how it is delivered to; its place stays, and so does what is under way.

        Raises:
            HubError: `subscription_not_found` (404), `invalid_filter`, `invalid_terms` (422).
        """
        wanted = None if wanted is None else check_filter(wanted)
        terms = None if terms is None else check_terms(terms)

        def decide(tx: Tx) -> None:
            found = self._touched(tx, domain, name)
            fact = SubscriptionChanged(
                subscription_id=found.id,
                filter=found.filter if wanted is None else wanted,
                terms=found.terms if terms is None else terms,
                description=found.description if description is None else description,
            )
            if (fact.filter, fact.terms, fact.description) != (found.filter, found.terms, found.description):
                tx.append(domain, fact, streams=(subscription_stream(found.id),))

        await self._sequencer.submit(ctx.actor, (domain,), decide)
        return self.get(domain, name)

    async def move(self, ctx: TenantContext, domain: DomainId, name: str, deliver: Deliver) -> Subscription:
        """Have a subscription go on from elsewhere; what was under way is forgotten, its dead letters stay.

        Raises:
            HubError: `subscription_not_found` (404), `position_gone` (410), `invalid_position`, `invalid_query` (400).
        """
        start = await self._starting.after(domain, deliver, self.get(domain, name).filter)

        def decide(tx: Tx) -> None:
            found = self._touched(tx, domain, name)
            fact = SubscriptionMoved(subscription_id=found.id, from_seq=start or 0, from_now=start is None)
            tx.append(domain, fact, streams=(subscription_stream(found.id),))

        await self._sequencer.submit(ctx.actor, (domain,), decide)
        return self.get(domain, name)

    async def pause(self, ctx: TenantContext, domain: DomainId, name: str) -> Subscription:
        """Give out nothing; one that is paused stays as it is.

        Raises:
            HubError: `subscription_not_found` (404).
        """
        return await self._set(ctx, domain, name, Status.PAUSED)

    async def resume(self, ctx: TenantContext, domain: DomainId, name: str) -> Subscription:
        """Give out events again, beginning with what waited; one that is active stays as it is.

        Raises:
            HubError: `subscription_not_found` (404).
        """
        return await self._set(ctx, domain, name, Status.ACTIVE)

    async def delete(self, ctx: TenantContext, domain: DomainId, name: str) -> None:
        """Forget a subscription and its dead letters; one that is not there is forgotten already."""

        def decide(tx: Tx) -> None:
            tx.touch(domain, name_stream(name))
            found = self._view.named(domain, name)
            if found is None:
                return
            tx.touch(domain, subscription_stream(found.id))
            tx.append(
                domain, SubscriptionDeleted(subscription_id=found.id),
                streams=(subscription_stream(found.id), name_stream(name)), counts={COUNT_SUBSCRIPTIONS: -1},
            )  # fmt: skip

        await self._sequencer.submit(ctx.actor, (domain,), decide)

    async def replay(
        self,
        ctx: TenantContext,
        domain: DomainId,
        name: str,
        *,
        seqs: Sequence[int] | None = None,
        limit: int = REPLAY_MAX,
        per_s: float | None = None,
        dry_run: bool = False,
    ) -> Chosen:
        """Deliver dead letters again, oldest first; the subscription's place in the log stays.

        Args:
            ctx: who asks.
            domain: whose.
            name: the subscription.
            seqs: which, by position; all of them when it is None.
            limit: how many at most, 1 to `REPLAY_MAX`.
            per_s: how many a second; as fast as they are taken when it is None.
            dry_run: only say which.

        Raises:
            HubError: `subscription_not_found` (404).
        """

        def decide(tx: Tx) -> Chosen:
            found, chosen, remaining = self._choose(tx, domain, name, seqs, limit)
            if chosen and not dry_run:
                apart_ms = 0.0 if per_s is None else 1_000 / per_s
                at_ms = tuple((one.seq, tx.now_ms + round(at * apart_ms)) for at, one in enumerate(chosen))
                fact = SubscriptionReplayAsked(subscription_id=found.id, at_ms=at_ms)
                tx.append(domain, fact, streams=(subscription_stream(found.id),))
            return Chosen(letters=chosen, remaining=remaining)

        return (await self._sequencer.submit(ctx.actor, (domain,), decide)).answer

    async def discard(
        self,
        ctx: TenantContext,
        domain: DomainId,
        name: str,
        *,
        seqs: Sequence[int] | None = None,
        limit: int = REPLAY_MAX,
        dry_run: bool = False,
    ) -> Chosen:
        """Forget dead letters, oldest first; the events stay in the log.

        Raises:
            HubError: `subscription_not_found` (404).
        """

        def decide(tx: Tx) -> Chosen:
            found, chosen, remaining = self._choose(tx, domain, name, seqs, limit)
            if chosen and not dry_run:
                fact = SubscriptionLettersEnded(
                    subscription_id=found.id, seqs=tuple(one.seq for one in chosen), cause=Cause.DISCARDED
                )
                tx.append(domain, fact, streams=(subscription_stream(found.id),))
            return Chosen(letters=chosen, remaining=remaining)

        return (await self._sequencer.submit(ctx.actor, (domain,), decide)).answer

    def _choose(
        self, tx: Tx, domain: DomainId, name: str, seqs: Sequence[int] | None, limit: int
    ) -> tuple[Subscription, list[Letter], int]:
        found = self._touched(tx, domain, name)
        letters = self._view.letters(domain, found.id).values()
        waiting = sorted((one for one in letters if not one.replay_at_ms), key=lambda one: one.seq)
        named = None if seqs is None else frozenset(seqs)
        chosen = [one for one in waiting if named is None or one.seq in named][:limit]
        return found, chosen, len(waiting) - len(chosen)

    async def _set(self, ctx: TenantContext, domain: DomainId, name: str, status: Status) -> Subscription:
        def decide(tx: Tx) -> None:
            found = self._touched(tx, domain, name)
            if found.status is status:
                return
            fact: Fact = SubscriptionResumed(subscription_id=found.id)
            if status is Status.PAUSED:
                fact = SubscriptionPaused(subscription_id=found.id, reason=PausedBecause.ASKED)
            tx.append(domain, fact, streams=(subscription_stream(found.id),))

        await self._sequencer.submit(ctx.actor, (domain,), decide)
        return self.get(domain, name)

    def _touched(self, tx: Tx, domain: DomainId, name: str) -> Subscription:
        tx.touch(domain, name_stream(name))
        found = self.get(domain, name)
        tx.touch(domain, subscription_stream(found.id))
        return self.get(domain, name)


def _exists(name: str) -> HubError:
    return HubError(
        "subscription_exists", Kind.CONFLICT, f"There is a subscription '{name}' already.",
        next_step="Follow it, change it with PATCH, or choose another name.",
    )  # fmt: skip


def _limit() -> HubError:
    return HubError(
        "limit_reached", Kind.LIMIT, f"There are {SUBSCRIPTIONS_PER_TENANT_MAX} subscriptions, which is the limit.",
        next_step="Delete subscriptions that nobody follows.", retry_after_s=60,
        fields={"limit": SUBSCRIPTIONS_PER_TENANT_MAX},
    )  # fmt: skip


def _idempotency(ctx: TenantContext, domain: DomainId, operation: str, key: str | None) -> Idempotency | None:
    return None if key is None else Idempotency(domain=domain, source=ctx.principal.id, id=f"{operation}/{key}")
