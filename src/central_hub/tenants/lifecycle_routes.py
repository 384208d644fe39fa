"""The rows of a tenant's life cycle, and their handlers."""

from __future__ import annotations

from typing import Any, Final

from central_hub.edge.operations import Call, Handler, Operation, Reply
from central_hub.tenants.lifecycle import LifeCycle
from central_hub.tenants.schemas import MoveTenant, ShredTenant, TenantAnswer, tenant_answer
from central_hub.tenants.states import Move

TENANTS: Final = "tenants"

_ROWS: Final = (
    ("activate_tenant", "POST", "/activate", Move.ACTIVATE, "Make a tenant active: its trial or its debt is over."),
    ("mark_tenant_past_due", "POST", "/past-due", Move.PAST_DUE, "Mark a tenant that owes: a period of grace."),
    ("suspend_tenant", "POST", "/suspend", Move.SUSPEND, "Let a tenant's callers only read, and find nothing."),
    ("resume_tenant", "POST", "/resume", Move.RESUME, "Serve a suspended tenant's callers again."),
    ("delete_tenant", "DELETE", "", Move.DELETE, "Refuse a tenant's callers as if it were not there."),
    ("restore_tenant", "POST", "/restore", Move.RESTORE, "Bring a deleted tenant back, suspended."),
)


class LifeCycleRoutes:
    """Handlers: each translates a call and its answer, nothing more."""

    def __init__(self, life: LifeCycle) -> None:
        self._life = life

    def moving(self, move: Move) -> Handler:
        """Return the handler of a move."""

        async def handle(call: Call) -> Reply:
            body: MoveTenant | None = call.body
            reason = "" if body is None else body.reason
            tenant = await self._life.move(call.ctx, call.path["tenant_id"], move, reason=reason)
            return Reply(body=tenant_answer(tenant))

        return handle

    async def shred(self, call: Call) -> Reply:
        """End a deleted tenant for good."""
        body: ShredTenant = call.body
        await self._life.shred(call.ctx, call.path["tenant_id"], confirm=body.confirm)
        return Reply()


def operations(routes: LifeCycleRoutes) -> tuple[Operation, ...]:
    """Return the rows of a tenant's life cycle."""
    one = "/tenants/{tenant_id}"
    row: dict[str, Any] = {  # Any: Operation's own types
        "tag": TENANTS, "scope": "tenants:admin", "platform": True, "tenant_param": "tenant_id",
    }  # fmt: skip
    return (
        *(
            Operation(
                id=name, method=method, path=one + path, handler=routes.moving(move), body=MoveTenant,
                body_optional=True, answer=TenantAnswer, problems=("wrong_state",), summary=summary, **row,
            )
            for name, method, path, move, summary in _ROWS
        ),
        Operation(
            id="shred_tenant", method="POST", path=one + "/shred", handler=routes.shred, status=204, body=ShredTenant,
            problems=("wrong_state", "not_confirmed"),
            summary="End a deleted tenant for good: the key of its data is destroyed.", **row,
        ),
    )  # fmt: skip
