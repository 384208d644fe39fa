"""The view: what the log says is what a snapshot says, and no domain sees another's."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.messaging import Result
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.tenants.model import TenantShredded
from central_hub.webhooks.model import (
    CONFIG_CHANGED,
    DeadLetter,
    DisabledBecause,
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
    values_of,
)
from central_hub.webhooks.view import CHUNK, WebhooksView
from tests.unit.webhooks.house import ACME, GLOBEX


def webhook(number: int, **fields: Any) -> Webhook:
    return Webhook(
        id=f"wh_{number}", url="https://a.example", events=fields.pop("events", ()), sealed_by="k1", sealed=b"s",
        **fields,
    )  # fmt: skip


def letter(seq: int) -> DeadLetter:
    return DeadLetter(
        seq=seq, event_id=f"e{seq}", event_type="t", result=Result.REFUSED, status=400, attempts=1, at_ms=seq
    )


class Story:
    """Facts of domains, in order."""

    def __init__(self) -> None:
        self.view = WebhooksView()
        self.pos = 0

    def tell(self, fact: Fact, domain: DomainId = ACME) -> None:
        self.pos += 1
        self.view.apply(
            Applied(
                pos=self.pos, domain=domain, domain_seq=self.pos, streams=("s",), category=Category.FACT,
                type=type(fact).__name__, id=f"r{self.pos}", time_ms=self.pos, actor=HUB_ACTOR, fact=fact,
            )
        )  # fmt: skip


def dumped(view: WebhooksView, domain: DomainId = ACME) -> list[bytes]:
    return [msgspec.msgpack.encode(chunk) for chunk in view.dump(domain)]


def test_an_endpoint_begins_where_it_was_created() -> None:
    story = Story()
    story.pos = 6
    story.tell(WebhookCreated(webhook=webhook(1)))
    assert story.view.webhooks(ACME) == (webhook(1, from_seq=7),)
    assert story.view.webhook(GLOBEX, "wh_1") is None
    assert story.view.webhooks(GLOBEX) == ()
    assert story.view.domains() == (ACME,)


def test_rotating_keeps_the_secret_before() -> None:
    story = Story()
    story.tell(WebhookCreated(webhook=webhook(1)))
    story.tell(WebhookSecretRotated(webhook_id="wh_1", sealed_by="k2", sealed=b"t", previous_until_ms=9))
    found = story.view.webhook(ACME, "wh_1")
    assert found is not None
    assert (found.sealed, found.sealed_by, found.previous_sealed, found.previous_sealed_by) == (b"t", "k2", b"s", "k1")


def test_values_that_nobody_wants_any_more_are_forgotten() -> None:
    story = Story()
    story.tell(WebhookCreated(webhook=webhook(1, events=(CONFIG_CHANGED,), service="risk")))
    story.tell(WebhookCreated(webhook=webhook(2)))
    story.tell(TenantConfigurationValueChanged(service="risk", environment="", fingerprint="a"))
    story.tell(TenantFlagsValueChanged(service="", environment="", fingerprint="b"))
    assert set(story.view.wanted_values(ACME)) == {ValueKey("config", "risk"), ValueKey("flags")}
    story.tell(WebhookDeleted(webhook_id="wh_1"))
    assert story.view.wanted_values(ACME) == (ValueKey("flags"),)
    story.tell(WebhookDeleted(webhook_id="wh_2"))
    assert story.view.domains() == ()
    assert dumped(story.view) == []


def test_a_shredded_tenant_is_forgotten() -> None:
    story = Story()
    story.tell(WebhookCreated(webhook=webhook(1)))
    story.tell(TenantShredded(tenant_id="acme"), PLATFORM)
    assert story.view.webhooks(ACME) == ()


def test_long_lists_are_dumped_in_pieces() -> None:
    story = Story()
    story.tell(WebhookCreated(webhook=webhook(1)))
    for seq in range(2 * CHUNK + 1):
        story.tell(WebhookDeliveryParked(webhook_id="wh_1", letter=letter(seq)))
    assert len(dumped(story.view)) == 4


MOVES = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 3)), max_size=40)


@given(MOVES)
def test_a_snapshot_says_what_the_log_says(moves: list[tuple[int, int]]) -> None:
    story = Story()
    for move, number in moves:
        _move(story, move, number)
    restored = WebhooksView()
    restored.restore(ACME, dumped(story.view))
    assert dumped(restored) == dumped(story.view)
    assert restored.webhooks(ACME) == story.view.webhooks(ACME)
    for one in story.view.webhooks(ACME):
        assert restored.letters(ACME, one.id) == story.view.letters(ACME, one.id)
    wanted = {key for one in story.view.webhooks(ACME) for key in values_of(one)}
    assert set(story.view.wanted_values(ACME)) <= wanted


def _move(story: Story, move: int, number: int) -> None:
    """Tell what is possible of an endpoint now."""
    name, view = f"wh_{number}", story.view
    found, letters = view.webhook(ACME, name), view.letters(ACME, name)
    if found is None:
        return story.tell(WebhookCreated(webhook=webhook(number, service="s" * number)))
    facts: dict[int, Fact] = {
        0: WebhookDisabled(webhook_id=name, reason=DisabledBecause.ASKED),
        1: WebhookEnabled(webhook_id=name),
        2: WebhookDeleted(webhook_id=name),
        3: WebhookDeliveryParked(webhook_id=name, letter=letter(story.pos)),
        4: WebhookSecretRotated(webhook_id=name, sealed_by="k", sealed=b"n", previous_until_ms=story.pos),
        5: TenantConfigurationValueChanged(service="s" * number, environment="", fingerprint=str(story.pos)),
        6: TenantFlagsValueChanged(service="", environment="", fingerprint=str(story.pos)),
    }
    if letters:
        first = next(iter(letters))
        facts[7] = WebhookReplayAsked(webhook_id=name, seqs=(first,))
        facts[8] = WebhookDeadLetterEnded(webhook_id=name, seq=first, result=Result.DELIVERED)
    return story.tell(facts.get(move, facts[1]))
