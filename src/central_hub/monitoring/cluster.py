"""What is counted of the hubs that share a store, as metric families."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from central_hub.cluster.schemas import SignalsAnswer
from central_hub.kernel.roster import RosterOwnership
from central_hub.monitoring.metrics import Collector, Family, MetricKind, by_label, gauge


def cluster_collector(roster: RosterOwnership | None, said: Callable[[], SignalsAnswer]) -> Collector:
    """Return the collector of the roster and of signals between hubs."""

    def collect() -> Iterable[Family]:
        yield gauge("central_hub_cluster_members", "Hubs on the roster.", len(roster.members) if roster else 0)
        yield gauge(
            "central_hub_cluster_roster", "Version of the roster this hub goes by.", roster.version if roster else 0
        )
        yield gauge(
            "central_hub_cluster_holds", "1 while this hub may do its share of the work.",
            roster.held if roster else True,
        )  # fmt: skip
        yield gauge(
            "central_hub_cluster_settled", "1 while all hubs go by the same roster.", roster.settled if roster else True
        )
        signals = said()
        yield by_label(
            "central_hub_cluster_signals_total", MetricKind.COUNTER, "Signals between hubs, by what became of them.",
            "result", {"sent": signals.sent, "taken": signals.taken, "refused": signals.refused, "lost": signals.lost},
        )  # fmt: skip

    return collect
