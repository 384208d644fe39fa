"""Metrics in Prometheus' text format: counted in plain numbers, written when scraped.

No series carries a tenant: what a label may say is fixed by the code, so the number of series is
bounded however many tenants there are. Counting a request is two dict look-ups and a bisection.

Source: Prometheus exposition formats, text format 0.0.4.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
DURATION_BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
REQUEST_SERIES_MAX: Final = 2_048
"""Pairs of operation and status; more are counted together under `_other`."""

OTHER: Final = "_other"


class MetricKind(StrEnum):
    """What a family's numbers mean."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    SUMMARY = "summary"


@dataclass(frozen=True, slots=True)
class Sample:
    """One number: what follows the family's name, its labels, its value."""

    value: float
    labels: Mapping[str, str]
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A named group of samples, which all carry these labels."""

    name: str
    kind: MetricKind
    help: str
    samples: Sequence[Sample]
    labels: tuple[str, ...] = ()


Collector = Callable[[], Iterable[Family]]


class _Durations:
    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.sum = 0.0


class RequestMeter:
    """Counts requests by operation and status, with their durations."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, int], _Durations] = {}

    def observe(self, operation: str, status: int, seconds: float) -> None:
        """Count one request."""
        durations = self._series.get((operation, status))
        if durations is None:
            durations = self._open(operation, status)
        durations.counts[bisect_left(DURATION_BUCKETS_S, seconds)] += 1
        durations.sum += seconds

    def collect(self) -> Iterable[Family]:
        """Yield the histogram of request durations."""
        samples: list[Sample] = []
        for (operation, status), durations in self._series.items():
            labels = {"operation": operation, "status": str(status)}
            total = 0
            for bound, count in zip((*DURATION_BUCKETS_S, None), durations.counts, strict=True):
                total += count
                le = "+Inf" if bound is None else f"{bound:g}"
                samples.append(Sample(total, {**labels, "le": le}, "_bucket"))
            samples.append(Sample(durations.sum, labels, "_sum"))
            samples.append(Sample(total, labels, "_count"))
        yield Family(
            "http_server_request_duration_seconds",
            MetricKind.HISTOGRAM,
            "Requests answered, by operation and status.",
            samples,
            ("operation", "status"),
        )

    def _open(self, operation: str, status: int) -> _Durations:
        if len(self._series) >= REQUEST_SERIES_MAX:
            operation, status = OTHER, 0
        return self._series.setdefault((operation, status), _Durations())


class Metrics:
    """Everything that is scraped.

    Args:
        collectors: asked at every scrape, in this order.
    """

    def __init__(self, collectors: Iterable[Collector] = ()) -> None:
        self._collectors = list(collectors)

    def add(self, collector: Collector) -> None:
        """Ask one more collector at every scrape."""
        self._collectors.append(collector)

    def families(self) -> Iterator[Family]:
        """Yield all families as they are now."""
        for collector in self._collectors:
            yield from collector()

    def render(self) -> bytes:
        """Write all families."""
        lines: list[str] = []
        for family in self.families():
            lines.append(f"# HELP {family.name} {_help(family.help)}")
            lines.append(f"# TYPE {family.name} {family.kind}")
            lines.extend(_line(family.name, sample) for sample in family.samples)
        return ("\n".join(lines) + "\n").encode()


def gauge(name: str, help_text: str, value: float) -> Family:
    """Return a family of one number that goes up and down."""
    return Family(name, MetricKind.GAUGE, help_text, (Sample(value, {}),))


def counter(name: str, help_text: str, value: float) -> Family:
    """Return a family of one number that only grows; its name ends in `_total`."""
    return Family(name, MetricKind.COUNTER, help_text, (Sample(value, {}),))


def by_label(name: str, kind: MetricKind, help_text: str, label: str, values: Mapping[str, float]) -> Family:
    """Return a family with one sample per value of a label."""
    return Family(name, kind, help_text, [Sample(value, {label: key}) for key, value in values.items()], (label,))


def _line(name: str, sample: Sample) -> str:
    labels = ",".join(f'{key}="{_escape(value)}"' for key, value in sample.labels.items())
    value = sample.value
    number = str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
    return f"{name}{sample.suffix}{{{labels}}} {number}" if labels else f"{name}{sample.suffix} {number}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
