"""The compose file does what it says: roles, migration and three hubs as it has them, on a real PostgreSQL.

There is no container engine: names of services become addresses of this machine; all else is taken from the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from central_hub.cli.demo.processes import free_ports
from central_hub.settings import Settings
from tools.postgres_server import SUPERUSER, MissingError, PostgresServer, programs

FOLDER = Path(__file__).parents[2] / "deploy" / "compose"
TEXT = (FOLDER / "compose.yaml").read_text("utf-8")
HUBS = ("hub-1", "hub-2", "hub-3")
READY_S = 30.0
STOP_S = 30.0
_VARIABLE = re.compile(r"\$\{(\w+):\?[^}]*\}")


def wanted() -> set[str]:
    """Return the variables that the file asks for."""
    return set(_VARIABLE.findall(TEXT))


def composed(values: dict[str, str]) -> dict[str, Any]:  # Any: YAML
    """Return the services, with variables filled in as an engine does."""
    return yaml.safe_load(_VARIABLE.sub(lambda found: values[found[1]], TEXT))["services"]


SERVICES = composed({name: f"{name.lower()}0" for name in wanted()})


def test_every_variable_is_in_the_example_and_the_example_has_no_secret() -> None:
    lines = (FOLDER / ".env.example").read_text("utf-8").splitlines()
    assert {line.rstrip("=") for line in lines if line and not line.startswith("#")} == wanted()
    assert not re.search(r"^[^#\n]*=\S", "\n".join(lines), re.MULTILINE)
    assert ":-" not in TEXT.replace("${POSTGRES_USER:-", ""), "no secret has a default"


@pytest.mark.parametrize("name", HUBS)
def test_a_hub_has_an_address_of_its_own_and_may_little(name: str) -> None:
    hub = SERVICES[name]
    assert hub["environment"]["HUB_ADVERTISE"] == f"http://{name}:7000"
    assert hub["read_only"] is True
    assert hub["cap_drop"] == ["ALL"]
    assert hub["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in hub["ports"])
    assert hub["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}
    assert {variable.removeprefix("HUB_").lower() for variable in hub["environment"]} <= set(Settings.model_fields)


def test_hubs_differ_in_nothing_else() -> None:
    ports = {SERVICES[name]["ports"][0] for name in HUBS}
    assert len(ports) == len(HUBS)
    alike = [
        {**SERVICES[name], "ports": [], "environment": {**SERVICES[name]["environment"], "HUB_ADVERTISE": ""}}
        for name in HUBS
    ]
    assert alike[0] == alike[1] == alike[2]


@dataclass
class Running:
    """The hubs: where each answers, its process, and what it printed."""

    urls: dict[str, str]
    processes: dict[str, subprocess.Popen[bytes]]
    printed: dict[str, Path]


def call(url: str, method: str = "GET", body: object = None, key: str = "") -> Any:  # Any: JSON
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"}, method=method)
    if key:
        request.add_header("authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def until(what: str, ask: Any) -> Any:
    """Ask until there is an answer."""
    deadline = time.monotonic() + READY_S
    while True:
        with contextlib.suppress(OSError):
            if found := ask():
                return found
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """Do what the file says, service by service."""
    try:
        server = PostgresServer.initialised()
    except MissingError as missing:
        pytest.skip(str(missing))
    values = {name: secrets.token_hex(32 if name == "HUB_MASTER_KEY" else 8) for name in wanted()}
    services = composed(values)
    plain = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        database = plain | services["postgres"]["environment"]
        database |= {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "POSTGRES_USER": SUPERUSER}
        database["PATH"] += f":{programs()}"
        subprocess.run(["sh", FOLDER / "roles.sh"], env=database, check=True, timeout=30)

        def here(text: str) -> str:
            return text.replace("@postgres:5432", f"@127.0.0.1:{server.port}")

        hub = [sys.executable, "-m", "central_hub"]
        prepare = [*hub, *map(here, services["prepare"]["command"])]
        for _ in range(2):  # an engine may start it again
            subprocess.run(prepare, env=plain, check=True, timeout=60, capture_output=True)
        urls, printed = {}, {}
        for name, port in zip(HUBS, free_ports(len(HUBS)), strict=True):
            urls[name], printed[name] = f"http://127.0.0.1:{port}", tmp_path / f"{name}.log"
            environment = {key: here(value) for key, value in services[name]["environment"].items()}
            environment |= {
                "HUB_ADVERTISE": urls[name],
                "HUB_PORT": str(port),
                "HUB_DATA": str(tmp_path / name),
                "PYTHONUNBUFFERED": "1",
            }
            with printed[name].open("wb") as log:
                processes[name] = subprocess.Popen(
                    [*hub, "serve"], env=plain | environment, stdout=log, stderr=log, cwd=tmp_path
                )
        for name in HUBS:
            until(f"{name} is not ready", lambda name=name: call(f"{urls[name]}/readyz"))
        yield Running(urls, processes, printed)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
        server.remove()


@pytest.mark.timeout(150)
def test_three_hubs_share_what_one_of_them_is_told_and_one_may_go(running: Running) -> None:
    first, second, third = (running.urls[name] for name in HUBS)
    token = re.search(r"chb_\w+", running.printed["hub-1"].read_text("utf-8"))
    assert token is not None
    call(f"{first}/tenants", "POST", {"id": "acme", "name": "Acme", "tier": "pro"}, token[0])
    key = call(f"{first}/tenants/acme/keys", "POST", {"name": "own"}, token[0])["api_key"]
    instance = {"name": "billing", "instance_id": "b-1", "host": "10.0.0.1", "port": 8000, "lease_ttl_s": 600}
    call(f"{first}/services/register", "POST", instance, key)
    for other in (second, third):
        found = until("another hub knows", lambda other=other: call(f"{other}/services/discover/billing", key=key))
        assert found["recommended_endpoint"] == "http://10.0.0.1:8000"
    running.processes["hub-1"].send_signal(signal.SIGTERM)
    assert running.processes["hub-1"].wait(STOP_S) == 0
    instance |= {"instance_id": "b-2", "port": 8001}
    call(f"{second}/services/register", "POST", instance, key)
    both = {"http://10.0.0.1:8000", "http://10.0.0.1:8001"}
    until(
        "the third hub knows both",
        lambda: set(call(f"{third}/services/discover/billing", key=key)["all_healthy_endpoints"]) == both,
    )
