"""Leases end when they should, and do not when the hub must doubt itself."""

from __future__ import annotations

import pytest

from central_hub.health.model import (
    PROBE_KEPT_TTL_MS,
    PROTECTION_MIN_MS,
    REASON_EXPIRED,
    REASON_MASS_SILENCE,
    REASON_NOT_GRANTED,
    UNPROBED_TTL_MS,
    Sign,
)
from central_hub.health.monitor import Monitor
from central_hub.kernel.errors import HubError, Kind
from central_hub.registry.model import RemovalReason, ServiceHealthChanged, ServiceUnregistered, Status
from tests.unit.health.support import ACME, OTHER, SHARED, World, instance, running


async def test_a_lease_that_is_not_renewed_ends_and_one_that_is_does_not() -> None:
    async with running() as world:
        await world.register(instance("i-1"), instance("i-2"))
        for _ in range(5):
            world.pass_time(1_000)
            if world.keeper.population.find(ACME, "risk", "i-1"):
                world.beat("i-1")
        assert world.kept("i-2").leaving is RemovalReason.LEASE_EXPIRED
        assert await world.journal.write()
        assert world.view.instance(ACME, "risk", "i-2") is None
        assert world.view.instance(ACME, "risk", "i-1") is not None
        assert world.keeper.population.find(ACME, "risk", "i-2") is None


async def test_a_lease_ends_at_its_ttl_and_not_before() -> None:
    async with running() as world:
        await world.register(instance())
        world.pass_time(2_999)
        assert world.kept().leaving is None
        world.pass_time(1)
        assert world.kept().leaving is RemovalReason.LEASE_EXPIRED


async def test_a_heartbeat_makes_an_unjudged_instance_healthy_and_the_log_remembers() -> None:
    async with running() as world:
        await world.register(instance())
        assert world.kept().standing.status is Status.UNKNOWN
        world.beat("i-1")
        assert world.keeper.verdict(ACME, "risk", "i-1") is not None
        assert await world.journal.write()
        journaled = world.view.instance(ACME, "risk", "i-1")
        assert journaled is not None
        assert journaled.status is Status.HEALTHY
        assert world.keeper.verdict(ACME, "risk", "i-1") is None
        assert world.keeper.dirty == {}


async def test_further_heartbeats_write_nothing() -> None:
    async with running() as world:
        await world.register(instance())
        world.beat("i-1")
        await world.journal.write()
        head = world.runner.pos
        for _ in range(10):
            world.pass_time(500)
            world.beat("i-1")
            await world.journal.write()
        assert world.runner.pos == head


async def test_registering_does_not_count_as_a_sign_of_health() -> None:
    async with running() as world:
        one = instance()
        await world.register(one)
        world.keeper.advise(ACME, one)
        assert world.keeper.dirty == {}


async def test_registering_again_what_is_kept_renews_its_lease() -> None:
    async with running() as world:
        one = instance()
        await world.register(one)
        world.pass_time(2_000)
        world.keeper.advise(ACME, one)
        world.pass_time(2_000)
        assert world.kept().leaving is None


async def test_a_mass_silence_expires_nobody_says_so_and_ends() -> None:
    async with running() as world:
        names = [f"i-{n}" for n in range(6)]
        await world.register(*(instance(name) for name in names))
        for _ in range(3):
            for name in names:
                world.pass_time(150)
                world.beat(name)
        await world.journal.write()
        world.pass_time(5_000)
        for name in names:
            verdict = world.keeper.verdict(ACME, "risk", name)
            assert verdict is not None
            assert (verdict.status, verdict.protected, verdict.reason) == (Status.UNKNOWN, True, REASON_MASS_SILENCE)
            assert world.kept(name).leaving is None
        await world.journal.write()
        journaled = world.view.instance(ACME, "risk", "i-0")
        assert journaled is not None
        assert (journaled.status, journaled.status_reason) == (Status.UNKNOWN, REASON_MASS_SILENCE)
        world.pass_time(PROTECTION_MIN_MS)
        assert all(world.kept(name).leaving is RemovalReason.LEASE_EXPIRED for name in names)


async def test_when_most_come_back_those_that_stay_silent_expire() -> None:
    async with running() as world:
        names = [f"i-{n}" for n in range(6)]
        await world.register(*(instance(name) for name in names))
        world.pass_time(4_000)
        assert all(world.kept(name).standing.protected for name in names)
        for _ in range(3):
            world.beat(*names[:5])
            world.pass_time(1_000)
        assert world.kept("i-5").leaving is RemovalReason.LEASE_EXPIRED
        assert all(world.kept(name).standing.status is Status.HEALTHY for name in names[:5])


