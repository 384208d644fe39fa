"""What services publish, delivered to endpoints; filters, and places to begin."""

from __future__ import annotations

from central_hub.events.model import EventPublished
from central_hub.kernel.records import HUB_ACTOR, Category
from central_hub.kernel.sequencer import Tx
from central_hub.subscriptions.model import Filter
from central_hub.subscriptions.starting import Deliver, Policy
from tests.unit.webhooks.house import ACME, LEVEL, House, ctx_of, opened, refused


async def publish(house: House, *ids: str, event_type: str = "com.example.placed", source: str = "/services/a") -> None:
    """Publish events of a tenant's services."""

    def decide(tx: Tx) -> None:
        for one in ids:
            fact = EventPublished(id=one, source=source, type=event_type, data=b"{}")
            tx.append(ACME, fact, streams=("event/x",), category=Category.EVENT)

    await house.sequencer.submit(HUB_ACTOR, (ACME,), decide)


async def test_what_services_publish_reaches_an_endpoint_that_asks_for_it() -> None:
    async with opened() as house:
        await house.create(events=("com.example.*",), filter=Filter(sources=("/services/a*",)))
        await house.create(url="https://usual.example/", events=())
        await publish(house, "e-1")
        await publish(house, "e-2", source="/services/b")
        await publish(house, "e-3", event_type="org.other")
        await publish(house, "e-1", source="/services/a2")
        await house.reach("level")
        await house.settled()
        got = [(event["source"], event["id"]) for _, host, _, event in house.receiver.got if host == "hooks.example"]
        assert got == [("/services/a", "e-1"), ("/services/a2", "e-1")]
        ids = [lines["webhook-id"] for _, host, lines, _ in house.receiver.got if host == "hooks.example"]
        assert len(set(ids)) == 2, "two publishers may have used one id"
        assert [event["type"] for _, host, _, event in house.receiver.got if host == "usual.example"] == [LEVEL]


async def test_an_endpoint_begins_where_it_is_asked_to() -> None:
    async with opened() as house:
        await publish(house, "e-1", "e-2")
        await house.create(events=("com.*",), deliver=Deliver(policy=Policy.LAST))
        await house.create(url="https://all.example/", events=("com.*",), deliver=Deliver(policy=Policy.ALL))
        await house.settled()
        assert [event["id"] for _, host, _, event in house.receiver.got if host == "hooks.example"] == ["e-2"]
        assert [event["id"] for _, host, _, event in house.receiver.got if host == "all.example"] == ["e-1", "e-2"]


async def test_a_published_event_that_is_given_up_is_sent_again_as_it_was() -> None:
    async with opened() as house:
        minted = await house.create(events=("com.*",))
        house.receiver.answer = lambda _host, _count: refused(422)
        await publish(house, "e-1")
        await house.settled()
        house.receiver.answer = lambda _host, _count: None
        await house.webhooks.replay(ctx_of(), ACME, minted.webhook.id)
        await house.settled()
        assert house.receiver.bodies[0] == house.receiver.bodies[1]
        assert house.receiver.got[0][2]["webhook-id"] == house.receiver.got[1][2]["webhook-id"]
