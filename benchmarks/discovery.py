"""Discovery over HTTP against nginx serving the same bytes as files, on the same core, in the same run.

    python benchmarks/discovery.py                     # the full form: seven pairs of 5 s
    python benchmarks/discovery.py --pairs 2 --seconds 2
    python benchmarks/discovery.py --lane asgi         # hot reads through raw ASGI instead

2,000 services of 10 instances; an API key, so tenant, tier, limiter, look-up counter and the pick
are all on. wrk (one thread, 64 connections, walking through the services) has one core, the
server under test the other. Pairs alternate, so that both meet the same machine; the figure is
the median of the pairs' ratios. Before them the instances' slow start (30 s) is waited for: a
service in slow start is worked out anew every second. Says how busy the load generator's own core was: near 100 % it
is wrk that was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.hub_process import HubProcess, cpu_s, free_port, running_hub

SERVER_CPU: Final = 0
LOAD_CPU: Final = 1
CONNECTIONS: Final = 64
SERVICES: Final = 2_000
INSTANCES: Final = 10
SETTLE_S: Final = 31.0
CALLER: Final = "api-gateway"
BAR: Final = 0.5

NGINX_CONFIG: Final = """
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/error.log crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=8192;
  types {{}} default_type application/json;
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
  uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{ listen 127.0.0.1:{port} backlog=2048; root {root}/files; }}
}}
"""

WALK: Final = """
local at, requests = 0, {}
init = function(args)
  for i = 0, %(last)d do requests[i] = wrk.format("GET", string.format("/services/discover/svc-%%04d", i)) end
end
request = function()
  at = at + 1
  if at > %(last)d then at = 0 end
  return requests[at]
end
"""


@dataclass
class Run:
    """One load on one server."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    server_us_per_request: float
    server_busy: float
    load_busy: float
    errors: int = 0


