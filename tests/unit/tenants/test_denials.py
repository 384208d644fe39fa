"""Refusals: counted, journaled once a minute where they belong, and explained to those concerned only."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from central_hub.kernel.context import PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.tenants import denials
from tests.unit.tenants.support import ACME, GLOBEX, OPERATOR, Office, ctx_of, opened

REFUSAL = HubError("scope_missing", Kind.DENIED, "No.", next_step="Ask.")
NOBODY = ctx_of(None, id="anonymous", kind=PrincipalKind.ANONYMOUS, home=DomainId(""), scopes=frozenset())
EDGE = ctx_of(None, id="edge", home=PLATFORM, scopes=frozenset({"tenant:assert"}), assertable=frozenset({"acme"}))


def denied(office: Office, ctx: TenantContext | None = None, origin: str = "10.0.0.1", code: str = "") -> str:
    error = HubError(code, Kind.DENIED, "No.") if code else REFUSAL
    return office.denials.denied(ctx, error, operation="watch", origin=origin)


async def journaled(office: Office, domain: DomainId) -> list[dict[str, Any]]:
    await office.denials.flush(before_ms=office.clock.now_ms() + denials.MINUTE_MS)
    page = await office.audit.page(domain, cursor=None, limit=100)
    return [entry.data for entry in page.entries if entry.type == "AccessDenied"]


async def test_a_minutes_refusals_of_one_caller_for_one_reason_are_one_record() -> None:
    async with opened() as office:
        for _ in range(3):
            denied(office, ctx_of())
        denied(office, ctx_of(), code="other")
        denied(office, ctx_of(id="key:2"))
        found = [(one["code"], one["caller"], one["count"]) for one in await journaled(office, ACME)]
        assert found == [("scope_missing", "key:k", 3), ("other", "key:k", 1), ("scope_missing", "key:2", 1)]
        assert dict(office.denials.counted) == {"scope_missing": 4, "other": 1}
        assert await journaled(office, PLATFORM) == []


async def test_a_decision_id_is_never_taken_for_an_option() -> None:
    async with opened() as office:
        assert all(denied(office, ctx_of())[0].isalpha() for _ in range(300))


async def test_only_minutes_that_have_ended_are_journaled() -> None:
    async with opened() as office:
        denied(office, ctx_of())
        begun = office.clock.now_ms() - office.clock.now_ms() % denials.MINUTE_MS
        assert await office.denials.flush(before_ms=begun - 1) == 0
        assert await office.denials.flush(before_ms=begun) == 1
        assert await office.denials.flush(before_ms=begun) == 0


@pytest.mark.parametrize(
    ("ctx", "domain", "caller"),
    [
        (None, PLATFORM, ""),
        (NOBODY, PLATFORM, ""),
        (ctx_of(), ACME, "key:k"),
        (ctx_of("globex", id="edge", home=PLATFORM), GLOBEX, "edge"),
        (OPERATOR, PLATFORM, "operator"),
        (ctx_of("acme", id="root", home=PLATFORM, scopes=frozenset({"platform:admin"})), PLATFORM, "root"),
        (ctx_of(None, id="old", kind=PrincipalKind.LEGACY, home=DomainId("")), PLATFORM, "old"),
    ],
)
async def test_whose_trail_a_refusal_belongs_to(ctx: Any, domain: DomainId, caller: str) -> None:
    async with opened() as office:
        denied(office, ctx)
        for place in (ACME, GLOBEX, PLATFORM):
            found = await journaled(office, place)
            assert [one["caller"] for one in found] == ([caller] if place == domain else [])


async def test_nobodies_are_told_apart_by_their_address() -> None:
    async with opened() as office:
        for origin in ("10.0.0.1", "10.0.0.2", "10.0.0.1"):
            denied(office, None, origin)
        found = await journaled(office, PLATFORM)
        assert {(one["network"], one["count"]) for one in found} == {("10.0.0.1", 2), ("10.0.0.2", 1)}


async def test_a_flood_of_callers_is_counted_beyond_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "WAITING_MAX", 2)
    async with opened() as office:
        for one in range(4):
            denied(office, None, f"10.0.0.{one}")
        denied(office, None, "10.0.0.0")
        assert sum(one["count"] for one in await journaled(office, PLATFORM)) == 3
        assert office.denials.counted["overflow"] == 2


async def test_a_decision_says_who_was_refused_what_and_why() -> None:
    async with opened() as office:
        decision = office.denials.explain(ctx_of(), denied(office, ctx_of()))
        assert (decision.code, decision.message, decision.operation, decision.next) == (
            "scope_missing",
            "No.",
            "watch",
            "Ask.",
        )
        assert (decision.principal, decision.principal_kind, decision.tenant_id) == ("key:k", "key", "acme")
        of_nobody = office.denials.explain(OPERATOR, denied(office))
        assert (of_nobody.principal, of_nobody.tenant_id) == ("anonymous", "")


def told(office: Office, ctx: TenantContext, decision_id: str) -> bool:
    try:
        office.denials.explain(ctx, decision_id)
    except HubError as error:
        refusal = error
    else:
        return True
    assert (refusal.code, refusal.kind) == ("decision_not_found", Kind.NOT_FOUND)
    return False


async def test_a_decision_is_explained_to_those_it_concerns_only() -> None:
    async with opened() as office:
        of_acme, of_globex, of_nobody = denied(office, ctx_of()), denied(office, ctx_of("globex")), denied(office)
        globex = ctx_of("globex", home=GLOBEX)
        legacy = ctx_of(None, kind=PrincipalKind.LEGACY, home=DomainId(""))
        acting = ctx_of("globex", home=PLATFORM, scopes=frozenset({"platform:admin"}), assertable=None)
        seen = {
            name: [told(office, ctx, one) for one in (of_acme, of_globex, of_nobody)]
            for name, ctx in (
                ("acme", ctx_of()), ("globex", globex), ("edge", EDGE), ("operator", OPERATOR),
                ("operator for globex", acting), ("legacy", legacy), ("nobody", NOBODY),
            )
        }  # fmt: skip
        assert seen == {
            "acme": [True, False, False],
            "globex": [False, True, False],
            "edge": [True, False, True],
            "operator": [True, True, True],
            "operator for globex": [False, True, False],
            "legacy": [False, False, False],
            "nobody": [False, False, False],
        }


async def test_a_decision_id_that_was_touched_says_nothing() -> None:
    async with opened() as office:
        good = denied(office, ctx_of())
        raw = base64.urlsafe_b64decode(good + "=" * (-len(good) % 4))
        flipped = base64.urlsafe_b64encode(raw[:-1] + bytes([raw[-1] ^ 1])).decode()
        for bad in ("", "abc", "é", good[:-4], flipped, good + "AAAA", "A" * 5_000):
            assert not told(office, ctx_of(), bad)
        assert b"acme" not in raw


async def test_two_refusals_alike_have_ids_of_one_length_and_nothing_in_common() -> None:
    async with opened() as office:
        one, other = denied(office, ctx_of()), denied(office, ctx_of())
        assert len(one) == len(other)
        assert one[:16] != other[:16]
