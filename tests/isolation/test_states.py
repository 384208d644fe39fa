"""Every operation in every state of a tenant, for its own callers and for the operator: the whole table.

What each state allows is written here once more, by hand; which operation does what to a tenant is the table's
business, so a new operation is in here by itself.
"""

from __future__ import annotations

import pytest

from central_hub.edge.operations import Operation
from central_hub.kernel.context import Act
from central_hub.tenants.model import State
from tests.isolation.test_matrix import OPERATIONS, ROWS, _filled, _furnished
from tests.isolation.world import World, running

EVERYTHING = {"read", "discover", "renew", "write", "govern"}
OWN = {
    "trial": EVERYTHING,
    "active": EVERYTHING,
    "past_due": EVERYTHING,
    "suspended": {"read", "govern"},
}
OPERATOR = {**OWN, "suspended": EVERYTHING, "deleted": {"read", "govern"}}
PATHS: dict[str, list[tuple[str, str]]] = {
    "active": [],
    "past_due": [("POST", "/tenants/acme/past-due")],
    "suspended": [("POST", "/tenants/acme/suspend")],
    "deleted": [("DELETE", "/tenants/acme")],
}
BARRED = (b'"code":"tenant_suspended"', b'"code":"tenant_deleted"')
LIFE = {
    "activate_tenant", "mark_tenant_past_due", "suspend_tenant", "resume_tenant", "delete_tenant", "restore_tenant",
    "shred_tenant",
}  # fmt: skip
ELSEWHERE = {"revoke_tenant_key", "rotate_tenant_key", "revoke_platform_key", "put_plans"}
"""What would end the callers of this test; their act is another operation's too."""


async def _furnished_in(world: World, state: str) -> tuple[str, dict[str, str]]:
    """Furnish a world and return a tenant in a state, and the words of the targets."""
    words = await _furnished(world)
    if state == "trial":
        await world.tenant("novice", "pro", trial=True)
        return "novice", {**words, "acme": "novice"}
    for step in PATHS[state]:
        await world.must(*step, key="root")
    return "acme", words


def _asked(operation: Operation) -> bool:
    return not operation.public and operation.id not in LIFE | ELSEWHERE


@pytest.mark.parametrize("state", sorted(OWN))
async def test_a_tenants_own_callers_may_do_what_its_state_allows(state: str) -> None:
    async with running() as world:
        own, words = await _furnished_in(world, state)
        for name, operation in sorted(OPERATIONS.items()):
            if not _asked(operation):
                continue
            row = ROWS[name]
            target = _filled(row.own, words)
            answer = await world.ask(operation.method, target, key=own, body=row.body, headers=row.headers)
            barred = any(code in answer.body for code in BARRED)
            assert barred == (operation.act.value not in OWN[state]), (name, answer.body)


@pytest.mark.parametrize("state", sorted(OPERATOR))
async def test_an_operator_may_do_what_the_state_leaves(state: str) -> None:
    async with running() as world:
        tenant, words = await _furnished_in(world, state)
        for name, operation in sorted(OPERATIONS.items()):
            if not _asked(operation) or operation.platform:
                continue
            row = ROWS[name]
            headers = {**(row.headers or {}), "x-tenant-id": tenant}
            target = _filled(row.own, words)
            answer = await world.ask(operation.method, target, key="root", body=row.body, headers=headers)
            refused = BARRED[state == "deleted"] in answer.body
            assert refused == (operation.act.value not in OPERATOR[state]), (name, answer.body)


async def test_a_deleted_tenant_is_not_there_for_its_own_callers() -> None:
    async with running() as world:
        _, words = await _furnished_in(world, "deleted")
        for name, operation in sorted(OPERATIONS.items()):
            if not _asked(operation):
                continue
            row = ROWS[name]
            answer = await world.ask(
                operation.method, _filled(row.own, words), key="acme", body=row.body, headers=row.headers
            )
            assert (answer.status, b'"tenant_mismatch"' in answer.body) == (403, True), (name, answer.body)


async def test_a_state_is_asked_before_the_body_and_again_for_the_tenant_that_the_body_names() -> None:
    async with running() as world:
        await _furnished_in(world, "suspended")
        spoiled = await world.ask("POST", "/services/register", key="acme", body={"nothing": 1})
        assert BARRED[0] in spoiled.body
        scopes = ["tenant:assert", "registry:read"]
        made = await world.must("POST", "/keys", key="root", body={"name": "edge", "scopes": scopes})
        world.keys["edge"] = made["api_key"]
        for tenant, refused in (("acme", True), ("globex", False)):
            body = {"service_name": "gold", "tenant_context": {"tenant_id": tenant}}
            answer = await world.ask("POST", "/services/discover", key="edge", body=body)
            assert (BARRED[0] in answer.body) == refused, answer.body


def test_every_state_and_act_has_its_cells() -> None:
    assert {state.value for state in State} == set(OPERATOR)
    assert {act.value for act in Act} == EVERYTHING
    used = {operation.act for operation in OPERATIONS.values() if _asked(operation)}
    assert used == set(Act)
