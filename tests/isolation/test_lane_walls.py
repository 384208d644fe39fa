"""The walls in front of the HTTP parser: what the lane answers, the framework would answer; the rest it leaves."""

from __future__ import annotations

from tests.isolation.world import World, running

HOUR_MS = 3_600_000
DATE = [(b"date", b"Mon, 23 Nov 2026 08:00:00 GMT")]


class Wire:
    """One connection's way into a hub's lane, with packets as clients write them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lane = world.hub.lane
        self.memory = self.lane.connected("127.0.0.1")

    def discover(self, service: str, key: str, more: str = "") -> bytes | None:
        """Ask for a service; None when the lane leaves it to the framework."""
        head = f"GET /services/discover/{service} HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        return self.lane.answer(self._packet(head, key, more), self.memory, DATE)

    def beat(self, service: str, key: str, more: str = "") -> bytes | None:
        """Send a heartbeat; None when the lane leaves it to the framework."""
        head = f"PUT /services/{service}/instances/i-1/heartbeat HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        body = '{"in_flight":1}'
        length = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return self.lane.signal(self._packet(head + length, key, more) + body.encode(), self.memory, DATE)

    def _packet(self, head: str, key: str, more: str) -> bytes:
        credential = f"authorization: Bearer {self.world.keys[key]}\r\n" if key else ""
        return f"{head}{credential}{more}\r\n".encode()


async def furnished(world: World) -> Wire:
    for name, tier in (("acme", "pro"), ("globex", "enterprise")):
        await world.tenant(name, tier)
    await world.register("private", key="acme")
    await world.register("gold", key="root", subscription_requirements=["enterprise"])
    return Wire(world)


async def test_the_lane_answers_whom_it_may_and_leaves_everyone_else() -> None:
    async with running() as world:
        wire = await furnished(world)
        answered = {
            key: bool(wire.discover("private", key)) for key in ("acme", "acme:reader", "acme:blind", "globex", "")
        }
        assert answered == {"acme": True, "acme:reader": True, "acme:blind": False, "globex": False, "": False}
        assert {key: bool(wire.discover("gold", key)) for key in ("acme", "globex")} == {"acme": False, "globex": True}
        beaten = {key: bool(wire.beat("private", key)) for key in ("acme", "acme:reader", "acme:blind", "globex", "")}
        assert beaten == {"acme": True, "acme:reader": False, "acme:blind": False, "globex": False, "": False}
        assert wire.beat("gold", "globex") is None


async def test_claims_that_do_not_fit_are_left_to_the_framework() -> None:
    async with running() as world:
        wire = await furnished(world)
        for ask in (wire.discover, wire.beat):
            assert ask("private", "acme", "x-tenant-id: acme\r\n")
            for more in (
                "x-tenant-id: globex",
                "x_tenant_id: acme",
                "x-company-id: globex",
                "x-subscription-tier: free",
            ):
                assert ask("private", "acme", more + "\r\n") is None


async def test_a_key_that_ended_is_answered_no_more() -> None:
    async with running() as world:
        wire = await furnished(world)
        wanted = {"name": "short", "scopes": ["registry:read", "registry:admin", "registry:write"]}
        ends = {**wanted, "expires_at_ms": world.clock.now_ms() + 1_000}
        world.keys["short"] = (await world.must("POST", "/tenants/acme/keys", key="root", body=ends))["api_key"]
        for ask in (wire.discover, wire.beat):
            assert ask("private", "short")
        world.clock.advance(999)
        for ask in (wire.discover, wire.beat):
            assert ask("private", "short")
        world.clock.advance(1)
        for ask in (wire.discover, wire.beat):
            assert ask("private", "short") is None
            assert ask("private", "acme")


async def test_what_changes_who_may_is_known_at_the_next_packet() -> None:
    async with running() as world:
        wire = await furnished(world)
        assert wire.discover("private", "acme:reader")
        await world.must("DELETE", f"/tenants/acme/keys/{world.key_ids['acme:reader']}", key="root")
        assert wire.discover("private", "acme:reader") is None
        assert wire.discover("gold", "globex")
        await world.must("PATCH", "/tenants/globex", key="root", body={"tier": "free"})
        assert wire.discover("gold", "globex") is None
        for ask in (wire.discover, wire.beat):
            assert ask("private", "acme")
        await world.must("POST", "/tenants/acme/suspend", key="root")
        for ask in (wire.discover, wire.beat):
            assert ask("private", "acme") is None
        await world.must("POST", "/tenants/acme/resume", key="root")
        for ask in (wire.discover, wire.beat):
            assert ask("private", "acme")
