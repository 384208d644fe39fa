"""What a row of the matrix is, and the rows of routing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INSTANCE = "/services/private/instances/i-1"
NO_INSTANCE = "/services/nowhere/instances/i-1"
OFFERING = {"id": "m", "model": "m", "task": "chat"}


@dataclass(frozen=True)
class Row:
    """What to send. `own` is the object that belongs to acme, `missing` the same with one that is not there."""

    own: str
    missing: str = ""
    body: Any = None
    headers: dict[str, str] | None = None
    status: int = 0
    shared: str = ""


ROUTING: dict[str, Row] = {
    "declare_offerings": Row(INSTANCE + "/offerings", NO_INSTANCE + "/offerings", body={"offerings": [OFFERING]}),
    "get_offerings": Row(INSTANCE + "/offerings", NO_INSTANCE + "/offerings"),
    "withdraw_offerings": Row(INSTANCE + "/offerings", NO_INSTANCE + "/offerings"),
    "list_offerings": Row("/routing/offerings"),
    "decide_route": Row("/routing/decide", body={"require": {"task": "chat"}}),
    "reserve_route": Row("/routing/reserve", body={"require": {"task": "chat"}}),
    "lease_routes": Row("/routing/lease", body={"require": {"task": "chat"}}),
    "simulate_routes": Row("/routing/simulate", body={"require": {"task": "chat"}, "count": 3}),
    "report_outcomes": Row(
        "/routing/outcomes", body={"outcomes": [{"instance_id": "i-1", "ok": True, "latency_ms": 1.0}]}
    ),
    "explain_route": Row("/routing/decisions/{routed}", "/routing/decisions/never-was"),
}
