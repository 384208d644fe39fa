"""The pure parts: balancing, backoff, context, tracker, and the table of kinds."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from central_hub.edge.problems import STATUS
from central_hub.sdk.backoff import Backoff
from central_hub.sdk.balancing import REST_MAX_S, Pool, Target
from central_hub.sdk.context import context_of
from central_hub.sdk.meter import Meter
from central_hub.sdk.model import Instance, ReportedLoad, ServiceState
from central_hub.sdk.protocol import KIND
from central_hub.sdk.store import who
from central_hub.sdk.tracker import PerformanceTracker

NOW_S = 1_700_000_000.0


def pool_of(*instances: Instance, zone: str = "", loads: dict[str, ReportedLoad] | None = None) -> Pool:
    pool = Pool("risk", zone=zone, now_s=lambda: 0.0, wall_s=lambda: NOW_S, random_bits=random.Random(1).getrandbits)
    state = ServiceState(service="risk", revision=1, instances={each.instance_id: each for each in instances})
    pool.update(state, loads or {})
    return pool


def instance(instance_id: str, *, age_s: float = 3600, **members: object) -> Instance:
    return Instance(
        instance_id=instance_id,
        host="127.0.0.1",
        port=int(instance_id[-1]) + 1,
        status=str(members.pop("status", "healthy")),
        registered_at=datetime.fromtimestamp(NOW_S - age_s, UTC),
        **members,  # type: ignore[arg-type]
    )


def picks(pool: Pool, n: int = 2_000) -> Counter[str]:
    return Counter(target.endpoint.instance_id for _ in range(n) if (target := pool.pick()) is not None)


def test_equals_are_picked_alike() -> None:
    counts = picks(pool_of(*(instance(f"i-{n}") for n in range(4))))
    assert all(400 < count < 600 for count in counts.values())


def test_a_busy_instance_is_picked_less() -> None:
    pool = pool_of(instance("i-1"), instance("i-2"))
    pool.targets["i-1"].in_flight = 5
    assert picks(pool)["i-1"] < 600


def test_a_loaded_instance_is_picked_less() -> None:
    counts = picks(pool_of(instance("i-1"), instance("i-2"), loads={"i-1": ReportedLoad(load=0.9)}))
    assert counts["i-1"] < 600


def test_an_instance_of_the_callers_zone_comes_first() -> None:
    instances = (instance("i-1", zone="a"), instance("i-2", zone="b"))
    assert set(picks(pool_of(*instances, zone="b"))) == {"i-2"}
    assert set(picks(pool_of(*instances, zone="c"))) == {"i-1", "i-2"}


def test_a_new_instance_starts_slowly() -> None:
    counts = picks(pool_of(instance("i-1"), instance("i-2", age_s=0)))
    assert 50 < counts["i-2"] < 350


def test_weight_is_a_share() -> None:
    counts = picks(pool_of(instance("i-1", weight=300), instance("i-2", weight=100)))
    assert 1_400 < counts["i-1"] < 1_600


def test_a_thousand_instances_are_all_picked() -> None:
    many = [
        Instance(instance_id=f"i-{n}", host="h", port=1, status="healthy", weight=1 + n % 1_000) for n in range(1_000)
    ]
    assert len(picks(pool_of(*many), 40_000)) > 950


@pytest.mark.parametrize("members", [{"draining": True}, {"status": "unhealthy"}])
def test_who_may_not_be_called_is_not(members: dict[str, object]) -> None:
    assert pool_of(instance("i-1", **members)).pick() is None
    assert pool_of(instance("i-1", **members)).pick_other(()) is None


def test_a_refusing_instance_rests_and_is_still_the_last_resort() -> None:
    pool = pool_of(instance("i-1"), instance("i-2"))
    pool.targets["i-1"].refused(0.0)
    assert set(picks(pool)) == {"i-2"}
    pool.targets["i-2"].refused(0.0)
    assert pool.pick() is not None


def test_rests_grow_up_to_a_limit() -> None:
    target = Target("risk", instance("i-1"))
    for _ in range(50):
        target.refused(0.0)
    assert target.rests_until == REST_MAX_S


def test_tried_instances_are_avoided_while_there_are_others() -> None:
    pool = pool_of(instance("i-1"), instance("i-2"))
    chosen = pool.pick_other(("i-1",))
    assert chosen is not None
    assert chosen.endpoint.instance_id == "i-2"
    assert pool.pick_other(("i-1", "i-2")) is not None


def test_what_is_known_of_an_instance_survives_a_change_unless_it_moved() -> None:
    pool = pool_of(instance("i-1"))
    pool.targets["i-1"].in_flight = 3
    same = instance("i-1", status="degraded")
    pool.update(ServiceState(service="risk", revision=2, instances={"i-1": same}), {})
    assert pool.targets["i-1"].in_flight == 3
    moved = Instance(instance_id="i-1", host="127.0.0.2", port=2)
    pool.update(ServiceState(service="risk", revision=3, instances={"i-1": moved}), {})
    assert pool.targets["i-1"].in_flight == 0
    assert pool.targets["i-1"].endpoint.host == "127.0.0.2"


def test_backoff_doubles_to_its_cap_and_respects_retry_after() -> None:
    backoff = Backoff(base_s=1, cap_s=5)
    assert [backoff.next_s(1.0) for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.next_s(0.0, at_least_s=7) == 7
    backoff.reset()
    assert backoff.next_s(0.5) == 0.5


@pytest.mark.parametrize(
    "headers",
    [
        {"x-tenant-id": "a b"},
        {"x-tenant-id": "a", "x-company-id": "b"},
        {"x-tenant-id": "a" * 65},
        {"x-tenant-id": "a,b"},
        {"x-correlation-id": "\n"},
        {"x-request-deadline-ms": "-1"},
        {"x-request-deadline-ms": "1e3"},
    ],
)
def test_a_malformed_context_is_none(headers: dict[str, str]) -> None:
    assert context_of(headers, now_s=0, new_correlation="c") is None


def test_a_context_is_read_with_its_deadline() -> None:
    context = context_of({"x-company-id": "acme", "x-request-deadline-ms": "1500"}, now_s=10, new_correlation="c")
    assert context is not None
    assert (context.tenant_id, context.deadline_s, context.correlation_id) == ("acme", 11.5, "c")


def test_every_kind_of_the_hub_is_rebuilt_from_its_status() -> None:
    assert {status: kind for kind, status in STATUS.items()} == dict(KIND)


def test_a_point_of_view_is_one_per_hub_tenant_tier_and_key_but_not_secret() -> None:
    base = ("http://h", "chk_a_one", "t", None)
    assert who(*base) == who("http://h", "chk_a_two", "t", None)
    others = [("http://i", *base[1:]), ("http://h", "chk_b_one", "t", None), ("http://h", "chk_a_one", "u", None)]
    assert len({who(*base), *(who(*other) for other in others), who("http://h", "chk_a_one", "t", "pro")}) == 5


def test_the_meter_reports_what_is_recent() -> None:
    meter = Meter(max_in_flight=4)
    for latency in range(1, 101):
        meter.began()
        meter.ended(100.0, float(latency))
    meter.began()
    assert (meter.in_flight, meter.load, meter.latency_ms_p95(100.0)) == (1, 0.25, 96.0)
    assert meter.latency_ms_p95(200.0) is None


def test_the_tracker_measures_operations_and_errors() -> None:
    tracker = PerformanceTracker(service_name="risk")
    for duration in range(1, 101):
        tracker.record("validate", float(duration))
    with pytest.raises(ValueError), tracker.measure("fail"):
        raise ValueError
    summary = tracker.summary()
    assert (summary["validate"].count, summary["fail"].errors) == (100, 1)
    assert 45 < summary["validate"].p50_ms < 55
    assert 94 < summary["validate"].p99_ms <= 100
