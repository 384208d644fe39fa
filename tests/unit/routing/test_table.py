"""The table against brute force: whoever meets all requirements is found, and nobody else, while rows come and go."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.routing.constraints import AnyOf, Between, Holds, Predicate
from central_hub.routing.model import EVIDENCE_RANK, Cost, Evidence, Offering, Quality
from central_hub.routing.table import Row, Table, bits_of, rows_in

NOW_MS = 1_000
WORDS = ("a", "b", "c")
FIELDS = ("task", "region", "hardware", "model")


def drawn(rng: random.Random, at: int) -> Offering:
    some = rng.choice
    return Offering(
        id=f"o{at}", model=some(WORDS), task=some(WORDS), region=some(("", *WORDS)), hardware=some(("", "x")),
        features=tuple(rng.sample(WORDS, rng.randrange(3))), data_sizes=tuple(rng.sample(WORDS, rng.randrange(3))),
        input_max=some((None, 10.0, 100.0)), cost=some((None, Cost(per_request=rng.random(), per_input=rng.random()))),
        quality=some(
            (
                (),
                (Quality(metric="accuracy", value=rng.random(), evidence=some(list(Evidence))),),
                (Quality(metric="accuracy", value=rng.random(), expires_at_ms=some((NOW_MS, NOW_MS + 1))),),
            )
        ),
    )  # fmt: skip


def asked(rng: random.Random) -> Predicate:
    return rng.choice(
        (
            AnyOf(rng.choice(FIELDS), tuple(rng.sample(WORDS, rng.randrange(1, 3)))),
            Holds("features", rng.choice(WORDS)),
            Holds("data_sizes", rng.choice(WORDS), empty_is_all=True),
            Between("input_max", "input_max", 50.0, 1e12, unknown_passes=rng.random() < 0.5),
            Between(
                "quality.accuracy", "accuracy", rng.random(), 1.0, evidence=rng.choice(list(Evidence)),
                unknown_passes=rng.random() < 0.5,
            ),
            Between("cost_max", "cost", 0.0, 2 * rng.random(), unknown_passes=rng.random() < 0.5),
        )
    )  # fmt: skip


def meets(offering: Offering, predicate: Predicate, size: tuple[float, float]) -> bool:
    """Say the same as the table, offering by offering."""
    if isinstance(predicate, AnyOf):
        return getattr(offering, predicate.field) in predicate.words
    if isinstance(predicate, Holds):
        words = getattr(offering, predicate.field)
        return predicate.word in words or (predicate.empty_is_all and not words)
    number: float | None = None
    if predicate.field == "input_max":
        number = offering.input_max
    elif predicate.field == "cost_max":
        cost = offering.cost
        number = None if cost is None else cost.per_request + cost.per_input * size[0]
    else:
        for quality in offering.quality:
            fresh = not quality.expires_at_ms or quality.expires_at_ms > NOW_MS
            if fresh and EVIDENCE_RANK[quality.evidence] >= EVIDENCE_RANK[predicate.evidence]:
                number = quality.value
    if number is None:
        return predicate.unknown_passes
    return predicate.least <= number <= predicate.most


def _compared(seed: int, queries: int) -> None:
    rng = random.Random(seed)
    table, kept = Table(), dict[str, Offering]()
    for number in range(rng.randrange(1, 200)):
        instance = f"i{number}"
        kept[instance] = drawn(rng, number)
        table.put([Row("s", instance, "http://x", "", kept[instance], 0, 0)])
        if rng.random() < 0.3:
            gone = rng.choice(list(kept))
            table.drop("s", gone)
            del kept[gone]
    for _ in range(queries):
        size = (rng.random() * 3, 0.0)
        predicates = [asked(rng) for _ in range(rng.randrange(1, 6))]
        found = table.there
        for predicate in predicates:
            found &= table.passing(predicate, size, NOW_MS)
        expected = {name for name, one in kept.items() if all(meets(one, each, size) for each in predicates)}
        assert {row.instance_id for row in table.at(rows_in(found))} == expected


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_matching_finds_what_brute_force_finds(seed: int) -> None:
    _compared(seed, 20)


@pytest.mark.slow
def test_matching_finds_what_brute_force_finds_a_million_times() -> None:
    for seed in range(5_000):
        _compared(seed, 200)


@given(st.integers(0, 2**200))
def test_sets_of_rows_survive_both_ways(bits: int) -> None:
    rows: list[int] = rows_in(bits).tolist()
    assert sum(1 << at for at in rows) == bits
    mask = np.zeros(256, dtype=np.bool_)
    mask[rows] = True
    assert bits_of(mask) == bits


def test_of_two_claims_about_a_metric_the_better_proven_holds_and_of_those_the_lower() -> None:
    table = Table()
    said: list[tuple[float, Evidence]] = [(0.99, Evidence.DECLARED), (0.9, Evidence.VERIFIED), (0.8, Evidence.VERIFIED)]
    qualities: tuple[Any, ...] = tuple(Quality(metric="accuracy", value=value, evidence=by) for value, by in said)
    table.put([Row("s", "i", "http://x", "", Offering(id="o", model="m", task="t", quality=qualities), 0, 0)])
    assert table.quality("accuracy", NOW_MS)[0] == 0.8
    assert math.isnan(table.quality("other", NOW_MS)[0])
