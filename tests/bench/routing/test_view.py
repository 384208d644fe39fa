"""A policy sees what a hub would, and nothing leads from what it is given to what it may not know."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import msgspec
import pytest

from benchmarks.routing.model import Hint, Outcome, Policy, Report, Request, ServerFacts, Setting, View
from benchmarks.routing.simulation import TOLD_AFTER_S, Simulation
from benchmarks.routing.workload import HINT_ERROR, Workload
from tests.bench.routing.worlds import world

PLAIN = (Hint, Request, Report, View, Outcome, ServerFacts, Setting, tuple, str, int, float, bool, type(None))
CELLS = ("load 0.7", "20% told", "three hubs", "crash", "sessions", "reports fresh")


class Witness:
    """Takes turns, and keeps everything it was ever given."""

    made: list[Witness]

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.asked: list[tuple[Request, View]] = []
        self.heard: list[Outcome] = []
        Witness.made.append(self)

    def decide(self, request: Request, view: View) -> int:
        self.asked.append((request, view))
        return view.candidates[request.decision % len(view.candidates)]

    def told(self, outcome: Outcome) -> None:
        self.heard.append(outcome)


def witnessed(workload: Workload) -> tuple[list[Witness], Simulation]:
    """Run witnesses, one a hub."""
    Witness.made = []
    simulation = Simulation(workload, Witness, "witness")
    simulation.run()
    return Witness.made, simulation


def reachable(given: object) -> Iterator[object]:
    """Yield everything that can be reached from an object, classes and code aside."""
    seen: set[int] = set()
    todo = [given]
    while todo:
        found = todo.pop()
        if id(found) in seen or isinstance(found, type | ModuleType | FunctionType | MethodType):
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, msgspec.Struct):
            todo.extend(getattr(found, name) for name in found.__struct_fields__)
        todo.extend(gc.get_referents(found))


@pytest.mark.parametrize("name", CELLS)
def test_nothing_but_plain_data_can_be_reached(name: str) -> None:
    witnesses, _ = witnessed(world(name))
    for witness in witnesses:
        for given in (witness.setting, witness.asked, witness.heard):
            strange = {type(found).__name__ for found in reachable(given)} - {kind.__name__ for kind in PLAIN}
            assert strange <= {"list"}


def test_the_walk_finds_what_is_hidden() -> None:
    workload = world(requests=1)
    hidden = View(0.0, (0,), ((workload.jobs[0],),))  # pyright: ignore[reportArgumentType] that is what must be found
    names = {type(found).__name__ for found in reachable([hidden])}
    assert "Job" in names - {kind.__name__ for kind in PLAIN}


def test_what_is_given_cannot_be_changed() -> None:
    witnesses, _ = witnessed(world())
    request, view = witnesses[0].asked[-1]
    for given, name in (
        (request, "at_s"),
        (view, "now_s"),
        (view.reports[0], "queued"),
        (witnesses[0].setting, "hubs"),
    ):
        with pytest.raises(AttributeError):
            setattr(given, name, 0)


@pytest.mark.parametrize("name", ["reports every 5", "load 0.7", "reports every 0.1"])
def test_reports_are_as_old_as_the_cell_says(name: str) -> None:
    workload = world(name)
    period = workload.cell.report_every * workload.mean_service_s
    witnesses, _ = witnessed(workload)
    ages = [
        view.now_s - report.at_s
        for _, view in witnesses[0].asked
        if view.now_s > 2 * period
        for report in view.reports
        if report
    ]
    assert 0 <= min(ages) < 0.2 * period
    assert 0.9 * period < max(ages) <= period


def test_fresh_reports_are_of_now_and_true() -> None:
    workload = world("reports fresh")
    witnesses, _ = witnessed(workload)
    for request, view in witnesses[0].asked:
        assert {report.at_s for report in view.reports if report} == {request.at_s}


def test_an_old_report_does_not_know_of_what_came_after_it() -> None:
    workload = world("reports every 5", load=0.95)
    witnesses, simulation = witnessed(workload)
    arrived = [workload.jobs[entry.job].at_s for entry in simulation.entries]
    differing = 0
    for _, view in witnesses[0].asked:
        for server, report in enumerate(view.reports):
            if report is None:
                continue
            held = dict.fromkeys((report.at_s, view.now_s), 0)
            for at, entry in zip(arrived, simulation.entries, strict=True):
                for moment in held:
                    held[moment] += entry.chosen == server and at < moment < entry.end_s
            assert report.running + report.queued == held[report.at_s]
            differing += held[report.at_s] != held[view.now_s]
    assert differing > 100


def test_hints_are_off_by_up_to_what_the_cell_says_and_never_the_truth() -> None:
    workload = world()
    witnesses, _ = witnessed(workload)
    offs: list[float] = []
    for request, _ in witnesses[0].asked:
        assert request.hint is not None
        true = workload.jobs[request.decision].size
        offs += [request.hint.prompt_tokens / true.prompt, request.hint.output_tokens / true.output]
    assert min(offs) >= 1 - HINT_ERROR - 1e-9
    assert max(offs) <= 1 + HINT_ERROR + 1e-9
    assert max(offs) - min(offs) > HINT_ERROR
    assert sum(off == 1 for off in offs) == 0


def test_an_unknown_size_is_nowhere_in_the_request() -> None:
    workload = world("sizes unknown")
    witnesses, _ = witnessed(workload)
    for request, _ in witnesses[0].asked:
        assert request.hint is None
        size = workload.jobs[request.decision].size
        visible = {value for value in msgspec.structs.astuple(request) if isinstance(value, float)}
        assert not visible & {float(size.prompt), float(size.output), *workload.jobs[request.decision].services_s}
    assert len({request.slo_s for request, _ in witnesses[0].asked}) == 1


def test_outcomes_come_only_from_callers_who_report_and_only_after_the_end() -> None:
    workload = world("20% told")
    witnesses, simulation = witnessed(workload)
    tape = simulation.entries
    for outcome in witnesses[0].heard:
        entry = tape[outcome.decision]
        assert workload.jobs[entry.job].reports
        assert outcome.at_s == pytest.approx(entry.end_s + TOLD_AFTER_S)
    told = {outcome.decision for outcome in witnesses[0].heard}
    assert told == {number for number, entry in enumerate(tape) if workload.jobs[entry.job].reports}


def test_each_hub_has_a_policy_of_its_own_that_hears_of_its_own_decisions_only() -> None:
    workload = world("three hubs")
    witnesses, _ = witnessed(workload)
    assert len(witnesses) == 3
    asked = [{request.decision for request, _ in witness.asked} for witness in witnesses]
    heard = [{outcome.decision for outcome in witness.heard} for witness in witnesses]
    assert sum(map(len, asked)) == len(set[int]().union(*asked)) == len(workload.jobs)
    assert heard == asked
    assert len({witness.setting.seed for witness in witnesses}) == 3


def test_the_servers_speed_is_not_in_the_setting() -> None:
    witnesses, _ = witnessed(world())
    facts = witnesses[0].setting.servers
    assert {name for fact in facts for name in fact.__struct_fields__} == {"id", "slots", "zone", "hardware"}


def test_a_server_that_is_no_candidate_is_a_violation() -> None:
    class Stubborn:
        def __init__(self, setting: Setting) -> None:
            self.setting = setting

        def decide(self, request: Request, view: View) -> int:
            return 0

        def told(self, outcome: Outcome) -> None:
            pass

    def make(setting: Setting) -> Policy:
        return Stubborn(setting)

    workload = world("60% eligible")
    tape = Simulation(workload, make, "stubborn").run()
    without = sum(0 not in workload.capable[job.capability] for job in workload.jobs)
    assert sum(entry.violation for entry in tape.entries) == without > 0


def test_a_retry_does_not_meet_the_server_that_failed_it() -> None:
    witnesses, simulation = witnessed(world("flapping"))
    failed: dict[int, set[int]] = {}
    retries = 0
    for (request, view), entry in zip(witnesses[0].asked, simulation.entries, strict=True):
        if request.attempt:
            retries += 1
            assert not failed[entry.job] & set(view.candidates)
        if not entry.ok:
            failed.setdefault(entry.job, set()).add(entry.chosen)
    assert retries


def test_the_registry_drops_a_server_that_is_down_only_after_a_while() -> None:
    workload = world("zone 0.5")
    witnesses, _ = witnessed(workload)
    away = {number for number, phases in enumerate(workload.phases) if phases}
    phase = workload.phases[min(away)][0]
    seen: dict[str, Any] = {"late": 0, "early": 0}
    for _, view in witnesses[0].asked:
        since = view.now_s - phase.start_s
        if 0 < since < 2.9 * workload.mean_service_s:
            seen["early"] += bool(away & set(view.candidates))
        elif since > 3.1 * workload.mean_service_s and view.now_s < phase.end_s:
            assert not away & set(view.candidates)
            seen["late"] += 1
    assert min(seen.values()) > 0
