"""The SDK's bars in their short form; `benchmarks/sdk.py` has the full one."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.sdk import (
    CALL_RATIO_MAX,
    IMPORT_MS_MAX,
    RESOLVE_US_MAX,
    measure_calls,
    measure_import,
    measure_resolve,
)

pytestmark = pytest.mark.timing


def test_resolve_takes_less_than_three_microseconds() -> None:
    assert measure_resolve(rounds=30_000)["resolve_us_best"] < RESOLVE_US_MAX


def test_importing_takes_less_than_150_ms() -> None:
    figures = measure_import(runs=9)
    assert figures["import_central_hub_ms"] < IMPORT_MS_MAX
    # What the client adds to asyncio, which whoever awaits anything has loaded; CPU time, as the rest is other work.
    assert figures["import_all_names_cpu_ms"] - figures["import_asyncio_cpu_ms"] < IMPORT_MS_MAX


def test_a_direct_call_costs_less_than_a_quarter_over_plain_aiohttp() -> None:
    figures = asyncio.run(measure_calls(pairs=7, seconds=0.4, concurrency=32))
    assert figures["c32_ratio"] < CALL_RATIO_MAX
