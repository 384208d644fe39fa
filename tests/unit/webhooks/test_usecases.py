"""Commands about endpoints, and what is noticed of values."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError
from central_hub.kernel.placing import store_unavailable
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.signatures import secret_bytes
from central_hub.tenants.model import TenantChanged
from central_hub.webhooks.model import (
    CONFIG_CHANGED,
    ENDPOINTS_PER_TENANT_MAX,
    FLAGS_CHANGED,
    REPLAY_MAX,
    Status,
    ValueKey,
    secret_data,
)
from central_hub.webhooks.usecases import NewWebhook
from tests.unit.webhooks.house import ACME, GLOBEX, LEVEL, URL, House, ctx_of, opened, refused


async def refusal(awaited: object) -> str:
    with pytest.raises(HubError) as error:
        await awaited  # type: ignore[misc]
    return error.value.code


async def test_the_secret_is_shown_once_and_kept_sealed() -> None:
    async with opened() as house:
        minted = await house.create()
        raw = secret_bytes(minted.secret)
        (chunk,) = [msgspec.msgpack.encode(one) for one in house.view.dump(ACME)]
        assert raw not in chunk
        assert all(raw not in record.data for record in house.log.records)
        webhook = minted.webhook
        assert house.keys.open(ACME, webhook.sealed_by, webhook.sealed, secret_data(ACME, webhook.id)) == raw


async def test_a_sealed_secret_opens_for_its_own_endpoint_only() -> None:
    async with opened() as house:
        webhook = (await house.create()).webhook
        await house.create("globex")
        for domain, webhook_id in ((ACME, "wh_other"), (GLOBEX, webhook.id)):
            with pytest.raises(HubError):
                house.keys.open(domain, webhook.sealed_by, webhook.sealed, secret_data(domain, webhook_id))


async def test_a_repeated_request_is_told_the_first_result_without_the_secret() -> None:
    async with opened() as house:
        wanted = NewWebhook(url=URL)
        first = await house.webhooks.create(ctx_of(), ACME, wanted, key="k1")
        again = await house.webhooks.create(ctx_of(), ACME, wanted, key="k1")
        assert again.webhook == first.webhook
        assert (bool(first.secret), again.secret) == (True, "")
        rotated = await house.webhooks.rotate(ctx_of(), ACME, first.webhook.id, grace_s=1, key="k2")
        repeated = await house.webhooks.rotate(ctx_of(), ACME, first.webhook.id, grace_s=1, key="k2")
        assert (bool(rotated.secret), repeated.secret, len(house.view.webhooks(ACME))) == (True, "", 1)


async def test_what_cannot_be_created_is_refused() -> None:
    async with opened() as house:
        house.receiver.denied.add("10.0.0.1")
        assert await refusal(house.create(url="http://a.example")) == "invalid_webhook_url"
        assert await refusal(house.create(url="https://10.0.0.1/")) == "webhook_address_denied"
        assert await refusal(house.create(events=("io.centralhub.nothing.v1",))) == "unknown_event_type"
        assert await refusal(house.create("nobody")) == "tenant_not_found"
        assert house.view.domains() == ()


async def test_there_is_a_limit_of_endpoints_for_each_tenant() -> None:
    async with opened() as house:
        for _ in range(ENDPOINTS_PER_TENANT_MAX):
            last = await house.create()
        assert await refusal(house.create()) == "limit_reached"
        await house.create("globex")
        await house.webhooks.delete(ctx_of(), ACME, last.webhook.id)
        await house.create()


async def test_another_tenants_endpoint_is_not_there() -> None:
    async with opened() as house:
        webhook_id = (await house.create()).webhook.id
        foreign = ctx_of("globex")
        for attempt in (
            house.webhooks.rotate(foreign, GLOBEX, webhook_id, grace_s=1),
            house.webhooks.enable(foreign, GLOBEX, webhook_id),
            house.webhooks.disable(foreign, GLOBEX, webhook_id),
            house.webhooks.replay(foreign, GLOBEX, webhook_id),
        ):
            assert await refusal(attempt) == "webhook_not_found"
        await house.webhooks.delete(foreign, GLOBEX, webhook_id)
        assert house.view.webhook(ACME, webhook_id) is not None


async def test_a_credential_of_one_environment_manages_that_ones_endpoints_only() -> None:
    async with opened() as house:
        staging = ctx_of(environment="staging")
        for environment in ("", "production"):
            wanted = NewWebhook(url=URL, environment=environment)
            assert await refusal(house.webhooks.create(staging, ACME, wanted)) == "environment_denied"
        own = await house.webhooks.create(staging, ACME, NewWebhook(url=URL, environment="staging"))
        other = await house.create(environment="production")
        assert [one.id for one in house.webhooks.list(staging, ACME, after="", limit=9)] == [own.webhook.id]
        assert await refusal(house.webhooks.disable(staging, ACME, other.webhook.id)) == "webhook_not_found"
        await house.webhooks.delete(staging, ACME, other.webhook.id)
        assert house.view.webhook(ACME, other.webhook.id) is not None


async def test_enabling_and_disabling_twice_writes_once() -> None:
    async with opened() as house:
        webhook_id = (await house.create()).webhook.id
        before = len(house.log.records)
        assert (await house.webhooks.disable(ctx_of(), ACME, webhook_id)).status is Status.DISABLED
        assert (await house.webhooks.disable(ctx_of(), ACME, webhook_id)).reason == "asked"
        assert (await house.webhooks.enable(ctx_of(), ACME, webhook_id)).status is Status.ENABLED
        await house.webhooks.enable(ctx_of(), ACME, webhook_id)
        assert len(house.log.records) == before + 2


async def test_a_disabled_endpoint_replays_nothing() -> None:
    async with opened() as house:
        webhook_id = (await house.create()).webhook.id
        house.receiver.answer = lambda _host, _count: refused(400)
        await house.reach("a")
        await house.settled()
        await house.webhooks.disable(ctx_of(), ACME, webhook_id)
        assert await refusal(house.webhooks.replay(ctx_of(), ACME, webhook_id)) == "webhook_disabled"
        chosen, _ = await house.webhooks.replay(ctx_of(), ACME, webhook_id, dry_run=True)
        assert len(chosen) == 1
        assert REPLAY_MAX >= 1


async def told(house: House) -> list[tuple[str, dict[str, object]]]:
    await house.noticing.look()
    await house.settled()
    return [(event["type"], event["data"]) for _, _, _, event in house.receiver.got]


async def test_a_changed_value_is_told_once_to_those_who_want_it() -> None:
    async with opened() as house:
        await house.create(events=(CONFIG_CHANGED,), service="risk")
        await house.create(url="https://other.example/", events=(CONFIG_CHANGED,), service="pricing")
        house.world.values["acme", ValueKey("config", "risk")] = "v2"
        house.noticing.mark_all()
        assert await told(house) == [(CONFIG_CHANGED, {"service": "risk", "environment": "", "etag": "v2"})]
        house.noticing.mark_all()
        assert len(await told(house)) == 1


async def test_what_a_value_was_before_an_endpoint_is_no_change() -> None:
    async with opened() as house:
        house.world.values["acme", ValueKey("flags")] = "old"
        await house.create(events=(FLAGS_CHANGED,))
        house.noticing.mark_all()
        assert await told(house) == []
        house.world.values["acme", ValueKey("flags")] = "new"
        house.noticing.mark_all()
        assert await told(house) == [(FLAGS_CHANGED, {"environment": ""})]


async def test_a_change_while_no_hub_ran_is_told_after_the_start() -> None:
    async with opened() as house:
        await house.create(events=(CONFIG_CHANGED,))
    house.world.values["acme", ValueKey("config")] = "v2"
    async with opened(lambda: House(before=house)) as again:
        again.noticing.mark_all()
        assert [name for name, _ in await told(again)] == [CONFIG_CHANGED]


async def test_nothing_is_recorded_where_nobody_wants_to_know() -> None:
    async with opened() as house:
        await house.create(events=(LEVEL,))
        house.world.values["acme", ValueKey("config")] = "v2"
        before = len(house.log.records)
        house.noticing.mark_all()
        await house.noticing.look()
        assert len(house.log.records) == before


async def test_what_ends_by_the_clock_is_noticed_when_it_does() -> None:
    async with opened() as house:
        await house.create(events=(CONFIG_CHANGED,))
        assert isinstance(house.clock, ManualClock)
        house.world.ends_at_ms["acme"] = house.clock.now_ms() + 5_000
        house.noticing.mark_all()
        await told(house)
        house.world.values["acme", ValueKey("config")] = "ended"
        house.clock.advance(4_999)
        house.noticing.sweep()
        assert await told(house) == []
        house.clock.advance(1)
        del house.world.ends_at_ms["acme"]
        house.noticing.sweep()
        assert len(await told(house)) == 1
        house.noticing.sweep()
        assert len(await told(house)) == 1


async def test_a_change_that_could_not_be_recorded_is_recorded_later() -> None:
    async with opened() as house:
        await house.create(events=(CONFIG_CHANGED,))
        house.world.values["acme", ValueKey("config")] = "v2"
        house.log.fail_with = store_unavailable("gone")
        house.noticing.mark_all()
        assert await told(house) == []
        house.log.fail_with = None
        house.noticing.sweep()
        assert len(await told(house)) == 1


async def test_it_looks_by_itself_after_facts() -> None:
    async with opened() as house:
        await house.create(events=(CONFIG_CHANGED,))
        running = asyncio.create_task(house.noticing.run())
        await asyncio.sleep(0.01)
        house.world.values["acme", ValueKey("config")] = "v2"
        fact = TenantChanged(name="n", tier="t", previous_tier="p")
        await house.sequencer.submit(HUB_ACTOR, (ACME,), lambda tx: tx.append(ACME, fact, streams=("tenant",)))
        async with asyncio.timeout(2):
            while not house.receiver.got:
                await asyncio.sleep(0.001)
        running.cancel()
