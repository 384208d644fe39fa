"""The demo's load: when requests arrive and how large they are.

Follows the published statistics of the Azure LLM inference trace (code completion), or replays
the trace file itself. Pure but for reading that file.
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

TRACE_NAME: Final = "AzureLLMInferenceTrace_code.csv"
TRACE_PLACES: Final = (Path("data/traces"), Path("../shared/data/traces"))
"""Where the trace file is looked for, from the current directory."""

COLUMNS: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")

RATE_PER_S: Final = 2.57
"""Mean arrivals per second over the whole trace."""

# A mixture of three exponentials (probability, mean gap in seconds): requests that come together,
# the pace inside a busy spell, and the silence between spells. The weights are those of the trace's
# gaps below 10 ms, up to seconds, and beyond; the means follow from the published mean gap
# (1/2.57 s) and its coefficient of variation: sum(p*m) = 0.389, 2*sum(p*m^2) = (13.2^2 + 1)*0.389^2.
GAPS: Final = ((0.293, 0.0015), (0.7002, 0.1277), (0.0068, 44.1))

# Log-normal through the published median and 99th percentile; the context is capped by the model's
# window, where the trace shows a wall (p95 7,302, p99 7,436, largest 7,437).
CONTEXT_P50: Final = 1_469
CONTEXT_SIGMA: Final = 0.98
CONTEXT_MAX: Final = 7_437
GENERATED_P50: Final = 13
GENERATED_SIGMA: Final = math.log(252 / 13) / 2.326
GENERATED_MIN: Final = 6
GENERATED_MAX: Final = 1_899


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: seconds after the one before, tokens in, tokens out."""

    gap_s: float
    context_tokens: int
    generated_tokens: int


def synthetic(rng: random.Random) -> Iterator[Arrival]:
    """Yield arrivals for ever, with the trace's published statistics.

    Source: Azure/AzurePublicDataset (CC-BY 4.0), described in Patel et al., "Splitwise", ISCA 2024.
    """
    weights = [probability for probability, _ in GAPS]
    means = [mean_s for _, mean_s in GAPS]
    while True:
        gap_s = rng.expovariate(1.0 / rng.choices(means, weights)[0])
        context = CONTEXT_P50 * math.exp(rng.gauss(0.0, CONTEXT_SIGMA))
        generated = GENERATED_P50 * math.exp(rng.gauss(0.0, GENERATED_SIGMA))
        yield Arrival(
            gap_s,
            max(1, min(CONTEXT_MAX, round(context))),
            max(GENERATED_MIN, min(GENERATED_MAX, round(generated))),
        )


def replayed(path: Path, rng: random.Random) -> Iterator[Arrival]:
    """Yield the arrivals of a trace file for ever, from a random place on, around and around."""
    arrivals = read(path)
    at = rng.randrange(len(arrivals))
    while True:
        yield arrivals[at]
        at = (at + 1) % len(arrivals)


def read(path: Path) -> list[Arrival]:
    """Read a trace file: `TIMESTAMP,ContextTokens,GeneratedTokens`, ordered by time."""
    arrivals: list[Arrival] = []
    before: datetime | None = None
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])  # seven decimals; microseconds are kept
            gap_s = max(0.0, (at - before).total_seconds()) if before else 0.0
            arrivals.append(Arrival(gap_s, int(row["ContextTokens"]), int(row["GeneratedTokens"])))
            before = at
    if not arrivals:
        raise ValueError(f"{path} holds no requests")
    return arrivals


def is_trace(path: Path) -> bool:
    """Say whether a file begins like a trace."""
    try:
        with path.open(newline="") as file:
            return file.readline().strip() == ",".join(COLUMNS)
    except (OSError, UnicodeDecodeError):
        return False


def paced(arrivals: Iterator[Arrival], *, scale: float, gap_s_max: float) -> Iterator[Arrival]:
    """Speed arrivals up by `scale`, and cut silences to `gap_s_max` so that a short demo is not spent in one."""
    for each in arrivals:
        yield Arrival(min(each.gap_s / scale, gap_s_max), each.context_tokens, each.generated_tokens)


def find(given: Path | None) -> Path | None:
    """Return the trace file to replay: the one given, or one lying where it is looked for."""
    if given is not None:
        return given
    return next((place / TRACE_NAME for place in TRACE_PLACES if (place / TRACE_NAME).is_file()), None)
