"""The worlds are drawn as the cells say: load, arrivals, eligibility, failures, and from traces where they are."""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import fmean, pstdev

import pytest

from benchmarks.routing.traces import CODE_TRACE, VARIABLE, read_source
from benchmarks.routing.workload import Workload
from tests.bench.routing.worlds import source, world


def load_of(workload: Workload) -> float:
    """Return the arriving work by what the fleet can do, from the requests themselves."""
    by_kind = [fmean(job.services_s[kind] for job in workload.jobs) for kind in range(3)]
    can_do = sum(workload.cell.slots / by_kind[kind] for kind in workload.hardware)
    return len(workload.jobs) / workload.jobs[-1].at_s / can_do


@pytest.mark.parametrize("name", ["load 0.3", "load 1.1", "vidur", "code trace 0.5", "flash crowds 0.5", "tenants"])
def test_the_load_is_the_cells(name: str) -> None:
    workload = world(name, requests=900)
    assert load_of(workload) == pytest.approx(workload.cell.load, rel=0.12)


def spread(workload: Workload) -> float:
    gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(workload.jobs)]
    return pstdev(gaps) / fmean(gaps)


def test_arrivals_are_as_bursty_as_their_kind() -> None:
    assert spread(world("load 0.7", requests=4_000)) == pytest.approx(1.0, abs=0.1)
    assert spread(world("code trace 0.7", requests=4_000)) > 5
    assert 1.2 < spread(world("flash crowds 0.5", requests=4_000)) < 4


def test_the_fit_has_the_published_medians_and_tails() -> None:
    sizes = source().sizes
    prompts, outputs = sorted(size.prompt for size in sizes), sorted(size.output for size in sizes)
    for found, median, tail in ((prompts, 1_469, 7_436), (outputs, 13, 252)):
        assert found[len(found) // 2] == pytest.approx(median, rel=0.05)
        assert found[int(0.99 * len(found))] == pytest.approx(tail, rel=0.15)


def test_speed_ratios_depend_on_the_size_only_in_the_vidur_fleet() -> None:
    def ratios(name: str) -> list[float]:
        return [job.services_s[0] / job.services_s[2] for job in world(name).jobs]

    assert max(ratios("vidur")) / min(ratios("vidur")) > 1.2
    assert max(ratios("load 0.7")) == pytest.approx(6.0) == min(ratios("load 0.7"))


@pytest.mark.parametrize(("name", "count"), [("60% eligible", 7), ("5% eligible", 3), ("load 0.7", 12)])
def test_each_capability_has_its_share_of_the_servers(name: str, count: int) -> None:
    workload = world(name)
    assert {len(servers) for servers in workload.capable} == {count}


def test_callers_report_always_or_never() -> None:
    workload = world("20% told", requests=3_000)
    kinds: dict[int, set[bool]] = {}
    for job in workload.jobs:
        kinds.setdefault(job.caller, set()).add(job.reports)
    assert all(len(kind) == 1 for kind in kinds.values())
    assert 0.1 < fmean(job.reports for job in workload.jobs) < 0.3


def test_failures_are_of_the_kind_and_after_the_warm_up() -> None:
    for name, speed in (("crash", 0.0), ("flapping", 0.0), ("zone 0.5", 0.0), ("slow", 0.25)):
        workload = world(name, warm_up=800, requests=1_600)
        found = [phase for phases in workload.phases for phase in phases]
        assert found
        assert {phase.speed for phase in found} == {speed}
        assert min(phase.start_s for phase in found) > workload.jobs[800].at_s * 0.9
    assert len(_zones_down(world("zone 0.5"))) == 1


def _zones_down(workload: Workload) -> Counter[int]:
    return Counter(fact.zone for fact, phases in zip(workload.servers, workload.phases, strict=True) if phases)


def test_without_traces_the_source_says_so() -> None:
    found = source()
    assert found.synthetic
    assert any(VARIABLE in note for note in found.notes)


@pytest.mark.skipif(
    not (Path(os.environ.get(VARIABLE, "/nowhere")) / CODE_TRACE).is_file(), reason=f"{VARIABLE} names no traces"
)
def test_with_traces_the_source_is_theirs() -> None:
    found = read_source()
    assert not found.synthetic
    assert len(found.sizes) == 8_819
    at_4096 = [found.profiles[gpu].pass_s(4_096) for gpu in ("a40", "a100", "h100")]
    assert at_4096[0] / at_4096[2] == pytest.approx(6.3, abs=0.4)
    assert found.profiles["a40"].pass_s(1) / found.profiles["h100"].pass_s(1) == pytest.approx(4.3, abs=0.3)
