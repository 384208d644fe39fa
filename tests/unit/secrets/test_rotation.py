"""Rotations: all keys are reached, nothing stops meanwhile, and what a crash or an absence interrupted goes on."""

from __future__ import annotations

import asyncio
import os

import pytest

from central_hub.adapters.key_encryption import LocalKeys, parted
from central_hub.adapters.keyring import KeyRing
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.secrets.model import KEYS_AT_ONCE, Rotating
from central_hub.secrets.rotation import Phase, Rotation
from tests.unit.secrets.support import ACME, GLOBEX, KEK, House, ctx_of, opened, rotating, until

OPERATOR = ctx_of(None)


async def domains(house: House, count: int) -> list[DomainId]:
    """Give so many domains a data key."""
    made = [DomainId(f"t{number}") for number in range(count)]
    for domain in made:
        await house.ring.ensure(domain)
    return made


async def test_every_data_key_is_rewrapped_and_still_opens() -> None:
    async with opened() as house, rotating(house):
        await house.put("a", "one")
        await domains(house, 2 * KEYS_AT_ONCE + 3)
        before = house.provider.current
        state = await house.rotation.begin(OPERATOR, Rotating.KEY_ENCRYPTION_KEY)
        assert state.phase is Phase.RUNNING
        await until(lambda: house.rotation.state.phase is Phase.DONE)
        assert house.provider.current != before
        assert house.ring.behind() == []
        assert house.rotation.state.done == house.rotation.state.total >= 2 * KEYS_AT_ONCE + 3
        assert {parted(wrapped)[0] for _, _, wrapped in await house.kept.load_keys()} == {house.provider.current}
        assert await house.read("a") == "one"
        assert house.view.rotation(PLATFORM) is None
        again = KeyRing(LocalKeys(house.provider._keys), house.kept)  # pyright: ignore[reportPrivateUsage]  # a new start
        await again.load()
        assert again.data_keys() == house.ring.data_keys()


async def test_a_new_data_key_seals_from_now_on_and_the_old_one_opens() -> None:
    async with opened() as house, rotating(house):
        await house.put("a", "one")
        await house.put("b", "other", domain=GLOBEX)
        first = house.ring.seal(ACME, b"x", b"")[0]
        of_globex = house.ring.seal(GLOBEX, b"x", b"")[0]
        await house.rotation.begin(OPERATOR, Rotating.DATA_KEYS, ["acme"])
        await until(lambda: house.rotation.state.phase is Phase.DONE)
        assert house.ring.seal(ACME, b"x", b"")[0] != first
        assert house.ring.seal(GLOBEX, b"x", b"")[0] == of_globex
        await house.put("a", "two", if_match="*")
        assert (await house.read("a", version=1), await house.read("a")) == ("one", "two")
    async with opened(House(house.log, house.kept)) as other:  # and a start takes the newest for the current one
        assert other.ring.seal(ACME, b"x", b"")[0] == house.ring.seal(ACME, b"x", b"")[0]
        assert (await other.read("a", version=1), await other.read("a")) == ("one", "two")


async def test_all_domains_are_given_new_data_keys() -> None:
    async with opened() as house, rotating(house):
        made = await domains(house, KEYS_AT_ONCE + 2)
        before = {domain: house.ring.seal(domain, b"", b"")[0] for domain in made}
        await house.rotation.begin(OPERATOR, Rotating.DATA_KEYS)
        await until(lambda: house.rotation.state.phase is Phase.DONE)
        assert all(house.ring.seal(domain, b"", b"")[0] != before[domain] for domain in made)


@pytest.mark.parametrize("what", list(Rotating))
async def test_a_rotation_that_a_crash_interrupted_goes_on(what: Rotating) -> None:
    async with opened() as house:
        await house.put("a", "one")
        made = await domains(house, 5)
        before = {domain: house.ring.seal(domain, b"", b"")[0] for domain in made}
        await house.rotation.begin(OPERATOR, what)  # nobody runs it: the process is gone after this
        if what is Rotating.KEY_ENCRYPTION_KEY:
            await house.provider.rotate()
            await house.ring.rewrap(house.ring.behind()[:2])
        else:
            begun = house.view.rotation(PLATFORM)
            assert begun is not None
            await house.ring.renew(made[0], not_before_ms=begun.began_at_ms)
    keys = house.provider._keys  # pyright: ignore[reportPrivateUsage]  # what a file would have kept
    async with opened(House(house.log, house.kept, *keys)) as other, rotating(other):
        await until(lambda: other.rotation.state.phase is Phase.DONE)
        assert other.view.rotation(PLATFORM) is None
        assert other.ring.behind() == []
        assert await other.read("a") == "one"
        if what is Rotating.DATA_KEYS:
            assert all(other.ring.seal(domain, b"", b"")[0] != before[domain] for domain in made)
        else:
            assert other.provider.current == house.provider.current, "not rotated once more"


