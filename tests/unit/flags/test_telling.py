"""Streams: who is told to ask again, who is not, and when a stream ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from central_hub.flags import stream_tokens
from central_hub.flags.evaluation import Asker
from central_hub.flags.stream_tokens import HOUR_MS, StreamTokens
from central_hub.kernel.context import PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.tenants.model import TenantChanged
from tests.unit.flags.support import ACME, ASKER, GLOBEX, House, applied, condition, ctx_of, opened, rule
from tests.unit.registry.test_watch_model import MemorySink

NOW_MS = 1_700_000_000_000


class Listener:
    """One open stream."""

    def __init__(self, house: House, ctx: TenantContext | None = None, *, last_id: str = "") -> None:
        self.sink = MemorySink()
        self.leave = house.streams.open(ctx or ctx_of(), "production", self.sink, last_id=last_id)

    def heard(self) -> list[dict[str, str]]:
        """Return what was told since, as fields of events."""
        text, self.sink.frames = b"".join(self.sink.frames).decode(), []
        return [dict(line.split(": ", 1) for line in event.splitlines()) for event in text.split("\n\n") if event]


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_event_is_as_the_protocol_has_it() -> None:
    async with opened() as house:
        (event,) = Listener(house).heard()
        data = json.loads(event["data"])
        assert event["event"] == "message"
        assert event["id"] == data["etag"] == house.sets.fingerprint(ASKER)
        assert data == {"type": "refetchEvaluation", "etag": event["id"], "lastModified": house.clock.now_ms() // 1_000}


async def test_whoever_knows_it_already_is_not_told_again() -> None:
    async with opened() as house:
        (event,) = Listener(house).heard()
        assert Listener(house, last_id=event["id"]).heard() == []
        assert len(Listener(house, last_id="old").heard()) == 1


async def test_those_whose_answers_may_change_are_told_and_nobody_else() -> None:
    async with opened() as house:
        await house.define()
        mine, theirs = Listener(house), Listener(house, ctx_of("globex"))
        mine.heard(), theirs.heard()
        await house.define(rules=(rule(tenants=["globex"]),), if_match="*")
        await settled()
        assert (len(mine.heard()), len(theirs.heard())) == (0, 1)
        await house.override("on")
        await settled()
        assert (len(mine.heard()), len(theirs.heard())) == (1, 0)
        await house.define(rules=(rule(tenants=["globex"], environments=["staging"]),), if_match="*")
        await settled()
        assert (len(mine.heard()), len(theirs.heard())) == (0, 1)
        await house.define(description="words only", rules=(rule(environments=["staging"]),), if_match="*")
        await settled()
        assert (len(mine.heard()), len(theirs.heard())) == (0, 0)
        await house.segment("adults", conditions=(condition("age", "gte", 18),))
        await house.define(rules=(rule(segments=["adults"]),), if_match="*")
        await settled()
        assert (len(mine.heard()), len(theirs.heard())) == (0, 1)  # acme's override decides
        await house.segment("adults", conditions=(condition("age", "gte", 21),), if_match="*")
        await settled()
        assert (len(mine.heard()), len(theirs.heard())) == (0, 1)


async def test_an_entitlement_that_comes_or_goes_is_told() -> None:
    async with opened() as house:
        mine = Listener(house)
        mine.heard()
        house.features.granted.clear()
        house.streams.applied([applied(ACME, TenantChanged(name="a", tier="pro", previous_tier="pro"))])
        await settled()
        assert len(mine.heard()) == 1
        house.streams.applied([applied(DomainId("other"), TenantChanged(name="a", tier="pro", previous_tier="pro"))])
        await settled()
        assert mine.heard() == []


async def test_a_tenant_at_another_tier_is_told() -> None:
    async with opened() as house:
        await house.define(rules=(rule(tiers=["enterprise"]),))
        mine = Listener(house)
        mine.heard()
        house.access.now["acme"] = msgspec.structs.replace(ctx_of(), tier="enterprise")
        house.streams.applied([applied(ACME, TenantChanged(name="a", tier="enterprise", previous_tier="pro"))])
        await settled()
        (event,) = mine.heard()
        assert event["id"] == house.sets.fingerprint(Asker(ACME, "enterprise", "production"))
        assert house.streams.open_streams == 1
        mine.leave()
        assert house.streams.open_streams == 0


async def test_a_stream_ends_with_its_credential() -> None:
    async with opened() as house:
        mine, other = Listener(house), Listener(house, ctx_of(id="key:other", key_id="other"))
        house.access.refused.add("k")
        await house.define()
        await settled()
        assert (mine.sink.closed, other.sink.closed, house.streams.open_streams) == (True, False, 1)
        mine.leave()
        assert house.streams.open_streams == 1
        house.streams.close_all()
        assert other.sink.closed


async def test_a_stream_that_may_end_is_looked_at_without_being_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central_hub.flags.telling.SWEEP_S", 0.0)
    async with opened() as house:
        ends, stays = Listener(house, ctx_of(expires_at_ms=5)), Listener(house, ctx_of("globex"))
        house.access.refused.add("k")
        sweeping = asyncio.create_task(house.streams.run())
        await settled()
        assert (ends.sink.closed, stays.sink.closed) == (True, False)  # without an end there is nothing to look at
        sweeping.cancel()
        await asyncio.wait({sweeping})


async def test_what_ends_by_the_clock_is_noticed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central_hub.flags.telling.SWEEP_S", 0.0)
    monkeypatch.setattr("central_hub.flags.telling.SWEEP_ALL_EVERY", 10)
    async with opened() as house:
        stays = Listener(house, ctx_of("globex"))
        stays.heard()
        sweeping = asyncio.create_task(house.streams.run())
        house.features.granted.add((GLOBEX, "advanced_ai"))  # as when a grant begins or ends by the clock
        await settled()
        assert len(stays.heard()) == 1
        sweeping.cancel()
        await asyncio.wait({sweeping})


async def test_there_is_a_limit_on_streams() -> None:
    async with opened() as house:
        for _ in range(3):
            house.streams.admit(ACME)
            Listener(house)
        with pytest.raises(HubError) as caught:
            house.streams.admit(ACME)
        assert (caught.value.code, caught.value.fields["limit"], caught.value.retry_after_s) == (
            "too_many_watchers",
            3,
            5,
        )
        house.streams.admit(GLOBEX)
        Listener(house, ctx_of("globex"))
        with pytest.raises(HubError):
            house.streams.admit(GLOBEX)


async def test_a_credential_that_no_longer_speaks_for_the_tenant_opens_nothing() -> None:
    async with opened() as house:
        assert house.streams.current(ctx_of()) == ctx_of()
        gateway = ctx_of(home=PLATFORM, assertable=frozenset({"acme"}))
        assert house.streams.current(gateway) is gateway
        anyone = ctx_of(home=PLATFORM, assertable=None)
        assert house.streams.current(anyone) is anyone
        for ctx, code in (
            (ctx_of(home=PLATFORM, assertable=frozenset({"globex"})), "tenant_mismatch"),
            (ctx_of("acme", "config:read"), "scope_missing"),
        ):
            with pytest.raises(HubError) as caught:
                house.streams.current(ctx)
            assert caught.value.code == code
        house.access.refused.add("k")
        with pytest.raises(HubError):
            house.streams.current(ctx_of())


TOKENS = StreamTokens(b"secret", open_mode=False)


def test_a_token_says_who_asked_for_an_hour_or_two() -> None:
    token = TOKENS.mint(ctx_of(), ASKER, NOW_MS)
    assert token is not None
    assert len(token) < stream_tokens.TOKEN_LENGTH_MAX
    assert token == TOKENS.mint(ctx_of(), ASKER, NOW_MS + 60_000)
    assert token != TOKENS.mint(ctx_of(), ASKER, NOW_MS + HOUR_MS)
    found = TOKENS.read(token, NOW_MS + HOUR_MS)
    assert found is not None
    ctx, environment = found
    assert (ctx.tenant_id, ctx.tier, environment) == ("acme", "pro", "production")
    principal = ctx.principal
    assert (principal.id, principal.key_id, principal.proof) == ("key:k", "k", b"12345678")
    assert (principal.kind, principal.assertable, principal.scopes) == (PrincipalKind.KEY, frozenset(), {"flags:read"})
    assert TOKENS.read(token, NOW_MS + 2 * HOUR_MS) is None


def test_a_longest_token_fits() -> None:
    name = "x" * 63
    token = TOKENS.mint(ctx_of(name, key_id="k" * 16), Asker(DomainId(name), "x" * 64, name), NOW_MS)
    assert token is not None
    assert len(token) <= stream_tokens.TOKEN_LENGTH_MAX


@pytest.mark.parametrize("bad", ["", "x", "====", "ä", "A" * 100, "a b"])
def test_what_is_no_token_opens_nothing(bad: str) -> None:
    assert TOKENS.read(bad, NOW_MS) is None


def test_an_altered_token_opens_nothing() -> None:
    token = TOKENS.mint(ctx_of(), ASKER, NOW_MS)
    assert token is not None
    for at in range(len(token)):
        other = "A" if token[at] != "A" else "B"
        altered = token[:at] + other + token[at + 1 :]
        found: Any = TOKENS.read(altered, NOW_MS)
        assert found is None or at == len(token) - 1  # bits of the last character that stand for nothing
    assert StreamTokens(b"another", open_mode=False).read(token, NOW_MS) is None


def test_only_those_who_can_be_asked_after_again_get_one() -> None:
    for kind in (PrincipalKind.GATEWAY, PrincipalKind.BOOTSTRAP, PrincipalKind.LEGACY, PrincipalKind.OPEN):
        assert TOKENS.mint(ctx_of(kind=kind), ASKER, NOW_MS) is None
    in_the_open = StreamTokens(b"secret", open_mode=True)
    assert in_the_open.mint(ctx_of(kind=PrincipalKind.GATEWAY), ASKER, NOW_MS) is None
    token = in_the_open.mint(ctx_of(kind=PrincipalKind.OPEN, id="open"), ASKER, NOW_MS)
    assert token is not None
    found = in_the_open.read(token, NOW_MS)
    assert found is not None
    assert (found[0].principal.id, found[0].principal.assertable) == ("open", None)
    assert TOKENS.read(token, NOW_MS) is None  # a hub that runs with keys takes none of before
