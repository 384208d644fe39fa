"""Feature flags: evaluated in process, asked over HTTP, polled unchanged, and told to open streams.

    python benchmarks/flags.py            # the full form
    python benchmarks/flags.py --short    # as the tests run it

In process: 200 flags with rules, 10,000 tenants. Over HTTP: one connection at a time, then 16, against a hub in a
process of its own; the same bulk question again and again with If-None-Match; and one change heard by every stream.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from http_load import post, run_load
from hub_process import HubProcess, running_hub

from central_hub.flags.evaluation import Asker, FlagSets
from central_hub.flags.model import (
    Condition,
    Definition,
    FlagDefined,
    FlagOverridden,
    FlagType,
    Operator,
    Override,
    Rule,
    Segment,
    SegmentDefined,
)
from central_hub.flags.view import FlagsView
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.plans.ports import Entitlement, EntitlementKind

FLAGS: Final = 200
TENANTS: Final = 10_000
ON_OFF: Final = {"on": True, "off": False}
TENANT: Final = "bench"
FULL: Final = (200_000, 5_000, 40_000, 1_000, 30)
SHORT: Final = (20_000, 300, 1_000, 50, 5)
"""Evaluations in process, single and concurrent requests, streams, changes."""


class Features:
    """Three entitlements, all granted."""

    granted: Final = ("advanced_ai", "basic_analytics", "custom_models")

    def names(self) -> tuple[str, ...]:
        """Return them."""
        return self.granted

    def ask(self, domain: DomainId, tier: str, feature: str) -> Entitlement:
        """Grant it."""
        return Entitlement(feature=feature, kind=EntitlementKind.BOOLEAN, allowed=True, source="plan:pro")


def definition(number: int) -> Definition:
    """Return a flag with four rules: about a tenant, an environment, a segment and a tier with a percentage."""
    rules = (
        Rule(variant="on", tenants=("t7",)),
        Rule(variant="on", environments=("staging",)),
        Rule(variant="on", segments=("adults",)),
        Rule(variant="on", tiers=("pro",), percentage=25.0),
    )
    static = number % 2 == 0
    return Definition(
        key=f"flag-{number:04}", type=FlagType.BOOLEAN, variants=ON_OFF, default="off",
        rules=rules[:2] if static else rules,
    )  # fmt: skip


def folded() -> FlagsView:
    """Return a view of all flags, and an override of one tenant."""
    view = FlagsView()
    adults = Condition(attribute="age", operator=Operator.AT_LEAST, values=(18,))
    facts: list[tuple[DomainId, Fact]] = [
        (PLATFORM, SegmentDefined(segment=Segment(name="adults", conditions=(adults,)))),
        *((PLATFORM, FlagDefined(flag=definition(number))) for number in range(FLAGS)),
        (DomainId("t9"), FlagOverridden(override=Override(key="flag-0000", variant="on"))),
    ]
    for pos, (domain, fact) in enumerate(facts, start=1):
        fold(view, domain, fact, pos)
    return view


def fold(view: FlagsView, domain: DomainId, fact: Fact, pos: int) -> None:
    """Let the view fold one fact."""
    view.apply(
        Applied(
            pos=pos,
            domain=domain,
            domain_seq=pos,
            streams=("s",),
            category=Category.FACT,
            type=type(fact).__name__,
            id=str(pos),
            time_ms=pos,
            actor=HUB_ACTOR,
            fact=fact,
        )
    )


def microseconds(work: Callable[[int], object], times: int) -> float:
    """Return what one call costs, the median of five runs."""
    runs: list[float] = []
    for _ in range(5):
        began = time.perf_counter()
        for number in range(times):
            work(number)
        runs.append((time.perf_counter() - began) / times * 1e6)
    return statistics.median(runs)


def in_process(times: int) -> dict[str, float]:
    """Measure evaluation, and what a change costs."""
    view = folded()
    sets = FlagSets(view, Features())
    askers = [Asker(DomainId(f"t{number}"), "pro", "production") for number in range(TENANTS)]
    contexts = [{"targetingKey": f"u{number}", "age": 10} for number in range(1_000)]
    keys = [f"flag-{number:04}" for number in range(FLAGS)]
    static, dynamic = keys[::2], keys[1::2]
    for key in keys:
        sets.evaluate(askers[0], key, contexts[0])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for asker in askers:
        for key in keys[:20]:
            sets.evaluate(asker, key, contexts[0])
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    def after_a_change(number: int) -> None:
        fold(view, PLATFORM, FlagDefined(flag=definition(number % FLAGS)), number + 1)
        sets.evaluate(askers[0], keys[number % FLAGS], contexts[0])

    return {
        "static_us": microseconds(lambda n: sets.evaluate(askers[n % TENANTS], static[n % 100], contexts[0]), times),
        "rules_us": microseconds(
            lambda n: sets.evaluate(askers[n % TENANTS], dynamic[n % 100], contexts[n % 1_000]), times
        ),
        "override_us": microseconds(lambda n: sets.evaluate(askers[9], "flag-0000", contexts[0]), times),
        "entitlement_us": microseconds(lambda n: sets.evaluate(askers[0], "advanced_ai", contexts[0]), times),
        "prepare_after_change_us": microseconds(after_a_change, max(FLAGS, times // 100)),
        "all_flags_us": microseconds(
            lambda n: sets.evaluate_all(askers[n % TENANTS], contexts[0]), max(20, times // 500)
        ),
        "fingerprint_us": microseconds(lambda n: sets.fingerprint(askers[n % TENANTS]), max(20, times // 500)),
        "bytes_per_tenant": grown / TENANTS,
    }


def furnish(hub: HubProcess) -> str:
    """Define the flags over HTTP; returns the tenant's key."""
    key = hub.tenant(TENANT, "enterprise", ["flags:read"])
    hub.must("PUT", "/segments/adults", {"conditions": [{"attribute": "age", "operator": "gte", "values": [18]}]})
    for number in range(FLAGS):
        rules: list[dict[str, Any]] = [{"variant": "on", "environments": ["staging"]}]
        if number % 2:
            rules += [
                {"variant": "on", "segments": ["adults"]},
                {"variant": "on", "tiers": ["enterprise"], "percentage": 25},
            ]
        flag = {"type": "boolean", "variants": ON_OFF, "default": "off", "rules": rules}
        hub.must("PUT", f"/flags/flag-{number:04}", flag)
    return key


