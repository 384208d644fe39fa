"""When whom is asked, and what comes of the answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from central_hub.health.model import PROBES_RUNNING_PER_DOMAIN_MAX, PROTECTION_MAX_MS, REASON_OWN_FAULT
from central_hub.health.prober import Prober
from central_hub.kernel.probing import ProbeOutcome, ProbeProtocol, ProbeResult, ProbeTarget
from central_hub.registry.model import Status
from tests.unit.health.support import ACME, OTHER, ScriptedProbe, World, instance, running

Spend = Callable[[float], Awaitable[None]]


def spending(world: World, prober: Prober, group: asyncio.TaskGroup) -> Spend:
    async def spend(milliseconds: float, step_ms: float = 10.0) -> None:
        for _ in range(int(milliseconds / step_ms)):
            world.clock.advance(step_ms)
            while prober.start_due(group):
                pass
            for _ in range(4):
                await asyncio.sleep(0)

    return spend


def prober_of(world: World) -> Prober:
    return Prober(world.keeper, world.probe, world.clock, asyncio.Event())


async def test_each_instance_is_asked_once_an_interval_at_its_registered_address_only() -> None:
    async with running() as world, asyncio.TaskGroup() as group:
        prober = prober_of(world)
        await world.register(instance(lease_ttl_s=None, host="10.1.2.3", port=81, health_endpoint="/up"))
        await spending(world, prober, group)(10_000)
        assert {target for _, target in world.probe.asked} == {
            ProbeTarget(domain=ACME, host="10.1.2.3", port=81, protocol=ProbeProtocol.HTTP, path="/up")
        }
        gaps = [b - a for (a, _), (b, _) in zip(world.probe.asked, world.probe.asked[1:], strict=False)]
        assert len(gaps) >= 18
        assert all(490 <= gap <= 510 for gap in gaps)
        assert max(prober.schedule_errors_ms) <= 10


async def test_a_refused_connection_is_confirmed_within_a_moment_and_visible_within_a_second() -> None:
    async with running() as world, asyncio.TaskGroup() as group:
        prober = prober_of(world)
        await world.register(instance(lease_ttl_s=None))
        spend = spending(world, prober, group)
        await spend(1_000)
        assert world.kept().standing.status is Status.HEALTHY
        world.probe.results[8080] = ProbeResult.REFUSED
        await spend(900)
        assert world.kept().standing.status is Status.UNHEALTHY


async def test_probes_are_spread_evenly_over_the_interval() -> None:
    async with running() as world, asyncio.TaskGroup() as group:
        prober = prober_of(world)
        for start in range(0, 1_000, 100):
            await world.register(*(instance(f"i-{n}", lease_ttl_s=None) for n in range(start, start + 100)))
        spend = spending(world, prober, group)
        await spend(1_000)
        world.probe.asked.clear()
        await spend(5_000)
        slots = Counter(int(at // 100) for at, _ in world.probe.asked)
        assert len(world.probe.asked) == pytest.approx(5_000, rel=0.1)
        assert max(slots.values()) < 2.5 * len(world.probe.asked) / len(slots)


async def test_what_left_is_asked_no_more() -> None:
    async with running() as world, asyncio.TaskGroup() as group:
        prober = prober_of(world)
        await world.register(instance(lease_ttl_s=None))
        spend = spending(world, prober, group)
        await spend(1_000)
        world.keeper.forget(ACME, "risk", "i-1")
        world.probe.asked.clear()
        await spend(2_000)
        assert world.probe.asked == []
        assert world.keeper.targets == 0


async def test_a_domain_with_many_due_delays_no_other() -> None:
    class Slow:
        def __init__(self) -> None:
            self.order: list[str] = []

        async def probe(self, target: ProbeTarget) -> ProbeOutcome:
            self.order.append(target.domain)
            await asyncio.sleep(0)
            return ProbeOutcome(result=ProbeResult.PASSED)

        def granted(self, domain: str, host: str, port: int) -> bool:
            return True

    async with running() as world:
        for start in range(0, 400, 100):
            await world.register(*(instance(f"i-{n}", lease_ttl_s=None) for n in range(start, start + 100)))
        await world.register(instance(lease_ttl_s=None), domain=OTHER)
        slow = Slow()
        prober = Prober(world.keeper, slow, world.clock, asyncio.Event())
        for kept in [*(world.kept(f"i-{n}") for n in range(400)), world.kept(domain=OTHER)]:
            assert kept.probe is not None
            world.keeper.probes.set(kept.probe, world.clock.monotonic_ms() + 100)
        world.clock.advance(100)
        async with asyncio.TaskGroup() as group:
            while prober.start_due(group):
                pass
        assert len(slow.order) == 401
        assert slow.order.index(OTHER) <= PROBES_RUNNING_PER_DOMAIN_MAX


async def test_when_nothing_unrelated_answers_the_prober_doubts_itself_and_that_ends() -> None:
    async with running() as world, asyncio.TaskGroup() as group:
        prober = prober_of(world)
        for n in range(6):
            await world.register(instance("one", f"service-{n}", lease_ttl_s=None))
        spend = spending(world, prober, group)
        await spend(2_000)
        world.probe.default = ProbeResult.TIMED_OUT
        await spend(5_000)
        for n in range(6):
            verdict = world.keeper.verdict(ACME, f"service-{n}", "one")
            assert verdict is not None
            assert (verdict.status, verdict.protected, verdict.reason) == (Status.UNKNOWN, True, REASON_OWN_FAULT)
        world.clock.advance(PROTECTION_MAX_MS)
        await spend(3_000)
        assert all(world.kept("one", f"service-{n}").standing.status is Status.UNHEALTHY for n in range(6))


async def test_one_answer_is_enough_not_to_doubt() -> None:
    async with running() as world, asyncio.TaskGroup() as group:
        prober = prober_of(world)
        for n in range(6):
            await world.register(instance("one", f"service-{n}", lease_ttl_s=None, port=9_000 + n))
        spend = spending(world, prober, group)
        await spend(2_000)
        world.probe.default = ProbeResult.TIMED_OUT
        world.probe.results[9_000] = ProbeResult.REFUSED
        await spend(5_000)
        assert all(world.kept("one", f"service-{n}").standing.status is Status.UNHEALTHY for n in range(6))


async def test_another_tenants_answers_do_not_change_what_is_concluded() -> None:
    async with running() as world, asyncio.TaskGroup() as group:
        prober = prober_of(world)
        for n in range(6):
            await world.register(instance("one", f"service-{n}", lease_ttl_s=None, port=9_000))
        await world.register(instance(lease_ttl_s=None, port=9_001), domain=OTHER)
        world.probe.results[9_000] = ProbeResult.TIMED_OUT
        await spending(world, prober, group)(5_000)
        assert world.kept("one", "service-0").standing.protected
        assert world.kept(domain=OTHER).standing.status is Status.HEALTHY


async def test_a_timeout_that_came_late_because_the_hub_was_busy_proves_nothing() -> None:
    class Stuck(ScriptedProbe):
        """Times out, while the hub's clock runs on for longer than any timeout."""

        async def probe(self, target: ProbeTarget) -> ProbeOutcome:
            assert self.clock is not None
            self.clock.advance(2_600)
            return await super().probe(target)

    async with running() as world, asyncio.TaskGroup() as group:
        stuck = Stuck()
        stuck.clock = world.clock
        stuck.default = ProbeResult.TIMED_OUT
        prober = Prober(world.keeper, stuck, world.clock, asyncio.Event())
        await world.register(instance(lease_ttl_s=None))
        await spending(world, prober, group)(3_000)
        assert len(stuck.asked) >= 3
        assert world.kept().standing.fails == 0


async def test_a_probe_that_is_very_late_is_left_out_and_the_next_is_on_time() -> None:
    async with running() as world, asyncio.TaskGroup() as group:
        prober = prober_of(world)
        await world.register(instance(lease_ttl_s=None))
        world.clock.advance(5_000)
        spend = spending(world, prober, group)
        await spend(10)
        assert (prober.skipped, world.probe.asked) == (1, [])
        await spend(600)
        assert len(world.probe.asked) == 1
        assert max(prober.schedule_errors_ms) <= 10


@pytest.mark.parametrize(
    ("protocol", "asked"),
    [("http", "http"), ("ws", "http"), ("https", "tcp"), ("grpc", "grpc"), ("grpcs", "tcp"), ("tcp", "tcp")],
)
async def test_each_protocol_is_asked_in_its_own_way(protocol: str, asked: str) -> None:
    async with running() as world:
        await world.register(instance(lease_ttl_s=None, protocol=protocol))
        target = world.kept().target
        assert target is not None
        assert target.protocol == asked


async def test_udp_is_not_probed() -> None:
    async with running() as world:
        await world.register(instance(lease_ttl_s=None, protocol="udp"))
        assert world.kept().kept_by == "nothing"
