"""Open streams of events: first what is in the log after a reader's position, then what is told as it becomes true.

A stream reads the log by itself until it has caught up with what was applied; from then on it is told with everyone
else: an event is encoded once and its frame shared. Whoever does not keep up is cut off, and resumes exactly by the
id of the last event it got. Work is done in slices, and the domains take turns, one event each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import structlog

from central_hub.edge.streams import Frame, Sink, event_frame
from central_hub.events.model import (
    CATCH_UP_BUFFER_BYTES,
    PAGE,
    PENDING_MAX,
    SCOPE_READ,
    STREAMS_MAX,
    STREAMS_PER_TENANT_MAX,
    WAITERS_PER_TENANT_MAX,
)
from central_hub.events.ports import Access
from central_hub.events.reading import EventReading, Told, Wanted
from central_hub.kernel.clock import Clock
from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import Applied

EVENT: Final = "event"
GONE: Final = "gone"
MOVED: Final = "position"
"""Says where a stream stands that nothing was for, so that it need not go back far when it resumes."""
SLICE_MS: Final = 1.0
SWEEP_S: Final = 5.0
"""Seconds between looks at who still may, and at streams whose position moved without an event for them."""
BACK_OFF_S: Final = 0.02

_log = structlog.get_logger("central_hub.events")


class _Stream:
    __slots__ = ("at", "ctx", "domain", "live", "sent", "sink", "task", "wanted")

    def __init__(self, ctx: TenantContext, domain: DomainId, sink: Sink, wanted: Wanted, at: int) -> None:
        self.ctx = ctx
        self.domain = domain
        self.sink = sink
        self.wanted = wanted
        self.at = at
        self.sent = at
        self.live = False
        self.task: asyncio.Task[None] | None = None


class _Channel:
    """One domain's streams and waiters, and what they are yet to be told."""

    __slots__ = ("pending", "streams", "waiters")

    def __init__(self) -> None:
        self.streams: dict[_Stream, None] = {}
        self.waiters: set[asyncio.Future[None]] = set()
        self.pending: deque[Applied] = deque()