async def test_a_key_that_was_changed_outside_is_caught_up_with() -> None:
    async with opened() as house:
        await house.put("a", "one")
    fresh = os.urandom(32)
    async with opened(House(house.log, house.kept, fresh, KEK)) as other:
        assert len(other.ring.behind()) == other.ring.data_keys() > 0
        async with rotating(other):
            await until(lambda: not other.ring.behind())
        assert await other.read("a") == "one"
    async with opened(House(house.log, house.kept, fresh)) as last:  # the old one is not needed any more
        assert await last.read("a") == "one"


async def test_a_provider_that_is_away_holds_a_rotation_up_and_nothing_else() -> None:
    async with opened() as house, rotating(house):
        await house.put("a", "one")
        await house.rotation.begin(OPERATOR, Rotating.DATA_KEYS)
        await until(lambda: house.rotation.state.phase is Phase.DONE)
        house.provider.away = True
        await house.rotation.begin(OPERATOR, Rotating.DATA_KEYS)
        await until(lambda: house.rotation.state.held_up_by == "key_provider_unavailable")
        assert await house.read("a") == "one"
        await house.put("a", "two", if_match="*")
        with pytest.raises(HubError) as refused:
            await house.put("b", "new", domain=GLOBEX)  # the first of its domain
        assert refused.value.code == "key_provider_unavailable"
        assert house.ring.provider_failures > 0
        house.provider.away = False
        await until(lambda: house.rotation.state.phase is Phase.DONE)
        assert await house.read("a") == "two"


async def test_one_rotation_at_a_time() -> None:
    async with opened() as house:
        await house.put("a", "one")
        await house.rotation.begin(OPERATOR, Rotating.DATA_KEYS)
        with pytest.raises(HubError) as refused:
            await house.rotation.begin(OPERATOR, Rotating.KEY_ENCRYPTION_KEY)
        assert refused.value.code == "rotation_running"


async def test_what_cannot_be_rotated_is_refused() -> None:
    async with opened() as house:
        for what, named, code in (
            (Rotating.DATA_KEYS, ["nobody"], "tenant_not_found"),
            (Rotating.KEY_ENCRYPTION_KEY, ["acme"], "invalid_rotation"),
        ):
            with pytest.raises(HubError) as refused:
                await house.rotation.begin(OPERATOR, what, named)
            assert refused.value.code == code
        house.provider.provider = "env"
        with pytest.raises(HubError) as refused:
            await house.rotation.begin(OPERATOR, Rotating.KEY_ENCRYPTION_KEY)
        assert refused.value.code == "key_provider_external"
        assert house.view.rotation(PLATFORM) is None


async def test_of_several_hubs_none_makes_a_key_that_the_others_would_not_have() -> None:
    async with opened() as house:
        rotation = Rotation(house.ring, house.view, house.sequencer, house.clock, house.door, shared=True)
        house.provider.provider = "file"
        with pytest.raises(HubError) as refused:
            await rotation.begin(OPERATOR, Rotating.KEY_ENCRYPTION_KEY)
        assert refused.value.code == "key_file_not_shared"
        house.provider.provider = "transit"
        await rotation.begin(OPERATOR, Rotating.KEY_ENCRYPTION_KEY)
        assert house.view.rotation(PLATFORM) is not None


async def test_a_domain_that_is_shredded_meanwhile_is_passed_over() -> None:
    async with opened() as house:
        await house.put("a", "one")
        await domains(house, 3)
        await house.rotation.begin(OPERATOR, Rotating.DATA_KEYS)
        await house.ring.shred(DomainId("t1"))
        async with rotating(house):
            await until(lambda: house.rotation.state.phase is Phase.DONE)
        assert "t1" not in house.ring.domains()


