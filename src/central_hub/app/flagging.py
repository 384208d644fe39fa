"""Feature flags, wired: use cases, evaluation, streams and the protocol's handlers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from central_hub.app.parts import Core
from central_hub.edge.operations import Operation
from central_hub.flags.evaluation import FlagSets
from central_hub.flags.features import HubNames, PlanFeatures
from central_hub.flags.model import FACTS as FLAGS_FACTS
from central_hub.flags.routes import FlagRoutes
from central_hub.flags.routes import operations as flags_operations
from central_hub.flags.stream_tokens import StreamTokens
from central_hub.flags.telling import FlagStreams
from central_hub.flags.usecases import Flags
from central_hub.interop.ofrep import Ofrep
from central_hub.interop.ofrep import operations as ofrep_operations
from central_hub.kernel.facts import Fact
from central_hub.monitoring.collectors import flags_collector
from central_hub.monitoring.metrics import Collector


@dataclass(frozen=True, slots=True, kw_only=True)
class Flagging:
    """What answers about flags and tells of their changes."""

    flags: Flags
    sets: FlagSets
    streams: FlagStreams
    ofrep: Ofrep
    routes: FlagRoutes

    def operations(self) -> tuple[Operation, ...]:
        """Return the rows of flags, the protocol's included."""
        return (*flags_operations(self.routes), *ofrep_operations(self.ofrep))

    def collector(self) -> Collector:
        """Return the collector of what is counted here."""
        return flags_collector(
            self.ofrep.evaluations, open_streams=lambda: self.streams.open_streams, told=lambda: self.streams.told
        )


def flagging(core: Core, others: Iterable[type[Fact]]) -> Flagging:
    """Wire flags.

    Args:
        core: what everything stands on.
        others: facts beyond flags' own after which a tenant's flags may say something else, or its callers may not ask.
    """
    features = PlanFeatures(core.book)
    sets = FlagSets(core.flags, features)
    concerning = frozenset(fact.__name__ for fact in (*FLAGS_FACTS, *others))
    streams = FlagStreams(sets, core.authentication, core.clock, concerning)
    tokens = StreamTokens(core.stores.decision_key, open_mode=core.settings.open)
    flags = Flags(core.flags, core.sequencer, HubNames(core.book, core.tenants), features)
    return Flagging(
        flags=flags,
        sets=sets,
        streams=streams,
        ofrep=Ofrep(sets, streams, tokens, core.clock),
        routes=FlagRoutes(flags, core.flags, sets),
    )
