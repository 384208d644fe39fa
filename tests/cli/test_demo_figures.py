"""What the demo counts, and when it calls itself a success."""

import dataclasses
import io

import pytest

from central_hub.cli.demo.figures import Figures, TenantFigures, percentile
from central_hub.cli.demo.screen import Scene, line, render
from central_hub.cli.demo.summary import Summary, summarize


def figures() -> Figures:
    counted = Figures({"company_abc": TenantFigures("pro"), "startup_xyz": TenantFigures("free")})
    for latency_ms in (10.0, 20.0, 30.0):
        counted.succeeded("company_abc", latency_ms, replayed=False)
    counted.succeeded("startup_xyz", 5.0, replayed=True)
    counted.served_by.update({"model-server-1": 1, "model-server-3": 3})
    counted.walls["a wall"] = True
    return counted


def summary(**changed: object) -> Summary:
    good = summarize(
        figures(), seconds=3.0, orders_acknowledged=4, orders_executed=4, hub_position="1.2.3", load="synthetic"
    )
    return dataclasses.replace(good, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0.0), ([7.0], 0.99, 7.0), ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0), (list(range(1, 101)), 0.99, 99)],
)
def test_percentile_is_the_nearest_rank(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_a_summary_tells_calls_and_shares() -> None:
    told = summary()
    assert (told.calls, told.failures, told.answers_replayed) == (4, 0, 1)
    assert told.model_shares == {"model-server-1": 0.25, "model-server-3": 0.75}
    assert told.good
    assert "No caller saw an error." in told.lines()


@pytest.mark.parametrize(
    "changed",
    [{"failures": 1}, {"orders_executed": 5}, {"orders_executed": 3}, {"walls": {"a wall": False}}, {"calls": 0}],
)
def test_anything_amiss_spoils_the_result(changed: dict[str, object]) -> None:
    assert not summary(**changed).good


def test_a_failed_call_is_counted_with_its_reason() -> None:
    counted = figures()
    counted.failed("company_abc", "503 unavailable")
    assert (counted.calls, counted.failures) == (5, 1)
    assert counted.reasons == {"503 unavailable": 1}


def test_the_screen_shows_instances_tenants_and_an_absent_hub() -> None:
    from rich.console import Console

    instance = {"instance_id": "risk-1", "endpoint": "http://127.0.0.1:1", "status": "healthy", "draining": False}
    scene = Scene("http://hub", hub_up=False, services={"risk-management": [instance]})
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render(scene, figures(), height=40))
    drawn = console.export_text()
    assert all(word in drawn for word in ("risk-1", "healthy", "company_abc", "DOWN"))
    assert "1/1 healthy" in line(scene, figures())
