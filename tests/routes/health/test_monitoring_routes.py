"""The hub's own health and metrics: what anyone may ask, what only the platform sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from central_hub.health.monitor import Monitor
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.ids import SHARED
from central_hub.monitoring.collectors import health_collector, refusals_collector
from central_hub.monitoring.metrics import Metrics
from central_hub.monitoring.process import LoopWatch, ProcessStats
from central_hub.monitoring.routes import Readiness, operations
from tests.routes.health.support import Client
from tests.routes.health.test_health_routes import PLATFORM_CALLER
from tests.unit.health.support import instance, running
from tests.unit.health.test_usecases import ctx_of

ANYONE = TenantContext(
    principal=Principal(id="anonymous", kind=PrincipalKind.ANONYMOUS, home=SHARED, scopes=frozenset()),
    tenant_id=None,
    tier="free",
    rank=0,
)


def client_of(path: Path, ctx: TenantContext, readiness: Readiness, metrics: Metrics | None = None) -> Client:
    stats = ProcessStats(path, LoopWatch())
    return Client(operations(readiness, stats, metrics or Metrics([stats.collect]), "0.1.0"), ctx)


async def test_anyone_may_ask_whether_it_lives_and_is_ready(tmp_path: Path) -> None:
    readiness = Readiness()
    client = client_of(tmp_path, ANYONE, readiness)
    assert (await client.ask("GET", "/livez")).body == {"status": "alive"}
    assert (await client.ask("GET", "/readyz")).status == 503
    readiness.started = True
    for path in ("/readyz", "/health"):
        answer = await client.ask("GET", path)
        assert (answer.status, answer.body) == (200, {"status": "ready"})


async def test_a_failing_check_makes_it_unready_and_alive(tmp_path: Path) -> None:
    readiness = Readiness(started=True, checks={"store": lambda: "the store is away"})
    client = client_of(tmp_path, ANYONE, readiness)
    answer = await client.ask("GET", "/readyz")
    assert (answer.status, answer.body) == (503, {"status": "not_ready"})
    assert (await client.ask("GET", "/livez")).status == 200
    shown = await client_of(tmp_path, PLATFORM_CALLER, readiness).ask("GET", "/readyz")
    assert shown.body["reasons"] == {"store": "the store is away"}


async def test_the_platform_sees_cpu_memory_and_disk(tmp_path: Path) -> None:
    answer = await client_of(tmp_path, PLATFORM_CALLER, Readiness(started=True)).ask("GET", "/health")
    assert {"cpu_share", "memory_bytes", "disk_free_bytes", "longest_step_ms"} <= set(answer.body["process"])


@pytest.mark.parametrize("scopes", [(), ("metrics:read",), ("platform:admin",)])
async def test_no_tenants_key_reads_metrics_or_figures(tmp_path: Path, scopes: tuple[str, ...]) -> None:
    client = client_of(tmp_path, ctx_of(scopes=scopes), Readiness(started=True))
    assert (await client.ask("GET", "/metrics")).status == 403
    assert (await client.ask("GET", "/health")).body == {"status": "ready"}


async def test_metrics_cover_health_and_name_no_tenant(tmp_path: Path) -> None:
    async with running() as world:
        await world.register(instance(service="secret-service", lease_ttl_s=None))
        monitor = Monitor(world.keeper, world.probe, world.view, world.sequencer, world.clock)
        metrics = Metrics(
            [health_collector(world.keeper, monitor), refusals_collector(lambda: {"metadata": 2}, lambda: 5)]
        )
        answer = await client_of(tmp_path, PLATFORM_CALLER, Readiness(), metrics).ask("GET", "/metrics")
        text = answer.body.decode()
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'central_hub_instances{status="unknown"} 1' in text
        assert 'central_hub_egress_refused_total{reason="metadata"} 2' in text
        assert "central_hub_probe_targets 1" in text
        assert "acme" not in text
        assert "secret" not in text
