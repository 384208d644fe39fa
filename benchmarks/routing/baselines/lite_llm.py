"""LiteLLM's own routing strategies, run from its package and not written again.

Source: BerriAI/litellm, litellm/router_strategy. The real strategy classes choose among deployments and hear of calls
through the hooks by which its router tells them; nothing is sent anywhere. Replaced are the clock by which they count
minutes and the generator from which they draw, because time and chance are the simulation's here, and what they keep
and share their counts in (its cache formats them for a debug log at each look). Prices are equal, so the cost strategy,
which could only draw, is left out.

The package is optional: `pip install -r benchmarks/routing/requirements.txt`. Without it the judge says so.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any, Final

from benchmarks.routing.baselines.ledger import Ledger
from benchmarks.routing.model import Maker, Outcome, Request, Setting, View

GROUP: Final = "model"
EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
STRATEGIES: Final = {
    "least-busy": ("least_busy", "LeastBusyLoggingHandler"),
    "latency-based-routing": ("lowest_latency", "LowestLatencyLoggingHandler"),
    "usage-based-routing-v2": ("lowest_tpm_rpm_v2", "LowestTPMLoggingHandler_v2"),
}


def is_there() -> bool:
    """Say whether the package is installed."""
    return importlib.util.find_spec("litellm") is not None


def _module(name: str) -> ModuleType:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or its import would fetch a price list
    return importlib.import_module(f"litellm.{name}")


class _Clock:
    """Stands where a strategy's module has `datetime`: its now is the simulation's."""

    now_s = 0.0

    @classmethod
    def now(cls) -> datetime:
        return EPOCH + timedelta(seconds=cls.now_s)


def _nobody_to_sync_with(_handler: object, _interval: object) -> None:
    """Stand where a strategy would start a task that shares its counts over Redis; there is none."""


class _Counts:
    """Stands where a strategy has its cache: a dictionary, without Redis behind it.

    Nothing expires: its entries live for an hour, or carry the minute they belong to in their names.
    """

    redis_cache = None

    def __init__(self) -> None:
        self._held: dict[str, Any] = {}

    def get_cache(self, key: str, **_: object) -> Any:
        return self._held.get(key)

    def batch_get_cache(self, keys: list[str], **_: object) -> list[Any]:
        return [self._held.get(key) for key in keys]

    def set_cache(self, key: str, value: Any, **_: object) -> None:
        self._held[key] = value

    def increment_cache(self, key: str, value: float, **_: object) -> float:
        self._held[key] = found = self._held.get(key, 0) + value
        return found


class _Strategy:
    """What all strategies share: deployments, the simulation's clock and chance, the ledger's end of silent calls."""

    def __init__(self, setting: Setting, module: ModuleType) -> None:
        self._module_of = module
        self._draw = random.Random(setting.seed)
        self._ledger = Ledger(len(setting.servers), setting.ledger_ttl_s)
        self._deployments: list[dict[str, Any]] = [
            {"model_name": GROUP, "litellm_params": {"model": f"openai/{GROUP}"}, "model_info": {"id": str(fact.id)}}
            for fact in setting.servers
        ]
        self._calls: dict[int, dict[str, Any]] = {}

    def _enter(self, now: float) -> None:
        _Clock.now_s = now
        module: Any = self._module_of  # its globals are what is replaced
        module.random = self._draw

    def _healthy(self, view: View) -> list[dict[str, Any]]:
        return [self._deployments[server] for server in view.candidates]

    def _call(self, server: int) -> dict[str, Any]:
        info = {"id": str(server)}
        return {
            "model": GROUP,
            "litellm_params": {"metadata": {"model_group": GROUP, "model_info": info}, "model_info": info},
            "standard_logging_object": {
                "model_group": GROUP,
                "model_id": str(server),
                "hidden_params": {"litellm_model_name": f"openai/{GROUP}"},
                "total_tokens": 0,
            },
        }


class Shuffle(_Strategy):
    """simple-shuffle, its router's default."""

    def __init__(self, setting: Setting) -> None:
        """Load its function."""
        module = _module("router_strategy.simple_shuffle")
        super().__init__(setting, module)
        self._pick: Callable[..., dict[str, Any]] = module.simple_shuffle

    def decide(self, request: Request, view: View) -> int:
        """Let it choose."""
        self._enter(view.now_s)
        chosen = self._pick(_no_alias, self._healthy(view), GROUP, None)
        return int(chosen["model_info"]["id"])

    def told(self, outcome: Outcome) -> None:
        """It learns nothing."""


