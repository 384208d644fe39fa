"""The walls in front of the HTTP parser: what the lane answers, the framework would answer; the rest it leaves."""

from __future__ import annotations

import msgspec

from central_hub.edge.lane.auth import PipelineAuth
from central_hub.edge.lane.commands import commands_of
from central_hub.edge.operations import Call, Operation, Reply, Table
from central_hub.edge.shares import HubLimits, Share
from tests.isolation.world import World, running

NOT_THEIRS = (
    "x-tenant-id: globex", "x_tenant_id: acme", "x-company-id: globex", "x-subscription-tier: free", "txn-token: a.b.c",
    "origin: http://evil.example",
)  # fmt: skip
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

    async def register(self, key: str, more: str = "", **fields: str) -> int:
        """Register a service; returns the answer's status, 0 when the lane leaves it to the framework."""
        body = msgspec.json.encode({"name": "fresh", "host": "10.0.0.9", "port": 81, "lease_ttl_s": 60, **fields})
        head = "POST /services/register HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        length = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        running = self.lane.command(self._packet(head + length, key, more) + body, self.memory)
        return 0 if running is None else (await running).status

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
        made = {key: await wire.register(key) for key in ("acme", "acme:reader", "acme:blind", "")}
        assert made == {"acme": 201, "acme:reader": 0, "acme:blind": 0, "": 0}
        assert b"fresh" in (await world.ask("GET", "/services/", key="acme")).body
        assert b"fresh" not in (await world.ask("GET", "/services/", key="globex")).body


async def test_claims_that_do_not_fit_are_left_to_the_framework() -> None:
    async with running() as world:
        wire = await furnished(world)
        for ask in (wire.discover, wire.beat):
            assert ask("private", "acme", "x-tenant-id: acme\r\n")
            for more in NOT_THEIRS:
                assert ask("private", "acme", more + "\r\n") is None
        for more in NOT_THEIRS:
            assert await wire.register("acme", more + "\r\n") == 0
        assert await wire.register("acme", tenant_id="globex") == 0
        assert await wire.register("acme", tenant_id="acme") == 201
        assert b"fresh" not in (await world.ask("GET", "/services/", key="globex")).body


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
        assert await wire.register("short") == 201
        world.clock.advance(1)
        assert await wire.register("short") == 0
        assert await wire.register("acme", name="another") == 201
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
        assert await wire.register("acme") == 201
        await world.must("POST", "/tenants/acme/suspend", key="root")
        assert await wire.register("acme") == 0
        for ask in (wire.discover, wire.beat):
            assert ask("private", "acme") is None
        await world.must("POST", "/tenants/acme/resume", key="root")
        for ask in (wire.discover, wire.beat):
            assert ask("private", "acme")


class Body(msgspec.Struct):
    """What the commands below take."""

    name: str = ""


async def nothing(call: Call) -> Reply:
    return Reply()


def test_only_commands_that_ask_for_a_scope_and_nothing_else_are_taken_by_the_lane() -> None:
    def row(name: str, **more: object) -> Operation:
        given = {"scope": "a:b", "method": "POST", "hot": True, "body": Body, **more}
        return Operation(id=name, path=f"/{name}", handler=nothing, summary="", tag="t", **given)  # type: ignore[arg-type]

    table = Table(
        [
            row("plain"), row("public", scope=None, public=True), row("tenant", needs_tenant=True),
            row("platform", platform=True), row("signal", signal=True), row("cold", hot=False),
            row("optional", body_optional=True), row("put", method="PUT"), row("query", query=Body),
        ]
    )  # fmt: skip

    asked: list[str] = []

    def auth_of(scope: str) -> PipelineAuth:
        asked.append(scope)
        return PipelineAuth(None, lambda ctx: Share(lambda tier: HubLimits()), scope=scope)  # type: ignore[arg-type]  # never asked here

    assert set(commands_of(table, None, auth_of)) == {b"POST /plain HTTP/1.1\r\n"}  # type: ignore[arg-type]
    assert asked == ["a:b"]
