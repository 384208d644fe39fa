"""What the hub's own limits refuse and hold back, as metric families; of all tenants together."""

from __future__ import annotations

from collections.abc import Iterable

from central_hub.edge.protection import RateProtection
from central_hub.kernel.sequencer import Sequencer
from central_hub.monitoring.metrics import Collector, Family, MetricKind, by_label, counter, gauge


def fairness_collector(protection: RateProtection, sequencer: Sequencer) -> Collector:
    """Return the collector of shares and of the queue of writes."""

    def collect() -> Iterable[Family]:
        yield by_label(
            "central_hub_limited_total", MetricKind.COUNTER, "Requests refused by the hub's own limits, by limit.",
            "limit", {limit: float(count) for limit, count in protection.refusals.items()},
        )  # fmt: skip
        ledger = protection.ledger
        yield gauge("central_hub_held_connections", "Connections not being read, told to wait.", ledger.connections)
        yield gauge("central_hub_held_bytes", "What they had sent when reading stopped.", ledger.bytes)
        yield counter("central_hub_holds_total", "Times a connection was not read for a while.", ledger.holds)
        yield counter("central_hub_holds_closed_total", "Connections closed instead, to keep no more.", ledger.closed)
        yield gauge("central_hub_writes_queued", "Writes decided or parked, and not yet answered.", sequencer.queued)
        yield gauge(
            "central_hub_writes_queued_domains",
            "Domains with writes that wait for the next group commit.",
            sequencer.waiting_domains,
        )

    return collect