async def over_http(hub: HubProcess, key: str, single: int, many: int) -> dict[str, Any]:
    """Measure evaluation of one flag over HTTP, alone and by 16 at once, and of all flags."""
    body = b'{"context":{"targetingKey":"user-1","age":10,"country":"CA"}}'

    def questions(times: int) -> Iterator[bytes]:
        made = [post(f"/ofrep/v1/evaluate/flags/flag-{number:04}", key, body) for number in range(FLAGS)]
        return itertools.islice(itertools.cycle(made), times)

    await run_load(hub.port, [questions(200)])
    alone = await run_load(hub.port, [questions(single)])
    together = await run_load(hub.port, [questions(many // 16) for _ in range(16)])
    everything = post("/ofrep/v1/evaluate/flags", key, body)
    all_of_them = await run_load(hub.port, [itertools.repeat(everything, max(50, single // 20))])
    return {"alone": alone.summary(), "sixteen": together.summary(), "all_flags": all_of_them.summary()}


def polls(hub: HubProcess, key: str, times: int) -> dict[str, float]:
    """Ask again and again with the tag of the answer before; count what was not sent again."""
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", hub.port, timeout=60)
    lines = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    unchanged, tag = 0, ""
    for _ in range(times):
        connection.request("POST", "/ofrep/v1/evaluate/flags", b'{"context":{"targetingKey":"u"}}', lines)
        answer = connection.getresponse()
        answer.read()
        unchanged += answer.status == 304
        tag = answer.headers["etag"]
        lines["if-none-match"] = tag
    connection.close()
    return {"polls": times, "unchanged_percent": unchanged / (times - 1) * 100}


async def told(hub: HubProcess, key: str, streams: int, changes: int) -> dict[str, float]:
    """Open streams and change a flag: how long until the last of them has heard."""
    status, answer = await asyncio.to_thread(hub.call, "POST", "/ofrep/v1/evaluate/flags", {}, key=key)
    assert status == 200
    target = answer["eventStreams"][0]["endpoint"]["requestUri"]
    opened = [await asyncio.open_connection("127.0.0.1", hub.port) for _ in range(streams)]
    for _, writer in opened:
        writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    for reader, _ in opened:
        await reader.readuntil(b"refetchEvaluation")
        await reader.readuntil(b"\n\n")
    took: list[float] = []
    for number in range(changes):
        flag = {"type": "boolean", "variants": ON_OFF, "default": ("on", "off")[number % 2]}
        began = time.perf_counter()
        changed = asyncio.create_task(
            asyncio.to_thread(hub.call, "PUT", "/flags/flag-0000", flag, headers={"if-match": "*"})
        )
        for reader, _ in opened:
            await reader.readuntil(b"refetchEvaluation")
            await reader.readuntil(b"\n\n")
        took.append((time.perf_counter() - began) * 1_000)
        assert (await changed)[0] == 200
    for _, writer in opened:
        writer.close()
    return {"streams": streams, "last_told_ms_median": statistics.median(took), "last_told_ms_max": max(took)}


def main() -> None:
    """Measure and print the report as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    times, single, many, streams, changes = SHORT if parser.parse_args().short else FULL
    report: dict[str, Any] = {"in_process": in_process(times)}
    with tempfile.TemporaryDirectory() as directory, running_hub(Path(directory) / "data") as hub:
        key = furnish(hub)
        report["http"] = asyncio.run(over_http(hub, key, single, many))
        report["polling"] = polls(hub, key, max(100, single // 10))
        report["streams"] = asyncio.run(told(hub, key, streams, changes))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
