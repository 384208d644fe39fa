"""Measures how long the operations of a service take."""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import msgspec

OPERATIONS_MAX: Final = 1_000
BUCKETS_PER_DOUBLING: Final = 8
BUCKETS: Final = 8 * 40
FLOOR_MS: Final = 0.001
"""Buckets run from a microsecond up, each a twelfth wider than the one before: quantiles are within 5 %."""


class OperationSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How an operation went so far, milliseconds."""

    count: int
    errors: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class _Histogram:
    __slots__ = ("buckets", "count", "errors", "max_ms", "total_ms")

    def __init__(self) -> None:
        self.buckets = [0] * BUCKETS
        self.count = self.errors = 0
        self.total_ms = self.max_ms = 0.0

    def quantile(self, share: float) -> float:
        rank, seen = share * self.count, 0
        for index, hits in enumerate(self.buckets):
            seen += hits
            if hits and seen >= rank:
                return min(self.max_ms, FLOOR_MS * 2 ** ((index + 0.5) / BUCKETS_PER_DOUBLING))
        return self.max_ms


class PerformanceTracker:
    """Keeps a histogram for each operation of a service.

    Args:
        service_name: whose operations these are.
    """

    def __init__(self, service_name: str) -> None:
        self.service_name = service_name
        self._operations: dict[str, _Histogram] = {}

    @contextmanager
    def measure(self, operation: str) -> Generator[None]:
        """Measure the block; one that raises counts as an error."""
        began_s = time.perf_counter()
        try:
            yield
        except BaseException:
            self.record(operation, (time.perf_counter() - began_s) * 1000, ok=False)
            raise
        self.record(operation, (time.perf_counter() - began_s) * 1000)

    def record(self, operation: str, duration_ms: float, *, ok: bool = True) -> None:
        """Take a measurement made elsewhere; operations past the limit are counted together as `other`."""
        histogram = self._operations.get(operation)
        if histogram is None:
            name = operation if len(self._operations) < OPERATIONS_MAX else "other"
            histogram = self._operations.setdefault(name, _Histogram())
        histogram.count += 1
        histogram.errors += not ok
        histogram.total_ms += duration_ms
        histogram.max_ms = max(histogram.max_ms, duration_ms)
        index = int(math.log2(max(duration_ms, FLOOR_MS) / FLOOR_MS) * BUCKETS_PER_DOUBLING)
        histogram.buckets[min(index, BUCKETS - 1)] += 1

    def summary(self) -> dict[str, OperationSummary]:
        """Return what was measured, by operation."""
        return {
            name: OperationSummary(
                count=each.count,
                errors=each.errors,
                mean_ms=each.total_ms / each.count,
                p50_ms=each.quantile(0.5),
                p95_ms=each.quantile(0.95),
                p99_ms=each.quantile(0.99),
                max_ms=each.max_ms,
            )
            for name, each in self._operations.items()
        }
