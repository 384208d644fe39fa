"""Allocating, renewing and releasing: one step decides, sums never pass the limit, endings are recorded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest

from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.memory import MemoryLog
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ports import Append, Verdict
from central_hub.quotas import model
from central_hub.quotas.leaving import LeasesLeaving
from central_hub.quotas.model import TenantQuotaLevelReached
from central_hub.quotas.ports import Allowance
from tests.unit.quotas.house import ACME, GLOBEX, REQUESTS, House, LimitTable, ctx_of, opened

ADMIN = frozenset({"quota:write", "quota:admin"})


class GatedLog(MemoryLog):
    """A store that takes nothing while it is away, and writes only while its gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = asyncio.Event()

    async def append(self, batch: Sequence[Append]) -> list[Verdict]:
        if self.away:
            raise HubError("store_unavailable", Kind.UNAVAILABLE, "The store is away.")
        if not self.open.is_set():
            self.waiting.set()
            await self.open.wait()
        return await super().append(batch)


def on_log(log: MemoryLog) -> House:
    return House(ManualClock(), log, KeyRing(bytes(32), MemoryKeys()), LimitTable(max_concurrent_requests=10))


async def test_an_allocation_says_what_is_held_and_until_when() -> None:
    async with opened() as house:
        held = await house.hold(4, ttl_s=10)
        assert (held.used, held.limit, held.lease.amount, held.lease.holder) == (4, 10, 4, "key:1")
        assert held.expires_at == "2023-11-14T22:13:30.000Z"
        assert held.lease.fencing_token == house.runner.position(ACME)


async def test_of_many_at_once_exactly_as_many_get_in_as_fit() -> None:
    async with opened() as house:
        results = await asyncio.gather(*(house.hold() for _ in range(400)), return_exceptions=True)
        refused = [result for result in results if isinstance(result, HubError)]
        assert len(results) - len(refused) == house.used() == 10
        assert {error.code for error in refused} == {"quota_exceeded"}
        assert (house.allocations.allocated, house.allocations.refused) == (10, 390)


async def test_a_refusal_says_where_the_limit_stands_and_when_there_may_be_room() -> None:
    async with opened() as house:
        await house.hold(8, ttl_s=30)
        await house.pass_time(2_000)
        with pytest.raises(HubError) as refused:
            await house.hold(3)
        error = refused.value
        assert (error.code, error.kind, error.retry_after_s) == ("quota_exceeded", Kind.LIMIT, 28)
        assert {name: error.fields[name] for name in ("used", "limit", "remaining", "requested", "resets_at")} == {
            "used": 8, "limit": 10, "remaining": 2, "requested": 3, "resets_at": "2023-11-14T22:13:50.000Z",
        }  # fmt: skip


async def test_what_never_fits_has_no_time_at_which_it_would() -> None:
    async with opened() as house:
        with pytest.raises(HubError) as refused:
            await house.hold(11)
        assert refused.value.fields["resets_at"] is None


@pytest.mark.parametrize("resource", ["nothing", "api_calls_per_hour", "max_concurrent_requests_more"])
async def test_what_the_plan_does_not_name_or_counts_by_period_cannot_be_held(resource: str) -> None:
    async with opened() as house:
        with pytest.raises(HubError) as refused:
            await house.hold(resource=resource)
        assert (refused.value.code, refused.value.kind) == ("unknown_resource", Kind.MALFORMED)
        assert REQUESTS in refused.value.next_step


async def test_no_limit_and_a_soft_limit_refuse_nothing() -> None:
    async with opened(max_gpus=None) as house:
        house.limits.put(Allowance(name="seats", limit=1, soft=True))
        assert (await house.hold(1_000_000, resource="gpus")).limit is None
        assert (await house.hold(5, resource="seats")).used == 5


async def test_tenants_have_limits_of_their_own() -> None:
    async with opened() as house:
        await house.hold(10)
        await house.hold(10, ctx=ctx_of("globex"))
        assert (house.used(ACME), house.used(GLOBEX)) == (10, 10)
        house.limits.put(Allowance(name="max_concurrent_requests", limit=12), GLOBEX)
        assert (await house.hold(2, ctx=ctx_of("globex"))).limit == 12
        assert [limit.limit for limit in house.reading.usage(ctx_of("globex"), "globex").limits] == [12]
        with pytest.raises(HubError, match="quota_exceeded"):
            await house.hold()


async def test_a_lower_limit_takes_nothing_back_and_lets_nothing_more_in() -> None:
    async with opened() as house:
        held = await house.hold(9)
        house.limits.put(Allowance(name="max_concurrent_requests", limit=5))
        with pytest.raises(HubError, match="quota_exceeded"):
            await house.hold()
        assert (await house.allocations.renew(ctx_of(), held.lease.id)).used == 9


async def test_a_suspended_tenant_allocates_nothing() -> None:
    async with opened() as house:
        house.access.refused["key:1"] = HubError("tenant_suspended", Kind.DENIED, "Suspended.")
        with pytest.raises(HubError, match="tenant_suspended"):
            await house.hold()


