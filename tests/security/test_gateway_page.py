"""The gateway that the documentation shows says, or removes, everything by which the hub tells callers."""

from __future__ import annotations

import re
from pathlib import Path

from central_hub.edge import guard

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "put-a-gateway-in-front.md"
LABELS = {guard.CORRELATION, guard.SERVICE, guard.RESOURCES}
"""Headers that may come from the caller: they are never authority."""


def test_no_identity_or_credential_of_the_callers_own_passes_the_gateway_that_is_shown() -> None:
    page = PAGE.read_text("utf-8")
    config = page.split("```nginx\n")[1].split("```")[0]
    said = {name.lower().encode() for name in re.findall(r"proxy_set_header\s+([\w-]+)\s", config)}
    (credential,) = re.findall(
        r"proxy_set_header (\w+) ", page.split("edge.credential;")[1].split("> edge.credential")[0]
    )
    assert said & guard.SINGLE_HEADERS | {credential.lower().encode()} == guard.SINGLE_HEADERS - LABELS


def test_only_the_tenant_comes_from_the_gateway_and_it_comes_from_the_proof() -> None:
    config = PAGE.read_text("utf-8").split("```nginx\n")[1]
    values = dict(re.findall(r"proxy_set_header\s+([\w-]+)\s+(\S+);", config))
    assert values["x-tenant-id"] == "$tenant"
    assert "map $ssl_client_s_dn $tenant" in config
    assert 'if ($tenant = "") { return 403; }' in config
    assert {
        values[name] for name in ("x-company-id", "x-user-id", "x-subscription-tier", "x-api-key", "txn-token")
    } == {'""'}
