"""A hub with the flags of the cases, and how a JavaScript provider's answers are held against them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.openfeature.flag_cases import CODE_DEFAULTS, SEGMENTS, VALUES, Case, flags
from tests.security.real_hub import RealHub, running_hub

CLIENTS = Path(__file__).with_name("clients")
INSTALLED = Path(__file__).parents[2] / ".venv" / "clients" / "node_modules"
NUMBERS = {"integer", "number"}


@dataclass
class Place:
    """A hub with flags, and keys of acme (pro): of staging, of no environment, and without a useful scope."""

    hub: RealHub
    staging: str
    unbound: str
    blind: str


@contextmanager
def running_place(directory: Path, *options: str) -> Iterator[Place]:
    """Run a hub that has everything the cases ask for."""
    with running_hub(directory, *options) as hub:
        for tenant, tier in (("acme", "pro"), ("globex", "enterprise")):
            hub.must("POST", "/tenants", {"id": tenant, "name": tenant, "tier": tier})
        for name, segment in SEGMENTS.items():
            hub.must("PUT", f"/segments/{name}", segment)
        for key, flag in flags().items():
            hub.must("PUT", f"/flags/{key}", flag)
        for kind in VALUES:
            hub.must("PUT", f"/tenants/acme/flags/{kind}.overridden", {"variant": "high"})

        def key(**wanted: Any) -> str:
            return str(hub.must("POST", "/tenants/acme/keys", {"name": "k", **wanted})["api_key"])

        yield Place(hub, key(environment="staging"), key(), key(scopes=["health:read"]))


def asked_of(case: Case) -> dict[str, Any]:
    """Return a case as a JavaScript client is told it."""
    return {"key": case.key, "type": case.type, "default": CODE_DEFAULTS[case.type], "context": case.context}


def check(case: Case, answer: dict[str, Any]) -> None:
    """Hold a JavaScript answer against a case; one number type is the other's there."""
    kind = case.key.split(".")[0]
    if case.error == "TYPE_MISMATCH" and {kind, case.type} == NUMBERS:
        assert (answer["value"], answer["reason"]) == (VALUES[kind]["low"], "STATIC"), case.name
        return
    got = (answer["value"], answer["reason"], answer["variant"], answer["error"])
    assert got == (case.value, case.reason, case.variant, case.error), case.name