async def test_reads_and_writes_go_on_through_rotations() -> None:
    async with opened() as house, rotating(house):
        await house.put("a", "0")
        await domains(house, 3 * KEYS_AT_ONCE)
        failed: list[object] = []

        async def work() -> None:
            number = 0
            while house.rotation.state.phase is not Phase.DONE:
                number += 1
                await house.put("a", str(number), if_match="*")
                if await house.read("a") != str(number):
                    failed.append(number)
                await asyncio.sleep(0)

        for what in Rotating:
            await house.rotation.begin(OPERATOR, what)
            await work()
        assert not failed


async def test_a_data_key_that_sealed_much_is_renewed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("central_hub.adapters.keyring.SEALS_PER_KEY_MAX", 20)
    async with opened() as house, rotating(house):
        await house.put("a", "one")
        first = house.ring.seal(ACME, b"", b"")[0]
        for _ in range(10):
            house.ring.seal(ACME, b"", b"")
        await asyncio.sleep(0.05)
        assert house.ring.seal(ACME, b"", b"")[0] == first, "not before it is worn"
        for _ in range(20):
            house.ring.seal(ACME, b"", b"")
        assert house.ring.worn() == [ACME]
        await until(lambda: house.ring.worn() == [])
        assert house.ring.seal(ACME, b"", b"")[0] != first
        assert await house.read("a") == "one"


async def test_what_is_behind_is_the_same_however_it_is_asked_for() -> None:
    async with opened() as house:
        await domains(house, 10)
        assert (house.ring.behind(), house.ring.count_behind(), house.ring.next_behind(3)) == ([], 0, [])
        await house.provider.rotate()
        names = house.ring.behind()
        assert (len(names), house.ring.count_behind(), house.ring.next_behind(3)) == (10, 10, names[:3])
        await house.ring.rewrap(names[:4])
        await house.ring.shred(DomainId(names[5][0]))
        left = [name for name in names[4:] if name != names[5]]
        assert (house.ring.behind(), house.ring.count_behind()) == (left, 5)
        await house.ring.renew(ACME)
        assert house.ring.count_behind() == 5, "what is new is not behind"


async def test_a_rotation_ends_whenever_it_is_told_to() -> None:
    async with opened() as house:
        for at in range(200):
            task = asyncio.create_task(house.rotation.run())
            await asyncio.sleep(0.01 + at / 100_000)  # about when it looks for worn keys
            task.cancel()
            done, _ = await asyncio.wait({task}, timeout=1)
            assert done, "the cancellation was swallowed"


async def test_a_rotation_that_another_start_has_not_taken_up_yet_is_going_on_too() -> None:
    async with opened() as house:
        await house.put("a", "one")
        await house.rotation.begin(OPERATOR, Rotating.DATA_KEYS)
    async with opened(House(house.log, house.kept)) as other:
        with pytest.raises(HubError) as refused:
            await other.rotation.begin(OPERATOR, Rotating.DATA_KEYS)
        assert refused.value.code == "rotation_running"


async def test_a_domain_with_as_many_keys_as_it_may_have_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened() as house, rotating(house):
        await house.put("a", "one")
        await house.ring.renew(ACME)
        await house.ring.ensure(GLOBEX)
        full, other = (house.ring.seal(domain, b"", b"")[0] for domain in (ACME, GLOBEX))
        monkeypatch.setattr("central_hub.adapters.keyring.DATA_KEYS_PER_DOMAIN_MAX", 2)
        await house.rotation.begin(OPERATOR, Rotating.DATA_KEYS)
        await until(lambda: house.rotation.state.phase is Phase.DONE)
        assert house.ring.seal(ACME, b"", b"")[0] == full
        assert house.ring.seal(GLOBEX, b"", b"")[0] != other


async def test_a_rotation_ends_once_whoever_says_so() -> None:
    async with opened() as house:
        await house.put("a", "one")
        await house.rotation.begin(OPERATOR, Rotating.DATA_KEYS)
        begun = house.view.rotation(PLATFORM)
        assert begun is not None
        for _ in range(2):  # as two hubs on one store would
            await house.rotation._end(begun)  # pyright: ignore[reportPrivateUsage]  # the moment cannot be met otherwise
        ended = [record for record in await house.log.read(0, 100) if record.type == "EncryptionRotationEnded"]
        assert len(ended) == 1
