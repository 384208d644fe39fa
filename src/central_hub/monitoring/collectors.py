"""What health and egress count, as metric families."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Protocol

from central_hub.configuration.announcing import Announcements
from central_hub.events.retention import Retention
from central_hub.events.streaming import EventStreams
from central_hub.events.usecases import Publishing
from central_hub.health.keeper import Keeper
from central_hub.health.monitor import Monitor
from central_hub.health.view import ORDER
from central_hub.kernel.ids import PLATFORM
from central_hub.kernel.runner import Runner
from central_hub.kernel.sequencer import Sequencer
from central_hub.monitoring.metrics import Collector, Family, MetricKind, Sample, by_label, counter, gauge
from central_hub.quotas.budgets import Budgets
from central_hub.quotas.ending import Endings
from central_hub.quotas.keeper import LeaseKeeper
from central_hub.quotas.metering import Metering
from central_hub.quotas.usecases import Allocations
from central_hub.rollouts.followers import FollowerBook
from central_hub.rollouts.model import State
from central_hub.rollouts.rules import GATES
from central_hub.rollouts.stepping import Stepping
from central_hub.rollouts.view import RolloutsView
from central_hub.subscriptions.crowd import Crowd
from central_hub.subscriptions.giving import Giving
from central_hub.subscriptions.lapses import Lapses
from central_hub.subscriptions.settling import Settling
from central_hub.webhooks.delivering import Deliveries
from central_hub.webhooks.noticing import Noticing

QUANTILES: Final = (0.5, 0.95, 0.99)


def health_collector(keeper: Keeper, monitor: Monitor) -> Collector:
    """Return the collector of health's counters."""

    def collect() -> Iterable[Family]:
        population, prober, journal = keeper.population, monitor.prober, monitor.journal
        yield _by_status("central_hub_instances", "Registered instances by status.", population.instances)
        yield _by_status("central_hub_services", "Registered services by status.", population.services)
        yield gauge("central_hub_leases", "Leases being kept.", len(keeper.leases))
        yield counter("central_hub_lease_renewals_total", "Heartbeats taken.", keeper.renewals)
        yield counter("central_hub_leases_ended_total", "Leases that ended without renewal.", keeper.expired)
        yield counter("central_hub_pauses_total", "Times the hub itself stood still.", keeper.pauses)
        yield gauge("central_hub_probe_targets", "Instances being probed.", keeper.targets)
        yield by_label(
            "central_hub_probes_total", MetricKind.COUNTER, "Probes by result.", "result",
            {result.value: count for result, count in prober.results.items()},
        )  # fmt: skip
        yield counter("central_hub_probes_skipped_total", "Probes left out because they were late.", prober.skipped)
        yield _schedule_errors(prober.schedule_errors_ms)
        yield counter("central_hub_health_journaled_total", "Verdicts made durable.", journal.written)
        yield counter("central_hub_health_journal_failures_total", "Writes of verdicts that failed.", journal.failed)

    return collect


def store_collector(losses: Callable[[], int], stale_ms: Callable[[], int]) -> Collector:
    """Return the collector of what is known of the store."""

    def collect() -> Iterable[Family]:
        yield counter("central_hub_store_losses_total", "Times the store was lost and had to be found again.", losses())
        yield gauge(
            "central_hub_store_stale_seconds", "How long ago an absent store last answered; 0 while it does.",
            stale_ms() / 1_000,
        )  # fmt: skip

    return collect


def refusals_collector(refused: Callable[[], Mapping[str, int]], opened: Callable[[], int]) -> Collector:
    """Return the collector of the egress module's counters."""

    def collect() -> Iterable[Family]:
        yield counter("central_hub_egress_connections_total", "Outbound connections attempted.", opened())
        yield by_label(
            "central_hub_egress_refused_total", MetricKind.COUNTER, "Connections not attempted, by reason.", "reason",
            dict(refused()),
        )  # fmt: skip

    return collect


def flags_collector(
    evaluations: Mapping[str, int], *, open_streams: Callable[[], int], told: Callable[[], int]
) -> Collector:
    """Return the collector of flags."""

    def collect() -> Iterable[Family]:
        yield by_label(
            "central_hub_flag_evaluations_total", MetricKind.COUNTER, "Flags evaluated, by reason.", "reason",
            {reason.lower(): float(count) for reason, count in evaluations.items()},
        )  # fmt: skip
        yield gauge("central_hub_flag_streams", "Open streams of flags.", open_streams())
        yield counter("central_hub_flag_changes_told_total", "Times a stream was told to ask again.", told())

    return collect


