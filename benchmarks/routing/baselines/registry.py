"""All baselines by name."""

from __future__ import annotations

from typing import Final

from benchmarks.routing.baselines import dynamo, power_of_d
from benchmarks.routing.baselines.aibrix import AibrixLoadBalance
from benchmarks.routing.baselines.c3 import C3
from benchmarks.routing.baselines.inference_extension import InferenceExtension
from benchmarks.routing.baselines.least_in_flight import LeastInFlight
from benchmarks.routing.baselines.lite_llm import LITELLM, is_there
from benchmarks.routing.baselines.peak_ewma import PeakEwma
from benchmarks.routing.baselines.prequal import Prequal
from benchmarks.routing.baselines.random_choice import RandomChoice
from benchmarks.routing.baselines.round_robin import RoundRobin
from benchmarks.routing.baselines.sglang import CacheAware
from benchmarks.routing.baselines.weighted_round_robin import WeightedRoundRobin
from benchmarks.routing.model import Maker

OWN: Final[dict[str, Maker]] = {
    "random": RandomChoice,
    "round robin": RoundRobin,
    "weighted round robin (A58)": WeightedRoundRobin,
    "least in flight": LeastInFlight,
    "power of two": power_of_d.two,
    "power of four": power_of_d.four,
    "peak EWMA": PeakEwma,
    "Prequal": Prequal,
    "C3": C3,
    "AIBrix load-balance": AibrixLoadBalance,
    "Inference Extension": InferenceExtension,
    "Dynamo": dynamo.linear,
    "Dynamo lmetric": dynamo.lmetric,
    "SGLang cache-aware": CacheAware,
}
"""Those whose formula is written out here."""


def baselines() -> dict[str, Maker]:
    """Return every baseline that can run here: LiteLLM's only where its package is installed."""
    return {**OWN, **(LITELLM if is_there() else {})}
