"""Tells open streams that their flags may answer differently now, and tells nobody else.

Streams of one tenant, tier and environment are a group with one fingerprint of all that its flags can say. When
something changed, a group whose fingerprint moved is told to ask again; a change that does not concern it leaves
it in silence, so nobody learns that others' rules were edited.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from central_hub.edge.streams import Frame, Sink, event_frame
from central_hub.flags.evaluation import Asker, FlagSets
from central_hub.flags.model import SCOPE_READ
from central_hub.flags.ports import Access
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Applied

STREAMS_PER_TENANT_MAX: Final = 1_000
STREAMS_MAX: Final = 20_000
SLICE_MS: Final = 1.5
SWEEP_S: Final = 1.0
SWEEP_ALL_EVERY: Final = 60
"""Sweeps between looks at every stream: a grant that ends by the clock writes no fact."""
EVENT: Final = "message"
"""The only event name the protocol has; what it is about stands in the data."""


class _Stream:
    __slots__ = ("ctx", "environment", "sink")

    def __init__(self, ctx: TenantContext, environment: str, sink: Sink) -> None:
        self.ctx = ctx
        self.environment = environment
        self.sink = sink


class _Group:
    __slots__ = ("asker", "fingerprint", "streams")

    def __init__(self, asker: Asker, fingerprint: str) -> None:
        self.asker = asker
        self.fingerprint = fingerprint
        self.streams: dict[_Stream, None] = {}


class FlagStreams:
    """Holds every open stream of flags.

    Args:
        sets: what flags say.
        access: whether a stream's caller still may.
        clock: wall time for what is told, monotonic for slicing.
        concerning: types of facts beyond flags' own after which a tenant's answers may differ.
        per_tenant_max, in_all_max: streams.
    """

    def __init__(
        self,
        sets: FlagSets,
        access: Access,
        clock: Clock,
        concerning: frozenset[str],
        *,
        per_tenant_max: int = STREAMS_PER_TENANT_MAX,
        in_all_max: int = STREAMS_MAX,
    ) -> None:
        self._sets = sets
        self._access = access
        self._clock = clock
        self._concerning = concerning
        self._per_tenant_max = per_tenant_max
        self._in_all_max = in_all_max
        self._groups: dict[Asker, _Group] = {}
        self._by_domain: dict[DomainId, dict[_Stream, _Group]] = {}
        self._dirty: dict[DomainId, None] = {}
        self._work: Iterator[None] | None = None
        self._scheduled: asyncio.Handle | None = None
        self.open_streams = 0
        self.told = 0

    def admit(self, domain: DomainId) -> None:
        """Refuse a stream past the limits; called before it is opened.

        Raises:
            HubError: `too_many_watchers` (429).
        """
        own = len(self._by_domain.get(domain, ()))
        if own >= self._per_tenant_max or self.open_streams >= self._in_all_max:
            limit = self._per_tenant_max if own >= self._per_tenant_max else self._in_all_max
            raise HubError(
                "too_many_watchers",
                Kind.LIMIT,
                f"There are {limit} open streams already, which is the limit.",
                next_step="Close streams that nobody reads, or poll with If-None-Match.",
                retry_after_s=5,
                fields={"limit": limit},
            )

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return a stream's caller as it is now.

        Raises:
            HubError: `invalid_credential` (401), `tenant_suspended`, `tenant_mismatch`, `scope_missing` (403).
        """
        now = self._access.current(ctx)
        principal = now.principal
        named = principal.home == ctx.tenant_id or principal.assertable is None or ctx.tenant_id in principal.assertable
        if not named:
            raise HubError("tenant_mismatch", Kind.DENIED, "The credential no longer speaks for this tenant.")
        now.require(SCOPE_READ)
        return now

    def open(self, ctx: TenantContext, environment: str, sink: Sink, *, last_id: str = "") -> Callable[[], None]:
        """Begin a stream; what it knows already is not said again.

        Args:
            ctx: the caller, renewed.
            environment: which one it asks about.
            sink: where events go.
            last_id: the last event it got, empty for none.

        Returns:
            What to call when the client has gone.
        """
        stream = _Stream(ctx, environment, sink)
        group = self._join(stream)
        if last_id != group.fingerprint:
            sink.write(self._frame(group.fingerprint))
        return lambda: self._leave(stream)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Look at the streams that what became true may concern."""
        if not self.open_streams:
            return
        for one in batch:
            if one.type not in self._concerning:
                continue
            if one.domain == PLATFORM:
                self._dirty.update(dict.fromkeys(self._by_domain))
            elif one.domain in self._by_domain:
                self._dirty[one.domain] = None
        if self._dirty:
            self._schedule()

    async def run(self) -> None:
        """End streams whose credentials run out, and notice what ends by the clock, until cancelled."""
        sweeps = 0
        while True:
            await asyncio.sleep(SWEEP_S)
            sweeps += 1
            if sweeps % SWEEP_ALL_EVERY == 0:
                self._dirty.update(dict.fromkeys(self._by_domain))
            expiring = [
                domain
                for domain, streams in self._by_domain.items()
                if any(stream.ctx.principal.expires_at_ms for stream in streams)
            ]
            self._dirty.update(dict.fromkeys(expiring))
            if self._dirty:
                self._schedule()

    def close_all(self) -> None:
        """End every stream in order: the hub is going away."""
        for streams in list(self._by_domain.values()):
            for stream in list(streams):
                stream.sink.close()

    def _join(self, stream: _Stream) -> _Group:
        ctx = stream.ctx
        asker = Asker(ctx.domain, ctx.tier, stream.environment)
        group = self._groups.get(asker)
        if group is None:
            group = self._groups[asker] = _Group(asker, self._sets.fingerprint(asker))
        group.streams[stream] = None
        self._by_domain.setdefault(ctx.domain, {})[stream] = group
        self.open_streams += 1
        return group

    def _leave(self, stream: _Stream) -> None:
        domain = stream.ctx.domain
        streams = self._by_domain.get(domain, {})
        group = streams.pop(stream, None)
        if group is None:
            return
        self.open_streams -= 1
        if not streams:
            self._by_domain.pop(domain, None)
        group.streams.pop(stream, None)
        if not group.streams:
            self._groups.pop(group.asker, None)

    def _schedule(self) -> None:
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._slice)

    def _slice(self) -> None:
        """Work for a slice of time, then let others run."""
        self._scheduled = None
        ends_ms = self._clock.monotonic_ms() + SLICE_MS
        while self._work is not None or self._dirty:
            if self._work is None:
                self._work = self._look(next(iter(self._dirty)))
            if next(self._work, self) is self:
                self._work = None
            if self._clock.monotonic_ms() >= ends_ms:
                self._scheduled = asyncio.get_running_loop().call_soon(self._slice)
                return

    def _look(self, domain: DomainId) -> Iterator[None]:
        self._dirty.pop(domain, None)
        for stream in list(self._by_domain.get(domain, ())):
            self._hold_access(stream)
            yield
        groups = dict.fromkeys(self._by_domain.get(domain, {}).values())
        for group in groups:
            fingerprint = self._sets.fingerprint(group.asker)
            yield
            if fingerprint == group.fingerprint:
                continue
            group.fingerprint = fingerprint
            frame = self._frame(fingerprint)
            for stream in list(group.streams):
                self.told += stream.sink.write(frame)
                yield

    def _hold_access(self, stream: _Stream) -> None:
        """End a stream whose caller may no more; move one whose tier changed to its new group."""
        try:
            now = self.current(stream.ctx)
        except HubError:
            self._leave(stream)
            stream.sink.close()
            return
        if now is stream.ctx:
            return
        before = self._by_domain[stream.ctx.domain][stream]
        self._leave(stream)
        stream.ctx = now
        group = self._join(stream)
        if group.fingerprint != before.fingerprint:
            self.told += stream.sink.write(self._frame(group.fingerprint))

    def _frame(self, fingerprint: str) -> Frame:
        data = {
            "type": "refetchEvaluation",
            "etag": fingerprint,
            "lastModified": self._clock.now_ms() // 1_000,
        }
        return event_frame(EVENT, msgspec.json.encode(data), position=fingerprint)
