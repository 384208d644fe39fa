"""Passes on to the other hubs what instances say with their heartbeats, and takes what they pass on.

An instance beats to whichever hub it reaches; the one that judges it must hear, and all of them use what it says about
its load. What was heard within `GATHER_S` goes together, the latest of each instance. Lossy: a beat is repeated.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from central_hub.health.keeper import Keeper
from central_hub.health.view import Kept
from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import DomainId
from central_hub.kernel.signals import SIGNAL_BYTES_MAX, Signals
from central_hub.registry.signals import Loads

KIND: Final = "beats"
GATHER_S: Final = 0.1
GATHERED_MAX: Final = 20_000
"""Instances whose latest beat waits to be passed on; further ones are lost."""
SLICE: Final = 256
"""Beats packed or taken before others run."""


class Beat(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an instance said; None where it said nothing."""

    domain: str
    service: str
    instance_id: str
    in_flight: int | None = None
    load: float | None = None
    latency_ms_p95: float | None = None
    acked_seq: int | None = None


class Passing:
    """Passes beats on.

    Args:
        signals: how hubs speak to each other.
        keeper: the leases.
        loads: where load reports go.
        clock: wall and monotonic time.
    """

    def __init__(self, signals: Signals, keeper: Keeper, loads: Loads, clock: Clock) -> None:
        self._signals = signals
        self._keeper = keeper
        self._loads = loads
        self._clock = clock
        self._gathered: dict[Kept, Beat] = {}
        self._decoder = msgspec.msgpack.Decoder(list[Beat])
        signals.on(KIND, self.take)
        self.passed = 0
        self.taken = 0

    def heard(
        self,
        kept: Kept,
        *,
        in_flight: int | None = None,
        load: float | None = None,
        latency_ms_p95: float | None = None,
        acked_seq: int | None = None,
    ) -> None:
        """Have a beat passed on: to judge one instance a hub has to know how the others of its group are doing."""
        if self._signals.anybody and len(self._gathered) < GATHERED_MAX:
            self._gathered[kept] = Beat(
                kept.domain, kept.service, kept.instance_id, in_flight, load, latency_ms_p95, acked_seq
            )

    async def run(self) -> None:
        """Pass on what was gathered until cancelled."""
        while True:
            await asyncio.sleep(GATHER_S)
            gathered, self._gathered = list(self._gathered.values()), {}
            for start in range(0, len(gathered), SLICE):
                self._send(gathered[start : start + SLICE])
                await asyncio.sleep(0)

    def _send(self, beats: list[Beat]) -> None:
        """Send beats in as many signals as they need."""
        body = msgspec.msgpack.encode(beats)
        if len(body) > SIGNAL_BYTES_MAX and len(beats) > 1:
            half = len(beats) // 2
            self._send(beats[:half])
            self._send(beats[half:])
        elif len(body) <= SIGNAL_BYTES_MAX:
            self._signals.send(KIND, body)
            self.passed += len(beats)

    def take(self, body: bytes) -> None:
        """Take what another hub heard; an instance that is not here (yet, or any more) is passed over."""
        at_ms, now_ms = self._clock.monotonic_ms(), self._clock.now_ms()
        for beat in self._decoder.decode(body):
            kept = self._keeper.population.find(DomainId(beat.domain), beat.service, beat.instance_id)
            if kept is None:
                continue
            self.taken += 1
            self._keeper.renew(kept, at_ms, now_ms)
            self._loads.report(
                kept.domain, kept.service, kept.instance_id, at_ms=at_ms, in_flight=beat.in_flight, load=beat.load,
                latency_ms_p95=beat.latency_ms_p95, acked_seq=beat.acked_seq,
            )  # fmt: skip
            if beat.load is not None or beat.latency_ms_p95 is not None:
                self._keeper.report(
                    kept, load=beat.load, latency_ms_p95=beat.latency_ms_p95, at_ms=at_ms, now_ms=now_ms
                )  # fmt: skip
