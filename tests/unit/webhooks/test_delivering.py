"""Deliveries: in order, at least once, under one id, and nobody waits for anybody else."""

from __future__ import annotations

import asyncio

import pytest

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.messaging import Outcome, Result
from central_hub.kernel.placing import store_unavailable
from central_hub.kernel.records import HUB_ACTOR, Record
from central_hub.kernel.signatures import secret_bytes
from central_hub.tenants.model import State, TenantShredded, TenantStateChanged
from central_hub.webhooks.model import (
    BACKOFF_S,
    FAILING_FOR_MS,
    FAILURES_MAX,
    IN_FLIGHT_PER_TENANT_MAX,
    QUEUE_MAX,
    RECENT_KEPT,
    RETRY_AFTER_S_MAX,
    Status,
)
from tests.unit.webhooks.house import ACME, GLOBEX, House, ctx_of, opened, refused, verified


async def test_an_event_is_delivered_signed_and_as_a_cloud_event() -> None:
    async with opened() as house:
        minted = await house.create()
        await house.reach("max_jobs")
        await house.settled()
        (domain, host, headers, event), secret = house.receiver.got[0], secret_bytes(minted.secret)
        assert (domain, host) == ("acme", "hooks.example")
        assert event == {
            "specversion": "1.0", "id": headers["webhook-id"], "source": "/tenants/acme", "subject": "quota/max_jobs",
            "type": "io.centralhub.quota.level-reached.v1", "time": "2023-11-14T22:13:20.000Z",
            "datacontenttype": "application/json", "tenantid": "acme", "hubseq": "inc1.2",
            "data": {"limit_name": "max_jobs", "level": 80, "used": 8, "limit": 10, "period_start": None},
        }  # fmt: skip
        assert verified(house, secret, 0) == event["id"]


async def test_events_come_in_order_however_many_wait() -> None:
    async with opened() as house:
        await house.create()
        wanted = [f"limit_{number:03d}" for number in range(3 * QUEUE_MAX)]
        house.receiver.hang.add("hooks.example")
        for name in wanted:
            await house.reach(name)
        line = house.deliveries.line(ACME, house.view.webhooks(ACME)[0].id)
        assert line is not None
        assert len(line.queue) == QUEUE_MAX  # the rest waits in the log
        assert not line.live
        house.receiver.hanging.set()
        await house.settled()
        assert house.receiver.names() == wanted
        assert house.deliveries.lag() == 0


async def test_what_came_before_an_endpoint_is_not_told_it() -> None:
    async with opened() as house:
        await house.reach("before")
        await house.create()
        await house.reach("after")
        await house.settled()
        assert house.receiver.names() == ["after"]


async def test_a_failure_is_tried_again_in_its_place_under_the_same_id() -> None:
    async with opened() as house:
        await house.create()
        house.receiver.answer = lambda _host, count: refused(500) if count < 3 else None
        await house.reach("first")
        await house.reach("second")
        await house.settled()
        assert house.receiver.names() == ["first"]
        await house.pass_time(BACKOFF_S[0] * 1_000)
        assert house.receiver.names() == ["first", "first"]
        await house.pass_time(BACKOFF_S[1] * 1_000)
        assert house.receiver.names() == ["first", "first", "first", "second"]
        assert len({headers["webhook-id"] for _, _, headers, _ in house.receiver.got[:3]}) == 1


async def test_waits_are_drawn_between_the_least_and_the_longest() -> None:
    async with opened(lambda: House(draw=1 << 23)) as house:  # one half
        await house.create()
        house.receiver.answer = lambda _host, _count: refused(503)
        await house.reach("a")
        await house.settled()
        await house.pass_time(BACKOFF_S[0] * 500 - 1)
        assert len(house.receiver.got) == 1
        await house.pass_time(1)
        assert len(house.receiver.got) == 2


async def test_the_receiver_can_ask_for_a_longer_wait_up_to_a_limit() -> None:
    async with opened() as house:
        await house.create()
        house.receiver.answer = lambda _host, _count: refused(429, 10 * RETRY_AFTER_S_MAX)
        await house.reach("a")
        await house.settled()
        await house.pass_time(RETRY_AFTER_S_MAX * 1_000 - 1)
        assert len(house.receiver.got) == 1
        await house.pass_time(1)
        assert len(house.receiver.got) == 2


async def test_what_can_never_be_delivered_is_a_dead_letter_and_the_next_goes_on() -> None:
    async with opened() as house:
        minted = await house.create()
        house.receiver.answer = lambda _host, count: refused(422) if count == 1 else None
        await house.reach("bad")
        await house.reach("good")
        await house.settled()
        assert house.receiver.names() == ["bad", "good"]
        (letter,) = house.view.letters(ACME, minted.webhook.id).values()
        assert (letter.status, letter.attempts, letter.event_id) == (422, 1, house.receiver.got[0][2]["webhook-id"])


