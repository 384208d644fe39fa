"""Putting, reading and deleting: kept is ciphertext, what is read is on record, what is foreign is not there."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Category
from central_hub.secrets.model import (
    READS_BURST,
    READS_PER_S,
    SECRETS_PER_TENANT_MAX,
    VERSIONS_KEPT,
    SecretRead,
    Source,
)
from central_hub.secrets.rules import bound_to
from central_hub.secrets.usecases import NewVersion
from tests.unit.secrets.support import ACME, GLOBEX, House, ctx_of, opened

VALUE = "correct horse battery staple"


async def test_a_value_comes_back_version_by_version() -> None:
    async with opened() as house:
        assert (await house.put("db/password", "one")).newest.number == 1
        assert (await house.put("db/password", "two", if_match='"v1"')).newest.number == 2
        assert await house.read("db/password") == "two"
        assert await house.read("db/password", version=1) == "one"
        with pytest.raises(HubError) as refused:
            await house.read("db/password", version=3)
        assert refused.value.code == "secret_version_not_found"


async def test_the_same_value_is_no_new_version() -> None:
    async with opened() as house:
        await house.put("a", VALUE, note="first")
        assert (await house.put("a", VALUE, if_match="*", note="first")).newest.number == 1
        assert (await house.put("a", VALUE, if_match="*", note="second")).newest.number == 2


async def test_a_change_for_another_version_changes_nothing() -> None:
    async with opened() as house:
        await house.put("a", "one")
        for if_match, code in ((None, "precondition_required"), ('"v9"', "revision_moved")):
            with pytest.raises(HubError) as refused:
                await house.put("a", "two", if_match=if_match)
            assert refused.value.code == code
        assert await house.read("a") == "one"


async def test_of_two_who_replace_the_same_version_one_wins() -> None:
    async with opened() as house:
        await house.put("a", "one")
        done = await asyncio.gather(
            house.put("a", "two", if_match='"v1"'), house.put("a", "three", if_match='"v1"'), return_exceptions=True
        )
        assert sum(isinstance(each, HubError) and each.code == "revision_moved" for each in done) == 1


async def test_a_retry_is_told_what_the_first_try_was_told() -> None:
    async with opened() as house:
        wanted = NewVersion(path="a", value=VALUE)
        first = await house.secrets.put(ctx_of(), ACME, wanted, key="once")
        again = await house.secrets.put(ctx_of(), ACME, wanted, key="once")
        assert (again[0].newest.number, again[1]) == (first[0].newest.number, True)


async def test_what_is_kept_opens_for_its_own_domain_path_and_version_only() -> None:
    async with opened() as house:
        await house.put("a", VALUE)
        await house.put("a", VALUE, domain=GLOBEX)
        kept = house.view.secret(ACME, "a")
        assert kept is not None
        newest = kept.newest
        assert VALUE.encode() not in newest.sealed
        for domain, path, version in ((GLOBEX, "a", 1), (ACME, "b", 1), (ACME, "a", 2)):
            with pytest.raises(HubError) as refused:
                house.ring.open(domain, newest.key_id, newest.sealed, bound_to(domain, path, version))
            assert refused.value.code == "unreadable_record"


async def test_a_value_is_in_no_record_snapshot_or_printed_command() -> None:
    async with opened() as house:
        await house.put("a", VALUE, note="of the database")
        await house.read("a")
        for record in await house.log.read(0, 100):
            applied = house.runner.opened(record)
            assert applied is not None
            assert VALUE.encode() not in record.data
            assert VALUE.encode() not in msgspec.msgpack.encode(applied.fact)
        for chunk in house.view.dump(ACME):
            assert VALUE.encode() not in msgspec.msgpack.encode(chunk)
        assert VALUE not in repr(NewVersion(path="a", value=VALUE))
        assert VALUE not in repr(await house.secrets.read(ctx_of(), ACME, "a"))


async def test_every_read_is_on_record_before_the_value_leaves() -> None:
    async with opened() as house:
        await house.put("a", VALUE)
        await house.read("a")
        await house.read("a", version=1)
        records = [house.runner.opened(record) for record in await house.log.read(0, 100)]
        read = [each for each in records if each is not None and isinstance(each.fact, SecretRead)]
        assert [each.fact for each in read] == [SecretRead(path="a", version=1, source=Source.TENANT)] * 2
        assert {(each.domain, each.category, each.actor.principal) for each in read} == {
            (ACME, Category.AUDIT, "key:k")
        }


async def test_what_cannot_be_recorded_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as house:
        await house.put("a", VALUE)

        async def away(_: object) -> object:
            raise HubError("store_unavailable", Kind.UNAVAILABLE, "It is away.")

        monkeypatch.setattr(house.log, "append", away)
        with pytest.raises(HubError) as refused:
            await house.read("a")
        assert refused.value.code == "store_unavailable"
        assert house.secrets.reads == 0


async def test_another_tenants_secret_is_as_good_as_missing() -> None:
    async with opened() as house:
        await house.put("a", VALUE, domain=GLOBEX)
        with pytest.raises(HubError) as foreign:
            await house.read("a")
        with pytest.raises(HubError) as missing:
            await house.read("nothing")
        assert str(foreign.value) == str(missing.value)
        assert foreign.value.code == "secret_not_found"
        with pytest.raises(HubError) as suggested:  # nor is its path suggested
            house.secrets.get(ctx_of(), ACME, "aa")
        assert "Did you mean" not in str(suggested.value)


async def test_a_tenants_own_stands_before_one_that_the_platform_shares() -> None:
    async with opened() as house:
        await house.put("stripe/key", "of all", domain=PLATFORM, shared=True)
        await house.put("root", "of the platform", domain=PLATFORM)
        assert await house.read("stripe/key") == "of all"
        assert (await house.secrets.read(ctx_of(), ACME, "stripe/key")).source is Source.PLATFORM
        await house.put("stripe/key", "my own")
        assert await house.read("stripe/key") == "my own"
        assert await house.read("stripe/key", domain=GLOBEX) == "of all"
        with pytest.raises(HubError) as refused:
            await house.read("root")
        assert refused.value.code == "secret_not_found"
        assert house.known.suggest(ACME, "stripe/kay") == "stripe/key"
        assert house.known.suggest(ACME, "roots") == ""
        assert (house.known.resolves(ACME, "root"), house.known.resolves(PLATFORM, "root")) == (False, False)
        assert house.known.resolves(PLATFORM, "stripe/key")


async def test_a_deleted_secret_is_gone_and_its_numbers_with_it() -> None:
    async with opened() as house:
        await house.put("a", "one")
        with pytest.raises(HubError):
            await house.secrets.delete(ctx_of(), ACME, "a", if_match='"v7"')
        await house.secrets.delete(ctx_of(), ACME, "a", if_match='"v1"')
        await house.secrets.delete(ctx_of(), ACME, "a")
        with pytest.raises(HubError) as refused:
            await house.read("a")
        assert refused.value.code == "secret_not_found"
        assert (await house.put("a", "two")).newest.number == 2


async def test_no_more_versions_or_secrets_than_there_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as house:
        for number in range(VERSIONS_KEPT + 2):
            await house.put("a", str(number), if_match="*" if number else None)
        with pytest.raises(HubError) as refused:
            await house.read("a", version=2)
        assert refused.value.code == "secret_version_not_found"
        monkeypatch.setattr("central_hub.secrets.rules.SECRETS_PER_TENANT_MAX", 3)
        done = await asyncio.gather(*(house.put(f"s{at}", "x") for at in range(6)), return_exceptions=True)
        assert sum(isinstance(each, HubError) and each.code == "limit_reached" for each in done) == 4
        assert SECRETS_PER_TENANT_MAX > 3


async def test_reads_are_fewer_than_they_might_be() -> None:
    async with opened() as house:
        await house.put("a", VALUE)
        house.clock.advance(1_000)
        for _ in range(READS_BURST + 1):
            house.secrets._admit(ACME)  # pyright: ignore[reportPrivateUsage]  # a thousand reads would be slow
        with pytest.raises(HubError) as refused:
            await house.read("a")
        assert (refused.value.code, refused.value.retry_after_s) == ("too_many_requests", 1)
        await house.put("a", VALUE, domain=GLOBEX)
        assert await house.read("a", domain=GLOBEX) == VALUE  # each tenant for itself
        house.clock.advance(1_000 // READS_PER_S)
        assert await house.read("a") == VALUE


async def test_nothing_is_kept_for_who_is_no_tenant_or_no_longer_let_in() -> None:
    async with opened() as house:
        with pytest.raises(HubError) as refused:
            await house.put("a", VALUE, domain=DomainId("nobody"))
        assert refused.value.code == "tenant_not_found"
        house.door.refusing = True
        with pytest.raises(HubError) as refused:
            await house.put("a", VALUE)
        assert refused.value.code == "invalid_credential"
        assert not house.view.secrets(ACME)


async def test_a_start_finds_everything_again() -> None:
    async with opened() as house:
        await house.put("a", VALUE)
    async with opened(House(house.log, house.kept)) as other:
        assert await other.read("a") == VALUE


async def test_a_shredded_tenants_secrets_open_for_nobody() -> None:
    async with opened() as house:
        kept = (await house.put("a", VALUE)).newest
        await house.ring.shred(ACME)
        with pytest.raises(HubError) as refused:
            house.ring.open(ACME, kept.key_id, kept.sealed, bound_to(ACME, "a", 1))
        assert refused.value.code == "unreadable_record"
