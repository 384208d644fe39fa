"""Sizes, gaps and speeds from published traces where they are, or else drawn from stated distributions.

The files are not part of this repository. `HUB_TRACES` (or `--traces`) names a folder that holds:

- `AzureLLMInferenceTrace_code.csv` (Azure/AzurePublicDataset, CC-BY 4.0; Patel et al., Splitwise, ISCA 2024),
- `vidur_{a40,a100,h100}_llama2_7b_mlp.csv` (microsoft/vidur, MIT): time of each operator of one layer by tokens.

What is missing is replaced by the fit below, and `Source.notes` says so: figures of the two must not be compared.
"""

from __future__ import annotations

import csv
import math
import os
import random
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Final

import msgspec

VARIABLE: Final = "HUB_TRACES"
CODE_TRACE: Final = "AzureLLMInferenceTrace_code.csv"
GPUS: Final = ("a40", "a100", "h100")
LAYERS: Final = 32
"""Of Llama-2 7B; the profiles hold one layer."""

# The fit that stands in for the code trace: log-normal sizes by its medians and 99th percentiles, gaps in bursts.
PROMPT_MEDIAN: Final = 1_469
PROMPT_P99: Final = 7_436
OUTPUT_MEDIAN: Final = 13
OUTPUT_P99: Final = 252
BURST_MEAN: Final = 190
"""Requests between two long silences (a gap above 10 s): 46 of 8,819 in the trace."""
SILENCE_SHARE: Final = 0.69
"""Of the whole time that is such silence."""
SYNTHETIC_ROWS: Final = 8_819
SYNTHETIC_SEED: Final = "code trace, fitted"
Z99: Final = 2.326

# The fit that stands in for Vidur's profiles: ms of a layer = floor + tokens x slope, at least the floor.
FITTED_MS: Final = {"a40": (0.75, 0.00398), "a100": (0.28, 0.00203), "h100": (0.172, 0.000625)}


class Size(msgspec.Struct, frozen=True, gc=False):
    """A request's true size in tokens."""

    prompt: int
    output: int


class Profile(msgspec.Struct, frozen=True):
    """How long one layer takes by tokens, as points to draw lines between: tokens ascending, and ms."""

    tokens: tuple[int, ...]
    layer_ms: tuple[float, ...]

    def pass_s(self, tokens: float) -> float:
        """Return the seconds of a pass of that many tokens through all layers; longer prompts go in several passes."""
        whole, rest = divmod(tokens, self.tokens[-1])
        return LAYERS * (whole * self.layer_ms[-1] + (self._layer_ms(rest) if rest else 0.0)) / 1_000

    def _layer_ms(self, tokens: float) -> float:
        points = self.tokens
        if tokens <= points[0]:
            return self.layer_ms[0]
        low, high = 0, len(points) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if points[middle] <= tokens else (low, middle)
        share = (tokens - points[low]) / (points[high] - points[low])
        return self.layer_ms[low] + share * (self.layer_ms[high] - self.layer_ms[low])


class Source(msgspec.Struct, frozen=True):
    """Where sizes, gaps and speeds come from.

    Args:
        sizes: in the order in which they came.
        gaps_s: the time before each, the first 0.
        profiles: by the name of the hardware.
        notes: what was read and what was missing, for the report.
    """

    sizes: tuple[Size, ...]
    gaps_s: tuple[float, ...]
    profiles: dict[str, Profile]
    notes: tuple[str, ...]
    synthetic: bool


def read_source(folder: Path | None = None, environment: Mapping[str, str] = os.environ) -> Source:
    """Read the traces from a folder, by default the one that `HUB_TRACES` names, or make what is missing."""
    named = environment.get(VARIABLE, "")
    folder = folder or (Path(named) if named else None)
    notes: list[str] = []
    trace = folder / CODE_TRACE if folder else None
    if trace and trace.is_file():
        sizes, gaps = _read_trace(trace)
        notes.append(f"sizes and gaps of {CODE_TRACE}: {len(sizes):,} requests")
    else:
        sizes, gaps = _synthetic_trace()
        notes.append(f"SYNTHETIC: no {CODE_TRACE}, so sizes and gaps are a fit; name its folder with {VARIABLE}")
    profiles: dict[str, Profile] = {}
    for gpu in GPUS:
        file = folder / f"vidur_{gpu}_llama2_7b_mlp.csv" if folder else None
        if file and file.is_file():
            profiles[gpu] = _read_profile(file)
            notes.append(f"speeds of {file.name}: {len(profiles[gpu].tokens)} sizes")
        else:
            profiles[gpu] = _fitted_profile(gpu)
            notes.append(f"SYNTHETIC: no profile of {gpu}, so its speed is a fit")
    return Source(tuple(sizes), tuple(gaps), profiles, tuple(notes), any("SYNTHETIC" in note for note in notes))


def _read_trace(path: Path) -> tuple[list[Size], list[float]]:
    sizes: list[Size] = []
    times: list[float] = []
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            times.append(datetime.fromisoformat(row["TIMESTAMP"][:26]).timestamp())
            sizes.append(Size(int(row["ContextTokens"]), max(1, int(row["GeneratedTokens"]))))
    return sizes, [0.0, *(later - earlier for earlier, later in pairwise(times))]


def _read_profile(path: Path) -> Profile:
    """Sum the medians of a layer's operators on one GPU; the embedding is not part of a layer."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["num_tensor_parallel_workers"] != "1":
                continue
            medians = [float(row[name]) for name in row if name.endswith(".median") and ".emb." not in name]
            found[int(row["num_tokens"])].append(sum(medians))
    tokens = tuple(sorted(found))
    return Profile(tokens, tuple(fmean(found[number]) for number in tokens))


def _synthetic_trace() -> tuple[list[Size], list[float]]:
    draw = random.Random(SYNTHETIC_SEED)
    prompt_sigma = math.log(PROMPT_P99 / PROMPT_MEDIAN) / Z99
    output_sigma = math.log(OUTPUT_P99 / OUTPUT_MEDIAN) / Z99
    sizes = [
        Size(
            max(1, round(draw.lognormvariate(math.log(PROMPT_MEDIAN), prompt_sigma))),
            max(1, round(draw.lognormvariate(math.log(OUTPUT_MEDIAN), output_sigma))),
        )
        for _ in range(SYNTHETIC_ROWS)
    ]
    busy_gap_s = 1.0 - SILENCE_SHARE
    gaps = [
        draw.expovariate(1 / busy_gap_s)
        + (draw.expovariate(1 / (SILENCE_SHARE * BURST_MEAN)) if draw.random() < 1 / BURST_MEAN else 0.0)
        for _ in range(SYNTHETIC_ROWS)
    ]
    return sizes, gaps


def _fitted_profile(gpu: str) -> Profile:
    floor, slope = FITTED_MS[gpu]
    tokens = (1, *range(64, 4_097, 64))
    return Profile(tokens, tuple(max(floor, number * slope) for number in tokens))