async def test_an_event_is_given_up_after_the_last_wait() -> None:
    async with opened() as house:
        minted = await house.create()
        house.receiver.answer = lambda _host, _count: Outcome(result=Result.TIMED_OUT)
        await house.reach("a")
        for _ in range(len(BACKOFF_S)):
            await house.settled()
            assert not house.view.letters(ACME, minted.webhook.id)
            await house.pass_time(1_000)
        assert len(house.receiver.got) == len(BACKOFF_S) + 1
        assert [one.attempts for one in house.view.letters(ACME, minted.webhook.id).values()] == [len(BACKOFF_S) + 1]


async def test_410_disables_at_once_and_enabling_begins_with_what_waited() -> None:
    async with opened() as house:
        minted = await house.create()
        house.receiver.answer = lambda _host, count: refused(410) if count == 1 else None
        await house.reach("first")
        await house.settled()
        await house.reach("second")
        await house.settled()
        webhook = house.view.webhook(ACME, minted.webhook.id)
        assert webhook is not None
        assert (webhook.status, webhook.reason) == (Status.DISABLED, "gone")
        assert house.receiver.names() == ["first"]
        await house.webhooks.enable(ctx_of(), ACME, minted.webhook.id)
        await house.settled()
        assert house.receiver.names() == ["first", "first", "second"]


async def test_an_endpoint_that_fails_for_a_day_is_disabled_and_others_are_told() -> None:
    async with opened() as house:
        failing = await house.create(url="https://failing.example/")
        await house.create(events=("io.centralhub.webhook.disabled.v1",))
        house.receiver.answer = lambda host, _count: refused(500) if host == "failing.example" else None
        await house.reach("a")
        for _ in range(FAILURES_MAX - 1):
            await house.pass_time(1_000)
        assert house.view.webhooks(ACME)[0].status is Status.ENABLED
        await house.reach("b")
        await house.pass_time(FAILING_FOR_MS)
        assert house.view.webhooks(ACME)[0].reason == "failing"
        told = [event for _, host, _, event in house.receiver.got if host == "hooks.example"]
        assert [event["data"] for event in told] == [{"webhook_id": failing.webhook.id, "reason": "failing"}]


async def test_too_many_dead_letters_disable_and_the_event_is_kept() -> None:
    async with opened() as house:
        minted = await house.create()
        house.receiver.answer = lambda _host, _count: refused(400)
        for number in range(5):
            await house.reach(f"n{number}")
        await house.settled()
        assert house.view.webhooks(ACME)[0].reason == "dead_letters"
        assert len(house.view.letters(ACME, minted.webhook.id)) == 3
        house.receiver.answer = lambda _host, _count: None
        await house.webhooks.enable(ctx_of(), ACME, minted.webhook.id)
        await house.settled()
        assert house.receiver.names()[4:] == ["n3", "n4"]


async def test_dead_letters_are_sent_again_under_their_ids_and_the_place_in_the_log_stays() -> None:
    async with opened() as house:
        minted = await house.create()
        webhook_id = minted.webhook.id
        house.receiver.answer = lambda _host, count: refused(400) if count <= 3 else None
        for name in ("a", "b", "c"):
            await house.reach(name)
        await house.settled()
        line = house.deliveries.line(ACME, webhook_id)
        assert line is not None
        done = line.done
        chosen, left = await house.webhooks.replay(ctx_of(), ACME, webhook_id, limit=2, dry_run=True)
        assert (len(chosen), left) == (2, 1)
        assert len(house.receiver.got) == 3
        chosen, left = await house.webhooks.replay(ctx_of(), ACME, webhook_id, limit=2)
        await house.settled()
        assert (len(chosen), left, line.done) == (2, 1, done)
        assert house.receiver.names()[3:] == ["a", "b"]
        assert house.receiver.got[3][2]["webhook-id"] == house.receiver.got[0][2]["webhook-id"]
        assert len(house.view.letters(ACME, webhook_id)) == 1


async def test_a_dead_letter_that_fails_again_is_one_again() -> None:
    async with opened() as house:
        minted = await house.create()
        house.receiver.answer = lambda _host, _count: refused(400)
        await house.reach("a")
        await house.settled()
        await house.webhooks.replay(ctx_of(), ACME, minted.webhook.id)
        await house.settled()
        (letter,) = house.view.letters(ACME, minted.webhook.id).values()
        assert (letter.attempts, letter.replaying) == (2, False)


async def test_a_restart_delivers_again_only_what_was_not_kept() -> None:
    async with opened() as house:
        await house.create()
        await house.reach("a")
        await house.settled()
        await house.deliveries.flush()
        await house.reach("b")
        await house.settled()
    async with opened(lambda: House(before=house)) as again:
        await again.reach("c")
        await again.settled()
    assert house.receiver.names() == ["a", "b", "b", "c"]
    ids = [headers["webhook-id"] for _, _, headers, _ in house.receiver.got]
    assert ids[1] == ids[2]


