"""What becomes of relays by itself, on record: an event that is set aside, a relay that is paused for it."""

from __future__ import annotations

from central_hub.kernel.brokers import Message, Trouble
from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import PLATFORM
from central_hub.kernel.records import HUB_ACTOR
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.relays.model import (
    PARKED_MAX,
    Parked,
    PausedBecause,
    Relay,
    RelayEventParked,
    RelayPaused,
    Status,
    relay_stream,
)
from central_hub.relays.view import RelaysView


class Outcomes:
    """Records what becomes of relays.

    Args:
        view: which there are.
        sequencer: makes facts durable.
        clock: wall time.
        parked_max: events of one relay that can be set aside.
    """

    def __init__(self, view: RelaysView, sequencer: Sequencer, clock: Clock, *, parked_max: int = PARKED_MAX) -> None:
        self._view = view
        self._sequencer = sequencer
        self._clock = clock
        self._parked_max = parked_max

    async def park(self, relay: Relay, message: Message, trouble: Trouble) -> None:
        """Set an event aside; the last that can be set aside pauses the relay.

        Raises:
            HubError: `store_unavailable`: it is not on record, and the relay must not go on without it.
        """
        parked = Parked(
            domain=message.tenant, seq=message.seq, event_id=message.id, event_type=message.type, trouble=trouble,
            bytes=len(message.body), at_ms=self._clock.now_ms(),
        )  # fmt: skip

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, relay_stream(relay.id))
            current = self._view.relay(PLATFORM, relay.id)
            if current is None:
                return
            streams = (relay_stream(relay.id),)
            tx.append(PLATFORM, RelayEventParked(relay_id=relay.id, parked=parked), streams=streams)
            full = len(self._view.parked(PLATFORM, relay.id)) + 1 >= self._parked_max
            if full and current.status is Status.RUNNING:
                fact = RelayPaused(relay_id=relay.id, reason=PausedBecause.PARKED)
                tx.append(PLATFORM, fact, streams=streams)

        await self._sequencer.submit(HUB_ACTOR, (PLATFORM,), decide)
