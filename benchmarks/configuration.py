"""Effective configuration: in process at 10,000 tenants, and over HTTP against nginx serving the same bytes.

    python benchmarks/configuration.py                  # the full form
    python benchmarks/configuration.py --short

In process: a plan, and five layers of 200 keys (everyone, tier, service, environment, and a tenant's own of 20), so
every tenant's value has 200 keys and is its own. One change of the global layer touches 5 keys, one of which half of
the tenants say otherwise for themselves; a second touches a key that everybody says otherwise, and announces nothing.
Over HTTP: the same tenants in a real hub; wrk walks through 2,000 of them, each with its own key, in pairs with nginx
on the same core. Then 20,000 requests a second at a constant rate (`open_loop.py`), in pairs with nginx too: every
request has its moment, and its time runs from there, whether or not a connection was free for it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import tracemalloc
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.discovery import LOAD_CPU, SERVER_CPU, Run, load, nginx
from benchmarks.http_load import post, run_load
from benchmarks.hub_process import HubProcess, cpu_s, running_hub
from benchmarks.open_loop import OpenLoop
from central_hub.adapters.clock import SystemClock
from central_hub.configuration.announcing import Announcements
from central_hub.configuration.defaults import PlanDefaults
from central_hub.configuration.effective import Effective
from central_hub.configuration.in_force import InForce
from central_hub.configuration.model import ConfigurationReloaded, Layer, TenantConfigurationChanged
from central_hub.configuration.view import ConfigurationView
from central_hub.edge.streams import Sink
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.ids import PLATFORM, DomainId, TenantId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.plans.document import default_catalogue
from central_hub.plans.view import PlansView

TENANTS: Final = 10_000
KEYS: Final = 200
OWN_KEYS: Final = 20
WALKED: Final = 2_000
UNLIMITED: Final = "1000000000"
BAR: Final = 0.6
RATE: Final = 20_000
RATE_SHORT: Final = 2_000
"""Of the short form, which shares its machine with other tests."""
SERVICE, ENVIRONMENT = "risk", "production"

WALK: Final = """
local at, requests = 0, {}
init = function(args)
  for line in io.lines("%(keys)s") do
    local tenant, key = line:match("(%%S+) (%%S+)")
    requests[#requests + 1] = wrk.format("GET", "/config/" .. tenant, {["Authorization"] = "Bearer " .. key})
  end
end
request = function()
  at = at %% #requests + 1
  return requests[at]
end
"""


def section(keys: int, value: int) -> dict[str, Any]:
    """Return a section of many keys in groups of twenty."""
    groups: dict[str, dict[str, int]] = {}
    for at in range(keys):
        groups.setdefault(f"group-{at // 20}", {})[f"key-{at % 20}"] = value
    return {"settings": groups}


def own(tenant: int, keys: int) -> dict[str, Any]:
    """Return what one tenant says for itself; no two say the same, and half of them say something of key 0."""
    first = tenant % 2
    values = {f"key-{at % 20}": tenant * 100 + at for at in range(first, keys)}
    return {"settings": {"group-9": values}}


class Tenants:
    """Every tenant at one tier."""

    def __init__(self, count: int) -> None:
        self.names = [f"tenant-{at:05d}" for at in range(count)]

    def tier_of(self, domain: DomainId) -> str | None:
        """Return the tier."""
        return "pro"

    def after(self, cursor: str, limit: int) -> list[tuple[str, str]]:
        """Return tenants in order."""
        return [(name, "pro") for name in self.names if name > cursor][:limit]


class Counter:
    """A sink that counts, and an access that refuses nobody."""

    def __init__(self) -> None:
        self.frames = 0

    def write(self, frame: object) -> bool:
        """Count a frame."""
        self.frames += 1
        return True

    def current(self, ctx: TenantContext) -> TenantContext:
        """Return the context as it is."""
        return ctx


def applied(domain: str, layer: Layer, revision: int, document: dict[str, Any]) -> Applied:
    """Return a layer's new revision as the runner would hand it out."""
    kind = ConfigurationReloaded if domain == PLATFORM else TenantConfigurationChanged
    names = (layer.tier, layer.tenant, layer.service, layer.environment)
    return Applied(
        pos=revision, domain=DomainId(domain), domain_seq=revision, streams=(layer.stream,), category=Category.FACT,
        type=kind.__name__, id="", time_ms=0, actor=HUB_ACTOR,
        fact=kind(layer=names, revision=revision, document=document),
    )  # fmt: skip


async def in_process(tenants: int) -> dict[str, Any]:
    """Measure resolving, reading and changing with all tenants in memory."""
    view, plans, clock, people, counter = (
        ConfigurationView(), PlansView(default_catalogue()), SystemClock(), Tenants(tenants), Counter(),
    )  # fmt: skip
    effective = Effective(view, PlanDefaults(plans, clock.now_ms), people)
    announcements = Announcements(InForce(effective), counter, clock)
    for value, layer in enumerate((Layer(), Layer(tier="pro"), Layer(service=SERVICE), Layer(environment=ENVIRONMENT))):
        keys = KEYS if not value else KEYS // 2
        view.apply(applied(PLATFORM, layer, 1, section(keys if value < 2 else KEYS // 4, value)))
    for at, name in enumerate(people.names):
        view.apply(applied(name, Layer(tenant=name), 1, own(at, OWN_KEYS)))
    domains = [DomainId(name) for name in people.names]
    begun = time.perf_counter()
    for domain in domains:
        effective.of(domain, SERVICE, ENVIRONMENT)
    first_ms = (time.perf_counter() - begun) * 1e3
    read_us: list[float] = []
    for _ in range(5):
        begun = time.perf_counter()
        for domain in domains:
            effective.of(domain, SERVICE, ENVIRONMENT).at("/settings/group-3/key-7")
        read_us.append((time.perf_counter() - begun) / tenants * 1e6)
    for domain in domains:
        principal = Principal(id="k", kind=PrincipalKind.KEY, home=domain, scopes=frozenset())
        ctx = TenantContext(principal=principal, tenant_id=TenantId(domain), tier="pro", rank=1)
        announcements.open(ctx, [(SERVICE, ENVIRONMENT)], cast(Sink, counter))
    changed = section(KEYS, 0)
    for at in range(4):
        changed["settings"][f"group-{5 + at % 4}"]["key-0"] = 1_000
    changes: list[dict[str, float]] = []
    shadowed = section(KEYS, 0)
    for revision, document in ((2, changed), (3, section(KEYS, 0)), (4, changed), (5, section(KEYS, 0))):
        changes.append(await _change(view, effective, announcements, domains, revision, document))
    shadowed["settings"]["group-9"]["key-1"] = 1_000  # every tenant says key 1 for itself
    silent = await _change(view, effective, announcements, domains, 6, shadowed)
    shadowed["settings"]["group-9"]["key-0"] = 1_000  # every other tenant says key 0 for itself
    half = await _change(view, effective, announcements, domains, 7, {**shadowed})
    return {
        "keys": len(effective.of(domains[0], SERVICE, ENVIRONMENT).leaves),
        "first_resolve_ms": round(first_ms, 1),
        "read_us": round(statistics.median(read_us), 3),
        "change_resolve_ms": round(statistics.median(each["resolve_ms"] for each in changes), 1),
        "change_announce_ms": round(statistics.median(each["announce_ms"] for each in changes), 1),
        "announced": changes[0]["announced"],
        "announced_where_nobody_changed": silent["announced"],
        "announced_where_half_changed": half["announced"],
    }


async def _change(
    view: ConfigurationView,
    effective: Effective,
    announcements: Announcements,
    domains: list[DomainId],
    revision: int,
    document: dict[str, Any],
) -> dict[str, float]:
    """Change the global layer: time until every tenant's value is the new one, and until everyone concerned is told."""
    told = announcements.changed
    fact = applied(PLATFORM, Layer(), revision, document)
    gc.collect()
    begun = time.perf_counter()
    view.apply(fact)
    for domain in domains:
        effective.of(domain, SERVICE, ENVIRONMENT)
    resolved = time.perf_counter()
    announcements.applied([fact])
    looked = announcements.looked
    while announcements.looked < looked + len(domains):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    return {
        "resolve_ms": (resolved - begun) * 1e3,
        "announce_ms": (time.perf_counter() - resolved) * 1e3,
        "announced": announcements.changed - told,
    }


def memory(tenants: int) -> dict[str, float]:
    """Measure what a tenant's value costs: with nothing of its own, and with a layer that no other has."""
    figures: dict[str, float] = {}
    for name, distinct in (("shared", False), ("own", True)):
        view, people = ConfigurationView(), Tenants(tenants)
        effective = Effective(view, PlanDefaults(PlansView(default_catalogue()), SystemClock().now_ms), people)
        view.apply(applied(PLATFORM, Layer(), 1, section(KEYS, 0)))
        effective.of(DomainId(people.names[0]))
        gc.collect()
        tracemalloc.start()
        for at, tenant in enumerate(people.names):
            if distinct:
                view.apply(applied(tenant, Layer(tenant=tenant), 1, own(at, OWN_KEYS)))
            effective.of(DomainId(tenant))
        figures[f"{name}_bytes_per_tenant"] = round(tracemalloc.get_traced_memory()[0] / tenants, 1)
        tracemalloc.stop()
    return figures


def fill(hub: HubProcess, tenants: int, walked: int, keys_file: Path) -> int:
    """Create tenants and layers, and keys for those who will ask; writes the keys, returns how many there are."""
    schema = {
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": {"type": "integer"}},
    }
    hub.must("PUT", "/config/schemas/settings", schema)
    names = Tenants(tenants).names
    creations = [
        post("/tenants", hub.bootstrap, json.dumps({"id": name, "name": name, "tier": "pro"}).encode())
        for name in names
    ]
    outcome = asyncio.run(run_load(hub.port, [iter(creations[at::16]) for at in range(16)]))
    assert outcome.refused == 0, "every tenant is created"
    changes: list[dict[str, Any]] = [
        {"layer": {}, "if_match": "*", "document": section(KEYS, 0)},
        {"layer": {"tier": "pro"}, "if_match": "*", "document": section(KEYS // 2, 1)},
    ]
    changes += [
        {"layer": {"tenant": name}, "if_match": "*", "document": own(at, OWN_KEYS)} for at, name in enumerate(names)
    ]
    for start in range(0, len(changes), 200):
        hub.must("POST", "/config/changes", {"changes": changes[start : start + 200]})
    step = max(1, tenants // walked)
    asking = names[::step][:walked]
    lines: list[str] = []
    for name in asking:
        body = {"name": "bench", "scopes": ["config:read", "registry:read"]}
        lines.append(f"{name} {hub.must('POST', f'/tenants/{name}/keys', body)['api_key']}\n")
    keys_file.write_text("".join(lines))
    return len(asking)


def copy_answers(hub: HubProcess, keys_file: Path, root: Path) -> int:
    """Write what the hub answers as nginx's files; returns the size of one."""
    folder = root / "files" / "config"
    folder.mkdir(parents=True)
    size = 0
    for line in keys_file.read_text().splitlines():
        tenant, key = line.split()
        raw = hub.fetch(f"/config/{tenant}", key)
        (folder / tenant).write_bytes(raw)
        size = len(raw)
    return size


def at_a_rate(
    servers: dict[str, tuple[int, int]], keys_file: Path, pairs: int, seconds: float, rate: int
) -> dict[str, Any]:  # Any: JSON
    """Ask both at the same constant rate, in turns; returns medians and every run.

    Args:
        servers: port and process id of the hub and of nginx.
    """
    requests = [
        f"GET /config/{tenant} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
        for tenant, key in (line.split() for line in keys_file.read_text().splitlines())
    ]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
    for pair in range(pairs):
        for name in sorted(servers, reverse=bool(pair % 2)):
            port, pid = servers[name]
            gc.collect()
            gc.disable()  # the generator's own pauses are not the server's
            used, begun = cpu_s(pid), time.perf_counter()
            run = OpenLoop(port, requests, rate, seconds).run()
            run["server_busy"] = round((cpu_s(pid) - used) / (time.perf_counter() - begun), 3)
            runs[name].append(run)
            gc.enable()
    medians = {
        name: {figure: statistics.median(run[figure] for run in made) for figure in made[0]}
        for name, made in runs.items()
    }
    return {**medians, "hub_runs": runs["hub"], "nginx_runs": runs["nginx"]}


def over_http(*, tenants: int, walked: int, pairs: int, seconds: float, rate: int) -> dict[str, Any]:
    """Run the pairs; returns medians and every run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        keys_file, script = root / "keys.txt", root / "walk.lua"
        script.write_text(WALK % {"keys": keys_file})
        options = {"reads_per_tenant_s": UNLIMITED, "writes_per_tenant_s": UNLIMITED}
        with running_hub(root / "data", cpu=SERVER_CPU, **options) as hub:
            fill(hub, tenants, walked, keys_file)
            size = copy_answers(hub, keys_file, root)
            with nginx(root) as (port, worker):
                ours: list[Run] = []
                theirs: list[Run] = []
                load(hub.port, hub.process.pid, "unused", 1, script)
                load(port, worker, "unused", 1, script)
                for pair in range(pairs):
                    for which in (0, 1) if pair % 2 else (1, 0):
                        if which:
                            ours.append(load(hub.port, hub.process.pid, "unused", seconds, script))
                        else:
                            theirs.append(load(port, worker, "unused", seconds, script))
                servers = {"hub": (hub.port, hub.process.pid), "nginx": (port, worker)}
                steady = at_a_rate(servers, keys_file, pairs, seconds, rate)
    ratios = [one.requests_per_s / other.requests_per_s for one, other in zip(ours, theirs, strict=True)]
    return {
        "answer_bytes": size,
        "at_a_rate": steady,
        "ratio_median": round(statistics.median(ratios), 3),
        "hub": _median(ours),
        "nginx": _median(theirs),
        "hub_runs": [asdict(run) for run in ours],
        "nginx_runs": [asdict(run) for run in theirs],
    }


def _median(runs: list[Run]) -> dict[str, float]:
    rows = [asdict(run) for run in runs]
    return {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer tenants, shorter loads")
    parser.add_argument("--no-http", action="store_true", help="only what is measured in process")
    given = parser.parse_args()
    tenants = 1_000 if given.short else TENANTS
    os.sched_setaffinity(0, {LOAD_CPU})
    figures: dict[str, Any] = {"tenants": tenants, **asyncio.run(in_process(tenants)), **memory(tenants)}
    if not given.no_http:
        walked, pairs, seconds, rate = (200, 2, 2.0, RATE_SHORT) if given.short else (WALKED, 7, 5.0, RATE)
        figures["http"] = over_http(tenants=tenants, walked=walked, pairs=pairs, seconds=seconds, rate=rate)
    figures["machine"] = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