def _no_alias(_name: str) -> None:
    return None


class Handler(_Strategy):
    """A strategy that hears of calls: before, and after success or failure."""

    def __init__(self, setting: Setting, strategy: str) -> None:
        """Load its class."""
        module_name, class_name = STRATEGIES[strategy]
        module = _module(f"router_strategy.{module_name}")
        super().__init__(setting, module)
        self._name = strategy
        patched: Any = module
        if hasattr(module, "datetime"):
            patched.datetime = _Clock
        if hasattr(module, "get_utc_datetime"):
            patched.get_utc_datetime = _Clock.now
        _module("router_strategy.base_routing_strategy").BaseRoutingStrategy.setup_sync_task = _nobody_to_sync_with
        make: Callable[..., Any] = getattr(module, class_name)
        self._handler: Any = make(router_cache=_Counts())
        types = _module("types.utils")
        self._response: Any = types.ModelResponse(usage=types.Usage())

    def decide(self, request: Request, view: View) -> int:
        """Let it choose and tell it of the call."""
        self._enter(view.now_s)
        self._end_silent(view.now_s)
        chosen = self._handler.get_available_deployments(model_group=GROUP, healthy_deployments=self._healthy(view))
        server = int(chosen["model_info"]["id"])
        call = self._call(server)
        if self._name == "least-busy":
            self._handler.log_pre_api_call(model=GROUP, messages=[], kwargs=call)
        self._calls[request.decision] = call
        self._ledger.opened(request, server)
        return server

    def told(self, outcome: Outcome) -> None:
        """Tell it how the call ended."""
        self._enter(outcome.at_s)
        call = self._calls.pop(outcome.decision, None)
        if call is None:
            return
        self._ledger.closed(outcome.decision)
        end = EPOCH + timedelta(seconds=outcome.at_s)
        start = end - timedelta(seconds=outcome.latency_s)
        if not outcome.ok:
            if self._name == "least-busy":
                self._handler.log_failure_event(call, None, start, end)
            return
        total = outcome.prompt_tokens + outcome.output_tokens
        call["standard_logging_object"]["total_tokens"] = total
        self._response.usage.completion_tokens = outcome.output_tokens
        self._response.usage.total_tokens = total
        self._handler.log_success_event(call, self._response, start, end)

    def _end_silent(self, now: float) -> None:
        """Count calls out that nobody told the end of, as every other baseline's ledger does."""
        for decision, _ in self._ledger.expire(now):
            if self._name == "least-busy":  # the others only learn from ends, however late they come
                self._handler.log_failure_event(self._calls.pop(decision), None, None, None)


def least_busy(setting: Setting) -> Handler:
    """Make least-busy."""
    return Handler(setting, "least-busy")


def latency_based(setting: Setting) -> Handler:
    """Make latency-based-routing."""
    return Handler(setting, "latency-based-routing")


def usage_based(setting: Setting) -> Handler:
    """Make usage-based-routing-v2."""
    return Handler(setting, "usage-based-routing-v2")


LITELLM: Final[dict[str, Maker]] = {
    "LiteLLM simple-shuffle": Shuffle,
    "LiteLLM least-busy": least_busy,
    "LiteLLM latency-based": latency_based,
    "LiteLLM usage-based v2": usage_based,
}
