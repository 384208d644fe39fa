"""Customers: from nothing to the first answer, what they may do, and an edit of the plans under all of them.

    python benchmarks/customers.py            # the full form: 10,000 tenants are there already
    python benchmarks/customers.py --short    # as the tests run it

A customer is provisioned when one command has made its tenant, its first key and its defaults durable, and the key has
got its first answer. The hub has one core, the load generator the other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from http_load import post, run_load
from hub_process import HubProcess, running_hub

from central_hub.kernel.clock import ManualClock
from central_hub.kernel.ids import DomainId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.plans.book import PlanBook
from central_hub.plans.document import default_catalogue
from central_hub.plans.model import EntitlementGranted, OverrideSet
from central_hub.plans.view import PlansView

CONNECTIONS: Final = 16
SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
TIERS: Final = ("free", "pro", "enterprise")
FEATURE: Final = "max_data_storage_mb"
UNLIMITED: Final = "1000000000"


def wanted(name: str, number: int) -> dict[str, object]:
    """Return a customer to create."""
    first_key = {"name": "first", "scopes": ["registry:read", "config:read"]}
    return {"id": f"{name}-{number}", "name": f"Customer {number}", "tier": TIERS[number % 3], "first_key": first_key}


def furnish(hub: HubProcess) -> None:
    """Let customers of the plan `pro` begin with a configuration of their own."""
    parameters = {"tenant_id": {"type": "string"}}
    document = {"features": {"advanced_ai": False}, "labels": {"owner": "${tenant_id}"}}
    described = {"type": "object", "properties": {"owner": {"type": "string"}}}
    hub.must("PUT", "/config/schemas/labels", described)
    hub.must("PUT", "/config/templates/start", {"parameters": parameters, "document": document})
    catalogue = hub.must("GET", "/plans")["catalogue"]
    catalogue["plans"]["pro"]["template"] = "start"
    hub.must("PUT", "/plans", {"catalogue": catalogue})


def many(hub: HubProcess, count: int) -> dict[str, Any]:
    """Create customers over several connections."""

    def of(connection: int) -> Iterator[bytes]:
        for number in range(connection, count, CONNECTIONS):
            yield post("/tenants", hub.bootstrap, json.dumps(wanted("there", number)).encode())

    outcome = asyncio.run(run_load(hub.port, [of(number) for number in range(CONNECTIONS)]))
    listed = hub.must("GET", "/tenants?limit=500")["tenants"]
    assert len(listed) == min(500, count), "every one of them is there"
    return outcome.summary()


def one_by_one(hub: HubProcess, count: int) -> dict[str, Any]:
    """Provision customers one after another, each up to its key's first answer."""
    took_ms: list[float] = []
    for number in range(count):
        begun = time.perf_counter()
        made = hub.must("POST", "/tenants", wanted("new", number))
        found = hub.must("GET", f"/tenants/new-{number}/entitlements/{FEATURE}", key=made["key"]["api_key"])
        took_ms.append((time.perf_counter() - begun) * 1_000)
        assert found["source"] == f"plan:{TIERS[number % 3]}"
        if TIERS[number % 3] == "pro":
            own = hub.must("GET", f"/config/layers/tenant/new-{number}")
            assert own["revision"] == 1, "it begins with its plan's template"
    took_ms.sort()
    return {
        "customers": count,
        "median_ms": round(statistics.median(took_ms), 2),
        "p99_ms": round(took_ms[min(count - 1, int(count * 0.99))], 2),
        "worst_ms": round(took_ms[-1], 2),
    }


def edit(hub: HubProcess) -> float:
    """Change a rank under every customer; milliseconds until it holds."""
    catalogue = hub.must("GET", "/plans")["catalogue"]
    catalogue["plans"]["pro"]["rank"] += 1
    begun = time.perf_counter()
    done = hub.must("PUT", "/plans", {"catalogue": catalogue})
    took_ms = (time.perf_counter() - begun) * 1_000
    assert [change["path"] for change in done["changes"]] == ["plans.pro.rank"]
    return round(took_ms, 2)


def ask_us(tenants: int, repeats: int) -> dict[str, float]:
    """Ask what tenants may do, in process: for one the plan alone decides, for another five grants and an override."""
    view, clock = PlansView(default_catalogue()), ManualClock()
    seq = 0
    for number in range(0, tenants, 2):
        domain = DomainId(f"t-{number}")
        grants = [EntitlementGranted(grant_id=str(at), feature=FEATURE, value=at, priority=at) for at in range(5)]
        for fact in (*grants, OverrideSet(feature="advanced_ai", value=True)):
            seq += 1
            view.apply(
                Applied(
                    pos=seq, domain=domain, domain_seq=seq, streams=("s",), category=Category.FACT,
                    type=type(fact).__name__, id=str(seq), time_ms=1, actor=HUB_ACTOR, fact=fact,
                )
            )  # fmt: skip
    book = PlanBook(view, clock)
    plain = [DomainId(f"t-{number}") for number in range(1, tenants, 2)]
    layered = [DomainId(f"t-{number}") for number in range(0, tenants, 2)]

    def asking(domains: list[DomainId]) -> Callable[[], object]:
        return lambda: [book.ask(domain, "pro", FEATURE) for domain in domains]

    return {
        "plan_alone": _best_us(asking(plain), len(plain), repeats),
        "five_grants": _best_us(asking(layered), len(layered), repeats),
    }


def _best_us(work: Callable[[], object], count: int, repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return round(best / count * 1e6, 2)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    os.sched_setaffinity(0, {LOAD_CPU})
    with tempfile.TemporaryDirectory() as name:
        options = {"writes_per_tenant_s": UNLIMITED, "reads_per_tenant_s": UNLIMITED}
        with running_hub(Path(name) / "data", cpu=SERVER_CPU, **options) as hub:
            furnish(hub)
            figures: dict[str, Any] = {
                "at_once": many(hub, 200 if short else 10_000),
                "one_by_one": one_by_one(hub, 20 if short else 500),
                "plan_edit_ms": edit(hub),
            }
    figures["ask_us"] = ask_us(1_000 if short else 10_000, 3 if short else 10)
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