async def test_how_an_endpoint_was_failing_outlives_a_restart() -> None:
    async with opened() as house:
        await house.create()
        house.receiver.answer = lambda _host, _count: refused(500)
        await house.reach("a")
        await house.settled()
        await house.deliveries.flush()
    async with opened(lambda: House(before=house)) as again:
        await again.settled()
        line = again.deliveries.line(ACME, again.view.webhooks(ACME)[0].id)
        assert line is not None
        assert (line.failing.failures, line.failing.attempts) == (2, 2)


async def test_a_cursor_beyond_the_log_is_of_another_history() -> None:
    async with opened() as house:
        await house.create()
        await house.reach("a")
        await house.settled()
        await house.deliveries.flush()
    (cursor,) = await house.cursors.load()
    await house.cursors.save([type(cursor)(consumer=cursor.consumer, domain=ACME, seq=99)])
    async with opened(lambda: House(before=house)) as again:
        await again.settled()
    assert house.receiver.names() == ["a", "a"]


async def test_an_endpoint_that_hangs_keeps_nobody_else_waiting() -> None:
    async with opened() as house:
        for number in range(IN_FLIGHT_PER_TENANT_MAX + 2):
            await house.create(url=f"https://hang{number}.example/")
            house.receiver.hang.add(f"hang{number}.example")
        await house.create("globex")
        await house.reach("a")
        for number in range(10):
            await house.reach(f"g{number}", "globex")
        async with asyncio.timeout(2):
            while len(house.receiver.names()) < 10:
                await asyncio.sleep(0.001)
        assert house.receiver.most[ACME] == IN_FLIGHT_PER_TENANT_MAX
        assert house.deliveries.in_flight == IN_FLIGHT_PER_TENANT_MAX
        house.receiver.hanging.set()
        await house.settled()


async def test_one_endpoint_has_one_attempt_at_a_time() -> None:
    async with opened() as house:
        await house.create()
        for number in range(20):
            await house.reach(f"n{number}")
        await house.settled()
        assert house.receiver.most[ACME] == 1


async def test_a_deleted_tenant_is_told_nothing_and_a_restored_one_what_it_missed() -> None:
    async with opened() as house:
        await house.create()
        house.world.there.remove("acme")
        gone = TenantStateChanged(state=State.DELETED, previous_state=State.ACTIVE)
        await house.sequencer.submit(HUB_ACTOR, (ACME,), lambda tx: tx.append(ACME, gone, streams=("tenant",)))
        await house.reach("a")
        await house.settled()
        assert house.receiver.got == []
        house.world.there.add("acme")
        back = TenantStateChanged(state=State.SUSPENDED, previous_state=State.DELETED)
        await house.sequencer.submit(HUB_ACTOR, (ACME,), lambda tx: tx.append(ACME, back, streams=("tenant",)))
        await house.settled()
        assert house.receiver.names() == ["a"]


async def test_a_shredded_tenant_leaves_nothing() -> None:
    async with opened() as house:
        minted = await house.create()
        await house.deliveries.flush()
        house.world.there.remove("acme")
        fact = TenantShredded(tenant_id="acme")
        await house.sequencer.submit(HUB_ACTOR, (PLATFORM,), lambda tx: tx.append(PLATFORM, fact, streams=("s",)))
        await house.deliveries.flush()
        assert house.deliveries.line(ACME, minted.webhook.id) is None
        assert await house.cursors.load() == []


async def test_a_deleted_endpoint_is_told_nothing_more_and_its_cursor_goes() -> None:
    async with opened() as house:
        minted = await house.create()
        await house.reach("a")
        await house.settled()
        await house.deliveries.flush()
        await house.webhooks.delete(ctx_of(), ACME, minted.webhook.id)
        await house.reach("b")
        await house.settled()
        await house.deliveries.flush()
        assert house.receiver.names() == ["a"]
        assert await house.cursors.load() == []


async def test_both_secrets_sign_while_rotating_and_the_old_one_ends() -> None:
    async with opened() as house:
        minted = await house.create()
        rotated = await house.webhooks.rotate(ctx_of(), ACME, minted.webhook.id, grace_s=60)
        await house.reach("a")
        await house.settled()
        for secret in (minted.secret, rotated.secret):
            verified(house, secret_bytes(secret), 0)
        await house.pass_time(60_000)
        await house.reach("b")
        await house.settled()
        verified(house, secret_bytes(rotated.secret), 1)
        with pytest.raises(Exception, match="no signature"):
            verified(house, secret_bytes(minted.secret), 1)


