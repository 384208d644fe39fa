"""What the benchmarks are held to: for each its two forms, and where in its report which figure meets which bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Report = dict[str, Any]
"""What a benchmark prints, as JSON."""


@dataclass(frozen=True)
class Bar:
    """One figure and what it is held to.

    Args:
        what: in words.
        path: keys and indexes that lead to the figure.
        limit: the bar.
        unit: of both.
        most: whether the figure may be at most the limit; otherwise it must be at least that.
        peer: path to the limit or the peer that was measured in the same run.
        peer_is: what that is, in words.
    """

    what: str
    path: tuple[str | int, ...]
    limit: float
    unit: str
    most: bool = False
    peer: tuple[str | int, ...] = ()
    peer_is: str = ""

    def figure(self, report: Report) -> float:
        """Return the measured figure; of a list, how many there are."""
        found = _at(report, self.path)
        return float(len(found) if isinstance(found, list) else found)

    def beside(self, report: Report) -> str:
        """Return what the peer or the limit of the machine did in the same run, in words."""
        return f"{_at(report, self.peer):,g} {self.peer_is}" if self.peer else ""

    def holds(self, report: Report, slack: float = 1.0) -> bool:
        """Say whether the bar is met, or missed by a factor of `slack` at most."""
        figure = self.figure(report)
        return figure <= self.limit * slack if self.most else figure >= self.limit / slack


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: its arguments in full and in short, and its bars."""

    name: str
    bars: tuple[Bar, ...]
    full: tuple[str, ...] = ()
    short: tuple[str, ...] = ("--short",)