async def test_one_of_many_that_dies_is_not_protected() -> None:
    async with running() as world:
        names = [f"i-{n}" for n in range(6)]
        await world.register(*(instance(name) for name in names))
        for _ in range(4):
            world.pass_time(1_000)
            world.beat(*names[1:])
        assert world.kept("i-0").leaving is RemovalReason.LEASE_EXPIRED


async def test_a_tenant_whose_every_service_falls_silent_is_protected_and_its_neighbour_is_not() -> None:
    async with running() as world:
        for n in range(4):
            await world.register(instance("only", f"service-{n}"))
        await world.register(instance("i-1"), instance("i-2"), domain=OTHER)
        world.pass_time(3_500)
        assert all(world.kept("only", f"service-{n}").standing.protected for n in range(4))
        assert world.kept("i-1", domain=OTHER).leaving is RemovalReason.LEASE_EXPIRED


async def test_a_probe_that_fails_too_is_a_second_opinion() -> None:
    async with running() as world:
        names = [f"i-{n}" for n in range(4)]
        await world.register(*(instance(name, probe=True) for name in names))
        for name in names:
            world.keeper.probed(world.kept(name), Sign.REFUSED, latency_ms=None, at_ms=1, now_ms=1)
        world.pass_time(3_000)
        assert all(world.kept(name).leaving is RemovalReason.LEASE_EXPIRED for name in names)


async def test_a_pause_of_the_hub_is_given_back_to_everyone() -> None:
    async with running() as world:
        await world.register(instance())
        world.pass_time(1_000)
        world.clock.advance(60_000)
        world.look()
        assert world.kept().leaving is None
        assert world.keeper.pauses == 1
        world.pass_time(1_900)
        assert world.kept().leaving is None
        world.pass_time(200)
        assert world.kept().leaving is RemovalReason.LEASE_EXPIRED


async def test_a_heartbeat_after_the_end_but_before_it_is_durable_keeps_the_instance() -> None:
    async with running() as world:
        await world.register(instance())
        world.log.fail_with = HubError("store_unavailable", Kind.UNAVAILABLE, "down")
        world.pass_time(3_500)
        assert not await world.journal.write()
        verdict = world.keeper.verdict(ACME, "risk", "i-1")
        assert verdict is not None
        assert (verdict.status, verdict.reason) == (Status.UNHEALTHY, REASON_EXPIRED)
        world.beat("i-1")
        world.log.fail_with = None
        world.beat("i-1")
        assert await world.journal.write()
        journaled = world.view.instance(ACME, "risk", "i-1")
        assert journaled is not None
        assert journaled.status is Status.HEALTHY


async def test_while_the_store_is_down_the_verdict_overlays_and_is_journaled_later() -> None:
    async with running() as world:
        await world.register(instance())
        world.log.fail_with = HubError("store_unavailable", Kind.UNAVAILABLE, "down")
        world.beat("i-1")
        told: list[tuple[str, str, str]] = []
        world.journal.on_unwritten(lambda *what: told.append(what))
        assert not await world.journal.write()
        assert not await world.journal.write()
        assert told == [(ACME, "risk", "i-1")], "watchers hear of it once, although no fact tells them"
        assert world.changed == [(ACME, "risk")]
        verdict = world.keeper.verdict(ACME, "risk", "i-1")
        assert verdict is not None
        assert verdict.status is Status.HEALTHY
        world.log.fail_with = None
        assert await world.journal.write()
        assert world.keeper.verdict(ACME, "risk", "i-1") is None


async def test_without_a_ttl_probes_keep_an_instance_and_ten_minutes_of_failure_remove_it() -> None:
    async with running() as world:
        await world.register(instance(lease_ttl_s=None))
        kept = world.kept()
        assert (kept.kept_by, kept.ttl_ms) == ("probe", PROBE_KEPT_TTL_MS)
        world.pass_time(300_000)
        world.keeper.probed(kept, Sign.PASS, latency_ms=3.0, at_ms=world.clock.monotonic_ms(), now_ms=1)
        world.pass_time(PROBE_KEPT_TTL_MS - 1_000)
        assert kept.leaving is None
        world.pass_time(2_000)
        assert kept.leaving is RemovalReason.PROBE_FAILED
        await world.journal.write()
        fact = ServiceUnregistered(service="risk", instance_id="i-1", reason=RemovalReason.PROBE_FAILED)
        assert world.view.instance(ACME, "risk", "i-1") is None
        assert fact.reason == "probe_failed"