class EventStreams:
    """Holds every open stream of events, and everyone who waits for one.

    Args:
        reading: the log as events.
        access: whether a stream's caller still may.
        clock: monotonic time, for slicing.
        per_tenant_max, in_all_max: streams.
    """

    def __init__(
        self,
        reading: EventReading,
        access: Access,
        clock: Clock,
        *,
        per_tenant_max: int = STREAMS_PER_TENANT_MAX,
        in_all_max: int = STREAMS_MAX,
    ) -> None:
        self._reading = reading
        self._access = access
        self._clock = clock
        self._per_tenant_max = per_tenant_max
        self._in_all_max = in_all_max
        self._channels: dict[DomainId, _Channel] = {}
        self._turns: deque[DomainId] = deque()
        self._work: Iterator[None] | None = None
        self._scheduled: asyncio.Handle | None = None
        self.open_streams = 0
        self.told = 0
        self.cut = 0

    def admit(self, domain: DomainId) -> None:
        """Refuse a stream past the limits; called before it is opened.

        Raises:
            HubError: `too_many_watchers` (429).
        """
        channel = self._channels.get(domain)
        own = 0 if channel is None else len(channel.streams)
        if own >= self._per_tenant_max or self.open_streams >= self._in_all_max:
            limit = self._per_tenant_max if own >= self._per_tenant_max else self._in_all_max
            raise HubError(
                "too_many_watchers",
                Kind.LIMIT,
                f"There are {limit} open streams already, which is the limit.",
                next_step="Close streams that nobody reads, or name more types in one.",
                retry_after_s=5,
                fields={"limit": limit},
            )

    def open(self, ctx: TenantContext, domain: DomainId, sink: Sink, wanted: Wanted, after: int) -> Callable[[], None]:
        """Begin a stream after a position.

        Returns:
            What to call when the client has gone.
        """
        stream = _Stream(ctx, domain, sink, wanted, after)
        self._channels.setdefault(domain, _Channel()).streams[stream] = None
        self.open_streams += 1
        if after == self._reading.head(domain):
            stream.live = True
        else:
            self._catch_up(stream)
        return lambda: self._leave(stream)

    def check(self, ctx: TenantContext) -> None:
        """Refuse a caller that waited and may no more.

        Raises:
            HubError: whatever has become of its access.
        """
        self._access.current(ctx).require(SCOPE_READ)

    async def wait(self, domain: DomainId, after: int, seconds: float) -> None:
        """Wait until a domain has moved past a position, or the time is up.

        Raises:
            HubError: `too_many_waiters` (429).
        """
        if seconds <= 0 or self._reading.head(domain) > after:
            return
        channel = self._channels.setdefault(domain, _Channel())
        if len(channel.waiters) >= WAITERS_PER_TENANT_MAX:
            raise HubError(
                "too_many_waiters",
                Kind.LIMIT,
                f"{WAITERS_PER_TENANT_MAX} blocking reads of this tenant are waiting, which is the limit.",
                next_step="Use one GET /events/stream instead.",
                retry_after_s=1,
            )
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel.waiters.add(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return
        finally:
            channel.waiters.discard(future)
            self._forget(domain, channel)

    def applied(self, batch: Sequence[Applied]) -> None:
        """Take note of what became true; a listener of the runner."""
        if not self._channels:
            return
        for applied in batch:
            channel = self._channels.get(applied.domain)
            if channel is None:
                continue
            for waiter in channel.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            if channel.streams:
                self._queue(applied.domain, channel, applied)

    async def run(self) -> None:
        """End the streams of those who may no more, and move positions on that no event moved, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            for channel in list(self._channels.values()):
                for stream in list(channel.streams):
                    if self._still_may(stream) and stream.live and stream.at > stream.sent:
                        stream.sink.write(event_frame(MOVED, b"{}", position=self._reading.position(stream.at)))
                        stream.sent = stream.at
                await asyncio.sleep(0)

    def access_changed(self, domain: DomainId) -> None:
        """Look at once at who still may read a domain's events."""
        channel = self._channels.get(domain)
        for stream in list(channel.streams) if channel is not None else ():
            self._still_may(stream)

    def close_all(self) -> None:
        """End every stream in order: the hub is going away."""
        for channel in list(self._channels.values()):
            for stream in list(channel.streams):
                stream.sink.close()

    def _queue(self, domain: DomainId, channel: _Channel, applied: Applied) -> None:
        if len(channel.pending) >= PENDING_MAX:
            # Too much at once to hold: whoever is live goes back to the log, at its own pace.
            channel.pending.clear()
            for stream in channel.streams:
                if stream.live:
                    stream.live = False
                    self._catch_up(stream)
            return
        channel.pending.append(applied)
        if len(channel.pending) == 1:
            self._turns.append(domain)
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self._slice)

    def _slice(self) -> None:
        """Work for a slice of time, then let others run."""
        self._scheduled = None
        ends_ms = self._clock.monotonic_ms() + SLICE_MS
        while self._work is not None or self._turns:
            if self._work is None:
                self._work = self._turn(self._turns.popleft())
            if next(self._work, self) is self:
                self._work = None
            if self._clock.monotonic_ms() >= ends_ms:
                self._scheduled = asyncio.get_running_loop().call_soon(self._slice)
                return

    def _turn(self, domain: DomainId) -> Iterator[None]:
        """Tell one event to a domain's streams; a generator, so that many streams are told in slices."""
        channel = self._channels.get(domain)
        if channel is None or not channel.pending:
            return
        applied = channel.pending.popleft()
        if channel.pending:
            self._turns.append(domain)
        seq = applied.domain_seq
        told = self._reading.told(applied)
        frame: Frame | None = None
        for at, stream in enumerate(list(channel.streams)):
            if not stream.live or seq <= stream.at:
                continue
            stream.at = seq
            if told is not None and (stream.wanted.everything or told.is_for(stream.wanted)):
                frame = frame or self._frame(told)
                self._write(stream, frame, seq)
            if at % 16 == 15:
                yield
        yield

    def _frame(self, told: Told) -> Frame:
        return event_frame(EVENT, told.body, position=self._reading.position(told.seq))

    def _write(self, stream: _Stream, frame: Frame, seq: int) -> None:
        if stream.sink.write(frame):
            stream.sent = seq
            self.told += 1
        else:
            self.cut += 1
            self._leave(stream)

    def _catch_up(self, stream: _Stream) -> None:
        stream.task = asyncio.get_running_loop().create_task(self._read_on(stream))

    async def _read_on(self, stream: _Stream) -> None:
        """Send what is in the log until the stream stands where the views do."""
        try:
            while not stream.sink.closed:
                page = await self._reading.page(stream.domain, stream.at, stream.wanted, PAGE)
                if not self._still_may(stream):
                    return
                for told in page.events:
                    self._write(stream, self._frame(told), told.seq)
                stream.at = page.seq
                # No await between this look and being live: what is applied later is told.
                if stream.at >= self._reading.head(stream.domain):
                    stream.live = True
                    return
                await _drained(stream.sink)
        except HubError as error:
            self._end(stream, error)
        except Exception:  # a bug here must end this stream, and be seen
            _log.exception("events.stream_failed")
            self._end(stream, None)

    def _end(self, stream: _Stream, error: HubError | None) -> None:
        if error is not None and error.code == "position_gone":
            stream.sink.write(event_frame(GONE, b'{"code":"position_gone"}'))
        self._leave(stream)
        stream.sink.close()

    def _still_may(self, stream: _Stream) -> bool:
        try:
            now = self._access.current(stream.ctx)
            now.require(SCOPE_READ)
        except HubError:
            self._leave(stream)
            stream.sink.close()
            return False
        stream.ctx = now
        return True

    def _leave(self, stream: _Stream) -> None:
        channel = self._channels.get(stream.domain)
        if channel is None or stream not in channel.streams:
            return
        del channel.streams[stream]
        self.open_streams -= 1
        if stream.task is not None and stream.task is not asyncio.current_task():
            stream.task.cancel()
        self._forget(stream.domain, channel)

    def _forget(self, domain: DomainId, channel: _Channel) -> None:
        if not channel.streams and not channel.waiters and self._channels.get(domain) is channel:
            del self._channels[domain]


async def _drained(sink: Sink) -> None:
    """Wait until a sink has room again, or is closed; looked at, since a connection tells nobody that it has."""
    while sink.buffered > CATCH_UP_BUFFER_BYTES and not sink.closed:  # noqa: ASYNC110  # nobody says when
        await asyncio.sleep(BACK_OFF_S)
