"""The rows of subscriptions and their handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from central_hub.edge.operations import Call, Headers, Operation, Reply
from central_hub.edge.shares import Share
from central_hub.edge.sockets import SocketSink
from central_hub.edge.streams import MEDIA_TYPE as EVENT_STREAM
from central_hub.edge.streams import Sink, event_frame
from central_hub.events.reading import EventReading
from central_hub.kernel.context import SCOPE_PLATFORM_ADMIN, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.subscriptions.book import LineBook
from central_hub.subscriptions.following import Following
from central_hub.subscriptions.model import SCOPE_ADMIN, SCOPE_CONSUME, SCOPE_READ, Subscription, Terms
from central_hub.subscriptions.schemas import (
    ChangeSubscription,
    ChosenAnswer,
    CreateSubscription,
    DeliverBody,
    DiscardLetters,
    FollowQuery,
    LetterList,
    LetterPage,
    PullAnswer,
    PullQuery,
    ReplayLetters,
    Settle,
    SubscriptionAnswer,
    SubscriptionList,
    SubscriptionPage,
    letter_answer,
    pull_text,
    query_of,
    subscription_answer,
)
from central_hub.subscriptions.settling import NotDone, Said, Settled, Settling
from central_hub.subscriptions.sockets import SocketTaker, listening
from central_hub.subscriptions.streams import OPEN, Frames, StreamTaker, open_text
from central_hub.subscriptions.usecases import Chosen, Subscriptions, Wish
from central_hub.subscriptions.view import SubscriptionsView

TAG: Final = "subscriptions"

OnClose = Callable[[], None]
Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(slots=True, kw_only=True)
class SubscriptionRoutes:
    """Handlers: each translates a call and its answer, nothing more."""

    subscriptions: Subscriptions
    view: SubscriptionsView
    book: LineBook
    following: Following
    settling: Settling
    reading: EventReading
    frames: Frames
    admits_origin: Callable[[Headers], bool]
    admit: Callable[[TenantContext], Share]

    async def create(self, call: Call) -> Reply:
        """Create a subscription."""
        body: CreateSubscription = call.body
        wish = Wish(
            name=body.name, filter=body.filter.filter(), terms=body.terms.terms(Terms()),
            deliver=body.deliver.deliver(), description=body.description,
        )  # fmt: skip
        made = await self.subscriptions.create(call.ctx, _domain(call), wish, key=call.idempotency_key)
        return Reply(self._shown(_domain(call), made))

    async def list_all(self, call: Call) -> Reply:
        """List subscriptions by page."""
        page: SubscriptionPage = call.query
        domain = _domain(call)
        found = self.subscriptions.list(domain, after=page.cursor or "", limit=page.limit + 1)
        more = found[page.limit - 1].name if len(found) > page.limit else None
        shown = [self._shown(domain, one) for one in found[: page.limit]]
        return Reply(SubscriptionList(subscriptions=shown, next_cursor=more))

    async def show(self, call: Call) -> Reply:
        """Show a subscription."""
        return Reply(self._shown(_domain(call), self._found(call)))

    async def change(self, call: Call) -> Reply:
        """Change a subscription."""
        body: ChangeSubscription = call.body
        found = self._found(call)
        changed = await self.subscriptions.change(
            call.ctx, _domain(call), found.name,
            wanted=None if body.filter is None else body.filter.filter(),
            terms=None if body.terms is None else body.terms.terms(found.terms),
            description=body.description,
        )  # fmt: skip
        return Reply(self._shown(_domain(call), changed))

    async def move(self, call: Call) -> Reply:
        """Have a subscription go on from elsewhere."""
        body: DeliverBody = call.body
        moved = await self.subscriptions.move(call.ctx, _domain(call), self._found(call).name, body.deliver())
        return Reply(self._shown(_domain(call), moved))

    async def pause(self, call: Call) -> Reply:
        """Give out nothing."""
        return Reply(self._shown(_domain(call), await self.subscriptions.pause(call.ctx, _domain(call), _name(call))))

    async def resume(self, call: Call) -> Reply:
        """Give out events again."""
        return Reply(self._shown(_domain(call), await self.subscriptions.resume(call.ctx, _domain(call), _name(call))))

    async def delete(self, call: Call) -> Reply:
        """Forget a subscription."""
        await self.subscriptions.delete(call.ctx, _domain(call), _name(call))
        return Reply()

    async def pull(self, call: Call) -> Reply:
        """Take a few events."""
        query: PullQuery = call.query
        found = self._found(call)
        given = await self.following.pull(call.ctx, _domain(call), found, limit=query.limit, seconds=query.wait_s)
        return Reply(pull_text(given))

    async def settle(self, call: Call) -> Reply:
        """Take what a consumer says of deliveries."""
        body: Settle = call.body
        return Reply(await self.settling.settle(_domain(call), self._found(call), said(body), self.reading.incarnation))

    async def stream(self, call: Call) -> Reply:
        """Give out events over an open stream."""
        query: FollowQuery = call.query
        domain, found = _domain(call), self._found(call)
        line = await self.following.opened(domain, found)

        def on_open(sink: Sink) -> OnClose:
            sink.write(event_frame(OPEN, open_text(found.name, found.terms.ack_wait_s, query.max_held)))
            taker = StreamTaker(sink, domain, self.frames)
            consumer = self.following.attach(call.ctx, line, taker, query.max_held)
            return lambda: self.following.detach(consumer)

        return Reply(media_type=EVENT_STREAM, stream=on_open)

    async def socket(self, call: Call) -> Reply:
        """Give out events over a WebSocket, and take what the consumer says of them."""
        domain, found = _domain(call), self._found(call)
        if (call.headers.get("upgrade") or "").lower() != "websocket":
            raise HubError(
                "upgrade_required", Kind.INVALID, "This path is for WebSockets.",
                next_step="Connect with a WebSocket client, or use /stream and /settle.",
            )  # fmt: skip
        if not self.admits_origin(call.headers):
            raise HubError(
                "origin_denied", Kind.DENIED, "Pages of that origin may not connect.",
                next_step="Ask the operator to name the origin with --cross-origins.",
            )  # fmt: skip
        query: FollowQuery = call.query
        line = await self.following.opened(domain, found)

        def on_open(sink: SocketSink) -> OnClose:
            sink.write(b'{"type":"open",' + open_text(found.name, found.terms.ack_wait_s, query.max_held)[1:])
            consumer = self.following.attach(call.ctx, line, SocketTaker(sink), query.max_held)

            async def settle(body: Settle) -> Settled:
                share = self.admit(consumer.ctx)
                try:
                    return await self.settling.settle(domain, found, said(body), self.reading.incarnation)
                finally:
                    share.leave()

            sink.on_message = listening(sink, settle)
            return lambda: self.following.detach(consumer)

        return Reply(stream=on_open)

    async def letters(self, call: Call) -> Reply:
        """List dead letters by page."""
        page: LetterPage = call.query
        after = int(page.cursor or "0")
        letters = self.view.letters(_domain(call), self._found(call).id)
        found = sorted((one for seq, one in letters.items() if seq > after), key=lambda one: one.seq)
        more = str(found[page.limit - 1].seq) if len(found) > page.limit else None
        shown = [letter_answer(one, self.reading.position(one.seq)) for one in found[: page.limit]]
        return Reply(LetterList(letters=shown, next_cursor=more))

    async def replay(self, call: Call) -> Reply:
        """Deliver dead letters again."""
        body: ReplayLetters = call.body or ReplayLetters()
        chosen = await self.subscriptions.replay(
            call.ctx, _domain(call), _name(call), seqs=body.seqs, limit=body.limit, per_s=body.per_s,
            dry_run=body.dry_run,
        )  # fmt: skip
        return Reply(_chosen(chosen, dry_run=body.dry_run))

    async def discard(self, call: Call) -> Reply:
        """Forget dead letters."""
        body: DiscardLetters = call.body or DiscardLetters()
        chosen = await self.subscriptions.discard(
            call.ctx, _domain(call), _name(call), seqs=body.seqs, limit=body.limit, dry_run=body.dry_run
        )
        return Reply(_chosen(chosen, dry_run=body.dry_run))

    def _found(self, call: Call) -> Subscription:
        return self.subscriptions.get(_domain(call), _name(call))

    def _shown(self, domain: DomainId, subscription: Subscription) -> SubscriptionAnswer:
        line = self.book.shown(domain, subscription)
        return subscription_answer(
            subscription, line, done=self.reading.position(line.done), head=self.reading.head(domain),
            dead_letters=len(self.view.letters(domain, subscription.id)),
        )  # fmt: skip


def operations(routes: SubscriptionRoutes) -> tuple[Operation, ...]:
    """Return the rows of subscriptions: a tenant's, and the platform's."""
    return (
        *_rows(routes, "/subscriptions", "", "a tenant's", platform=False),
        *_rows(routes, "/platform/subscriptions", "platform_", "the platform's", platform=True),
    )


def _rows(routes: SubscriptionRoutes, every: str, prefix: str, whose: str, *, platform: bool) -> tuple[Operation, ...]:
    one = every + "/{subscription}"
    reads = _common(SCOPE_READ, platform=platform)
    writes, takes = _common(SCOPE_ADMIN, platform=platform), _common(SCOPE_CONSUME, platform=platform)
    missing = ("subscription_not_found",)
    begins = ("invalid_position", "position_gone", "invalid_query")
    terms = ("invalid_filter", "invalid_terms")
    return (
        Operation(
            id=f"create_{prefix}subscription", method="POST", path=every, handler=routes.create,
            body=CreateSubscription, answer=SubscriptionAnswer, status=201,
            problems=("invalid_name", "reserved_name", *terms, "subscription_exists", *begins),
            summary=f"Follow {whose} events durably: a place in the log that is kept.", **writes,
        ),
        Operation(
            id=f"list_{prefix}subscriptions", method="GET", path=every, handler=routes.list_all,
            query=SubscriptionPage, answer=SubscriptionList, summary=f"List {whose} subscriptions, by name.", **reads,
        ),
        Operation(
            id=f"get_{prefix}subscription", method="GET", path=one, handler=routes.show, answer=SubscriptionAnswer,
            problems=missing, summary="Show a subscription and where it stands.", **reads,
        ),
        Operation(
            id=f"change_{prefix}subscription", method="PATCH", path=one, handler=routes.change,
            body=ChangeSubscription, answer=SubscriptionAnswer,
            problems=(*missing, *terms),
            summary="Change what a subscription wants or how it is delivered to; its place stays.", **writes,
        ),
        Operation(
            id=f"delete_{prefix}subscription", method="DELETE", path=one, handler=routes.delete, status=204,
            summary="Delete a subscription with its dead letters; one that is gone is fine.", **writes,
        ),
        Operation(
            id=f"move_{prefix}subscription", method="POST", path=one + "/move", handler=routes.move, body=DeliverBody,
            answer=SubscriptionAnswer, problems=(*missing, *begins),
            summary="Have a subscription go on from elsewhere; its dead letters stay.", **writes,
        ),
        Operation(
            id=f"pause_{prefix}subscription", method="POST", path=one + "/pause", handler=routes.pause,
            answer=SubscriptionAnswer, problems=missing,
            summary="Give out nothing until the subscription is resumed; what happens waits.", **writes,
        ),
        Operation(
            id=f"resume_{prefix}subscription", method="POST", path=one + "/resume", handler=routes.resume,
            answer=SubscriptionAnswer, problems=missing,
            summary="Give out events again, beginning with what waited.", **writes,
        ),
        *_consuming_rows(routes, one, prefix, takes),
        *_letter_rows(routes, one, prefix, reads, writes),
    )  # fmt: skip


def _common(scope: str, *, platform: bool) -> dict[str, Any]:  # Any: Operation's own types
    return {"tag": TAG, "platform": platform, "scope": SCOPE_PLATFORM_ADMIN if platform else scope}


def _consuming_rows(
    routes: SubscriptionRoutes,
    one: str,
    prefix: str,
    takes: dict[str, Any],  # Any: as above
) -> tuple[Operation, ...]:
    missing = ("subscription_not_found",)
    owned = ("owned_elsewhere", "not_owned")
    follows = (*missing, *owned, "too_many_consumers", "position_gone")
    return (
        Operation(
            id=f"pull_{prefix}subscription", method="POST", path=one + "/pull", handler=_followed(routes.pull),
            query=PullQuery, answer=PullAnswer, problems=(*follows, "subscription_moved"),
            summary="Take a few events, and wait for the first where that is asked for.", **takes,
        ),
        Operation(
            id=f"stream_{prefix}subscription", method="GET", path=one + "/stream", handler=_followed(routes.stream),
            query=FollowQuery, media_type=EVENT_STREAM, problems=follows,
            summary="Take events over a stream; each message's id is what it is acknowledged by.",
            description="Events that are not acknowledged come again, whatever becomes of the stream. A stream holds "
            "up to `max_held` of them.", **takes,
        ),
        Operation(
            id=f"connect_{prefix}subscription", method="GET", path=one + "/socket", handler=_followed(routes.socket),
            query=FollowQuery, status=101, problems=(*follows, "upgrade_required", "origin_denied"),
            summary="Take events over a WebSocket, and say over the same what became of them.",
            description="Text messages of JSON. The hub sends `open`, `delivery`, `settled`, `error` and `end`; the "
            "consumer sends what `/settle` takes, with a `ref` that comes back.", **takes,
        ),
        Operation(
            id=f"settle_{prefix}subscription", method="POST", path=one + "/settle", handler=_followed(routes.settle),
            body=Settle, answer=Settled, problems=(*missing, *owned),
            summary="Acknowledge deliveries, give them back, or ask for more time.", **takes,
        ),
    )  # fmt: skip


def _letter_rows(
    routes: SubscriptionRoutes,
    one: str,
    prefix: str,
    reads: dict[str, Any],
    writes: dict[str, Any],  # Any: as above
) -> tuple[Operation, ...]:
    missing = ("subscription_not_found",)
    return (
        Operation(
            id=f"list_{prefix}letters", method="GET", path=one + "/letters", handler=routes.letters, query=LetterPage,
            answer=LetterList, problems=missing, summary="List a subscription's dead letters, oldest first.", **reads,
        ),
        Operation(
            id=f"replay_{prefix}letters", method="POST", path=one + "/letters/replay", handler=routes.replay,
            body=ReplayLetters, body_optional=True, answer=ChosenAnswer, problems=missing,
            summary="Deliver dead letters again; the subscription's place stays.", **writes,
        ),
        Operation(
            id=f"discard_{prefix}letters", method="POST", path=one + "/letters/discard", handler=routes.discard,
            body=DiscardLetters, body_optional=True, answer=ChosenAnswer, problems=missing,
            summary="Forget dead letters; the events stay in the log.", **writes,
        ),
    )  # fmt: skip


def said(body: Settle) -> Said:
    """Read what a consumer says."""
    nack = [NotDone(id=one.id, delay_s=one.delay_s, reject=one.reject, reason=one.reason) for one in body.nack]
    return Said(ack=body.ack, nack=nack, extend=body.extend, release=body.release)


def _followed(handler: Handler) -> Handler:
    """Have a refusal that names another hub say where the same is asked there."""

    async def followed(call: Call) -> Reply:
        try:
            return await handler(call)
        except HubError as refused:
            if refused.kind is not Kind.ELSEWHERE:
                raise
            path = call.operation.path.replace("{subscription}", _name(call))
            query = urlencode(query_of(call.query))
            location = f"{refused.fields['hub']}{path}{'?' if query else ''}{query}"
            raise HubError(
                refused.code, refused.kind, refused.message, next_step=refused.next_step,
                fields={**refused.fields, "location": location},
            ) from None  # fmt: skip

    return followed


def _chosen(chosen: Chosen, *, dry_run: bool) -> ChosenAnswer:
    return ChosenAnswer(seqs=[one.seq for one in chosen.letters], remaining=chosen.remaining, dry_run=dry_run)


def _name(call: Call) -> str:
    return call.path["subscription"]


def _domain(call: Call) -> DomainId:
    return PLATFORM if call.operation.platform else call.ctx.domain
