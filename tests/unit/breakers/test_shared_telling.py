"""Who hears of shared verdicts: those they concern, on the services they watch, and once for each change."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import msgspec
import pytest

from central_hub.edge.streams import Sink
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError
from tests.unit.breakers.shared import Fleet, ctx_of, opened


class Ear(Sink):
    """A stream that keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Any]] = []
        self.was_cut = False

    @property
    def buffered(self) -> int:
        return 0

    def write(self, frame: Any) -> bool:
        for piece in frame.data.decode().strip().split("\n\n"):
            lines = dict(line.split(": ", 1) for line in piece.splitlines())
            self.events.append((lines["event"], msgspec.json.decode(lines["data"])))
        return True

    def close(self) -> None:
        pass

    def cut(self) -> None:
        self.was_cut = True

    def heard(self) -> list[tuple[str, str, str, str]]:
        """Return (service, route class, of, state) of every change."""
        return [
            (one["service"], one["route_class"], one["of"], one["state"])
            for name, one in self.events
            if name == "breaker"
        ]


def listening(fleet: Fleet, tenant: str | None, *names: str) -> Ear:
    ear = Ear()
    fleet.streams.admit(ctx_of(tenant), frozenset(names) or None)(cast("Sink", ear))
    return ear


async def told(fleet: Fleet) -> None:
    await fleet.shared.settle()
    for _ in range(5):
        await asyncio.sleep(0)


async def test_each_change_is_told_once_to_those_it_concerns() -> None:
    async with opened() as fleet:
        acme, globex, elsewhere = listening(fleet, "acme"), listening(fleet, "globex"), listening(fleet, "acme", "own")
        assert acme.events == [("breakers", {"breakers": []})]
        await fleet.trip("acme")
        await told(fleet)
        assert acme.heard() == [("risk", "", "tenant", "OPEN")]
        (_, said) = acme.events[-1]
        assert (said["left_ms"], said["reason"], said["failures"]) == (30_000, "failures", 6)
        fleet.clock.advance(30_000)
        await fleet.lease("acme", 5)
        await fleet.seen("acme", "p-1", 0, 0, probes=4)
        await told(fleet)
        assert acme.heard()[1:] == [("risk", "", "tenant", "CLOSED")]
        assert globex.heard() == elsewhere.heard() == []


async def test_a_stream_begins_with_what_is_in_force() -> None:
    async with opened() as fleet:
        await fleet.trip("acme")
        fleet.clock.advance(10_000)
        (name, said), *_ = listening(fleet, "acme", "risk").events
        assert name == "breakers"
        (verdict,) = said["breakers"]
        assert (verdict["state"], verdict["left_ms"], verdict["of"]) == ("OPEN", 20_000, "tenant")
        assert listening(fleet, "globex", "risk").events == [("breakers", {"breakers": []})]


async def test_everyone_hears_of_what_holds_for_everyone_but_not_the_words_of_others() -> None:
    async with opened() as fleet:
        knows, other, blind = listening(fleet, "knows"), listening(fleet, "other"), listening(fleet, "blind")
        fleet.services.blind.add("blind")
        await fleet.seen("knows", "p-1", 1, 0, route_class="reports")
        for route_class in ("", "reports"):
            for tenant in ("a", "b", "c"):
                await fleet.seen(tenant, "p-1", 6, 6, route_class=route_class)
        await told(fleet)
        assert knows.heard() == [("risk", "", "everyone", "OPEN"), ("risk", "reports", "everyone", "OPEN")]
        assert other.heard() == [("risk", "", "everyone", "OPEN")]
        assert blind.heard() == []
        assert [one["route_class"] for one in listening(fleet, "other").events[0][1]["breakers"]] == [""]
        await fleet.seen("other", "p-1", 1, 0, route_class="reports")
        await told(fleet)
        assert other.heard()[1:] == [("risk", "reports", "everyone", "OPEN")]


async def test_who_may_not_listen_any_more_is_cut_and_told_nothing() -> None:
    async with opened() as fleet:
        ear = listening(fleet, "acme")
        fleet.access.refused.add("acme")
        await fleet.trip("acme")
        await told(fleet)
        assert ear.was_cut
        assert ear.heard() == []


async def test_a_stream_that_is_closed_is_forgotten() -> None:
    async with opened() as fleet:
        ear = Ear()
        close = fleet.streams.open(ctx_of("acme"), None, cast("Sink", ear))
        assert fleet.streams.watchers == 1
        fleet.runner.listen(lambda _: close())  # after it was noted, and before its turn has come
        await fleet.trip("acme")
        await told(fleet)
        assert (fleet.streams.watchers, ear.heard()) == (0, [])


async def test_who_may_not_read_verdicts_gets_none() -> None:
    async with opened() as fleet:
        ctx = ctx_of("acme")
        blind = msgspec.structs.replace(
            ctx, principal=msgspec.structs.replace(ctx.principal, scopes=frozenset({"registry:read"}))
        )
        with pytest.raises(HubError) as refused:
            fleet.streams.admit(blind, None)
        assert refused.value.code == "scope_missing"


async def test_callers_of_no_tenant_hear_once_and_a_tenant_of_its_own_service() -> None:
    async with opened() as fleet:
        nobody, acme = listening(fleet, None), listening(fleet, "acme")
        for caller in ("p-1", "p-2"):
            await fleet.seen(None, caller, 6, 6)
        await fleet.trip("acme", service="own")
        await told(fleet)
        assert nobody.heard() == [("risk", "", "everyone", "OPEN")]
        assert acme.heard() == [("risk", "", "everyone", "OPEN"), ("own", "", "tenant", "OPEN")]
        assert len(listening(fleet, None).events[0][1]["breakers"]) == 1


async def test_what_is_not_seen_any_more_is_not_told() -> None:
    async with opened() as fleet:
        await fleet.trip("acme")
        fleet.services.blind.add("acme")
        assert listening(fleet, "acme").events == [("breakers", {"breakers": []})]


async def test_a_change_of_access_is_followed() -> None:
    async with opened() as fleet:
        ear = listening(fleet, "acme")
        seen: list[TenantContext] = []
        original = fleet.access.current

        def current(ctx: TenantContext) -> TenantContext:
            seen.append(ctx)
            return original(ctx)

        fleet.access.current = current
        await fleet.trip("acme")
        await told(fleet)
        assert len(seen) == 1
        assert ear.heard()
