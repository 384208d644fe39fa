"""What the generated requests leave out: two rules that a schema cannot say, and long waits.

Loaded by Schemathesis (`contract_fuzzing.toml`), in its own process.
"""

from __future__ import annotations

from typing import Any

import schemathesis

from central_hub.registry.waiting import WAIT_S_MAX

WAIT_S_DEFAULT = 30.0
WAIT_S_SHORT = 0.1
HEADER = "x-tenant-id"


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case, kwargs: dict[str, Any]) -> None:
    """Name the tenant once, write whole numbers without a fraction, and let no blocking read block for long."""
    del context, kwargs
    claimed = (case.headers or {}).get(HEADER)
    if claimed is not None and any(named != claimed for named in tenants_named(case)):
        case.headers.pop(HEADER)
    if "wait_seq" in (case.query or {}) and waits(case.query.get("wait_s", WAIT_S_DEFAULT)):
        case.query["wait_s"] = WAIT_S_SHORT

    if isinstance(case.body, dict | list) and (whole := without_fractions(case.body)) is not case.body:
        case.body = whole


def waits(wait_s: Any) -> bool:
    """Say whether a `wait_s` is one the hub takes, and longer than needed here."""
    try:
        return WAIT_S_SHORT < float(wait_s) <= WAIT_S_MAX
    except (TypeError, ValueError):
        return False


def without_fractions(value: Any) -> Any:
    """Return a JSON value with 1 for 1.0, itself if it has none: to JSON Schema they are the same."""
    if isinstance(value, dict):
        changed = {key: without_fractions(each) for key, each in value.items()}
        return changed if any(changed[key] is not value[key] for key in value) else value
    if isinstance(value, list):
        entries = [without_fractions(each) for each in value]
        return entries if any(new is not old for new, old in zip(entries, value, strict=True)) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def tenants_named(case: schemathesis.Case) -> list[Any]:
    """Return the tenants that path, query and body name."""
    body: Any = case.body if isinstance(case.body, dict) else {}
    context = body.get("tenant_context")
    places = (case.path_parameters, case.query, body, context)
    return [place["tenant_id"] for place in places if isinstance(place, dict) and place.get("tenant_id") is not None]
