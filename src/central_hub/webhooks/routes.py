"""The rows of webhooks and their handlers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.clock import Clock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import UUID_RANDOM_BYTES, DomainId, uuid7
from central_hub.webhooks.delivering import Deliveries
from central_hub.webhooks.model import SCOPE_ADMIN, SCOPE_READ, Webhook
from central_hub.webhooks.schemas import (
    CreateWebhook,
    DeadLetterPage,
    DeliveriesAnswer,
    PingAnswer,
    ReplayAnswer,
    ReplayWebhook,
    RotateWebhook,
    WebhookAnswer,
    WebhookList,
    WebhookPage,
    WebhookSecretAnswer,
    attempt_answer,
    dead_letter_answer,
    ping_answer,
    webhook_answer,
)
from central_hub.webhooks.sending import Sending
from central_hub.webhooks.usecases import Minted, NewWebhook, Webhooks
from central_hub.webhooks.view import WebhooksView

TAG: Final = "webhooks"
PINGS_AT_ONCE_MAX: Final = 2
"""Test messages of one tenant under way; more are refused."""
NO_STORE: Final = (("cache-control", "no-store"),)


class WebhookRoutes:
    """Handlers: each translates a call and its answer, nothing more.

    Args:
        webhooks: commands.
        view: what there is.
        deliveries: where endpoints stand.
        sending: sends test messages.
        clock: wall time.
        source: random bytes, for the ids of test messages.
    """

    def __init__(
        self,
        webhooks: Webhooks,
        view: WebhooksView,
        deliveries: Deliveries,
        sending: Sending,
        clock: Clock,
        source: Callable[[int], bytes],
    ) -> None:
        self._webhooks = webhooks
        self._view = view
        self._deliveries = deliveries
        self._sending = sending
        self._clock = clock
        self._source = source
        self._pinging: dict[DomainId, int] = {}

    async def create_webhook(self, call: Call) -> Reply:
        """Create an endpoint; its secret is shown once."""
        body: CreateWebhook = call.body
        wanted = NewWebhook(
            url=body.url,
            events=tuple(body.events),
            service=body.service or "",
            environment=body.environment or "",
            description=body.description,
            filter=body.filter.filter(),
            deliver=body.deliver.deliver(),
        )
        minted = await self._webhooks.create(call.ctx, _domain(call), wanted, key=call.idempotency_key)
        return self._secret(_domain(call), minted)

    async def list_webhooks(self, call: Call) -> Reply:
        """List endpoints by page."""
        page: WebhookPage = call.query
        domain = _domain(call)
        found = self._webhooks.list(call.ctx, domain, after=page.cursor or "", limit=page.limit + 1)
        more = found[page.limit - 1].id if len(found) > page.limit else None
        shown = [self._shown(domain, one) for one in found[: page.limit]]
        return Reply(body=WebhookList(webhooks=shown, next_cursor=more))

    async def get_webhook(self, call: Call) -> Reply:
        """Show an endpoint."""
        return Reply(body=self._shown(_domain(call), self._found(call)))

    async def rotate_webhook(self, call: Call) -> Reply:
        """Give an endpoint a new secret, shown once."""
        body: RotateWebhook = call.body or RotateWebhook()
        minted = await self._webhooks.rotate(
            call.ctx, _domain(call), call.path["webhook_id"], grace_s=body.grace_s, key=call.idempotency_key
        )
        return self._secret(_domain(call), minted)

    async def test_webhook(self, call: Call) -> Reply:
        """Send a test message now, and say what came of it."""
        domain, webhook = _domain(call), self._found(call)
        if self._pinging.get(domain, 0) >= PINGS_AT_ONCE_MAX:
            raise HubError(
                "limit_reached", Kind.LIMIT, f"{PINGS_AT_ONCE_MAX} test messages are under way, which is the limit.",
                next_step="Wait for their answers.", retry_after_s=5, fields={"limit": PINGS_AT_ONCE_MAX},
            )  # fmt: skip
        self._pinging[domain] = self._pinging.get(domain, 0) + 1
        try:
            event_id = uuid7(self._clock.now_ms(), self._source(UUID_RANDOM_BYTES))
            return Reply(body=ping_answer(event_id, await self._sending.ping(domain, webhook, event_id)))
        finally:
            self._pinging[domain] -= 1
            if not self._pinging[domain]:
                del self._pinging[domain]

    async def enable_webhook(self, call: Call) -> Reply:
        """Tell an endpoint again."""
        webhook = await self._webhooks.enable(call.ctx, _domain(call), call.path["webhook_id"])
        return Reply(body=self._shown(_domain(call), webhook))

    async def disable_webhook(self, call: Call) -> Reply:
        """Tell an endpoint nothing."""
        webhook = await self._webhooks.disable(call.ctx, _domain(call), call.path["webhook_id"])
        return Reply(body=self._shown(_domain(call), webhook))

    async def delete_webhook(self, call: Call) -> Reply:
        """Forget an endpoint."""
        await self._webhooks.delete(call.ctx, _domain(call), call.path["webhook_id"])
        return Reply()

    async def list_deliveries(self, call: Call) -> Reply:
        """Show the latest attempts and the dead letters."""
        page: DeadLetterPage = call.query
        domain, webhook = _domain(call), self._found(call)
        after = int(page.cursor or "0")
        letters = sorted(
            (one for seq, one in self._view.letters(domain, webhook.id).items() if seq > after), key=lambda one: one.seq
        )
        more = str(letters[page.limit - 1].seq) if len(letters) > page.limit else None
        answer = DeliveriesAnswer(
            attempts=[attempt_answer(one) for one in self._deliveries.recent(domain, webhook.id)],
            dead_letters=[dead_letter_answer(one) for one in letters[: page.limit]],
            next_cursor=more,
        )
        return Reply(body=answer)

    async def replay_webhook(self, call: Call) -> Reply:
        """Send dead letters again."""
        body: ReplayWebhook = call.body or ReplayWebhook()
        chosen, remaining = await self._webhooks.replay(
            call.ctx, _domain(call), call.path["webhook_id"], seqs=body.seqs, limit=body.limit, dry_run=body.dry_run
        )
        return Reply(body=ReplayAnswer(seqs=[one.seq for one in chosen], remaining=remaining, dry_run=body.dry_run))

    def _found(self, call: Call) -> Webhook:
        return self._webhooks.get(call.ctx, _domain(call), call.path["webhook_id"])

    def _secret(self, domain: DomainId, minted: Minted) -> Reply:
        answer = WebhookSecretAnswer(webhook=self._shown(domain, minted.webhook), secret=minted.secret or None)
        return Reply(body=answer, headers=NO_STORE)

    def _shown(self, domain: DomainId, webhook: Webhook) -> WebhookAnswer:
        line = self._deliveries.line(domain, webhook.id)
        return webhook_answer(
            webhook,
            done_seq=webhook.from_seq if line is None else line.done,
            failures=0 if line is None else line.failing.failures,
            dead_letters=len(self._view.letters(domain, webhook.id)),
            now_ms=self._clock.now_ms(),
        )


def operations(routes: WebhookRoutes) -> tuple[Operation, ...]:
    """Return the rows of webhooks."""
    every = "/tenants/{tenant_id}/webhooks"
    one = every + "/{webhook_id}"
    reads: dict[str, Any] = {"tag": TAG, "tenant_param": "tenant_id", "scope": SCOPE_READ}  # Any: Operation's own types
    writes: dict[str, Any] = {"tag": TAG, "tenant_param": "tenant_id", "scope": SCOPE_ADMIN}  # Any: as above
    missing = ("webhook_not_found",)
    return (
        Operation(
            id="create_webhook", method="POST", path=every, handler=routes.create_webhook, body=CreateWebhook,
            answer=WebhookSecretAnswer, status=201,
            problems=(
                "invalid_webhook_url", "unknown_event_type", "invalid_filter", "webhook_address_denied",
                "environment_denied", "invalid_position", "position_gone", "invalid_query",
            ),
            summary="Create an endpoint that is told what becomes true; its signing secret is shown once.", **writes,
        ),
        Operation(
            id="list_webhooks", method="GET", path=every, handler=routes.list_webhooks, query=WebhookPage,
            answer=WebhookList, summary="List a tenant's webhooks, oldest first.", **reads,
        ),
        Operation(
            id="get_webhook", method="GET", path=one, handler=routes.get_webhook, answer=WebhookAnswer,
            problems=missing, summary="Show a webhook and where it stands.", **reads,
        ),
        Operation(
            id="rotate_webhook", method="POST", path=one + "/rotate", handler=routes.rotate_webhook,
            body=RotateWebhook, body_optional=True, answer=WebhookSecretAnswer, problems=missing,
            summary="Give a webhook a new signing secret; the one before signs beside it for a while.", **writes,
        ),
        Operation(
            id="test_webhook", method="POST", path=one + "/test", handler=routes.test_webhook, answer=PingAnswer,
            problems=missing, summary="Send a test message now, and say what came of it.", **writes,
        ),
        Operation(
            id="enable_webhook", method="POST", path=one + "/enable", handler=routes.enable_webhook,
            answer=WebhookAnswer, problems=missing,
            summary="Tell a webhook again, beginning with what waited for it.", **writes,
        ),
        Operation(
            id="disable_webhook", method="POST", path=one + "/disable", handler=routes.disable_webhook,
            answer=WebhookAnswer, problems=missing, summary="Tell a webhook nothing until it is enabled again.",
            **writes,
        ),
        Operation(
            id="delete_webhook", method="DELETE", path=one, handler=routes.delete_webhook, status=204,
            summary="Delete a webhook with its dead letters; one that is gone is fine.", **writes,
        ),
        Operation(
            id="list_webhook_deliveries", method="GET", path=one + "/deliveries", handler=routes.list_deliveries,
            query=DeadLetterPage, answer=DeliveriesAnswer, problems=missing,
            summary="Show a webhook's latest attempts and its dead letters.", **reads,
        ),
        Operation(
            id="replay_webhook", method="POST", path=one + "/replay", handler=routes.replay_webhook,
            body=ReplayWebhook, body_optional=True, answer=ReplayAnswer,
            problems=("webhook_not_found", "webhook_disabled"),
            summary="Send dead letters again, under the ids they had.", **writes,
        ),
    )  # fmt: skip


def _domain(call: Call) -> DomainId:
    return DomainId(call.path["tenant_id"])