def configuration_collector(announcements: Announcements) -> Collector:
    """Return the collector of who is told of configuration; of all tenants together."""

    def collect() -> Iterable[Family]:
        yield gauge("central_hub_config_watches", "Values of configuration that are watched.", announcements.watchers)
        yield counter(
            "central_hub_config_values_looked_at_total",
            "Watched values looked at after a change.",
            announcements.looked,
        )
        yield counter(
            "central_hub_config_values_changed_total", "Those of them that were other ones.", announcements.changed
        )
        yield counter("central_hub_config_changes_told_total", "Times a stream was told a value.", announcements.told)

    return collect


def rollouts_collector(view: RolloutsView, stepping: Stepping, book: FollowerBook) -> Collector:
    """Return the collector of rollouts; of all tenants together."""

    def collect() -> Iterable[Family]:
        yield gauge("central_hub_rollouts_open", "Rollouts that go on.", view.count_open(PLATFORM))
        yield by_label(
            "central_hub_rollouts_ended_total", MetricKind.COUNTER, "Rollouts that the hub ended, by how.", "state",
            {state.value: stepping.ended[state.value] for state in (State.COMPLETED, State.ROLLED_BACK)},
        )  # fmt: skip
        yield by_label(
            "central_hub_rollout_gates_failed_total", MetricKind.COUNTER, "Rollouts taken back, by gate.", "gate",
            {gate: stepping.failed_gates[gate] for gate in GATES},
        )  # fmt: skip
        yield gauge("central_hub_config_followers", "Instances that follow a value of configuration.", len(book))
        yield counter(
            "central_hub_config_reports_total", "Reports of instances about their configuration.", book.reports
        )
        yield counter("central_hub_config_refusals_total", "Values that an instance refused to take up.", book.refusals)

    return collect


def quotas_collector(
    keeper: LeaseKeeper, endings: Endings, allocations: Allocations, budgets: Budgets, metering: Metering
) -> Collector:
    """Return the collector of what quotas count; of all tenants together."""

    def collect() -> Iterable[Family]:
        yield gauge("central_hub_quota_leases", "Quota leases being held.", keeper.leases)
        yield by_label(
            "central_hub_quota_allocations_total", MetricKind.COUNTER, "Allocations by result.", "result",
            {"admitted": allocations.allocated, "refused": allocations.refused},
        )  # fmt: skip
        yield counter("central_hub_quota_renewals_total", "Renewals of quota leases.", keeper.renewals)
        yield counter("central_hub_quota_leases_expired_total", "Quota leases that nobody renewed.", endings.expired)
        yield counter(
            "central_hub_quota_expiry_failures_total",
            "Ends of quota leases that were not recorded.",
            endings.failed,
        )
        yield by_label(
            "central_hub_quota_slices_total", MetricKind.COUNTER, "Slices of budgets by result.", "result",
            {"granted": budgets.slices, "refused": budgets.refused},
        )  # fmt: skip
        yield counter("central_hub_quota_spent_total", "What was handed out as slices.", budgets.granted)
        yield by_label(
            "central_hub_usage_events_total", MetricKind.COUNTER, "Usage events by result.", "result",
            {"accepted": metering.recorded, "duplicate": metering.duplicates},
        )  # fmt: skip

    return collect


class RoutingDesks(Protocol):
    """Where the counts of routing are, once there is a desk."""

    def counts(self) -> Mapping[str, float]:
        """Return the counts by name."""
        ...


def routing_collector(desks: RoutingDesks) -> Collector:
    """Return the collector of routing; of all tenants together."""

    def collect() -> Iterable[Family]:
        counts = desks.counts()
        yield gauge("central_hub_routing_offerings", "Models that instances offer.", counts["offerings"])
        yield gauge("central_hub_routing_open_reservations", "Requests expected to be under way.", counts["open"])
        yield counter("central_hub_routing_decisions_total", "Decisions, reservations included.", counts["decided"])
        yield counter("central_hub_routing_reservations_total", "Reservations.", counts["reserved"])
        yield counter("central_hub_routing_refused_total", "Decisions for which nobody was left.", counts["refused"])
        yield by_label(
            "central_hub_routing_outcomes_total", MetricKind.COUNTER, "Outcomes told, by what came of them.", "result",
            {"recorded": counts["recorded"], "unknown": counts["unknown"]},
        )  # fmt: skip

    return collect