def load(port: int, pid: int, key: str, seconds: float, script: Path) -> Run:
    """Put load on a server with wrk and read what it says."""
    command = [
        "taskset", "-c", str(LOAD_CPU), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency",
        "-s", str(script), "-H", f"Authorization: Bearer {key}", "-H", f"X-Service-Name: {CALLER}",
        f"http://127.0.0.1:{port}",
    ]  # fmt: skip
    used, children = cpu_s(pid), resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    elapsed = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = cpu_s(pid) - used
    count = int(_found(r"(\d+) requests in", said))
    errors = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    if errors:
        raise RuntimeError(f"{errors.group(1)} answers were refusals, which nobody wants to measure")
    return Run(
        requests_per_s=float(_found(r"Requests/sec:\s+([\d.]+)", said)),
        p50_ms=_percentile(50, said),
        p99_ms=_percentile(99, said),
        server_us_per_request=round(used / count * 1e6, 2),
        server_busy=round(used / elapsed, 3),
        load_busy=round((after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime) / elapsed, 3),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk said:\n{text}")
    return match.group(1)


def _percentile(percent: int, said: str) -> float:
    return _milliseconds(_found(rf"(?m)^\s+{percent}%\s+([\d.]+[a-z]+)\s*$", said))


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 0.001), ("ms", 1.0), ("s", 1_000.0), ("m", 60_000.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    raise ValueError(text)


def fill(hub: HubProcess, services: int) -> str:
    """Register the services as shared ones; returns the key of the tenant that will ask for them."""
    key = hub.tenant("acme", "enterprise")
    instances = [
        {
            "name": f"svc-{service:04d}", "instance_id": f"i-{service}-{at}", "host": f"10.0.{service % 250}.{at + 1}",
            "port": 8_080, "version": "1.0.0", "zone": f"eu-1{'abc'[at % 3]}", "tags": ["http", "v1"],
            "metadata": {"type": "bench", "team": "core"}, "lease_ttl_s": 3_600,
        }
        for service in range(services)
        for at in range(INSTANCES)
    ]  # fmt: skip
    for start in range(0, len(instances), 100):
        hub.must("POST", "/services/register/batch", {"instances": instances[start : start + 100]})
    return key


@contextlib.contextmanager
def nginx(root: Path) -> Iterator[tuple[int, int]]:
    """Serve `root/files` with one pinned nginx worker; yields its port and the worker's pid."""
    port = free_port()
    root.chmod(0o755)  # a worker that nginx runs as nobody has to get in, or it serves refusals
    (root / "nginx.conf").write_text(NGINX_CONFIG.format(root=root, port=port))
    binary = shutil.which("nginx") or "/usr/sbin/nginx"
    command = ["taskset", "-c", str(SERVER_CPU), binary, "-c", str(root / "nginx.conf"), "-e", str(root / "error.log")]
    process = subprocess.Popen(command)
    try:
        worker = 0
        for _ in range(100):
            time.sleep(0.05)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if children:
                worker = int(children[0])
                break
        yield port, worker
    finally:
        process.terminate()
        process.wait(10)


def copy_answers(hub: HubProcess, key: str, root: Path, services: int) -> int:
    """Write what the hub answers as nginx's files; returns the size of one."""
    folder = root / "files" / "services" / "discover"
    folder.mkdir(parents=True)
    size = 0
    for service in range(services):
        raw = hub.fetch(f"/services/discover/svc-{service:04d}", key)
        (folder / f"svc-{service:04d}").write_bytes(raw)
        size = len(raw)
    return size


def measure(
    *, pairs: int, seconds: float, services: int, lane: str, settle_s: float = SETTLE_S
) -> dict[str, Any]:  # Any: JSON
    """Run the pairs; returns medians and every run."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        script = root / "walk.lua"
        script.write_text(WALK % {"last": services - 1})
        options = {"lane": lane, "reads_per_tenant_s": "1000000"}  # the limiter is asked, and does not refuse
        with running_hub(root / "data", cpu=SERVER_CPU, **options) as hub:
            key = fill(hub, services)
            size = copy_answers(hub, key, root, services)
            with nginx(root) as (port, worker):
                ours: list[Run] = []
                theirs: list[Run] = []
                time.sleep(settle_s)
                load(hub.port, hub.process.pid, key, 1, script)
                load(port, worker, key, 1, script)
                for pair in range(pairs):
                    for which in (0, 1) if pair % 2 else (1, 0):
                        if which:
                            ours.append(load(hub.port, hub.process.pid, key, seconds, script))
                        else:
                            theirs.append(load(port, worker, key, seconds, script))
    ratios = [one.requests_per_s / other.requests_per_s for one, other in zip(ours, theirs, strict=True)]
    return {
        "lane": lane,
        "answer_bytes": size,
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "hub": _median(ours),
        "nginx": _median(theirs),
        "hub_runs": [asdict(run) for run in ours],
        "nginx_runs": [asdict(run) for run in theirs],
    }


def _median(runs: list[Run]) -> dict[str, float]:
    rows = [asdict(run) for run in runs]
    return {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}


def report(result: dict[str, Any], pairs: int) -> str:  # Any: JSON
    """Write the medians as text."""
    lines: list[str] = []
    for who in ("hub", "nginx"):
        row = result[who]
        lines.append(
            f"{who:6} {row['requests_per_s']:>9,.0f} requests/s   p50 {row['p50_ms']:.2f} ms"
            f"   p99 {row['p99_ms']:.2f} ms   {row['server_us_per_request']:.1f} us of processor a request"
            f"   load generator {row['load_busy']:.0%} busy"
        )
    lines.append(
        f"ratio  {result['ratio_median']} (median of {pairs} pairs; {result['ratio_min']} to {result['ratio_max']}),"
        f" lane {result['lane']}, {result['answer_bytes']} bytes an answer"
    )
    return "\n".join(lines)


def main() -> None:
    """Run from the command line; exits with 1 when the bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--services", type=int, default=SERVICES)
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="seconds to wait before the first load")
    parser.add_argument("--lane", choices=["protocol", "asgi", "off"], default="protocol")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    given = parser.parse_args()
    result = measure(
        pairs=given.pairs, seconds=given.seconds, services=given.services, lane=given.lane, settle_s=given.settle
    )
    if given.json:
        print(json.dumps(result, indent=1))
    else:
        print(report(result, given.pairs))
    if given.lane == "protocol" and result["ratio_median"] < BAR:
        sys.exit(f"the bar is {BAR}")


if __name__ == "__main__":
    main()