async def test_a_release_frees_at_once_and_again_changes_nothing() -> None:
    async with opened() as house:
        held = await house.hold(10)
        await asyncio.gather(*(house.allocations.release(ctx_of(), held.lease.id) for _ in range(5)))
        assert (house.used(), house.runner.position(ACME)) == (0, 3)  # held, a level reached, freed
        await house.allocations.release(ctx_of(), held.lease.id)
        await house.allocations.release(ctx_of(), "never-was")
        await house.hold(10)


async def test_another_credential_of_the_tenant_neither_renews_nor_releases() -> None:
    async with opened() as house:
        held = await house.hold()
        other = ctx_of(principal="key:2")
        for call in (house.allocations.renew, house.allocations.release):
            with pytest.raises(HubError, match="not_lease_holder"):
                await call(other, held.lease.id)
        await house.allocations.release(ctx_of(principal="key:3", scopes=ADMIN), held.lease.id)
        assert house.used() == 0


async def test_another_tenants_lease_is_as_good_as_missing() -> None:
    async with opened() as house:
        held = await house.hold()
        for lease_id in (held.lease.id, "never-was"):
            with pytest.raises(HubError, match="lease_not_found"):
                await house.allocations.renew(ctx_of("globex"), lease_id)
            with pytest.raises(HubError, match="lease_not_found"):
                house.allocations.get(ctx_of("globex"), lease_id)
            await house.allocations.release(ctx_of("globex"), lease_id)
        assert house.used() == 1


async def test_what_nobody_renews_ends_within_a_second_after_its_time() -> None:
    async with opened() as house:
        await house.hold(10, ttl_s=5)
        await house.pass_time(4_900)
        assert house.used() == 10
        await house.pass_time(300)
        assert house.used() == 0
        assert house.endings.expired == 1


async def test_what_is_renewed_stays() -> None:
    async with opened() as house:
        held = await house.hold(10, ttl_s=5)
        for _ in range(10):
            await house.pass_time(4_000)
            await house.allocations.renew(ctx_of(), held.lease.id)
        assert house.used() == 10
        assert house.keeper.renewals == 10
        await house.pass_time(5_200)
        with pytest.raises(HubError, match="lease_not_found"):
            await house.allocations.renew(ctx_of(), held.lease.id)


async def test_a_renewal_that_comes_before_the_ending_is_decided_wins() -> None:
    async with opened() as house:
        held = await house.hold(ttl_s=5)
        for _ in range(51):
            house.clock.advance(100)
            house.keeper.look(100)
        assert house.keeper.due
        await house.allocations.renew(ctx_of(), held.lease.id)
        await house.endings.write()
        assert house.used() == 1


async def test_a_renewal_that_comes_while_the_ending_is_written_hears_that_it_is_over() -> None:
    async with opened(on_log(GatedLog())) as house:
        held = await house.hold(ttl_s=1)
        for _ in range(11):
            house.clock.advance(100)
            house.keeper.look(100)
        assert isinstance(house.log, GatedLog)
        house.log.open.clear()
        ending = asyncio.create_task(house.endings.write())
        async with asyncio.timeout(5):
            await house.log.waiting.wait()
        renewing = asyncio.create_task(house.allocations.renew(ctx_of(), held.lease.id))
        await asyncio.sleep(0.01)
        assert not renewing.done()
        house.log.open.set()
        assert await ending
        with pytest.raises(HubError, match="lease_not_found"):
            await renewing


async def test_while_the_hub_stood_still_nobody_lost_a_lease() -> None:
    async with opened() as house:
        await house.hold(ttl_s=2)
        await house.pass_time(1_000)
        house.clock.advance(60_000)
        house.keeper.look(100)
        await house.endings.write()
        assert house.used() == 1
        await house.pass_time(1_200)
        assert house.used() == 0


async def test_the_wall_clock_ends_nothing() -> None:
    async with opened() as house:
        await house.hold(ttl_s=5)
        house.clock.jump_wall(86_400_000)
        await house.pass_time(1_000)
        assert house.used() == 1


async def test_a_repeated_key_holds_once() -> None:
    async with opened() as house:
        first = await house.hold(4, key="k")
        again = await house.hold(4, key="k")
        assert (again.lease, house.used()) == (first.lease, 4)
        await house.hold(6)
        assert (await house.hold(4, key="k")).lease == first.lease
        with pytest.raises(HubError, match="idempotency_key_reused"):
            await house.hold(5, key="k")
        await house.allocations.release(ctx_of(), first.lease.id)
        with pytest.raises(HubError, match="lease_ended"):
            await house.hold(4, key="k")
        assert house.used() == 6


async def test_after_a_restart_everything_is_held_for_its_whole_time_and_tokens_go_on() -> None:
    async with opened() as before:
        held = await before.hold(7, ttl_s=5)
        await before.pass_time(4_000)
        async with opened(before) as house:
            assert house.used() == 7
            await house.pass_time(4_500)
            assert house.used() == 7
            assert (await house.hold(1)).lease.fencing_token > held.lease.fencing_token
            await house.pass_time(700)
            assert house.used() == 1
            assert (house.endings.expired, house.keeper.leases) == (1, 1)