async def test_where_probing_is_not_granted_the_lease_is_an_hour_and_the_answer_warns() -> None:
    async with running() as world:
        world.probe.ungranted.add(8080)
        one = instance(lease_ttl_s=None)
        await world.register(one)
        advice = world.keeper.advise(ACME, one)
        assert (advice.lease.ttl_s, advice.lease.kept_by) == (UNPROBED_TTL_MS / 1_000, "nothing")
        assert "ends in an hour" in advice.warnings[0]
        assert world.kept().target is None
        world.pass_time(UNPROBED_TTL_MS + 100)
        assert world.kept().leaving is RemovalReason.LEASE_EXPIRED


async def test_an_address_that_turns_out_not_to_be_granted_leaves_an_hour() -> None:
    async with running() as world:
        await world.register(instance(lease_ttl_s=None))
        world.keeper.unprobeable(world.kept(), 5)
        assert (world.kept().kept_by, world.kept().ttl_ms) == ("nothing", UNPROBED_TTL_MS)
        assert world.kept().standing.reason == REASON_NOT_GRANTED
        world.keeper.probed(world.kept(), Sign.PASS, latency_ms=1.0, at_ms=world.clock.monotonic_ms(), now_ms=9)
        assert (world.kept().kept_by, world.kept().ttl_ms) == ("probe", PROBE_KEPT_TTL_MS)


@pytest.mark.parametrize(
    ("ttl", "probe", "ungranted", "kept_by", "probed", "warns"),
    [
        (3.0, False, False, "heartbeat", False, False),
        (3.0, True, False, "heartbeat", True, False),
        (3.0, True, True, "heartbeat", False, True),
        (None, False, False, "probe", True, False),
        (None, True, False, "probe", True, False),
        (None, False, True, "nothing", False, True),
    ],
)
async def test_terms(ttl: float | None, probe: bool, ungranted: bool, kept_by: str, probed: bool, warns: bool) -> None:
    async with running() as world:
        if ungranted:
            world.probe.ungranted.add(8080)
        one = instance(lease_ttl_s=ttl, probe=probe)
        await world.register(one)
        advice = world.keeper.advise(ACME, one)
        assert advice.lease.kept_by == world.kept().kept_by == kept_by
        assert (world.kept().target is not None) is probed
        assert (advice.lease.probe_interval_s is not None) is probed
        assert bool(advice.warnings) is warns


async def test_after_a_start_every_lease_has_one_full_ttl_and_its_last_status() -> None:
    async with running() as world:
        await world.register(instance("i-1"), instance("i-2"))
        world.beat("i-1", "i-2")
        await world.journal.write()
        world.pass_time(2_900)
        restarted = World(world.view)
        restarted.clock.advance(1_000_000)
        restarted.look()
        await Monitor(restarted.keeper, restarted.probe, restarted.view, restarted.sequencer, restarted.clock).prime()
        assert restarted.kept("i-1").standing.status is Status.HEALTHY
        restarted.pass_time(2_900)
        assert restarted.kept("i-1").leaving is None
        restarted.pass_time(200)
        assert restarted.kept("i-1").leaving is RemovalReason.LEASE_EXPIRED


async def test_the_system_event_is_written_when_the_whole_changes() -> None:
    async with running() as world:
        await world.register(instance(), domain=SHARED)
        world.keeper.probed(world.kept(domain=SHARED), Sign.PASS, latency_ms=1.0, at_ms=1, now_ms=1)
        await world.journal.write()
        await world.journal.write()
        types = [record.type for record in world.log.records]
        assert types.count("SystemHealthChanged") == 1
        assert types.count(ServiceHealthChanged.__name__) == 1


async def test_leases_that_end_together_end_in_batches() -> None:
    async with running() as world:
        names = [f"i-{n}" for n in range(600)]
        await world.register(*(instance(name) for name in names))
        world.pass_time(3_100 + PROTECTION_MIN_MS)
        before = world.sequencer.commits
        assert await world.journal.write()
        assert world.view.service(ACME, "risk") is None
        assert world.sequencer.commits - before <= 5
        assert len(world.keeper.leases) == 0
