"""http_sd: its shape, its walls, and Debian's own Prometheus reading it."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import urllib.request
from pathlib import Path

import pytest

from central_hub.interop.prometheus import Targets, operations
from tests.routes.health.support import Client, served
from tests.unit.health.support import OTHER, SHARED, World, instance, running
from tests.unit.health.test_usecases import ctx_of

READER = ("registry:read",)
PROMETHEUS = shutil.which("prometheus")


def client_of(world: World, tenant: str | None = "acme", **options: int) -> Client:
    return Client(operations(Targets(world.view, world.keeper, world.clock, **options)), ctx_of(tenant, scopes=READER))


async def test_each_instance_is_a_target_with_labels_to_relabel() -> None:
    async with running() as world:
        one = instance(
            host="10.0.0.9",
            version="1.2",
            zone="a",
            tags=("x", "y"),
            protocol="https",
            metadata={"metrics_path": "/m", "metrics_port": 9100, "team.name": "risk", "n": 3},
        )
        await world.register(one)
        answer = await client_of(world).ask("GET", "/prometheus/targets")
        assert answer.headers["content-type"] == "application/json"
        assert answer.body == [
            {
                "targets": ["10.0.0.9:9100"],
                "labels": {
                    "__meta_central_hub_service": "risk",
                    "__meta_central_hub_instance_id": "i-1",
                    "__meta_central_hub_domain": "tenant",
                    "__meta_central_hub_status": "unknown",
                    "__meta_central_hub_version": "1.2",
                    "__meta_central_hub_zone": "a",
                    "__meta_central_hub_tags": ",x,y,",
                    "__scheme__": "https",
                    "__metrics_path__": "/m",
                    "__meta_central_hub_metadata_metrics_path": "/m",
                    "__meta_central_hub_metadata_team_name": "risk",
                },
            }
        ]


async def test_a_caller_gets_its_own_and_the_shared_targets_only() -> None:
    async with running() as world:
        await world.register(instance(service="own"))
        await world.register(instance(service="theirs"), domain=OTHER)
        await world.register(instance(service="both", host="fd00::1"), domain=SHARED)
        await world.register(instance(service="gold", subscription_requirements=("pro",)), domain=SHARED)
        await world.register(instance(service="wire", protocol="tcp"))
        shown = (await client_of(world).ask("GET", "/prometheus/targets")).body
        assert {group["labels"]["__meta_central_hub_service"] for group in shown} == {"own", "both"}
        assert ["[fd00::1]:8080"] in [group["targets"] for group in shown]


@pytest.mark.parametrize(
    "metadata",
    [
        {"metrics_port": "22"},
        {"metrics_port": 0},
        {"metrics_port": True},
        {"metrics_path": "http://x"},
        {"metrics_path": 5},
    ],
)
async def test_metadata_that_makes_no_sense_is_left_alone(metadata: dict[str, object]) -> None:
    async with running() as world:
        await world.register(instance(metadata=metadata))
        (group,) = (await client_of(world).ask("GET", "/prometheus/targets")).body
        assert group["targets"] == ["10.0.0.1:8080"]
        assert group["labels"]["__metrics_path__"] == "/metrics"


async def test_the_list_is_cut_at_its_cap_and_says_so() -> None:
    async with running() as world:
        await world.register(instance("i-1"), instance("i-2"))
        answer = await client_of(world, targets_max=1).ask("GET", "/prometheus/targets")
        assert len(answer.body) == 1
        assert answer.headers["hub-truncated"] == "true"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def asked(port: int, path: str) -> dict[str, object]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
        return json.load(answer)


CONFIGURATION = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: hub
    http_sd_configs: [{{url: "http://127.0.0.1:{hub}/prometheus/targets", refresh_interval: 1s}}]
    relabel_configs:
      - {{source_labels: [__meta_central_hub_service], target_label: service}}
"""


@pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus here: apt-get install prometheus")
async def test_debians_prometheus_discovers_and_scrapes_what_is_registered(tmp_path: Path) -> None:
    async def metrics(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close\r\n\r\nup_here 1\n"
        )
        await writer.drain()
        writer.close()

    exporter = await asyncio.start_server(metrics, "127.0.0.1", 0)
    async with running() as world, served(client_of(world)) as hub:
        await world.register(instance(host="127.0.0.1", port=exporter.sockets[0].getsockname()[1]))
        port = free_port()
        (tmp_path / "prometheus.yml").write_text(CONFIGURATION.format(hub=hub))
        assert PROMETHEUS is not None
        process = await asyncio.create_subprocess_exec(
            PROMETHEUS, f"--config.file={tmp_path / 'prometheus.yml'}", f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}", "--log.level=error",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            found: dict[str, object] = {}
            for _ in range(150):
                await asyncio.sleep(0.2)
                try:
                    answer = await asyncio.to_thread(asked, port, "/api/v1/query?query=up_here")
                except OSError:
                    continue
                result = answer["data"]["result"]  # type: ignore[index,call-overload]
                if result:
                    found = result[0]["metric"]
                    break
            assert found["service"] == "risk"
            assert found["job"] == "hub"
        finally:
            process.terminate()
            await asyncio.wait_for(process.wait(), 10)
            exporter.close()
