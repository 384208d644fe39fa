"""Who hears of a change: those whose value is another one, with the value as it is, and nobody else."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from central_hub.configuration.announcing import WAITERS_PER_TENANT_MAX, watched_variants
from central_hub.configuration.model import ConfigurationReloaded, Layer
from central_hub.edge.streams import Sink
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.plans.model import Grant
from tests.unit.configuration.support import House, Recorder, ctx_of, opened

ACME, GLOBEX = ctx_of("acme"), ctx_of("globex")


def watch(house: House, ctx: Any = ACME, *variants: tuple[str, str]) -> Recorder:
    recorder = Recorder()
    house.announcements.open(ctx, variants or [("", "")], cast(Sink, recorder))
    return recorder


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def events(recorder: Recorder) -> list[Any]:
    found: list[Any] = []
    for frame in recorder.frames:
        head, _, data = frame.decode().partition("\ndata: ")
        assert head == "event: config"
        found.append(msgspec.json.decode(data))
    return found


async def test_a_stream_begins_with_the_value_and_hears_of_every_other() -> None:
    async with opened() as house:
        recorder = watch(house)
        await house.patch(Layer(), {"risk": {"depth": 1}})
        await settle()
        first, second = events(recorder)
        assert "risk" not in first["config"]
        assert second["config"]["risk"] == {"depth": 1}
        assert second["etag"] == house.effective.of(ACME.domain).etag != first["etag"]


async def test_only_those_whose_value_changed_hear_of_a_change() -> None:
    async with opened() as house:
        await house.patch(Layer(tenant="acme"), {"risk": {"depth": 5}})
        acme, globex = watch(house, ACME), watch(house, GLOBEX)
        service = watch(house, GLOBEX, ("orders", ""))
        await house.patch(Layer(), {"risk": {"depth": 1}})  # acme says 5 whatever the platform says
        await settle()
        assert (len(acme.frames), len(globex.frames), len(service.frames)) == (1, 2, 2)
        await house.patch(Layer(service="orders"), {"risk": {"mode": "x"}})
        await settle()
        assert (len(acme.frames), len(globex.frames), len(service.frames)) == (1, 2, 3)
        await house.patch(Layer(tier="free"), {"risk": {"mode": "y"}})
        await settle()
        assert (len(acme.frames), len(globex.frames), len(service.frames)) == (1, 2, 3)


async def test_a_tenant_hears_of_its_own_layers() -> None:
    async with opened() as house:
        acme, globex = watch(house, ACME), watch(house, GLOBEX)
        await house.patch(Layer(tenant="acme"), {"risk": {"depth": 5}})
        await settle()
        assert (len(acme.frames), len(globex.frames)) == (2, 1)


async def test_a_closed_stream_hears_nothing_and_leaves_nothing_behind() -> None:
    async with opened() as house:
        recorder = Recorder()
        close = house.announcements.open(ACME, [("", ""), ("a", "")], cast(Sink, recorder))
        assert house.announcements.watchers == 2
        close()
        assert house.announcements.watchers == 0
        await house.patch(Layer(), {"risk": {"depth": 1}})
        await settle()
        assert len(recorder.frames) == 2
        assert house.announcements.looked == 0


async def test_whoever_lost_access_is_cut_and_told_nothing() -> None:
    async with opened() as house:
        recorder = watch(house)
        house.access.refused[ACME.principal.id] = HubError("key_revoked", Kind.UNAUTHENTICATED, "no")
        await house.patch(Layer(), {"risk": {"depth": 1}})
        await settle()
        assert recorder.is_cut
        assert len(recorder.frames) == 1


def everyone(document: dict[str, Any]) -> Applied:
    """Return the first revision of the layer of everyone, as the runner would hand it out."""
    return Applied(
        pos=1, domain=PLATFORM, domain_seq=1, streams=(Layer().stream,), category=Category.FACT,
        type=ConfigurationReloaded.__name__, id="", time_ms=0, actor=HUB_ACTOR,
        fact=ConfigurationReloaded(layer=("", "", "", ""), revision=1, document=document),
    )  # fmt: skip


def grant_until(house: House, ends_ms: int) -> None:
    grant = Grant(id="g", feature="custom_models", value=True, expires_at_ms=ends_ms)
    house.plans._above[ACME.domain] = msgspec.convert({"grants": {"g": grant}}, type(house.plans.above(ACME.domain)))
    house.defaults.forget(ACME.domain)


async def test_the_end_of_a_grant_is_heard_of_though_no_fact_tells() -> None:
    async with opened() as house:
        grant_until(house, house.clock.now_ms() + 5_000)
        recorder, other = watch(house), watch(house, GLOBEX)
        assert events(recorder)[0]["config"]["features"]["custom_models"] is True
        running = asyncio.create_task(house.announcements.run())
        await settle()
        assert house.announcements.looked == 0
        house.clock.advance(5_000)
        house.announcements._sooner.set()  # the timer runs by the machine's clock
        await settle()
        running.cancel()
        assert events(recorder)[1]["config"]["features"]["custom_models"] is False
        assert (len(other.frames), house.announcements.looked) == (1, 1)


async def test_a_grant_that_ends_sooner_than_all_others_is_waited_for_at_once() -> None:
    async with opened() as house:
        grant_until(house, house.clock.now_ms() + 3_600_000)
        recorder = watch(house)
        running = asyncio.create_task(house.announcements.run())
        await settle()
        grant_until(house, house.clock.now_ms() + 50)
        house.announcements._mark(ACME.domain)
        await settle()
        house.clock.advance(50)
        async with asyncio.timeout(5):
            while len(recorder.frames) < 2:
                await asyncio.sleep(0.01)
        running.cancel()


async def test_who_listens_already_hears_in_turn_though_a_newcomer_was_told_first() -> None:
    async with opened() as house:
        first = watch(house)
        house.view.apply(everyone({"risk": {"depth": 1}}))  # and nobody was told yet
        second = watch(house)
        assert (len(first.frames), len(second.frames)) == (1, 1)
        await settle()
        assert (len(first.frames), len(second.frames)) == (2, 1)
        assert first.frames[1] == second.frames[0]


async def test_a_blocking_read_ends_when_the_value_is_another() -> None:
    async with opened() as house:
        tag = house.effective.of(ACME.domain).etag
        waiting = asyncio.create_task(house.announcements.wait(ACME, ("", ""), tag, 5))
        await settle()
        await house.patch(Layer(tenant="globex"), {"risk": {"depth": 1}})
        await settle()
        assert not waiting.done()
        await house.patch(Layer(), {"risk": {"depth": 1}})
        async with asyncio.timeout(2):
            await waiting
        assert house.effective.of(ACME.domain).etag != tag
        await house.announcements.wait(ACME, ("", ""), tag, 5)  # it is another already
        house.clock.advance(10_000)
        await house.announcements.wait(ACME, ("", ""), house.effective.of(ACME.domain).etag, 0.01)


async def test_blocking_reads_of_a_tenant_are_limited() -> None:
    async with opened() as house:
        tag = house.effective.of(ACME.domain).etag
        waiting = [
            asyncio.create_task(house.announcements.wait(ACME, ("", ""), tag, 5)) for _ in range(WAITERS_PER_TENANT_MAX)
        ]
        await settle()
        with pytest.raises(HubError, match="too_many_waiters"):
            await house.announcements.wait(ACME, ("", ""), tag, 5)
        await house.announcements.wait(GLOBEX, ("", ""), tag, 0.01)  # another tenant's waiters are not its own
        await house.patch(Layer(), {"risk": {"depth": 1}})
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)


def test_the_values_of_a_watch_are_named_by_service_and_environment() -> None:
    assert watched_variants(ACME, "*") == [("", "")]
    assert watched_variants(ACME, "a,b@prod,@prod") == [("a", ""), ("b", "prod"), ("", "prod")]
    assert watched_variants(ctx_of("acme", environment="staging"), "a,*") == [("a", "staging"), ("", "staging")]
    for wrong in ("", "a,", "a@", "@", "A", "a@B", "a b", ",".join(f"s{at}" for at in range(17))):
        with pytest.raises(HubError, match="invalid_query"):
            watched_variants(ACME, wrong)
