"""Routing decisions: how long one takes in process and over HTTP, and how long it takes to say why nobody is left.

    python benchmarks/routing_decisions.py            # the full form
    python benchmarks/routing_decisions.py --short    # as the tests run it

In process a decision is all that a request costs: match, predict, score, reserve, keep what explains it, and the
outcome; in time of the processor, as others may run beside it. Over HTTP: reservations of distinct sizes, over one
connection and over four at once, against a hub in a process of its own with a hundred instances that offer the model.
Where LiteLLM is installed its router picks among as many deployments, in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
from http_load import post, run_load
from hub_process import HubProcess, running_hub

from central_hub.kernel.clock import ManualClock
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.ids import SHARED, DomainId, TenantId
from central_hub.registry.model import Instance
from central_hub.routing.advising import Advice
from central_hub.routing.asking import Asked, Told
from central_hub.routing.constraints import Require, wanted_of
from central_hub.routing.deciding import Router
from central_hub.routing.model import Latency, Offering, Quality
from central_hub.routing.relaxing import relaxations
from central_hub.routing.view import Declared

TENANT: Final = "bench"
OVER_HTTP: Final = 100
FULL: Final = (
    ((10, 10), (100, 100), (100, 10_000), (1_000, 1_000), (100, 100_000)),
    5_000,
    12_000,
)
SHORT: Final = ((10, 10), (100, 100), (100, 10_000), (1_000, 1_000)), 500, 1_000
"""Eligible of registered, decisions in process, reservations over HTTP."""
PICKS_AMONG: Final = (100, 500)


class Services:
    """Everything is seen and well."""

    def sees(self, ctx: TenantContext, domain: DomainId, service: str) -> bool:
        """Say yes."""
        return True

    def require(self, ctx: TenantContext, service: str) -> DomainId:
        """Return the shared domain."""
        return SHARED

    def instance(self, domain: DomainId, service: str, instance_id: str) -> Instance:
        """Make it up."""
        return Instance(service_name=service, instance_id=instance_id, host="10.0.0.1", port=80)

    def takes_work(self, domain: DomainId, instance: Instance) -> bool:
        """Say yes."""
        return True


class Plans:
    """One rank, and nothing is granted."""

    def rank_of(self, tier: str) -> int:
        """Return the rank."""
        return 1

    def grants(self, ctx: TenantContext, feature: str) -> bool:
        """Say no."""
        return False

    def features(self) -> tuple[str, ...]:
        """Return none."""
        return ()


def caller() -> TenantContext:
    """Return who asks."""
    principal = Principal(id="key:b", kind=PrincipalKind.KEY, home=DomainId(TENANT), scopes=frozenset())
    return TenantContext(principal=principal, tenant_id=TenantId(TENANT), tier="enterprise", rank=1)


def offering(number: int, *, eligible: bool) -> Offering:
    """Make up an offering."""
    return Offering(
        id="o", model="m", task="chat" if eligible else "other", hardware=f"h{number % 7}", region=f"r{number % 5}",
        data_sizes=("small", "large"), latency_ms=Latency(p50=20.0 + number % 13), concurrency=4,
        quality=(Quality(metric="accuracy", value=0.9 + number % 10 / 100),),
    )  # fmt: skip


def percentiles(took: list[float]) -> dict[str, float]:
    """Return what a list of seconds comes to, microseconds."""
    took.sort()
    return {
        name: round(took[int(share * (len(took) - 1))] * 1e6, 1) for name, share in (("p50_us", 0.5), ("p99_us", 0.99))
    }


def in_process(eligible: int, registered: int, decisions: int) -> dict[str, Any]:
    """Decide, reserve and hear the outcome, so many times."""
    clock = ManualClock()
    router = Router(Services(), Plans(), random.Random(1).getrandbits)
    for number in range(registered):
        made = Declared(offerings=(offering(number, eligible=number < eligible),), revision=1)
        router.put(SHARED, f"s{number % 50}", f"i{number}", made)
    advice = Advice(router, Services(), clock, os.urandom)
    ctx = caller()
    wanted = wanted_of(
        Require(
            task="chat",
            data_size="large",
            latency_ms="< 10s",
            quality={"accuracy": "> 80%"},
        )
    )
    took: list[float] = []
    for number in range(decisions):
        clock.advance(1)
        asked = Asked(wanted=wanted, size=(100.0 + number % 900, 10.0), work="chat")
        began = time.thread_time()
        answer = advice.decide(ctx, asked, reserve=True)
        took.append(time.thread_time() - began)
        told = Told(decision_id=answer.decision_id, ok=True, latency_s=0.02, size=(100.0, 10.0))
        advice.told(ctx, [told])
    matching = [_matched(router, ctx, wanted, number) for number in range(min(decisions, 300))]
    nobody = Asked(wanted=wanted_of(Require(task="chat", region="nowhere", quality={"accuracy": "> 80%"})))
    relaxing: list[float] = []
    for _ in range(20):
        began = time.thread_time()
        assert relaxations(router, ctx, nobody, 1.0, clock.now_ms())
        relaxing.append(time.thread_time() - began)
    return {
        "eligible": eligible, "registered": registered, "decision": percentiles(took),
        "match_anew": percentiles(matching), "relaxations": percentiles(relaxing),
    }  # fmt: skip


def _matched(router: Router, ctx: TenantContext, wanted: Any, number: int) -> float:
    """Return the seconds of a match that is not remembered."""
    router.epoch += 1
    began = time.thread_time()
    router.matched(ctx, Asked(wanted=wanted), number)
    return time.thread_time() - began


def furnish(hub: HubProcess) -> str:
    """Make a tenant with instances that offer a model; returns its key."""
    status, _ = hub.call("POST", "/tenants", {"id": TENANT, "name": TENANT, "tier": "enterprise"})
    assert status == 201
    _, made = hub.call(
        "POST",
        f"/tenants/{TENANT}/keys",
        {"name": "b", "scopes": ["registry:read", "registry:write", "routing:write"]},
    )
    key: str = made["api_key"]
    for number in range(OVER_HTTP):
        body = {
            "name": "models",
            "host": "10.0.0.1",
            "port": 1_000 + number,
            "instance_id": f"i-{number}",
            "lease_ttl_s": 3_600,
        }
        assert hub.call("POST", "/services/register", body, key=key)[0] == 201
        said = {
            "id": "o", "model": "m", "task": "chat", "hardware": f"h{number % 7}", "concurrency": 4,
            "latency_ms": {"p50": 20 + number % 13},
        }  # fmt: skip
        path = f"/services/models/instances/i-{number}/offerings"
        assert hub.call("PUT", path, {"offerings": [said]}, key=key)[0] == 200
    return key


async def over_http(hub: HubProcess, key: str, count: int) -> dict[str, Any]:
    """Reserve over HTTP, alone and by four at once."""

    def asked(times: int, first: int) -> Iterator[bytes]:
        for number in range(first, first + times):
            body = {
                "require": {"task": "chat"},
                "size_hint": {"input": 100 + number % 900},
                "limit": 1,
            }
            yield post("/routing/reserve", key, json.dumps(body).encode())

    await run_load(hub.port, [asked(200, 0)])
    alone = await run_load(hub.port, [asked(count // 4, 1_000)])
    together = await run_load(hub.port, [asked(count // 4, 10_000 * at) for at in range(4)])
    return {"alone": alone.summary(), "four": together.summary()}


def lite_llm(deployments: int, picks: int) -> dict[str, float] | None:
    """Let LiteLLM's router pick with its latency-based strategy; None where it is not installed."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    try:
        from litellm import Router as Theirs  # pyright: ignore[reportMissingImports]  # optional
    except ImportError:
        return None
    models = [
        {"model_name": "m", "litellm_params": {"model": f"openai/m{at}", "api_key": "x", "api_base": "http://127.0.0.1:1"}}
        for at in range(deployments)
    ]  # fmt: skip
    router = Theirs(model_list=models, routing_strategy="latency-based-routing")

    async def pick() -> list[float]:
        took: list[float] = []
        for _ in range(picks):
            began = time.thread_time()
            await router.async_get_available_deployment(
                model="m",
                messages=[{"role": "user", "content": "x"}],
                request_kwargs={},
            )
            took.append(time.thread_time() - began)
        return took

    return percentiles(asyncio.run(pick()))


def main() -> None:
    """Measure and print the report as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--short", action="store_true")
    short = parser.parse_args().short
    among, decisions, requests = SHORT if short else FULL
    report: dict[str, Any] = {"in_process": [in_process(*one, decisions) for one in among]}
    with (
        tempfile.TemporaryDirectory() as directory,
        running_hub(Path(directory) / "data") as hub,
    ):
        report["http"] = asyncio.run(over_http(hub, furnish(hub), requests))
    report["lite_llm"] = {} if short else {str(count): lite_llm(count, 60) for count in PICKS_AMONG}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
