"""A proxy in front of PostgreSQL that cuts a connection at its COMMIT: before it arrives, or before its answer does."""

from __future__ import annotations

import asyncio
import contextlib
from enum import StrEnum

COMMIT = b"COMMIT\x00"


class Cut(StrEnum):
    """Where the connection is cut."""

    NEVER = "never"
    BEFORE = "before the server hears of it"
    AFTER = "after the server has done it, before the client hears of it"


class CuttingProxy:
    """Listens on a free port of loopback and passes everything on to a server, but for one COMMIT.

    Args:
        port: the server's, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.next_commit = Cut.NEVER
        self.cuts = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        answering = asyncio.create_task(self._pass_on(there, writer))
        try:
            while data := await reader.read(65_536):
                cut = self.next_commit if data.endswith(COMMIT) else Cut.NEVER
                if cut is not Cut.NEVER:
                    self.next_commit = Cut.NEVER
                    self.cuts += 1
                    answering.cancel()
                    if cut is Cut.AFTER:
                        back.write(data)
                        await back.drain()
                        await there.read(65_536)  # its answer, which goes nowhere
                    break
                back.write(data)
                await back.drain()
        except OSError:
            pass  # one side has gone; so does the other
        finally:
            answering.cancel()
            for each in (writer, back):
                each.transport.abort()
            self._writers -= {writer, back}

    async def _pass_on(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await there.read(65_536):
                writer.write(data)
                await writer.drain()
            writer.close()


class Silence(StrEnum):
    """Which way nothing goes any more, while connections stay open: a partition looks like that."""

    NEITHER = "neither"
    ANSWERS = "answers"
    BOTH = "both"


class SilentProxy:
    """Listens on a free port of loopback and passes everything on to a server, unless it is to keep silent.

    While it is silent new connections are taken and led nowhere; those of before get nothing, and end when it speaks
    again: what was held back would not fit any more.

    Args:
        port: the server's, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._silence = Silence.NEITHER

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def silence(self) -> Silence:
        """Which way nothing goes."""
        return self._silence

    @silence.setter
    def silence(self, silence: Silence) -> None:
        self._silence = silence
        if silence is Silence.NEITHER:
            for writer in list(self._writers):
                writer.transport.abort()

    async def __aenter__(self) -> SilentProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._pass(reader, back, Silence.BOTH), self._pass(there, writer, Silence.ANSWERS))
        finally:
            for each in (writer, back):
                each.transport.abort()
            self._writers -= {writer, back}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, silenced_by: Silence) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if self._silence is Silence.BOTH or self._silence is silenced_by:
                    continue  # lost on the way
                writer.write(data)
                await writer.drain()
        writer.transport.abort()
