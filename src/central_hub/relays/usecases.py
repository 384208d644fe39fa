"""Commands about relays: create, change, pause, resume, delete. All of them are the platform's."""

from __future__ import annotations

from collections.abc import Callable

from central_hub.kernel.context import TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId, check_name
from central_hub.kernel.ports import Idempotency
from central_hub.kernel.sequencer import Sequencer, Tx
from central_hub.relays.model import (
    RELAYS_MAX,
    RELAYS_STREAM,
    PausedBecause,
    Relay,
    RelayChanged,
    RelayCreated,
    RelayDeleted,
    RelayPaused,
    RelayResumed,
    Settings,
    Start,
    Status,
    relay_stream,
)
from central_hub.relays.rules import check_settings, invalid, relay_missing
from central_hub.relays.view import RelaysView


class Relays:
    """Creates and changes relays.

    Args:
        view: what there is.
        sequencer: makes facts durable.
        has_secret: whether there is a secret of the platform at a path.
        has_tenant: whether there is such a tenant.
    """

    def __init__(
        self,
        view: RelaysView,
        sequencer: Sequencer,
        has_secret: Callable[[str], bool],
        has_tenant: Callable[[DomainId], bool],
    ) -> None:
        self._view = view
        self._sequencer = sequencer
        self._has_secret = has_secret
        self._has_tenant = has_tenant

    async def create(
        self, ctx: TenantContext, name: str, settings: Settings, start: Start, *, key: str | None = None
    ) -> Relay:
        """Create a relay.

        Raises:
            HubError: `invalid_name`, `reserved_name`, `invalid_relay` (422), `relay_exists` (409), `limit_reached`
                (429).
        """
        check_name(name, "relay")
        self._check(settings)

        def decide(tx: Tx) -> str:
            tx.touch(PLATFORM, RELAYS_STREAM)
            there = self._view.relays(PLATFORM)
            if any(one.name == name for one in there):
                raise HubError(
                    "relay_exists", Kind.CONFLICT, f"There is a relay '{name}' already.",
                    next_step="Change it with PUT, or choose another name.",
                )  # fmt: skip
            if len(there) >= RELAYS_MAX:
                raise HubError(
                    "limit_reached", Kind.LIMIT, f"There are {RELAYS_MAX} relays already, which is the limit.",
                    next_step="Delete relays that are not needed.", retry_after_s=60, fields={"limit": RELAYS_MAX},
                )  # fmt: skip
            relay = Relay(
                id=tx.new_id(), name=name, settings=settings, created_at_ms=tx.now_ms, created_by=ctx.principal.id
            )
            streams = (relay_stream(relay.id), RELAYS_STREAM)
            tx.append(PLATFORM, RelayCreated(relay=relay, start=start), streams=streams)
            return relay.id

        idempotency = None
        if key is not None:
            idempotency = Idempotency(domain=PLATFORM, source=ctx.principal.id, id=f"create_relay/{key}")
        committed = await self._sequencer.submit(ctx.actor, (PLATFORM,), decide, idempotency=idempotency)
        made = self._view.relay(PLATFORM, committed.answer)
        if made is None:  # deleted meanwhile
            raise relay_missing()
        return made

    async def change(self, ctx: TenantContext, name: str, settings: Settings) -> Relay:
        """Give a relay other settings; it goes on from where it stands.

        Raises:
            HubError: `relay_not_found` (404), `invalid_relay` (422).
        """
        self._check(settings)

        def decide(tx: Tx, relay: Relay) -> Fact | None:
            if settings.kind is not relay.settings.kind:
                raise invalid("kind", "stays what it was; create another relay for another broker")
            if bool(settings.into) is not bool(relay.settings.into):
                raise invalid("into", "says which way events go, which stays; create another relay for the other")
            return None if settings == relay.settings else RelayChanged(relay_id=relay.id, settings=settings)

        return await self._change(ctx, name, decide)

    async def pause(self, ctx: TenantContext, name: str) -> Relay:
        """Have a relay hand nothing over until it is resumed; one that is paused stays as it is.

        Raises:
            HubError: `relay_not_found` (404).
        """

        def decide(_tx: Tx, relay: Relay) -> Fact | None:
            paused = relay.status is Status.PAUSED
            return None if paused else RelayPaused(relay_id=relay.id, reason=PausedBecause.ASKED)

        return await self._change(ctx, name, decide)

    async def resume(self, ctx: TenantContext, name: str) -> Relay:
        """Have a relay go on with what waited; one that runs stays as it is.

        Raises:
            HubError: `relay_not_found` (404).
        """

        def decide(_tx: Tx, relay: Relay) -> Fact | None:
            return None if relay.status is Status.RUNNING else RelayResumed(relay_id=relay.id)

        return await self._change(ctx, name, decide)

    async def delete(self, ctx: TenantContext, name: str) -> None:
        """Forget a relay; what its broker has stays there. One that is not there is forgotten already."""

        def decide(tx: Tx) -> None:
            tx.touch(PLATFORM, RELAYS_STREAM)
            relay = self._view.named(PLATFORM, name)
            if relay is not None:
                tx.append(
                    PLATFORM, RelayDeleted(relay_id=relay.id), streams=(relay_stream(relay.id), RELAYS_STREAM)
                )  # fmt: skip

        await self._sequencer.submit(ctx.actor, (PLATFORM,), decide)

    def get(self, name: str) -> Relay:
        """Return a relay.

        Raises:
            HubError: `relay_not_found` (404).
        """
        found = self._view.named(PLATFORM, name)
        if found is None:
            raise relay_missing()
        return found

    async def _change(self, ctx: TenantContext, name: str, decide: Callable[[Tx, Relay], Fact | None]) -> Relay:
        def decided(tx: Tx) -> None:
            tx.touch(PLATFORM, RELAYS_STREAM)
            relay = self.get(name)
            tx.touch(PLATFORM, relay_stream(relay.id))
            fact = decide(tx, relay)
            if fact is not None:
                tx.append(PLATFORM, fact, streams=(relay_stream(relay.id),))

        await self._sequencer.submit(ctx.actor, (PLATFORM,), decided)
        return self.get(name)

    def _check(self, settings: Settings) -> None:
        check_settings(settings)
        if settings.secret and not self._has_secret(settings.secret):
            raise invalid("secret", "names no secret of the platform: put it there first")
        if settings.into and not self._has_tenant(DomainId(settings.into)):
            raise invalid("into", "names no tenant")
