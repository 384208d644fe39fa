"""What a client says of its calls: windows that add up, failures told once in a while, breakers, and bounded memory."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub import HubClient
from central_hub.breakers.model import Evidence, State
from central_hub.events.reported import (
    CALLS,
    FAILED,
    LATENCY_BOUNDS_MS,
    RECOVERED,
    TRIPPED,
    WINDOW_S,
    BreakerTripped,
    CallsCompleted,
    DownstreamFailed,
)
from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.call_reporting import BATCH_MAX, CallReporter
from central_hub.sdk.call_windows import FAILED_EVERY_S, PAIRS_MAX, WAITING_MAX, CallWindows, Report, quantile
from central_hub.sdk.circuits import CircuitChange
from tests.sdk.conftest import until
from tests.sdk.test_real_hub import HubProcess

START = 1_768_905_000.0


class Wall:
    """A time of day that a test sets."""

    def __init__(self) -> None:
        self.now_s = START

    def __call__(self) -> float:
        return self.now_s


def windows(wall: Wall, caller: str = "orders") -> CallWindows:
    ids = itertools.count()
    return CallWindows(caller, lambda: f"id-{next(ids)}", wall_s=wall)


def calls_of(reports: list[Report]) -> dict[tuple[str, str, str], CallsCompleted]:
    return {
        (one.tenant_id, one.data.callee, one.data.route): one.data
        for one in reports
        if isinstance(one.data, CallsCompleted)
    }


def change(before: State, after: State, **more: Any) -> CircuitChange:
    return CircuitChange(
        service_name="risk", route_class="checks", tenant_id="acme", before=before, after=after, reason="failures",
        at=datetime.fromtimestamp(START, UTC), evidence=Evidence(calls=20, failures=14), **more,
    )  # fmt: skip


@given(st.lists(st.tuples(st.floats(0, 30_000), st.booleans(), st.sampled_from(["risk", "prices"])), min_size=1))
def test_a_window_adds_up_whatever_the_calls(made: list[tuple[float, bool, str]]) -> None:
    wall = Wall()
    counted = windows(wall)
    for latency_ms, failed, callee in made:
        counted.ended("", callee, "", latency_ms, "http_500" if failed else "")
    assert not calls_of(counted.due())
    wall.now_s += WINDOW_S
    found = calls_of(counted.due())
    assert sum(one.calls for one in found.values()) == len(made)
    for (_, callee, _), one in found.items():
        own = [(ms, failed) for ms, failed, name in made if name == callee]
        assert (one.calls, one.errors) == (len(own), sum(failed for _, failed in own))
        assert one.latency.max_ms == pytest.approx(max(ms for ms, _ in own), abs=0.001)
        assert one.latency.p50_ms <= one.latency.p95_ms <= one.latency.p99_ms <= one.latency.max_ms
        assert msgspec.json.decode(msgspec.json.encode(one), type=CallsCompleted) == one


@given(st.lists(st.floats(0, 20_000), min_size=1, max_size=60), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_in_the_bucket_of_the_call_that_it_is(latencies: list[float], share: float) -> None:
    buckets = [0] * (len(LATENCY_BOUNDS_MS) + 1)
    bounds = [0.0, *LATENCY_BOUNDS_MS, float("inf")]
    place = lambda ms: next(at for at in range(len(buckets)) if ms <= bounds[at + 1])  # noqa: E731
    for ms in latencies:
        buckets[place(ms)] += 1
    exact = sorted(latencies)[max(0, -(-int(share * len(latencies) * 1_000_000) // 1_000_000) - 1)]
    told = quantile(buckets, max(latencies), share)
    assert abs(place(told) - place(exact)) <= 1
    assert told <= max(latencies) + 0.001


def test_windows_are_aligned_and_what_ends_later_is_in_the_next() -> None:
    wall = Wall()
    counted = windows(wall)
    counted.ended("", "risk", "", 5)
    wall.now_s += WINDOW_S - 1
    counted.ended("", "risk", "", 5)
    wall.now_s += 1
    counted.ended("", "risk", "", 5)
    wall.now_s += WINDOW_S
    first, second = [one.data for one in counted.due()]
    assert isinstance(first, CallsCompleted)
    assert isinstance(second, CallsCompleted)
    assert (first.calls, second.calls, first.window_start) == (2, 1, "2026-01-20T10:30:00.000Z")


def test_pairs_and_tenants_past_the_limit_are_counted_together() -> None:
    wall = Wall()
    counted = windows(wall)
    for number in range(PAIRS_MAX + 20):
        counted.ended("acme", f"svc-{number}", "", 5)
    counted.ended("", "not a name/", "", 5)
    counted.ended("", "risk", "r" * 200, 5)
    wall.now_s += WINDOW_S
    found = calls_of(counted.due())
    assert len(found) == PAIRS_MAX + 1
    assert found["", "*", ""].calls == 22


def test_who_has_no_name_counts_nothing() -> None:
    wall = Wall()
    counted = windows(wall, caller="")
    counted.ended("", "risk", "", 5, "http_500")
    counted.refused("", "risk", "")
    counted.changed(change(State.CLOSED, State.OPEN))
    assert counted.due(all_of_it=True) == []


def test_a_service_that_fails_is_told_once_in_a_while_with_how_often() -> None:
    wall = Wall()
    counted = windows(wall)
    for _ in range(5):
        counted.ended("", "risk", "", 5, "http_503")
    [first] = [one.data for one in counted.due() if one.type == FAILED]
    assert (first.reason, first.failures) == ("http_503", 1)  # type: ignore[attr-defined]
    wall.now_s += FAILED_EVERY_S
    counted.ended("", "risk", "", 5, "call_failed")
    [again] = [one.data for one in counted.due() if one.type == FAILED]
    assert isinstance(again, DownstreamFailed)
    assert (again.reason, again.failures) == ("call_failed", 5)


def test_breakers_that_open_and_close_are_told() -> None:
    counted = windows(Wall())
    until_at = datetime.fromtimestamp(START + 30, UTC)
    counted.changed(change(State.CLOSED, State.OPEN, until=until_at))
    counted.changed(change(State.OPEN, State.HALF_OPEN))
    counted.changed(change(State.HALF_OPEN, State.CLOSED))
    counted.changed(change(State.DISABLED, State.CLOSED))
    tripped, recovered = counted.due()
    assert (tripped.type, tripped.tenant_id, recovered.type) == (TRIPPED, "acme", RECOVERED)
    assert isinstance(tripped.data, BreakerTripped)
    assert (tripped.data.until, tripped.data.evidence.failures) == ("2026-01-20T10:30:30.000Z", 14)


def test_what_waits_is_bounded_and_the_oldest_goes() -> None:
    counted = windows(Wall())
    for _ in range(WAITING_MAX + 10):
        counted.changed(change(State.CLOSED, State.OPEN))
    assert counted.dropped == 10
    waiting = counted.due()
    assert (len(waiting), waiting[0].id) == (WAITING_MAX, "id-10")
    counted.changed(change(State.CLOSED, State.OPEN))
    counted.again(waiting)
    assert [one.id for one in counted.due()] == [f"id-{at}" for at in range(11, WAITING_MAX + 11)]


class Link:
    """A hub that answers as a test says, and keeps what it is sent."""

    def __init__(self, *answers: HubError | None) -> None:
        from central_hub.sdk.protocol import HubProtocol

        self.protocol = HubProtocol("http://127.0.0.1:1", None, mint=lambda: "m")
        self.answers = list(answers)
        self.sent: list[tuple[str, list[str]]] = []

    async def send(self, request: Any, **_: object) -> Any:
        from central_hub.sdk.protocol import HubReply

        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        ids = [one["id"] for one in msgspec.json.decode(request.body)]
        self.sent.append((request.headers.get("x-tenant-id", ""), ids))
        return HubReply(status=201, headers={}, body=b"{}")


async def test_what_was_not_answered_is_sent_again_under_its_id_and_what_is_refused_is_not() -> None:
    counted = windows(Wall())
    away = HubError("hub_unreachable", Kind.UNAVAILABLE, "Away.")
    link = Link(away, None, HubError("scope_missing", Kind.DENIED, "No."))
    reporter = CallReporter(link, counted, "/services/orders")  # type: ignore[arg-type]
    counted.changed(change(State.CLOSED, State.OPEN))
    assert not await reporter.send(counted.due())
    assert await reporter.send(counted.due())
    assert link.sent == [("acme", ["id-0"])]
    counted.changed(change(State.CLOSED, State.OPEN))
    assert await reporter.send(counted.due())
    counted.changed(change(State.CLOSED, State.OPEN))
    assert await reporter.send(counted.due())
    assert (len(link.sent), reporter.reported) == (1, 1)


async def test_reports_go_in_batches() -> None:
    counted, link = windows(Wall()), Link()
    for _ in range(BATCH_MAX + 1):
        counted.changed(change(State.CLOSED, State.OPEN))
    assert await CallReporter(link, counted, "/services/orders").send(counted.due())  # type: ignore[arg-type]
    assert [len(ids) for _, ids in link.sent] == [BATCH_MAX, 1]


@pytest.mark.timeout(60)
async def test_a_hub_tells_what_clients_saw_of_their_calls(tmp_path: Path, worker: Any) -> None:
    hub = HubProcess(tmp_path, "--open")
    await hub.start()
    risk = await worker("risk", "r-1")
    try:
        async with HubClient(hub.url, tenant_id="acme", service_name="orders", cache_dir="") as client:
            await client.register_service(
                {"name": "risk", "instance_id": "r-1", "host": "127.0.0.1", "port": risk.port, "lease_ttl_s": 60}
            )
            assert await client.ready("risk")
            for status in (200, 200, 503):
                risk.status = status
                await client.request("risk", "POST", "/", route_class="checks")
            await until(lambda: client.stats["calls"] == 3)
        async with HubClient(hub.url, tenant_id="acme", cache_dir="") as reader:
            page = await reader.ask("/events", after="start", types="CrossServiceCallCompleted,DownstreamServiceFailed")
    finally:
        await hub.kill()
    by_type = {one["type"]: one for one in page["events"]}
    assert by_type[FAILED]["data"]["reason"] == "http_503"
    seen = [one["data"] for one in page["events"] if one["type"] == CALLS]
    assert sum(one["calls"] for one in seen) == 3
    assert sum(one["errors"] for one in seen) == 1
    assert {one["subject"] for one in page["events"] if one["type"] == CALLS} == {"calls/orders/risk"}
