"""The lane's callers, proven by the same guard and the same authentication as everyone's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from central_hub.edge import guard
from central_hub.edge.authenticate import Authenticate
from central_hub.edge.lane.entries import LanePrincipal
from central_hub.edge.operations import Headers
from central_hub.edge.shares import Share
from central_hub.kernel.context import ALL_ACTS, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError

SCOPE: Final = "registry:read"

# Callers without a proof, or whose proof is for a moment only, are the framework's business.
KINDS: Final = frozenset({PrincipalKind.KEY, PrincipalKind.GATEWAY, PrincipalKind.OPEN})


class PipelineAuth:
    """`LaneAuth` on the edge's own ports.

    Args:
        authenticate: proves callers.
        share_of: a caller's share of the hub.
        open_mode: whether callers need no credential; without one they are the framework's otherwise.
        scope: what a caller must hold for what this lane answers.
    """

    def __init__(
        self,
        authenticate: Authenticate,
        share_of: Callable[[TenantContext], Share],
        *,
        open_mode: bool = False,
        scope: str = SCOPE,
    ) -> None:
        self._authenticate = authenticate
        self._open_mode = open_mode
        self._share_of = share_of
        self._scope = scope

    def authorize(self, headers: list[tuple[bytes, bytes]], origin: str) -> LanePrincipal | None:
        """Return the caller, or None when the framework has something to refuse, count or tell."""
        lines = Headers(headers)
        if not self._open_mode and lines.get("authorization") is None:
            return None
        try:
            claims = guard.check(headers)
            # Asked without the claimed tier, so that a differing claim is counted once, by the framework.
            ctx = self._authenticate.authenticate(
                lines, msgspec.structs.replace(claims, tier=None), origin=origin, method="GET"
            )
        except HubError:
            return None
        if ctx.principal.kind not in KINDS or not ctx.principal.holds(self._scope) or ctx.acts != ALL_ACTS:
            return None
        if claims.tier not in (None, ctx.tier):
            return None
        return LanePrincipal(ctx, self._share_of(ctx))
