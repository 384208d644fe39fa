"""Relays, wired: which there are, and the follower that hands events to brokers."""

from __future__ import annotations

from dataclasses import dataclass

from central_hub.adapters.brokers.opening import BrokerLinks
from central_hub.app.parts import Core
from central_hub.edge.operations import Operation
from central_hub.events.reading import EventReading
from central_hub.kernel.brokers import Brokers
from central_hub.kernel.ids import PLATFORM
from central_hub.kernel.ports import Sealer
from central_hub.monitoring.metrics import Collector
from central_hub.monitoring.relays import relays_collector
from central_hub.relays.following import Following
from central_hub.relays.outcomes import Outcomes
from central_hub.relays.routes import RelayRoutes
from central_hub.relays.routes import operations as relays_operations
from central_hub.relays.usecases import Relays
from central_hub.secrets.rules import bound_to
from central_hub.secrets.view import SecretsView


class PlatformCredentials:
    """Implements `Credentials` on the platform's secrets.

    What a relay proves itself with stays inside the hub, so it is not on record as read each time a link is opened;
    that a relay names it is.
    """

    def __init__(self, secrets: SecretsView, sealer: Sealer) -> None:
        self._secrets = secrets
        self._sealer = sealer

    def has(self, path: str) -> bool:
        """Say whether there is a secret at a path."""
        return self._secrets.secret(PLATFORM, path) is not None

    def value(self, path: str) -> str | None:
        """Return the newest value of a secret; None when there is none."""
        secret = self._secrets.secret(PLATFORM, path)
        if secret is None:
            return None
        newest = secret.newest
        opened = self._sealer.open(PLATFORM, newest.key_id, newest.sealed, bound_to(PLATFORM, path, newest.number))
        return opened.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Relaying:
    """What hands events to brokers."""

    relays: Relays
    following: Following
    routes: RelayRoutes
    core: Core

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of relays."""
        return relays_operations(self.routes)

    def collector(self) -> Collector:
        """Return the collector of what is counted here."""
        return relays_collector(self.core.relays, self.following, self.core.runner, self.core.clock)


def relaying(core: Core, reading: EventReading, *, brokers: Brokers | None = None) -> Relaying:
    """Wire relays.

    Args:
        core: what everything stands on.
        reading: how records are told.
        brokers: opens links, with the libraries that are installed by default.
    """
    credentials = PlatformCredentials(core.secrets, core.stores.sealer)
    relays = Relays(core.relays, core.sequencer, credentials.has)
    following = Following(
        core.relays,
        reading,
        core.stores.log,
        core.runner,
        brokers or BrokerLinks(),
        credentials,
        Outcomes(core.relays, core.sequencer, core.clock),
        core.stores.cursors,
        core.ownership,
        core.stores.sealer,
        core.clock,
        core.draw,
    )
    core.runner.listen(following.applied)
    return Relaying(
        relays=relays,
        following=following,
        routes=RelayRoutes(relays, core.relays, following, core.ownership, core.runner, core.clock),
        core=core,
    )
