"""What is counted of relays, each under its name: there are few of them, and all are the platform's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from central_hub.kernel.clock import Clock
from central_hub.kernel.ids import PLATFORM
from central_hub.monitoring.metrics import Collector, Family, MetricKind, by_label
from central_hub.relays.following import Following
from central_hub.relays.line import Line
from central_hub.relays.model import Relay
from central_hub.relays.ports import Applying
from central_hub.relays.view import RelaysView


def relays_collector(view: RelaysView, following: Following, applying: Applying, clock: Clock) -> Collector:
    """Return the collector of relays.

    Args:
        view: which there are.
        following: where they stand.
        applying: where the log ends.
        clock: wall time.
    """

    def of_each(value: Callable[[Relay, Line], float]) -> Mapping[str, float]:
        known = ((one, following.line(one.id)) for one in view.relays(PLATFORM))
        return {relay.name: value(relay, line) for relay, line in known if line is not None}

    def collect() -> Iterable[Family]:
        now_ms = clock.now_ms()
        gauges: tuple[tuple[str, str, Callable[[Relay, Line], float]], ...] = (
            ("lag_records", "Records of the log that a relay is behind.",
             lambda _, line: line.lag_records(applying.pos)),
            ("lag_seconds", "Age of the oldest event that waits for a relay.",
             lambda _, line: line.lag_ms(now_ms) / 1_000),
            ("connected", "Whether a relay has a link to its broker.", lambda _, line: float(line.connected)),
            ("failures", "Failures of a relay in a row; 0 while its broker answers.",
             lambda _, line: line.failing.failures),
            ("parked", "Events set aside because a broker will never take them.",
             lambda relay, _: len(view.parked(PLATFORM, relay.id))),
        )  # fmt: skip
        counters: tuple[tuple[str, str, Callable[[Relay, Line], float]], ...] = (
            ("sent_total", "Events that a broker acknowledged.", lambda _, line: line.sent),
            ("repeated_total", "Those of them that the broker had already.", lambda _, line: line.repeated),
            ("taken_total", "Events of a broker that were recorded.", lambda _, line: line.taken),
            ("refused_total", "Events of a broker that can never be recorded.", lambda _, line: line.refused),
            ("missed_records_total", "Records that had left the log before a relay came to them.",
             lambda _, line: line.missed),
        )  # fmt: skip
        for kind, families in ((MetricKind.GAUGE, gauges), (MetricKind.COUNTER, counters)):
            for name, text, value in families:
                yield by_label(f"central_hub_relay_{name}", kind, text, "relay", of_each(value))

    return collect
