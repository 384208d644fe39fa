"""Every wall is needed: take down any one check, and a test turns red.

The checks are found in the source (`checks.py`), taken down one at a time in forked processes (`mutant_runs.py`), and
the tests that reach them have to notice. A mutant that nothing notices is a hole in the tests, or a check that changes
nothing: then it stands in `argued.py` with its reason.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.architecture.source_tree import PACKAGE, ROOT, name_of
from tests.isolation.argued import ARGUED, OUTSIDE
from tests.isolation.checks import DECLARATIONS, GUARDS, ROOMS, WALLS, Mutant, modules, mutants_of, mutated, sites_of
from tests.isolation.mutant_runs import FAILED

TESTS: Final = (
    "tests/adapters/test_key_encryption.py",
    "tests/adapters/test_keyring.py",
    "tests/adapters/test_log_suite.py",
    "tests/edge/test_guard.py",
    "tests/interop",
    "tests/isolation/test_authority.py",
    "tests/isolation/test_lane_walls.py",
    "tests/isolation/test_matrix.py",
    "tests/isolation/test_states.py",
    "tests/isolation/test_two_worlds.py",
    "tests/isolation/test_walls.py",
    "tests/lane/test_auth.py",
    "tests/lane/test_lane.py",
    "tests/routes",
    "tests/security/test_ssrf.py",
    "tests/unit/breakers/test_shared.py",
    "tests/unit/breakers/test_shared_telling.py",
    "tests/unit/breakers/test_verdicts.py",
    "tests/unit/configuration",
    "tests/unit/events",
    "tests/unit/edge",
    "tests/unit/flags",
    "tests/unit/health/test_keeper.py",
    "tests/unit/health/test_prober.py",
    "tests/unit/health/test_reading.py",
    "tests/unit/health/test_usecases.py",
    "tests/unit/health/test_view.py",
    "tests/unit/kernel",
    "tests/unit/plans",
    "tests/unit/registry",
    "tests/unit/relays",
    "tests/unit/rollouts/test_followers.py",
    "tests/unit/rollouts/test_log.py",
    "tests/unit/rollouts/test_rolling.py",
    "tests/unit/rollouts/test_rules.py",
    "tests/unit/routing",
    "tests/unit/secrets",
    "tests/unit/subscriptions",
    "tests/unit/tenants",
    "tests/unit/test_settings.py",
    "tests/unit/webhooks",
)
"""What notices: everything here runs in process, without sockets of its own or nearly so."""

QUICK: Final = (
    "tests/edge/test_guard.py",
    "tests/isolation/test_authority.py",
    "tests/isolation/test_lane_walls.py",
    "tests/isolation/test_matrix.py",
    "tests/isolation/test_states.py",
    "tests/isolation/test_walls.py",
    "tests/lane/test_auth.py",
    "tests/lane/test_lane.py",
    "tests/routes/tenants",
    "tests/unit/edge/test_pipeline.py",
    "tests/unit/tenants",
)
"""What notices most of them, and runs in seconds."""

QUICK_WALLS: Final = ("edge/guard.py", "edge/lane", "edge/pipeline.py", "kernel/context.py", "tenants")
QUICK_PARTS: Final = 6
"""The short form takes down one in so many, always the same: what passed today passes tomorrow."""

QUICK_SECONDS_MAX: Final = 200
FULL_SECONDS_MAX: Final = 3_000


def every_mutant() -> list[Mutant]:
    """Return every way of taking down one check, but for those argued."""
    return [one for module in modules() for one in mutants_of(module) if one.name not in ARGUED]


def verdicts(
    mutants: Iterable[Mutant], tests: Iterable[str], directory: Path, *, seconds: float
) -> list[dict[str, Any]]:
    """Try mutants in a process of their own; return what noticed each."""
    wanted, out = directory / "wanted", directory / "verdicts"
    names = [mutant.name for mutant in mutants]
    wanted.write_text("\n".join(names), "utf-8")
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "tests.isolation.mutant_runs", "-p", "no:cacheprovider",
        "-m", "not timing and not bench and not slow", *tests,
    ]  # fmt: skip
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "HUB_MUTANTS": str(wanted),
        "HUB_MUTANT_VERDICTS": str(out),
        "HUB_TEST_TWO_WORLD_STEPS": "800",
    }
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    told = [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []
    assert [one["mutant"] for one in told] == names, done.stdout[-4_000:] + done.stderr[-4_000:]
    return told


def assert_all_noticed(told: list[dict[str, Any]]) -> None:
    failed = [one["mutant"] + ": " + one["noticed_by"] for one in told if one["noticed_by"].startswith(FAILED)]
    assert not failed, failed
    survived = [one["mutant"] for one in told if not one["noticed_by"]]
    assert not survived, f"nothing needs these checks; write the test, or argue in argued.py: {survived}"


@pytest.mark.timeout(QUICK_SECONDS_MAX + 20)
def test_a_part_of_the_walls_cannot_be_taken_down_unnoticed(tmp_path: Path) -> None:
    near = [one for one in every_mutant() if one.site.module.startswith(QUICK_WALLS)]
    part = near[2::QUICK_PARTS]
    assert len(part) > 20
    assert_all_noticed(verdicts(part, QUICK, tmp_path, seconds=QUICK_SECONDS_MAX))


@pytest.mark.slow
@pytest.mark.timeout(FULL_SECONDS_MAX + 60)
def test_no_wall_can_be_taken_down_unnoticed(tmp_path: Path) -> None:
    told = verdicts(every_mutant(), TESTS, tmp_path, seconds=FULL_SECONDS_MAX)
    assert_all_noticed(told)
    print(f"{len(told)} mutants of {sum(len(sites_of(module)) for module in modules())} checks, all noticed")


@pytest.mark.slow
@pytest.mark.timeout(FULL_SECONDS_MAX + 60)
def test_every_argued_mutant_is_still_one_that_nothing_notices(tmp_path: Path) -> None:
    argued = [one for module in modules() for one in mutants_of(module) if one.name in ARGUED]
    told = verdicts(argued, TESTS, tmp_path, seconds=FULL_SECONDS_MAX)
    noticed = [one["mutant"] + ": " + one["noticed_by"] for one in told if one["noticed_by"]]
    assert not noticed, f"a test needs these; take them out of argued.py: {noticed}"


def test_every_argued_mutant_still_exists() -> None:
    names = {one.name for module in modules() for one in mutants_of(module)}
    assert set(ARGUED) <= names, f"gone; take them out: {sorted(set(ARGUED) - names)}"
    assert all(len(reason) > 20 for reason in ARGUED.values())


def test_outside_the_rooms_nothing_looks_like_a_check_unless_it_is_argued() -> None:
    inside = set(modules())
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE).as_posix()
        if module not in inside and not module.startswith(tuple(OUTSIDE)):
            checks = [site.name for site in sites_of(module)]
            if checks:
                found[module] = checks
    assert not found, f"put the module into ROOMS, or argue in argued.py: {found}"


def test_every_guard_is_defined_and_every_call_of_one_for_its_refusal_is_a_check() -> None:
    defined: set[str] = set()
    called = 0
    for module in modules():
        for node in ast.walk(ast.parse((PACKAGE / module).read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                defined.add(node.name)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
                called += ast.unparse(node.value.func).rpartition(".")[2] in GUARDS - {"check"}
    assert defined >= GUARDS, f"no such function any more: {sorted(GUARDS - defined)}"
    calls = [site for module in modules() for site in sites_of(module) if site.kind == "statement"]
    assert called == sum(not site.source.startswith("settings.check") for site in calls)


def test_the_walls_and_rooms_are_where_they_are_said_to_be() -> None:
    assert set(modules()) >= WALLS
    assert all((PACKAGE / room).exists() for room in ROOMS)
    assert [name_of(PACKAGE / module) for module in WALLS if not sites_of(module)] == []


WALL = """
class Room:
    def enter(self, ctx, viewer, name, operation, given):
        if ctx.tenant_id != name or (given and not self.may_assert(ctx, name)):
            raise ValueError
        ctx.require("a:scope")
        ctx = self.assume(ctx, name)
        found = [one for one in self.all(ctx.domain) if one.rank <= viewer.reach]
        label = given or "none"
        return found if ctx.principal.kind is PrincipalKind.KEY else None

