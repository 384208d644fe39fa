"""What shared verdicts of breakers count, as metric families; of all tenants together."""

from __future__ import annotations

from collections.abc import Iterable

from central_hub.breakers.model import Reason
from central_hub.breakers.telling import BreakerStreams
from central_hub.breakers.usecases import SharedBreakers
from central_hub.breakers.view import BreakersView
from central_hub.monitoring.metrics import Collector, Family, MetricKind, by_label, counter, gauge

_TRIPS = (Reason.FAILURES, Reason.SLOW, Reason.ENDPOINT, Reason.PROBES_FAILED)
_RECOVERIES = (Reason.PROBES_SUCCEEDED, Reason.ANSWERED, Reason.IDLE)


def breakers_collector(view: BreakersView, shared: SharedBreakers, streams: BreakerStreams) -> Collector:
    """Return the collector of shared verdicts."""

    def collect() -> Iterable[Family]:
        yield gauge("central_hub_breaker_verdicts", "Shared verdicts in force: open or half open.", view.count)
        yield by_label(
            "central_hub_breaker_trips_total", MetricKind.COUNTER, "Shared verdicts that began, by reason.", "reason",
            {reason.value: shared.trips[reason.value] for reason in _TRIPS},
        )  # fmt: skip
        yield by_label(
            "central_hub_breaker_recoveries_total", MetricKind.COUNTER, "Shared verdicts that ended, by reason.",
            "reason", {reason.value: shared.recoveries[reason.value] for reason in _RECOVERIES},
        )  # fmt: skip
        yield counter("central_hub_breaker_reports_total", "Rows of reports that were taken.", shared.reports)
        yield counter("central_hub_breaker_calls_total", "Calls that they told of.", shared.calls)
        yield counter("central_hub_breaker_probes_total", "Probes that were leased.", shared.probes)
        yield gauge(
            "central_hub_breaker_ledgers", "Pairs of service and route class evidence is held of.", shared.ledgers
        )
        yield gauge("central_hub_breaker_callers", "Processes that reported lately.", shared.callers)
        yield gauge("central_hub_breaker_watchers", "Streams that are told of verdicts.", streams.watchers)
        yield counter("central_hub_breaker_undurable_total", "Verdicts that the store did not take.", shared.undurable)

    return collect
