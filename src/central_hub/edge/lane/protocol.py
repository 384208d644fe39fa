"""The protocol in front of uvicorn's: it looks at a packet before the parser does.

Leans on these internals of uvicorn's `HttpToolsProtocol`, pinned by a test: `cycle` and its
`response_complete`, `flow.write_paused`, `timeout_keep_alive_task` with its handler,
`on_message_begin`, `on_message_complete`, `_unsupported_upgrade_warning`, `server_state`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from central_hub.edge.connection import CarrierProtocol
from central_hub.edge.lane.answers import DefaultHeaders, Lane, OriginMemory
from central_hub.edge.lane.commands import Running
from central_hub.edge.lane.lines import PACKET_BYTES_MAX
from central_hub.edge.lane.render import whole_answer

GET_INITIAL: Final = ord("G")
BEHIND_BYTES_MAX: Final = 65_536
"""What may wait behind a command of the lane's before reading is paused; one read more can be held."""


class LaneProtocol(CarrierProtocol):
    """The lane: a packet that is exactly one plain hot request is answered here, every other byte goes on."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # Any: ASGI's lifespan state
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        lane: Lane,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._lane = lane
        self._memory: OriginMemory | None = None
        # `_between`: the parser is between two messages, and nothing happened on this connection
        # that the lane does not know its way around (an upgrade). An access log wants every request.
        self._eligible = not self.access_log
        self._between = self._eligible
        self._served_at = 0.0
        self._command_lines = lane.command_lines
        self._hot = lane.prefixes + lane.command_lines
        # A command of the lane's is on its way: what arrives meanwhile waits, and so does an orderly end.
        self._running = False
        self._behind: deque[bytes] = deque()
        self._behind_bytes = 0
        self._ends_after = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Join the memory of this origin."""
        super().connection_made(transport)
        self._memory = self._lane.connected(self.client[0] if self.client else "")

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the memory of this origin."""
        super().connection_lost(exc)
        if self._memory is not None:
            self._lane.disconnected(self._memory)
            self._memory = None
        self._behind.clear()

    def data_received(self, data: bytes) -> None:
        """Answer a hot request, or hand the bytes on untouched."""
        if self._running:
            self._wait(data)
            return
        if self._hold is not None and self._keep(data):
            return
        if (
            self._between
            and len(data) <= PACKET_BYTES_MAX
            and data.startswith(self._hot)
            and (self.cycle is None or self.cycle.response_complete)  # pyright: ignore[reportUnnecessaryComparison]  # uvicorn starts with None
            and not self.flow.write_paused
            and self._memory is not None
            and (self.limit_concurrency is None or self._below_limit(self.limit_concurrency))
        ):
            if data.startswith(self._command_lines):
                running = self._lane.command(data, self._memory)
                if running is not None:
                    self._run(running)
                    return
            else:
                serve = self._lane.answer if data[0] == GET_INITIAL else self._lane.signal
                answer = serve(data, self._memory, self.server_state.default_headers)
                if answer is not None:
                    self._send(answer)
                    return
        super().data_received(data)

    def shutdown(self) -> None:
        """Begin an orderly end: a command on its way is answered first."""
        if self._running:
            self._ends_after = True
        else:
            super().shutdown()

    def _send(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.server_state.total_requests += 1
        self._served_at = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._arm(self.timeout_keep_alive)

    def _run(self, running: Running) -> None:
        self._running = True
        task = self.loop.create_task(self._finish(running, self.server_state.default_headers))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _finish(self, running: Running, default_headers: DefaultHeaders) -> None:
        answer = await running
        self._running = False
        if self.transport.is_closing():
            return
        self._send(whole_answer(answer, default_headers))
        if self._ends_after:
            self.transport.close()
            return
        if self._behind:
            self._go_on()

    def _wait(self, data: bytes) -> None:
        self._behind.append(data)
        self._behind_bytes += len(data)
        if self._behind_bytes > BEHIND_BYTES_MAX:
            self.flow.pause_reading()

    def _go_on(self) -> None:
        """Take up what arrived behind a command, up to the next one."""
        self.flow.resume_reading()
        while self._behind and not self._running and not self.transport.is_closing():
            data = self._behind.popleft()
            self._behind_bytes -= len(data)
            self.data_received(data)

    def send_400_response(self, msg: str) -> None:
        """Keep the lane off a connection that is about to end."""
        self._eligible = self._between = False
        super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Note that the parser is inside a message: nothing is the lane's until it has ended."""
        self._between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Note that the parser is between messages again."""
        super().on_message_complete()
        self._between = self._eligible

    def handle_websocket_upgrade(self) -> None:
        """Leave the memory of this origin: what follows is no request."""
        self._eligible = self._between = False
        if self._memory is not None:
            self._lane.disconnected(self._memory)
            self._memory = None
        super().handle_websocket_upgrade()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one that the lane served meanwhile gets the rest of its time."""
        if self._running:
            self._arm(self.timeout_keep_alive)
            return
        remaining_s = self._served_at + self.timeout_keep_alive - self.loop.time()
        if self._served_at and remaining_s > 0 and not self.transport.is_closing():
            self._arm(remaining_s)
        else:
            super().timeout_keep_alive_handler()

    def _arm(self, delay_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(delay_s, self.timeout_keep_alive_handler)

    def _below_limit(self, limit: int) -> bool:
        return len(self.connections) < limit and len(self.tasks) < limit

    def _unsupported_upgrade_warning(self) -> None:
        self._eligible = self._between = False
        super()._unsupported_upgrade_warning()
