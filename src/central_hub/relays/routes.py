"""The rows of relays and their handlers."""

from __future__ import annotations

from typing import Any, Final

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import PLATFORM
from central_hub.kernel.ownership import Ownership
from central_hub.relays.following import Following
from central_hub.relays.model import OWNED_WORK, SCOPE_ADMIN, SCOPE_READ, Relay, Start
from central_hub.relays.ports import Applying
from central_hub.relays.schemas import (
    CreateRelay,
    ParkedList,
    ParkedPage,
    PutRelay,
    RelayAnswer,
    RelayList,
    parked_answer,
    relay_answer,
    settings_of,
)
from central_hub.relays.usecases import Relays
from central_hub.relays.view import RelaysView

TAG: Final = "relays"
BODY_BYTES_MAX: Final = 131_072
"""Room for 64 names each, and certificates."""


class RelayRoutes:
    """Handlers: each translates a call and its answer, nothing more.

    Args:
        relays: commands.
        view: what there is.
        following: where relays stand.
        ownership: which are this hub's.
        applying: where the log ends.
        clock: wall time.
    """

    def __init__(
        self,
        relays: Relays,
        view: RelaysView,
        following: Following,
        ownership: Ownership,
        applying: Applying,
        clock: Clock,
    ) -> None:
        self._relays = relays
        self._view = view
        self._following = following
        self._ownership = ownership
        self._applying = applying
        self._clock = clock

    async def create_relay(self, call: Call) -> Reply:
        """Create a relay."""
        body: CreateRelay = call.body
        settings = settings_of(body, start=body.start)
        relay = await self._relays.create(call.ctx, body.name, settings, body.start, key=call.idempotency_key)
        return Reply(body=self._shown(relay))

    async def list_relays(self, call: Call) -> Reply:
        """List relays."""
        return Reply(body=RelayList(relays=[self._shown(one) for one in self._view.relays(PLATFORM)]))

    async def get_relay(self, call: Call) -> Reply:
        """Show a relay."""
        return Reply(body=self._shown(self._relays.get(call.path["relay_name"])))

    async def put_relay(self, call: Call) -> Reply:
        """Change a relay."""
        beginning = self._relays.get(call.path["relay_name"]).settings.beginning
        start = Start.START if beginning else Start.NOW
        relay = await self._relays.change(call.ctx, call.path["relay_name"], settings_of(call.body, start=start))
        return Reply(body=self._shown(relay))

    async def pause_relay(self, call: Call) -> Reply:
        """Pause a relay."""
        return Reply(body=self._shown(await self._relays.pause(call.ctx, call.path["relay_name"])))

    async def resume_relay(self, call: Call) -> Reply:
        """Resume a relay."""
        return Reply(body=self._shown(await self._relays.resume(call.ctx, call.path["relay_name"])))

    async def delete_relay(self, call: Call) -> Reply:
        """Forget a relay."""
        await self._relays.delete(call.ctx, call.path["relay_name"])
        return Reply()

    async def list_relay_parked(self, call: Call) -> Reply:
        """Show what a relay set aside."""
        page: ParkedPage = call.query
        relay = self._relays.get(call.path["relay_name"])
        latest = self._view.parked(PLATFORM, relay.id)[-page.limit :]
        return Reply(body=ParkedList(parked=[parked_answer(one) for one in latest]))

    def _shown(self, relay: Relay) -> RelayAnswer:
        return relay_answer(
            relay,
            self._following.line(relay.id),
            ours=self._ownership.owns(OWNED_WORK, relay.id),
            parked=len(self._view.parked(PLATFORM, relay.id)),
            pos=self._applying.pos,
            now_ms=self._clock.now_ms(),
        )


def operations(routes: RelayRoutes) -> tuple[Operation, ...]:
    """Return the rows of relays."""
    one = "/relays/{relay_name}"
    reads: dict[str, Any] = {"tag": TAG, "platform": True, "scope": SCOPE_READ}  # Any: Operation's own types
    writes: dict[str, Any] = {"tag": TAG, "platform": True, "scope": SCOPE_ADMIN}  # Any: as above
    missing = ("relay_not_found",)
    return (
        Operation(
            id="create_relay", method="POST", path="/relays", handler=routes.create_relay, body=CreateRelay,
            body_bytes_max=BODY_BYTES_MAX, answer=RelayAnswer, status=201,
            problems=("invalid_relay", "invalid_name", "reserved_name", "relay_exists"),
            summary="Have events go to a message broker (NATS JetStream, Redis Streams, Kafka), or come from one.",
            description="At least once, in order within a tenant's aggregate, as CloudEvents. The credential is the "
            "path of a secret of the platform below `relays/`.", **writes,
        ),
        Operation(
            id="list_relays", method="GET", path="/relays", handler=routes.list_relays, answer=RelayList,
            summary="List the relays and where each stands.", **reads,
        ),
        Operation(
            id="get_relay", method="GET", path=one, handler=routes.get_relay, answer=RelayAnswer, problems=missing,
            summary="Show a relay and where it stands.", **reads,
        ),
        Operation(
            id="put_relay", method="PUT", path=one, handler=routes.put_relay, body=PutRelay,
            body_bytes_max=BODY_BYTES_MAX, answer=RelayAnswer, problems=(*missing, "invalid_relay"),
            summary="Give a relay other settings; it goes on from where it stands.", **writes,
        ),
        Operation(
            id="pause_relay", method="POST", path=one + "/pause", handler=routes.pause_relay, answer=RelayAnswer,
            problems=missing, summary="Have a relay hand nothing over; what happens waits for it in the log.",
            **writes,
        ),
        Operation(
            id="resume_relay", method="POST", path=one + "/resume", handler=routes.resume_relay, answer=RelayAnswer,
            problems=missing, summary="Have a relay go on with what waited.", **writes,
        ),
        Operation(
            id="delete_relay", method="DELETE", path=one, handler=routes.delete_relay, status=204,
            summary="Delete a relay; what its broker has stays there. One that is gone is fine.", **writes,
        ),
        Operation(
            id="list_relay_parked", method="GET", path=one + "/parked", handler=routes.list_relay_parked,
            query=ParkedPage, answer=ParkedList, problems=missing,
            summary="Show the latest events that a relay's broker will never take.", **reads,
        ),
    )  # fmt: skip
