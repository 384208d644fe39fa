"""The whole contract, fuzzed: Schemathesis sends what the OpenAPI document allows and forbids to a real hub.

Every check of Schemathesis is on; what its requests leave out or may get beyond the document is in
`contract_hooks.py` and `contract_fuzzing.toml`, with reasons.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.security.real_hub import RealHub, running_hub

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("contract_fuzzing.toml")
SHORT_EXAMPLES = 5
SHORT_TIMEOUT_S = 100
FULL_EXAMPLES = 150
FULL_SEEDS = (11, 12)
FULL_CASES_MIN = 20_000
FULL_TIMEOUT_S = 900


def fill(hub: RealHub) -> None:
    """Put there what the requests will speak of: Schemathesis's own favourite name, '0', and the dictionaries'."""
    tenants = ("0", "acme", "globex")
    for tenant in (*tenants, "doomed"):
        hub.must("POST", "/tenants", {"id": tenant, "name": tenant, "tier": "pro"})
    boolean = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off", "overridable": True}
    for key, rules in (("0", []), ("search", []), ("half", [{"variant": "on", "percentage": 50}])):
        hub.must("PUT", f"/flags/{key}", boolean | {"rules": rules})
    for at in ("/secrets", *(f"/tenants/{tenant}/secrets" for tenant in tenants)):
        for path in ("0", "db/password"):
            hub.must("PUT", f"{at}/value?path={path}", {"value": "0"})
    hub.must("PUT", "/segments/beta", {"keys": ["0"]})
    for service in ("0", "risk", "ledger"):
        for instance in ("0", "i-1"):
            wanted = {
                "name": service, "host": "10.0.0.1", "port": 80, "instance_id": instance, "lease_ttl_s": 3_600,
            }  # fmt: skip
            hub.must("POST", "/services/register", wanted | {"shared": True})
            for tenant in tenants:
                hub.must("POST", "/services/register", wanted, x_tenant_id=tenant)


def fuzz(hub: RealHub, directory: Path, *, examples: int, seed: int, timeout_s: int) -> dict[str, Any]:
    """Run Schemathesis; returns its report."""
    report = directory / f"report-{seed}.json"
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", hub.url + "/openapi.json"]
    command += ["--checks", "all", "--max-examples", str(examples), "--seed", str(seed), "--no-color"]
    command += ["--report", "json", "--report-json-path", str(report)]
    environment = os.environ | {"HUB_API_KEY": hub.key, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert report.exists(), done.stdout + done.stderr
    told: dict[str, Any] = json.loads(report.read_text())
    assert done.returncode == 0, done.stdout
    return told


SILENT_STREAMS = 6
"""Streams of events say nothing until something happens; the pages of events take the same query."""


def judge(hub: RealHub, report: dict[str, Any]) -> None:
    """Nothing failed, every operation was tried, and the hub made no mistake and is well."""
    assert report["complete"]
    assert report["stop_reason"] == "completed"
    assert report["test_cases"]["with_failures"] == report["test_cases"]["errored"] == 0, report["failures"]
    assert report["operations"]["tested"] == report["operations"]["total"] - SILENT_STREAMS > 50
    assert [line for line in hub.metrics().splitlines() if 'status="5' in line] == []
    assert hub.ask("GET", "/readyz")[0] == 200


@pytest.mark.timeout(SHORT_TIMEOUT_S + 60)
def test_the_hub_keeps_its_contract_whatever_is_sent(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        fill(hub)
        report = fuzz(hub, tmp_path, examples=SHORT_EXAMPLES, seed=1, timeout_s=SHORT_TIMEOUT_S)
        judge(hub, report)
        assert report["test_cases"]["generated"] > 500


@pytest.mark.slow
@pytest.mark.timeout(len(FULL_SEEDS) * FULL_TIMEOUT_S + 60)
def test_the_hub_keeps_its_contract_over_twenty_thousand_requests(tmp_path: Path) -> None:
    cases = 0
    with running_hub(tmp_path) as hub:
        fill(hub)
        for seed in FULL_SEEDS:
            report = fuzz(hub, tmp_path, examples=FULL_EXAMPLES, seed=seed, timeout_s=FULL_TIMEOUT_S)
            judge(hub, report)
            cases += report["test_cases"]["generated"]
    assert cases >= FULL_CASES_MIN