def _at(report: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        report = report[step]
    return report


FSYNCS: Final = {"peer": ("fsyncs_per_s",), "peer_is": "fsyncs/s of this disk"}
SMALLEST: Final = {"peer": ("smallest_request", "per_s"), "peer_is": "of the smallest request/s"}

BENCHMARKS: Final = (
    Benchmark(
        "shared_breakers",
        (
            Bar("50 processes: evidence to an open breaker in each, p99", ("open_p99_ms",), 300.0, "ms", most=True),
            Bar("calls that try a service that is back, of all processes", ("probes_max",), 10.0, "calls", most=True),
        ),
    ),
    Benchmark(
        "discovery",
        (
            Bar(
                "discovery over HTTP against nginx serving the same bytes", ("ratio_median",), 0.5, "of nginx",
                peer=("nginx", "requests_per_s"), peer_is="requests/s of nginx",
            ),
            Bar(
                "discovery over HTTP, 64 connections, p99", ("hub", "p99_ms"), 3.0, "ms", most=True,
                peer=("nginx", "p99_ms"), peer_is="ms p99 of nginx",
            ),
        ),
        full=("--json",),
        short=("--json", "--pairs", "2", "--seconds", "2", "--services", "200", "--settle", "0"),
    ),
    Benchmark(
        "configuration",
        (
            Bar(
                "effective configuration over HTTP against nginx serving the same bytes", ("http", "ratio_median"), 0.6,
                "of nginx", peer=("http", "nginx", "requests_per_s"), peer_is="requests/s of nginx",
            ),
            Bar(
                "effective configuration at 20,000 requests/s, constant rate, p99",
                ("http", "at_a_rate", "hub", "p99_ms"), 2.0, "ms", most=True,
                peer=("http", "at_a_rate", "nginx", "p99_ms"), peer_is="ms p99 of nginx at the same rate",
            ),
            Bar("one of 10,000 tenants' values in process", ("read_us",), 5.0, "us", most=True),
            Bar("a global change resolved for 10,000 tenants", ("change_resolve_ms",), 300, "ms", most=True),
            Bar(
                "tenants told of a change of nobody's value", ("announced_where_nobody_changed",), 0, "tenants",
                most=True,
            ),
            Bar("memory of a tenant without layers of its own", ("shared_bytes_per_tenant",), 1, "bytes", most=True),
        ),
    ),
    Benchmark(
        "publishing",
        (
            Bar(
                "a durable change of configuration applied by 1,000 clients, 10 changes/s, p99", ("applied", "p99_ms"),
                100, "ms", most=True, peer=("floor_ms",), peer_is="ms to tell as many plain sockets something",
            ),
            Bar(
                "durable changes of configuration, one client following", ("publishes", "per_s"), 2_000, "/s", **FSYNCS
            ),
        ),
    ),
    Benchmark(
        "customers",
        (
            Bar(
                "a customer provisioned, up to its key's first answer (99 %)", ("one_by_one", "p99_ms"), 1_000, "ms",
                most=True,
            ),
            Bar("what a customer may do, in process, its plan alone", ("ask_us", "plan_alone"), 5.0, "us", most=True),
        ),
    ),
    Benchmark(
        "webhooks",
        (
            Bar("an endpoint told after the answer to the write, p99", ("alone", "p99_ms"), 25, "ms", most=True),
            Bar(
                "the same beside 96 endpoints of others that hang or fail, p99", ("beside_hostile", "p99_ms"), 25, "ms",
                most=True, peer=("alone", "p99_ms"), peer_is="ms alone, in the same run",
            ),
            Bar(
                "events told, a connection for each", ("throughput", "per_s"), 500, "/s",
                peer=("floor_per_s",), peer_is="/s brought by a plain client",
            ),
            Bar("events lost", ("lost",), 0, "", most=True),
        ),
    ),
    Benchmark(
        "key_rotation",
        (
            Bar(
                "10,000 data keys under a new key-encryption key, reads and writes going on",
                ("key_encryption_key", "took_s"), 60.0, "s", most=True,
            ),
            Bar("reads and writes that failed meanwhile", ("key_encryption_key", "failed"), 0.0, "", most=True),
            Bar("10,000 domains with a new data key, reads and writes going on", ("data_keys", "took_s"), 60.0, "s",
                most=True),
            Bar("reads and writes that failed meanwhile, data keys", ("data_keys", "failed"), 0.0, "", most=True),
        ),
    ),
    Benchmark(
        "register",
        (
            Bar("durable registration over HTTP, one by one", ("single", "per_s"), 9_000, "/s", **FSYNCS),
            Bar("durable registration over HTTP, in batches", ("batch", "instances_per_s"), 40_000, "/s", **FSYNCS),
        ),
    ),
    Benchmark(
        "heartbeats",
        (
            Bar("leases renewed over HTTP, one by one", ("single", "per_s"), 20_000, "/s", **SMALLEST),
            Bar("leases renewed over HTTP, in batches", ("batch", "leases_per_s"), 100_000, "/s", **SMALLEST),
        ),
    ),
    Benchmark(
        "append",
        (
            Bar(
                "durable append in process, 64 writers, p99", ("single_p99_ms",), 3.0, "ms", most=True,
                peer=("disk_sync_p99_ms",), peer_is="ms p99 of one fsync",
            ),
            Bar("durable append in process, in batches", ("batch_records_per_s",), 50_000, "/s"),
        ),
    ),
    Benchmark(
        "postgres",
        (
            Bar(
                "durable append in process on PostgreSQL, in batches", ("batch_records_per_s",), 15_000, "/s",
                peer=("bare_copy_records_per_s",), peer_is="records/s of a bare COPY of the same bytes",
            ),
        ),
    ),
    Benchmark(
        "several_hubs",
        (
            Bar(
                "an event told by another hub after its publisher had the answer, p99",
                ("told", "another_hub", "p99_ms"),
                30, "ms", most=True, peer=("told", "same_hub", "p99_ms"), peer_is="ms at the same hub",
            ),
            Bar("events that another hub never told", ("told", "another_hub", "lost"), 0, "events", most=True),
            Bar("a killed hub's work owned again", ("taken_over_worst_s",), 5.0, "s", most=True),
        ),
    ),
    Benchmark(
        "store_away",
        (
            Bar("reads that failed while PostgreSQL was away", ("failed_reads",), 0, "reads", most=True),
            Bar(
                "slowest hundredth of reads without PostgreSQL against with it", ("read_p99_ratio",), 1.2, "times",
                most=True, peer=("read_p99_before_ms",), peer_is="ms p99 with it",
            ),
            Bar("slowest refusal of a write without PostgreSQL", ("refused_worst_ms",), 100, "ms", most=True),
            Bar("instances expired falsely without PostgreSQL", ("falsely_expired",), 0, "instances", most=True),
            Bar("first write taken after PostgreSQL was back", ("back_worst_s",), 2.0, "s", most=True),
        ),
    ),
    Benchmark(
        "watch",
        (
            Bar(
                "the last of 500 watchers told after", ("watch", 0, "last_told_ms_median"), 15.0, "ms", most=True,
                peer=("watch", 0, "floor_ms_one_core"), peer_is="ms for the same bytes over plain sockets",
            ),
            Bar(
                "the last of 5,000 watchers told after", ("watch", -1, "last_told_ms_median"), 150.0, "ms", most=True,
                peer=("watch", -1, "floor_ms_one_core"), peer_is="ms for the same bytes over plain sockets",
            ),
            Bar("memory of one stream", ("watch", -1, "bytes_per_stream_rss"), 20_000, "bytes", most=True),
        ),
        short=("--watchers", "100", "--changes", "5"),
    ),
    Benchmark(
        "scale",
        (
            Bar("an empty hub is ready after", ("empty_ready_s",), 1.0, "s", most=True),
            Bar("an empty hub's memory", ("empty_rss_mb",), 90, "MB", most=True),
            Bar("100,000 instances of 1,000 tenants are ready after", ("full_ready_s",), 3.0, "s", most=True),
            Bar("their memory", ("full_rss_mb",), 500, "MB", most=True),
        ),
        short=("--tenants", "20", "--instances", "2000"),
    ),
    Benchmark(
        "steps",
        (Bar("the longest step of the event loop, all of this going on", ("longest_ms",), 2.0, "ms", most=True),),
    ),
    Benchmark(
        "health",
        (
            Bar(
                "health summed up over 10,000 instances, p99", ("aggregates", "tenant_us", "p99"), 1_000, "us",
                most=True,
            ),
            Bar("processor time of a probe", ("probes", "us_of_core_per_probe"), 500, "us", most=True),
            Bar(
                "probes off their schedule at 2,000/s, p99", ("probes", "schedule_error_ms", "p99"), 50, "ms",
                most=True,
            ),
        ),
    ),
    Benchmark(
        "sdk",
        (
            Bar("resolve() from memory", ("resolve_us",), 3.0, "us", most=True),
            Bar("import of the client", ("import_all_names_ms",), 150, "ms", most=True),
            Bar("a direct call beside plain aiohttp", ("c1_ratio",), 1.25, "times", most=True),
            Bar("32 direct calls at once beside plain aiohttp", ("c32_ratio",), 1.25, "times", most=True),
            Bar("calls that failed while the hub was away", ("failed_calls",), 0, "calls", most=True),
        ),
        full=("--json",),
        short=("--json", "--pairs", "3", "--seconds", "0.5", "--outage", "5"),
    ),
    Benchmark(
        "power_cut",
        (
            Bar("simulated power cuts that broke a promise", ("violations",), 0, "cuts", most=True),
            Bar("simulated power cuts", ("points",), 2_000, "cuts"),
        ),
    ),
    Benchmark(
        "kill_hub",
        (
            Bar("kills that broke a promise", ("violations",), 0, "kills", most=True),
            Bar("kill -9 of the hub under a load of writes", ("kills",), 300, "kills"),
        ),
    ),
    Benchmark(
        "allocations",
        (
            Bar("allocations past the limit", ("over_admissions",), 0, "allocations", most=True),
            Bar("allocations from 8 processes with kill -9", ("allocations",), 1_000_000, "allocations"),
            Bar(
                "capacity held a second after the TTL of the dead", ("still_held_after_ttl_and_a_second",), 0, "units",
                most=True,
            ),
            Bar(
                "capacity of the dead free again after its TTL and", ("log", "expiry_late_ms_max"), 1_000, "ms",
                most=True,
            ),
        ),
    ),
    Benchmark(
        "slices",
        (
            Bar("decisions past the limit, 32 clients", ("over_the_limit",), 0, "decisions", most=True),
            Bar("of the limit used by 32 clients", ("used_percent",), 95, "%"),
            Bar("calls of the hub per 100 decisions", ("calls_per_100_admitted",), 1, "calls", most=True),
        ),
    ),
    Benchmark(
        "rollouts",
        (
            Bar("harmful changes rolled out", ("harmful",), 100, "changes"),
            Bar("harmful changes that did not come back by themselves", ("not_rolled_back",), 0, "changes", most=True),
            Bar("a harmful change is back (95 %) after", ("back_s", "p95"), 10, "s", most=True),
            Bar("instances that a harmful change reached, at most", ("exposed_percent", "max"), 10, "%", most=True),
            Bar("good changes of 100 that were taken back", ("false_rollbacks",), 0, "changes", most=True),
        ),
    ),
    Benchmark(
        "neighbours",
        (
            Bar(
                "others' reads beside a tenant at 100 times its limits, p99 against p99 without it", ("reads", "ratio"),
                1.25, "times", most=True, peer=("reads", "p99_ms_without"), peer_is="ms p99 without it",
            ),
            Bar(
                "others' writes beside a tenant at 100 times its limits, p99 against p99 without it",
                ("writes", "ratio"), 1.25, "times", most=True, peer=("writes", "p99_ms_without"),
                peer_is="ms p99 without it",
            ),
            Bar("others' requests that failed beside it", ("errors",), 0, "requests", most=True),
        ),
    ),
    Benchmark(
        "flags",
        (
            Bar("a flag evaluated in process, nothing left to ask", ("in_process", "static_us"), 5.0, "us", most=True),
            Bar("a flag evaluated in process, with rules to ask", ("in_process", "rules_us"), 5.0, "us", most=True),
            Bar("memory of a tenant that no rule names", ("in_process", "bytes_per_tenant"), 10, "bytes", most=True),
            Bar("a flag evaluated over HTTP, p99", ("http", "alone", "p99_ms"), 2.0, "ms", most=True),
            Bar("polls that found nothing new and were told so", ("polling", "unchanged_percent"), 99, "%"),
            Bar("the last of 1,000 flag streams told after", ("streams", "last_told_ms_median"), 100, "ms", most=True),
        ),
    ),
    Benchmark(
        "events",
        (
            Bar("events published over HTTP, one by one, durable", ("single", "per_s"), 6_000, "/s", **FSYNCS),
            Bar("the same at half that load, p99", ("half_load", "p99_ms"), 10.0, "ms", most=True),
            Bar("events published over HTTP in batches of 100", ("batch", "events_per_s"), 40_000, "/s", **FSYNCS),
            Bar(
                "an event told to a stream after its publisher's answer, p50",
                ("delivery", "acknowledged_to_told_p50_ms"), 2.0, "ms", most=True,
            ),
            Bar("the same, p99", ("delivery", "acknowledged_to_told_p99_ms"), 8.0, "ms", most=True),
            Bar(
                "the last of 1,000 streams told after the publisher's answer, p99", ("fan_out", "last_told_p99_ms"),
                25.0, "ms", most=True,
            ),
        ),
    ),
    Benchmark(
        "subscriptions",
        (
            Bar(
                "an event given to a durable subscription's consumer after its publisher's answer, p50",
                ("delivery", "acknowledged_to_given_p50_ms"), 2.0, "ms", most=True,
            ),
            Bar("the same, p99", ("delivery", "acknowledged_to_given_p99_ms"), 8.0, "ms", most=True),
            Bar(
                "the last of 1,000 durable subscriptions given an event after the publisher's answer, p99",
                ("fan_out", "last_p99_ms"), 25.0, "ms", most=True,
            ),
            Bar(
                "others' p99 beside a tenant that publishes 100 times as much, against without, in pairs",
                ("neighbours", "ratio"), 1.2, "", most=True,
            ),
            Bar("memory of the hub for a consumer that never reads", ("slow", "kb_each"), 200.0, "kB", most=True),
        ),
    ),
    Benchmark(
        "brokers",
        (
            Bar(
                "events published one by one, durable, against NATS JetStream that syncs always, 64 in flight",
                ("times_jetstream",), 3.0, "times", peer=("jetstream", "per_s"), peer_is="messages/s of JetStream",
            ),
            Bar(
                "the same in batches of 100, against its atomic batches", ("times_jetstream_batched",), 1.0, "times",
                peer=("jetstream", "batch_events_per_s"), peer_is="messages/s of JetStream",
            ),
            Bar("events that a relay hands to NATS JetStream", ("relays", "nats", "per_s"), 10_000, "/s"),
            Bar(
                "an event at a subscriber of NATS after its publisher's answer, p99", ("relays", "delay", "p99_ms"),
                25.0, "ms", most=True,
            ),
        ),
    ),
    Benchmark(
        "breakers",
        (
            Bar("a breaker looked up, asked and told", ("call_ns", "call"), 400, "ns", most=True),
            Bar(
                "a guarded call against the fastest of four libraries", ("times_faster",), 1.0, "times as fast",
                peer=("fastest_library_ns",), peer_is="ns of that library",
            ),
            Bar("memory of a breaker that has seen nothing", ("bytes_per_key", "idle"), 250, "bytes", most=True),
            Bar("memory of a breaker whose window is full", ("bytes_per_key", "active"), 800, "bytes", most=True),
            Bar("memory of a breaker that is open", ("bytes_per_key", "open"), 800, "bytes", most=True),
        ),
    ),
    Benchmark(
        "routing_judge",
        (
            Bar("routing policies of others that the judge holds against the oracle", ("baselines",), 14, "policies"),
            Bar("seeds they are judged on", ("seeds",), 10, "seeds"),
            Bar("decisions forced elsewhere and replayed", ("replays",), 100, "decisions"),
            Bar("forced replays that contradict what was foreseen", ("contradicted",), 0, "replays", most=True),
            Bar("servers chosen that cannot serve the request", ("violations",), 0, "decisions", most=True),
            Bar("cells in which the hub's router is not behind the best of the others", ("hub", "not_behind"), 0.9,
                "of the cells"),
            Bar("its p99 over that of the best of the others, in its worst cell", ("hub", "worst_loss"), 1.05, "times",
                most=True),
            Bar("servers that it chose and that cannot serve the request", ("hub", "violations"), 0, "decisions",
                most=True),
        ),
        full=("--processes", "2"),
    ),
    Benchmark(
        "routing_decisions",
        (
            Bar("a routing decision among 100 of 10,000, reserved, p50", ("in_process", 2, "decision", "p50_us"), 150,
                "us", most=True),
            Bar("the same, p99", ("in_process", 2, "decision", "p99_us"), 500, "us", most=True),
            Bar("the same among the most that were registered, p99", ("in_process", -1, "decision", "p99_us"), 2_000,
                "us", most=True),
            Bar("a match that is not remembered, among 10,000, p99", ("in_process", 2, "match_anew", "p99_us"), 200,
                "us", most=True),
            Bar("what would have to be asked less, among 10,000, p99", ("in_process", 2, "relaxations", "p99_us"),
                5_000, "us", most=True),
            Bar("a reservation over HTTP, four connections, p99", ("http", "four", "p99_ms"), 5.0, "ms", most=True),
        ),
    ),
    Benchmark(
        "cell_fleet",
        (
            Bar("instances in a simulated fleet", ("instances",), 10_000_000, "instances"),
            Bar("cells of the largest simulated fleet", ("cells_most",), 1_000, "cells"),
            Bar(
                "simulated clients of a hub that died are back, its cell as full as may be", ("full_cell_back_s",), 3.0,
                "s", most=True,
            ),
            Bar("simulated instances that expired by it", ("full_cell_expired",), 0, "instances", most=True),
            Bar("simulations that contradict themselves", ("unsound",), 0, "simulations", most=True),
        ),
    ),
)  # fmt: skip