async def test_while_the_store_is_away_nothing_is_lost() -> None:
    async with opened() as house:
        minted = await house.create()
        house.receiver.answer = lambda _host, count: refused(400) if count < 3 else None
        await house.reach("a")
        house.log.fail_with = store_unavailable("gone")
        await house.settled()
        assert not house.view.letters(ACME, minted.webhook.id)
        house.log.fail_with = None
        await house.pass_time(1_000)
        assert len(house.view.letters(ACME, minted.webhook.id)) == 1


async def test_cursors_that_could_not_be_kept_are_kept_later() -> None:
    async with opened() as house:
        await house.create()
        save = house.cursors.save

        async def fails(*_: object, **__: object) -> None:
            raise store_unavailable("gone")

        house.cursors.save = fails  # type: ignore[method-assign]
        await house.reach("a")
        await house.settled()
        with pytest.raises(HubError):
            await house.deliveries.flush()
        house.cursors.save = save  # type: ignore[method-assign]
        await house.deliveries.flush()
        assert [cursor.seq for cursor in await house.cursors.load()] == [2]


async def test_what_has_left_the_log_is_counted_and_the_rest_is_told() -> None:
    async with opened() as house:
        minted = await house.create()
        await house.webhooks.disable(ctx_of(), ACME, minted.webhook.id)
        for name in ("a", "b"):
            await house.reach(name)
        read = house.log.read_domain

        async def what_is_left(domain: DomainId, after_seq: int, limit: int) -> list[Record]:
            return [record for record in await read(domain, after_seq, limit) if record.domain_seq > 3]

        house.log.read_domain = what_is_left  # type: ignore[method-assign]
        await house.webhooks.enable(ctx_of(), ACME, minted.webhook.id)
        await house.settled()
        assert house.receiver.names() == ["b"]
        assert house.deliveries.missed == 2


async def test_a_mistake_about_one_endpoint_leaves_the_others_alone() -> None:
    async with opened() as house:
        await house.create(url="https://broken.example/")
        await house.create("globex")

        def answer(host: str, _: int) -> Outcome | None:
            if host == "broken.example":
                raise ZeroDivisionError
            return None

        house.receiver.answer = answer
        await house.reach("a")
        await house.reach("g", "globex")
        await house.settled()
        assert house.receiver.names() == ["g"]
        house.receiver.answer = lambda _host, _count: None
        await house.pass_time(1_000)
        assert house.receiver.names("broken.example")[-1] == "a"


async def test_an_endpoint_that_nothing_is_for_moves_with_its_tenants_log() -> None:
    async with opened() as house:
        await house.create(events=("io.centralhub.config.changed.v1",))
        for number in range(5):
            await house.reach(f"n{number}")
        await house.settled()
        await house.deliveries.flush()
        assert [cursor.seq for cursor in await house.cursors.load()] == [house.runner.position(ACME)]


@pytest.mark.parametrize("status", [422, 410, 204])
async def test_an_endpoint_that_is_deleted_during_an_attempt_leaves_nothing(status: int) -> None:
    async with opened() as house:
        minted = await house.create()
        house.receiver.hang.add("hooks.example")
        house.receiver.answer = lambda _host, _count: refused(status) if status >= 300 else None
        await house.reach("a")
        await asyncio.sleep(0.01)
        await house.webhooks.delete(ctx_of(), ACME, minted.webhook.id)
        before = len(house.log.records)
        house.receiver.hanging.set()
        await house.settled()
        assert (len(house.receiver.got), len(house.log.records)) == (1, before)


@pytest.mark.parametrize("status", [422, 204])
async def test_an_endpoint_that_is_deleted_during_a_replay_leaves_nothing(status: int) -> None:
    async with opened() as house:
        minted = await house.create()
        house.receiver.answer = lambda _host, _count: refused(422)
        await house.reach("a")
        await house.settled()
        house.receiver.hang.add("hooks.example")
        house.receiver.answer = lambda _host, _count: refused(status) if status >= 300 else None
        await house.webhooks.replay(ctx_of(), ACME, minted.webhook.id)
        await asyncio.sleep(0.01)
        await house.webhooks.delete(ctx_of(), ACME, minted.webhook.id)
        before = len(house.log.records)
        house.receiver.hanging.set()
        await house.settled()
        assert (len(house.receiver.got), len(house.log.records)) == (2, before)


async def test_the_latest_attempts_can_be_shown() -> None:
    async with opened() as house:
        minted = await house.create()
        for number in range(RECENT_KEPT + 5):
            await house.reach(f"n{number}")
        await house.settled()
        recent = house.deliveries.recent(ACME, minted.webhook.id)
        assert len(recent) == RECENT_KEPT
        assert [one.seq for one in recent] == sorted(one.seq for one in recent)
        assert house.deliveries.recent(GLOBEX, minted.webhook.id) == ()
