"""Hot commands on the lane: the pipeline's own last steps, for a caller and a form the lane has seen before.

What could be refused before the handler runs is the framework's business, so that it is refused
in one place: then nothing has been done here yet.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Final, Protocol

import msgspec

from central_hub.edge.decoding import check_depth
from central_hub.edge.lane.entries import LaneAuth, LanePrincipal
from central_hub.edge.lane.lines import Parsed
from central_hub.edge.operations import Headers, Operation, Table, read_body
from central_hub.edge.pipeline import Answer, Pipeline, tenant_in
from central_hub.kernel.errors import HubError

JSON_HEADERS: Final = ((b"content-type", b"application/json"),)
"""What a body on the lane is; any other is the framework's."""

Running = Coroutine[Any, Any, Answer]  # Any: what a coroutine is sent and yields


class AuthOfScope(Protocol):
    """Makes the lane's authentication for callers who hold a scope."""

    def __call__(self, scope: str) -> LaneAuth:
        """Return it."""
        ...


class LaneCommand:
    """One operation that is a command with a small JSON body.

    Args:
        pipeline: runs it.
        operation: what it is.
        auth: who may.
    """

    def __init__(self, pipeline: Pipeline, operation: Operation, auth: LaneAuth) -> None:
        assert operation.body is not None
        self.auth = auth
        self._pipeline = pipeline
        self._operation = operation

    def begin(self, principal: LanePrincipal, parsed: Parsed, now_ms: float) -> Running | None:
        """Return the command ready to run; None, and nothing done: it is the framework's.

        Args:
            principal: the caller, proven.
            parsed: the request.
            now_ms: monotonic time, for the caller's share of the hub.
        """
        ctx = principal.ctx
        try:
            check_depth(parsed.body)
            body = read_body(self._operation, parsed.body, JSON_HEADERS)
        except HubError:
            return None
        if tenant_in(body) not in (None, ctx.tenant_id):
            return None
        share = principal.share
        if not share.enter(now_ms, writes=self._operation.spends_writes):
            return None
        if parsed.correlation_id:
            ctx = msgspec.structs.replace(ctx, correlation_id=parsed.correlation_id.decode("ascii"))
        return self._pipeline.command(self._operation, ctx, body, Headers(parsed.headers), share)


def commands_of(table: Table, pipeline: Pipeline, auth_of: AuthOfScope) -> dict[bytes, LaneCommand]:
    """Return the table's hot commands that need nothing but a caller and a body, by their request line."""
    return {
        f"{operation.method} {operation.path} HTTP/1.1\r\n".encode("ascii"): LaneCommand(
            pipeline, operation, auth_of(operation.scope)
        )
        for operation in table.operations
        if operation.method == "POST"
        and operation.hot
        and operation.scope is not None
        and operation.body is not None
        and operation.query is None
        and not (operation.signal or operation.body_optional or operation.needs_tenant or operation.platform)
        and "{" not in operation.path
    }
