"""A small hub behind the real pipeline, ASGI edge and protocols, to hold the lane against the framework."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import msgspec
from uvicorn.server import ServerState

from central_hub.edge.asgi import Edge
from central_hub.edge.connection import CarrierProtocol, HubProtocol
from central_hub.edge.guard import Claims
from central_hub.edge.holding import Ledger
from central_hub.edge.lane.answers import Lane
from central_hub.edge.lane.auth import PipelineAuth
from central_hub.edge.lane.commands import commands_of
from central_hub.edge.lane.entries import Epochs, LaneEntry, LookupCounter
from central_hub.edge.lane.protocol import LaneProtocol
from central_hub.edge.operations import Call, Headers, Operation, Reply, Table
from central_hub.edge.pipeline import Pipeline
from central_hub.edge.server import LaneMode, configure
from central_hub.edge.shares import HubLimits, Share
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from central_hub.kernel.seq import HubSeq

READ = frozenset({"registry:read"})
DATE = [(b"date", b"Mon, 23 Nov 2026 08:00:00 GMT")]

# key -> (tenant, tier, rank, scopes, expires_at_ms relative to the start or 0)
KEYS = {
    "chk_acme_1": ("acme", "pro", 1, READ, 0),
    "chk_free_1": ("globex", "free", 0, READ, 0),
    "chk_blind_1": ("acme", "pro", 1, frozenset({"config:read"}), 0),
    "chk_short_1": ("acme", "pro", 1, READ, 60_000),
    "chk_busy_1": ("initech", "pro", 1, READ, 0),
}
# (domain, service) -> rank it asks for
SERVICES = {("shared", "risk"): 0, ("shared", "gold"): 2, ("acme", "own"): 0, ("acme", "risk2"): 0, ("shared", "a"): 0}


class Register(msgspec.Struct, forbid_unknown_fields=True):
    """What the world's one write takes."""

    name: str
    tenant_id: str | None = None


class DiscoverQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What discovery may be asked."""

    explain: bool = False
    tenant_id: str | None = None


class World:
    """State and ports of the small hub; two of them with the same history answer alike."""

    def __init__(self, *, seed: int = 1) -> None:
        self.clock = ManualClock()
        self.random = random.Random(seed)
        self.epochs = Epochs()
        self.keys = dict(KEYS)
        self.start_ms = self.clock.now_ms()
        self.seq = HubSeq("i1", 5, 7)
        self.version = 0
        self.built: dict[tuple[str, str], LaneEntry] = {}
        self.counters: dict[tuple[str, str, str], LookupCounter] = {}
        self.shares: dict[str, Share] = {}
        self.ledger = Ledger()
        self.entry_rebuilds = 0
        self.entries_asked = 0
        self.sinks: list[Any] = []
        self.closed_streams = 0
        self.opening: list[bytes] = []
        self.commit_waits: asyncio.Event | None = None
        table = Table(self._operations())
        pipeline = Pipeline(table, self, self, self, self)
        self.edge = Edge(pipeline)
        self.lane = Lane(
            {"/services/discover/": self},
            PipelineAuth(self, self.share),
            self,
            self.epochs,
            now_ms=self.clock.now_ms,
            monotonic_ms=self.clock.monotonic_ms,
            draw=lambda bits: self.random.getrandbits(bits),
            commands=commands_of(table, pipeline, lambda scope: PipelineAuth(self, self.share, scope=scope)),
        )

    # what changes the world
    def commit(self) -> None:
        """Something unrelated was applied."""
        self.seq = HubSeq("i1", self.seq.tenant + 1, self.seq.shared)
        self.epochs.state += 1

    def change_services(self) -> None:
        """Every service changed."""
        self.version += 1
        self.built.clear()
        self.commit()

    def signal(self) -> None:
        """Loads were reported: entries are rebuilt without anything being applied."""
        self.version += 1
        for entry in self.built.values():
            entry.fresh_until_ms = 0.0
        self.built.clear()

    def revoke(self, key: str) -> None:
        """A key was revoked."""
        self.keys.pop(key, None)
        self.epochs.auth += 1
        self.commit()

    def restore(self) -> None:
        """All keys are there again."""
        self.keys = dict(KEYS)
        self.epochs.auth += 1
        self.commit()

    # Authenticate, Denials, Positions, Protection
    def authenticate(self, headers: Headers, claims: Claims, *, origin: str, method: str) -> TenantContext:
        given = headers.get("authorization")
        known = self.keys.get((given or "").removeprefix("Bearer "))
        if given is None:
            anonymous = Principal(id="", kind=PrincipalKind.ANONYMOUS, home=PLATFORM, scopes=frozenset())
            return TenantContext(principal=anonymous, tenant_id=None, tier="", rank=0)
        if known is None or (known[4] and self.clock.now_ms() >= self.start_ms + known[4]):
            raise HubError("invalid_credential", Kind.UNAUTHENTICATED, "no such key")
        tenant, tier, rank, scopes, expires = known
        if claims.tenant_id not in (None, tenant):
            raise HubError("tenant_mismatch", Kind.DENIED, "not yours")
        principal = Principal(
            id=given[7:], kind=PrincipalKind.KEY, home=DomainId(tenant), scopes=scopes,
            expires_at_ms=self.start_ms + expires if expires else 0,
        )  # fmt: skip
        return TenantContext(
            principal=principal, tenant_id=TenantId(tenant), tier=tier, rank=rank,
            correlation_id=claims.correlation_id or "", caller_service=claims.service_name or "", origin=origin,
        )  # fmt: skip

    def assume(self, ctx: TenantContext, tenant_id: str) -> TenantContext:
        raise HubError("tenant_mismatch", Kind.DENIED, "not yours")

    def may_assert(self, ctx: TenantContext, tenant_id: str) -> bool:
        return False

    def denied(self, ctx: TenantContext | None, error: HubError, *, operation: str, origin: str) -> str:
        return "d"

    def position_of(self, ctx: TenantContext) -> HubSeq:
        return self.seq

    @property
    def may_be_behind(self) -> bool:
        return False

    async def reached(self, ctx: TenantContext, position: str) -> bool | None:
        return True

    def share(self, ctx: TenantContext) -> Share:
        tenant = ctx.tenant_id or ""
        rate = 0.5 if tenant == "initech" else 1_000_000.0
        limits = HubLimits(reads_per_s=rate, writes_per_s=rate)
        return self.shares.setdefault(tenant, Share(lambda tier: limits))

    def admit(self, ctx: TenantContext, *, writes: bool) -> Share:
        share = self.share(ctx)
        share.admit(self.clock.monotonic_ms(), writes=writes)
        return share

    def charge(self, ctx: TenantContext | None, origin: str) -> None:
        pass

    # LaneEntries
    def entry(self, service: str, ctx: TenantContext) -> LaneEntry | None:
        self.entries_asked += 1
        for domain in (ctx.tenant_id, "shared"):
            rank = SERVICES.get((domain or "", service))
            if rank is not None:
                return self._entry(domain or "", service) if rank <= ctx.rank else None
        return None

    def lookups(self, ctx: TenantContext, service: str) -> LookupCounter:
        return self.counters.setdefault((ctx.tenant_id or "", ctx.caller_service, service), LookupCounter())

    def looked_up(self) -> Counter[tuple[str, str, str]]:
        """How often each was looked up, by either way in."""
        return Counter({key: counter.count for key, counter in self.counters.items() if counter.count})

    def _entry(self, domain: str, service: str) -> LaneEntry:
        entry = self.built.get((domain, service))
        if entry is None:
            self.entry_rebuilds += 1
            count = 1 if service == "a" else 3
            entry = self.built[domain, service] = LaneEntry(
                openings=[
                    b'{"service_name":"%b","recommended_endpoint":"http://h%b:%d"' % (service.encode(), b"x" * at, at)
                    for at in range(count)
                ],
                rest=b',"version":%d}' % self.version,
                picks=[at % count for at in range(256)],
                etag=f'W/"{domain}.{self.version}"',
            )
        return entry

    def _operations(self) -> list[Operation]:
        async def discover(call: Call) -> Reply:
            entry = self.entry(call.path["service_name"], call.ctx)
            if entry is None:
                raise HubError("service_not_found", Kind.NOT_FOUND, "no such service")
            if call.headers.get("if-none-match") == entry.etag:
                return Reply(status=304, headers=(("etag", entry.etag),))
            self.lookups(call.ctx, call.path["service_name"]).count += 1
            return Reply(body=entry.body(self.random.getrandbits(8)), headers=(("etag", entry.etag),))

        async def register(call: Call) -> Reply:
            if self.commit_waits is not None:
                await self.commit_waits.wait()
            return Reply(body={"name": call.body.name}, status=201)

        async def slow(call: Call) -> Reply:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return Reply(body={"slow": True})

        async def end(call: Call) -> Reply:
            return Reply(body={"end": True})

        async def watch(call: Call) -> Reply:
            def on_open(sink: Any) -> Any:
                self.sinks.append(sink)
                for frame in self.opening:
                    sink.write(frame)

                def on_close() -> None:
                    self.closed_streams += 1
                    self.sinks.remove(sink)

                return on_close

            return Reply(stream=on_open, media_type="text/event-stream")

        return [
            Operation(
                id="discover_service", method="GET", path="/services/discover/{service_name}", handler=discover,
                summary="", tag="", scope="registry:read", query=DiscoverQuery, hot=True,
            ),
            Operation(
                id="register", method="POST", path="/services/register", handler=register, summary="", tag="",
                scope="registry:read", body=Register, hot=True,
            ),
            Operation(id="slow", method="GET", path="/slow", handler=slow, summary="", tag="", public=True, hot=True),
            Operation(id="end", method="GET", path="/end", handler=end, summary="", tag="", public=True),
            Operation(
                id="watch", method="GET", path="/watch", handler=watch, summary="", tag="", public=True, hot=True
            ),
        ]  # fmt: skip


class MemoryTransport(asyncio.Transport):
    """A transport that keeps what is written, and stops reading when it is told to."""

    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.9", 5), "sockname": ("10.0.0.1", 7000)})
        self.out = bytearray()
        self.closing = False
        self.waiting: list[bytes] = []
        self.paused = False
        self.protocol: asyncio.Protocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closing:
            self.out += data

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self._end()

    def abort(self) -> None:
        self._end()

    def _end(self) -> None:
        if not self.closing:
            self.closing = True
            if self.protocol is not None:
                asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        if self.waiting:
            asyncio.get_running_loop().call_soon(self._deliver)

    def feed(self, data: bytes) -> None:
        """Have bytes arrive."""
        self.waiting.append(data)
        self._deliver()

    def _deliver(self) -> None:
        while self.waiting and not self.paused and not self.closing:
            assert self.protocol is not None
            self.protocol.data_received(self.waiting.pop(0))


class Server:
    """One way of serving a world: with the lane or without."""

    def __init__(self, world: World, *, lane: bool, limit_concurrency: int | None = None) -> None:
        self.world = world
        mode = LaneMode.PROTOCOL if lane else LaneMode.ASGI
        self.config = configure(world.edge, mode=mode, lane=world.lane, limit_concurrency=limit_concurrency)
        self.config.load()
        self.state = ServerState()
        self.state.default_headers = list(DATE)
        self.lane = lane

    def connect(self) -> tuple[HubProtocol, MemoryTransport]:
        """Open a connection in memory."""
        transport = MemoryTransport()
        if self.lane:
            protocol: HubProtocol = LaneProtocol(self.config, self.state, {}, lane=self.world.lane)
        else:
            protocol = CarrierProtocol(self.config, self.state, {})
        transport.protocol = protocol
        protocol.connection_made(transport)
        return protocol, transport

    async def settle(self) -> None:
        """Let everything in flight come to its end or to a wait for the client."""
        quiet = 0
        while quiet < 3:
            await asyncio.sleep(0)
            quiet = 0 if any(not _waits_for_client(task) for task in self.state.tasks) else quiet + 1
            self._rounds = getattr(self, "_rounds", 0) + 1


def _waits_for_client(task: asyncio.Task[None]) -> bool:
    waiting_on = getattr(task, "_fut_waiter", None)
    return waiting_on is not None and not waiting_on.done()