def webhooks_collector(deliveries: Deliveries, noticing: Noticing) -> Collector:
    """Return the collector of webhooks; of all tenants together."""

    def collect() -> Iterable[Family]:
        yield by_label(
            "central_hub_webhook_attempts_total", MetricKind.COUNTER, "Attempts to deliver an event, by result.",
            "result", {"delivered": deliveries.delivered, "failed": deliveries.failed},
        )  # fmt: skip
        yield counter("central_hub_webhook_dead_letters_total", "Events that were given up.", deliveries.parked)
        yield counter(
            "central_hub_webhook_missed_records_total",
            "Records that had left the log before a webhook came to them.",
            deliveries.missed,
        )
        yield gauge("central_hub_webhook_attempts_in_flight", "Attempts under way.", deliveries.in_flight)
        yield gauge(
            "central_hub_webhook_lag_records", "Records that the slowest enabled webhook is behind.", deliveries.lag()
        )
        yield counter(
            "central_hub_webhook_values_noticed_total", "Changed values recorded, to be told.", noticing.noticed
        )

    return collect


def events_collector(publishing: Publishing, streams: EventStreams, retention: Retention) -> Collector:
    """Return the collector of events; of all tenants together."""

    def collect() -> Iterable[Family]:
        yield by_label(
            "central_hub_events_published_total", MetricKind.COUNTER, "Events that services published, by result.",
            "result", {"accepted": publishing.accepted, "duplicate": publishing.duplicates},
        )  # fmt: skip
        yield counter("central_hub_events_told_total", "Events sent to open streams.", streams.told)
        yield gauge("central_hub_event_streams", "Open streams of events.", streams.open_streams)
        yield counter("central_hub_event_streams_cut_total", "Streams that did not keep up.", streams.cut)
        yield counter("central_hub_log_records_left_total", "Records that retention let go.", retention.records)
        yield counter("central_hub_log_bytes_left_total", "Bytes of records that retention let go.", retention.bytes)

    return collect


def subscriptions_collector(crowd: Crowd, giving: Giving, lapses: Lapses, settling: Settling) -> Collector:
    """Return the collector of subscriptions; of all tenants together."""

    def collect() -> Iterable[Family]:
        yield gauge("central_hub_subscription_consumers", "Consumers that follow subscriptions.", crowd.size)
        yield by_label(
            "central_hub_subscription_deliveries_total", MetricKind.COUNTER, "Events given out, first and again.",
            "attempt", {"first": giving.given - giving.given_again, "again": giving.given_again},
        )  # fmt: skip
        yield by_label(
            "central_hub_subscription_settled_total", MetricKind.COUNTER, "What became of deliveries.", "result",
            {"acked": settling.acked, "nacked": settling.nacked, "expired": lapses.expired, "parked": lapses.parked},
        )  # fmt: skip

    return collect


def hub_collector(
    runner: Runner,
    sequencer: Sequencer,
    denied: Mapping[str, int],
    *,
    watchers: Callable[[], int],
    lane_hits: Callable[[], int],
    lane_signals: Callable[[], int],
    lane_commands: Callable[[], int],
) -> Collector:
    """Return the collector of the log, the streams and the lane."""

    def collect() -> Iterable[Family]:
        yield gauge("central_hub_log_position", "Last applied position of the log.", runner.pos)
        yield counter("central_hub_commits_total", "Group commits that became durable.", sequencer.commits)
        yield counter("central_hub_commits_failed_total", "Group commits that failed.", sequencer.failed_commits)
        yield gauge("central_hub_watchers", "Open watch streams.", watchers())
        yield counter("central_hub_lane_hits_total", "Reads answered by the lane.", lane_hits())
        yield counter("central_hub_lane_signals_total", "Heartbeats taken by the lane.", lane_signals())
        yield counter("central_hub_lane_commands_total", "Registrations begun by the lane.", lane_commands())
        yield by_label(
            "central_hub_denied_total", MetricKind.COUNTER, "Requests refused, by code.", "code", dict(denied)
        )  # fmt: skip

    return collect


def _by_status(name: str, help_text: str, counts: Sequence[int]) -> Family:
    values = {status.value: float(count) for status, count in zip(ORDER, counts, strict=True)}
    return by_label(name, MetricKind.GAUGE, help_text, "status", values)


def _schedule_errors(errors_ms: Iterable[float]) -> Family:
    ordered = sorted(errors_ms)
    samples = [
        Sample(ordered[min(len(ordered) - 1, int(q * len(ordered)))] / 1_000, {"quantile": f"{q:g}"})
        for q in QUANTILES
        if ordered
    ]
    return Family(
        "central_hub_probe_schedule_error_seconds",
        MetricKind.SUMMARY,
        "How late the latest probes started.",
        samples,
        ("quantile",),
    )