def rows(handler):
    row = {"tag": "t", "scope": "tenants:admin"}
    return Operation(id="x", scope="registry:read", tenant_param="tenant_id", legacy=True, **row)
"""


def test_what_looks_like_a_check_is_found() -> None:
    found = [(site.kind, site.source) for site in sites_of("edge/room.py", ast.parse(WALL))]
    assert found == [
        ("condition", "ctx.tenant_id != name"),
        ("condition", "self.may_assert(ctx, name)"),
        ("statement", "ctx.require('a:scope')"),
        ("context", "self.assume(ctx, name)"),
        ("domain", "ctx.domain"),
        ("condition", "one.rank <= viewer.reach"),
        ("condition", "ctx.principal.kind is PrincipalKind.KEY"),
        ("declaration", "'tenants:admin'"),
        ("declaration", "scope='registry:read'"),
        ("declaration", "tenant_param='tenant_id'"),
        ("declaration", "legacy=True"),
    ]
    assert {"scope", "tenant_param", "legacy"} <= DECLARATIONS


def test_a_wall_from_end_to_end_has_every_condition_found() -> None:
    found = [site.source for site in sites_of("tenants/rules.py", ast.parse(WALL))]
    assert "given" in found


def test_a_mutant_is_the_source_without_one_check() -> None:
    (removed,) = [
        one
        for one in mutants_of("kernel/context.py")
        if "self.principal.holds(scope)" in one.site.source and one.way == "True"
    ]
    text, whole = (
        ast.unparse(mutated(removed)),
        ast.unparse(ast.parse((PACKAGE / "kernel/context.py").read_text("utf-8"))),
    )
    changed = [line for line in whole.splitlines() if line not in text.splitlines()]
    assert [line.strip() for line in changed] == ["if not self.principal.holds(scope):"]
    assert "if not True:" in text


def test_a_mutant_that_nothing_can_notice_is_reported(tmp_path: Path) -> None:
    """The machinery itself is seen to tell a hole: these tests say nothing about tokens."""
    mutants = [one for one in mutants_of("tenants/secrets.py") if "_checksum" in one.site.source]
    told = verdicts(mutants, ("tests/unit/tenants/test_secrets.py",), tmp_path, seconds=60)
    assert {one["mutant"].rpartition(" -> ")[2]: bool(one["noticed_by"]) for one in told} == {
        "True": True,
        "False": True,
    }
    blind = verdicts(mutants, ("tests/unit/tenants/test_rules.py",), tmp_path, seconds=60)
    with pytest.raises(AssertionError, match="nothing needs these checks"):
        assert_all_noticed(blind)
