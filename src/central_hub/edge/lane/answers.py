"""From a packet to the bytes of its answer: the lane's memory and its hit.

The exact bytes of a packet lead to a plan (entry, caller, counter). A plan is only as good as
the epochs it was made in; what time alone can change (a key's expiry, the caller's share of the
hub) is looked at on every hit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from central_hub.edge.authenticate import Positions
from central_hub.edge.lane.commands import LaneCommand, Running
from central_hub.edge.lane.entries import (
    Epochs,
    LaneAuth,
    LaneEntries,
    LaneEntry,
    LanePrincipal,
    LaneSignals,
    LookupCounter,
)
from central_hub.edge.lane.lines import PACKET_BYTES_MAX, Lines, Parsed
from central_hub.edge.lane.render import caller_lines, entry_lines, opening_lines, with_correlation

PLANS_MAX: Final = 8_192
"""Plans kept over all origins; one more and all are forgotten."""
PACKET_MEMO_BYTES_MAX: Final = 1_024
"""Longest packet that is remembered by its exact bytes."""
DRAW_BITS: Final = 8
SIGNAL_PREFIX: Final = b"PUT /services/"

DefaultHeaders = list[tuple[bytes, bytes]]


class Plan:
    """How one exact request is answered."""

    __slots__ = ("auth", "counter", "entries", "entry", "moved", "principal", "service", "state", "tail")

    def __init__(
        self,
        *,
        service: str,
        principal: LanePrincipal,
        entries: LaneEntries,
        entry: LaneEntry,
        counter: LookupCounter,
        auth: int,
    ) -> None:
        self.service = service
        self.principal = principal
        self.entries = entries
        self.entry = entry
        self.counter = counter
        self.auth = auth
        self.state = -1
        self.moved = -1
        self.tail = b""


class OriginMemory:
    """What is remembered about the requests from one address, while it has connections."""

    __slots__ = ("connections", "origin", "plans", "principals")

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.connections = 0
        self.plans: dict[bytes | tuple[bytes, ...], Plan] = {}
        self.principals: dict[tuple[bytes, ...], tuple[int, LanePrincipal]] = {}


class Lane:
    """The hub's fast answers, one for all connections.

    Args:
        routes: path prefix (with its trailing slash) to the entries behind it.
        auth: proves callers.
        positions: what `Hub-Seq` says.
        epochs: bumped by whoever changes the world.
        now_ms, monotonic_ms: the clock.
        draw: returns that many random bits.
        signals, signal_auth: soft state that is taken here, and who may send it.
        commands: what is begun here, by request line.
    """

    def __init__(
        self,
        routes: Mapping[str, LaneEntries],
        auth: LaneAuth,
        positions: Positions,
        epochs: Epochs,
        *,
        now_ms: Callable[[], int],
        monotonic_ms: Callable[[], float],
        draw: Callable[[int], int],
        signals: LaneSignals | None = None,
        signal_auth: LaneAuth | None = None,
        commands: Mapping[bytes, LaneCommand] | None = None,
    ) -> None:
        self.prefixes = tuple(b"GET " + prefix.encode("ascii") for prefix in routes)
        if signals is not None:
            self.prefixes += (SIGNAL_PREFIX,)
        self.command_lines = tuple(commands or ())
        self.hits = 0
        self.signals = 0
        self.commands = 0
        self._commands = commands or {}
        self._signals = signals
        self._signal_auth = signal_auth
        self._routes = {prefix.encode("ascii"): entries for prefix, entries in routes.items()}
        self._auth = auth
        self._positions = positions
        self._epochs = epochs
        self._now_ms = now_ms
        self._monotonic_ms = monotonic_ms
        self._draw = draw
        self._lines = Lines()
        self._memories: dict[str, OriginMemory] = {}
        self._plans = 0
        self._default_headers: DefaultHeaders | None = None
        self._opening = b""

    def connected(self, origin: str) -> OriginMemory:
        """Take note of a connection; returns the memory its requests share."""
        memory = self._memories.setdefault(origin, OriginMemory(origin))
        memory.connections += 1
        return memory

    def disconnected(self, memory: OriginMemory) -> None:
        """Take note that a connection is gone; with its last one an origin is forgotten."""
        memory.connections -= 1
        if memory.connections <= 0 and self._memories.get(memory.origin) is memory:
            self._plans -= len(memory.plans)
            del self._memories[memory.origin]

    def answer(self, packet: bytes, memory: OriginMemory, default_headers: DefaultHeaders) -> bytes | None:
        """Return the whole answer to a packet, or None: then it is the framework's.

        Args:
            packet: bytes as they arrived, with nothing before them in flight.
            memory: of the connection's origin.
            default_headers: what the server adds to every answer.
        """
        epochs = self._epochs
        plan = memory.plans.get(packet)
        if (
            plan is not None
            and plan.auth == epochs.auth
            and epochs.is_open
            and (plan.state == epochs.state or self._refresh(plan))
        ):
            tail = plan.tail if plan.moved == epochs.moved else self._retail(plan)
        else:
            found = self._resolve(packet, memory)
            if found is None:
                return None
            plan, tail = found
        principal = plan.principal
        if principal.expires_at_ms and self._now_ms() >= principal.expires_at_ms:
            return None
        now_ms = self._monotonic_ms()
        entry = plan.entry
        if now_ms >= entry.fresh_until_ms:
            fresh = plan.entries.entry(plan.service, principal.ctx)
            if fresh is None:
                return None
            entry = plan.entry = fresh
        if principal.limiter.take(now_ms):
            return None
        variant = entry.only or entry.table[self._draw(DRAW_BITS)]
        plan.counter.count += 1
        self.hits += 1
        return b"".join((self._opening_of(default_headers), variant.lines, tail, variant.opening, entry.rest))

    def signal(self, packet: bytes, memory: OriginMemory, default_headers: DefaultHeaders) -> bytes | None:
        """Take a signal and return the whole answer, or None: then nothing was taken, and it is the framework's.

        Args: as those of `answer`.
        """
        signals = self._signals
        if signals is None or self._signal_auth is None or not self._epochs.is_open:
            return None
        request = signals.request.match(packet)
        parsed = None if request is None else self._lines.parse_signal(packet, request.end())
        if request is None or parsed is None:
            return None
        stable = (SIGNAL_PREFIX, *parsed.stable)
        principal = self._principal(self._signal_auth, parsed, stable, memory)
        if principal is None or (principal.expires_at_ms and self._now_ms() >= principal.expires_at_ms):
            return None
        names = tuple([name.decode("ascii") for name in request.groups()])
        body = signals.take(principal.ctx, names, parsed.body)
        if body is None:
            return None
        self.signals += 1
        tail = self._tail(principal)
        if parsed.correlation_id:
            tail = with_correlation(tail, parsed.correlation_id)
        return b"".join((self._opening_of(default_headers), entry_lines(len(body), None), tail, body))

    def command(self, packet: bytes, memory: OriginMemory) -> Running | None:
        """Return a command ready to run, or None: then nothing was done, and it is the framework's.

        Args:
            packet: begins with one of `command_lines`.
            memory: of the connection's origin.
        """
        if not self._epochs.is_open:
            return None
        begin = packet.find(b"\n") + 1
        line = packet[:begin]
        command = self._commands.get(line)
        parsed = None if command is None else self._lines.parse_signal(packet, begin)
        if command is None or parsed is None:
            return None
        principal = self._principal(command.auth, parsed, (line, *parsed.stable), memory)
        if principal is None or (principal.expires_at_ms and self._now_ms() >= principal.expires_at_ms):
            return None
        running = command.begin(principal, parsed, self._monotonic_ms())
        if running is not None:
            self.commands += 1
        return running

    def _opening_of(self, default_headers: DefaultHeaders) -> bytes:
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            self._opening = opening_lines(default_headers)
        return self._opening

    def _resolve(self, packet: bytes, memory: OriginMemory) -> tuple[Plan, bytes] | None:
        if not self._epochs.is_open or len(packet) > PACKET_BYTES_MAX:
            return None
        parsed = self._lines.parse(packet)
        if parsed is None:
            return None
        plan = self._plan(parsed, memory)
        if plan is None:
            if memory.plans.pop(packet, None) is not None:
                self._plans -= 1
            return None
        if parsed.volatile:
            return plan, with_correlation(plan.tail, parsed.correlation_id)
        if len(packet) <= PACKET_MEMO_BYTES_MAX:
            self._remember(memory, packet, plan)
        return plan, plan.tail

    def _plan(self, parsed: Parsed, memory: OriginMemory) -> Plan | None:
        entries = self._routes.get(parsed.prefix)
        if entries is None:
            return None
        epochs = self._epochs
        stable = tuple(parsed.stable)
        key = (parsed.prefix, parsed.name, *stable)
        plan = memory.plans.get(key)
        if plan is None or plan.auth != epochs.auth:
            principal = self._principal(self._auth, parsed, stable, memory)
            if principal is None:
                return None
            service = parsed.name.decode("ascii")
            entry = entries.entry(service, principal.ctx)
            if entry is None:
                return None
            plan = Plan(
                service=service,
                principal=principal,
                entries=entries,
                entry=entry,
                counter=entries.lookups(principal.ctx, service),
                auth=epochs.auth,
            )
            self._remember(memory, key, plan)
        if plan.state != epochs.state and not self._refresh(plan):
            return None
        if plan.moved != epochs.moved:
            self._retail(plan)
        return plan

    def _refresh(self, plan: Plan) -> bool:
        """Bring a plan up to the present state; False when the framework has to answer."""
        entry = plan.entries.entry(plan.service, plan.principal.ctx)
        if entry is None:
            return False
        plan.entry = entry
        plan.state = self._epochs.state
        self._retail(plan)
        return True

    def _retail(self, plan: Plan) -> bytes:
        """Bring a plan's position up to date; returns the caller's lines."""
        plan.moved = self._epochs.moved
        plan.tail = self._tail(plan.principal)
        return plan.tail

    def _principal(
        self, auth: LaneAuth, parsed: Parsed, stable: tuple[bytes, ...], memory: OriginMemory
    ) -> LanePrincipal | None:
        known = memory.principals.get(stable)
        if known is not None and known[0] == self._epochs.auth:
            return known[1]
        principal = auth.authorize(parsed.headers, memory.origin)
        if principal is not None:
            if len(memory.principals) >= PLANS_MAX:
                memory.principals.clear()
            memory.principals[stable] = (self._epochs.auth, principal)
        return principal

    def _tail(self, principal: LanePrincipal) -> bytes:
        at = (self._epochs.state, self._epochs.moved)
        if principal.tail_at != at:
            ctx = principal.ctx
            position = self._positions.position_of(ctx)
            principal.tail = caller_lines(position.format(), ctx.tier, position.stale_ms)
            principal.tail_at = at
        return principal.tail

    def _remember(self, memory: OriginMemory, key: bytes | tuple[bytes, ...], plan: Plan) -> None:
        if self._plans >= PLANS_MAX:
            for each in self._memories.values():
                each.plans.clear()
                each.principals.clear()
            self._plans = 0
        if key not in memory.plans:
            self._plans += 1
        memory.plans[key] = plan