async def test_a_store_that_is_away_frees_nothing_and_what_is_due_can_still_be_renewed() -> None:
    async with opened(on_log(GatedLog())) as house:
        assert isinstance(house.log, GatedLog)
        held, lost = await house.hold(ttl_s=1), await house.hold(ttl_s=1)
        house.log.away = True
        await house.pass_time(1_200)
        assert (house.used(), house.endings.failed) == (2, 3)
        await house.allocations.renew(ctx_of(), held.lease.id)
        house.log.away = False
        await house.endings.write()
        assert house.used() == 1
        with pytest.raises(HubError, match="lease_not_found"):
            house.allocations.get(ctx_of(), lost.lease.id)


async def test_a_tenant_has_so_many_leases_and_no_more() -> None:
    async with opened(max_gpus=None) as house:
        house.limits.leases = 3
        results = await asyncio.gather(*(house.hold(resource="gpus") for _ in range(5)), return_exceptions=True)
        assert [error.code for error in results if isinstance(error, HubError)] == ["limit_reached"] * 2
    assert model.LEASES_PER_TENANT_MAX == 10_000


async def test_under_a_random_load_the_sum_never_passes_the_limit() -> None:
    async with opened() as house:
        seen: list[int] = []
        house.runner.listen(lambda batch: seen.append(house.used()))
        rng = random.Random(1)
        held: list[str] = []
        refusals: set[str] = set()

        async def act() -> None:
            for _ in range(60):
                await asyncio.sleep(0)
                if held and rng.random() < 0.5:
                    await house.allocations.release(ctx_of(), held.pop(rng.randrange(len(held))))
                    continue
                try:
                    held.append((await house.hold(rng.randrange(1, 5), ttl_s=1)).lease.id)
                except HubError as error:
                    refusals.add(error.code)

        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(act())
        await house.pass_time(1_300)
        assert max(seen) == 10
        assert refusals == {"quota_exceeded"}
        assert house.used() == 0
        assert house.view.domains() == ()


async def test_usage_lists_every_limit_with_what_is_held() -> None:
    async with opened() as house:
        await house.hold(3)
        answer = house.reading.usage(ctx_of(), "acme")
        calls, requests = answer.limits
        assert (requests.name, requests.resource, requests.kind) == ("max_concurrent_requests", REQUESTS, "capacity")
        assert (requests.limit, requests.used, requests.remaining, requests.source) == (10, 3, 7, "plan:pro")
        assert (calls.kind, calls.period, calls.used) == ("cumulative", "hour", 0)
        assert (calls.resets_at, requests.resets_at) == ("2023-11-14T23:00:00.000Z", None)


async def test_leases_are_listed_in_pages() -> None:
    async with opened() as house:
        for _ in range(5):
            await house.hold()
        first = house.allocations.list(ctx_of(), after=0, limit=3, resource=None)
        rest = house.allocations.list(ctx_of(), after=first[-1].lease.fencing_token, limit=3, resource=REQUESTS)
        assert [len(first), len(rest)] == [3, 2]
        assert house.allocations.list(ctx_of("globex"), after=0, limit=3, resource=None) == []


async def test_a_deleted_tenant_leaves_nothing_held() -> None:
    async with opened(max_gpus=None) as house:
        await asyncio.gather(*(house.hold(resource="gpus") for _ in range(model.FREED_PER_RECORD_MAX + 5)))
        await house.hold(resource="gpus", ctx=ctx_of("globex"))
        await LeasesLeaving(house.view, house.sequencer).leave(ACME)
        assert (house.used(ACME, "gpus"), house.used(GLOBEX, "gpus"), house.keeper.leases) == (0, 1, 1)


async def test_levels_of_what_is_held_are_told_when_they_are_reached_and_not_over_and_over() -> None:
    async with opened(max_concurrent_requests=100) as house:
        events: list[tuple[int, int]] = []
        house.runner.listen(
            lambda batch: events.extend(
                (one.fact.level, one.fact.reserved) for one in batch if isinstance(one.fact, TenantQuotaLevelReached)
            )
        )
        base = await house.hold(49)
        for _ in range(5):
            flapping = await house.hold(2)
            await house.allocations.release(ctx_of(), flapping.lease.id)
        assert events == [(50, 51)]
        await house.hold(51)
        assert events == [(50, 51), (100, 100)]
        await house.allocations.release(ctx_of(), base.lease.id)
        await house.hold(1)
        assert events == [(50, 51), (100, 100)]
        await house.hold(30)
        assert events == [(50, 51), (100, 100), (80, 82)]


async def test_a_level_whose_record_failed_is_told_again() -> None:
    async with opened(on_log(GatedLog())) as house:
        assert isinstance(house.log, GatedLog)
        house.log.away = True
        with pytest.raises(HubError, match="store_unavailable"):
            await house.hold(5)
        house.log.away = False
        before = house.runner.position(ACME)
        await house.hold(5)
        assert house.runner.position(ACME) == before + 2
