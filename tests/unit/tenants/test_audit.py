"""The audit trail: who, what, when, from where; whole, in order, and without what nobody may read back."""

from __future__ import annotations

import msgspec
import pytest

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM
from central_hub.tenants.audit import REDACTED, _shown
from tests.unit.tenants.support import ACME, GLOBEX, OPERATOR, opened


async def test_an_entry_says_who_did_what_when_and_from_where() -> None:
    async with opened() as office:
        await office.tenant()
        ctx = msgspec.structs.replace(OPERATOR, origin="10.0.0.9", correlation_id="c-1")
        await office.tenants.change(ctx, "acme", name="Acme", tier="free")
        entry = (await office.audit.page(ACME, cursor=None, limit=10)).entries[-1]
        assert (entry.seq, entry.type, entry.category, entry.at) == (
            2,
            "TenantChanged",
            "fact",
            "2023-11-14T22:13:20.000Z",
        )
        assert (entry.actor, entry.actor_kind, entry.origin, entry.correlation_id) == (
            "operator",
            "key",
            "10.0.0.9",
            "c-1",
        )
        assert entry.data == {"name": "Acme", "tier": "free", "previous_tier": "pro"}


async def test_pages_join_without_gap_or_overlap() -> None:
    async with opened() as office:
        await office.tenant()
        for _ in range(6):
            await office.key()
        seen: list[int] = []
        cursor = None
        while True:
            page = await office.audit.page(ACME, cursor=cursor, limit=3)
            seen += [entry.seq for entry in page.entries]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_the_latest_entries_are_read_from_the_end() -> None:
    async with opened() as office:
        await office.tenant()
        for _ in range(6):
            await office.key()
        latest = await office.audit.page(ACME, cursor=None, limit=3, latest=True)
        assert ([entry.seq for entry in latest.entries], latest.next_cursor) == ([5, 6, 7], None)
        everything = await office.audit.page(ACME, cursor=None, limit=9, latest=True)
        assert [entry.seq for entry in everything.entries] == [1, 2, 3, 4, 5, 6, 7]
        onwards = await office.audit.page(ACME, cursor="2", limit=3, latest=True)
        assert ([entry.seq for entry in onwards.entries], onwards.next_cursor) == ([3, 4, 5], "5")


async def test_one_domains_trail_holds_nothing_of_another() -> None:
    async with opened() as office:
        for name in ("acme", "globex"):
            await office.tenant(name)
        await office.key(GLOBEX)
        await office.key(PLATFORM, "tenant:assert", assertable_tenants=("globex",))
        trail = msgspec.json.encode(await office.audit.page(ACME, cursor=None, limit=100))
        assert b"acme" in trail
        assert b"globex" not in trail
        pages = [await office.audit.page(one, cursor=None, limit=9) for one in (ACME, GLOBEX, PLATFORM)]
        assert [len(page.entries) for page in pages] == [1, 2, 1]


async def test_digests_of_secrets_are_not_read_back() -> None:
    async with opened() as office:
        await office.tenant()
        key_id = await office.key()
        await office.tenants.rotate_key(OPERATOR, ACME, key_id, grace_s=60)
        entries = (await office.audit.page(ACME, cursor=None, limit=10)).entries
        assert entries[1].data["key"]["digest"] == REDACTED
        assert entries[1].data["key"]["scopes"] == ["registry:read"]
        assert entries[2].data["digest"] == REDACTED


@pytest.mark.parametrize("cursor", ["", "-1", "1.0", "x", "１", "0" * 19])
async def test_a_cursor_that_no_page_gave_is_refused(cursor: str) -> None:
    async with opened() as office:
        with pytest.raises(HubError) as caught:
            await office.audit.page(ACME, cursor=cursor, limit=10)
        assert caught.value.code == "invalid_cursor"


async def test_the_chain_of_a_domain_is_verified_by_itself() -> None:
    async with opened() as office:
        await office.tenant()
        await office.key()
        check = await office.audit.verify(ACME)
        assert (check.checked, check.first_seq, check.last_seq, check.broken_at) == (2, 1, 2, None)


def test_bytes_are_redacted_however_deep_they_stand() -> None:
    assert _shown({"a": [(b"x", {"b": b"y"})], "c": "z"}) == {"a": [[REDACTED, {"b": REDACTED}]], "c": "z"}
