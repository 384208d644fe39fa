"""Trials with an end: moved once, in time, after restarts and in spite of clocks that are set."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.kernel.errors import HubError
from central_hub.kernel.placing import store_unavailable
from central_hub.tenants.model import State
from central_hub.tenants.states import TRIAL_ENDED, Move, moved
from central_hub.tenants.trials import LOOK_AGAIN_MS, REASON, Trials
from central_hub.tenants.usecases import NewTenant
from tests.unit.tenants.support import ACME, OPERATOR, Office, opened

DAY_MS = 86_400_000


def trial_of(office: Office, days: float = 14) -> NewTenant:
    until_ms = office.clock.now_ms() + int(days * DAY_MS)
    return NewTenant(id="acme", name="Acme", tier="pro", state=State.TRIAL, trial_until_ms=until_ms)


async def looked(trials: Trials) -> None:
    while trials.look(64):
        pass
    await trials.write()


def follow(office: Office) -> Trials:
    trials = Trials(office.view, office.sequencer, office.clock)
    office.runner.listen(trials.applied)
    return trials


def ends(office: Office) -> int:
    return sum(record.type == "TenantStateChanged" for record in office.log.records)


async def pass_days(office: Office, trials: Trials, days: float) -> None:
    """Move time in steps, looking between them, as a hub that runs does."""
    left_ms = days * DAY_MS
    while left_ms > 0:
        office.clock.advance(min(left_ms, LOOK_AGAIN_MS))
        left_ms -= LOOK_AGAIN_MS
        await looked(trials)


async def test_a_trial_ends_when_its_time_has_come_and_once() -> None:
    async with opened() as office:
        trials = follow(office)
        await office.tenants.create(OPERATOR, trial_of(office, 2))
        await pass_days(office, trials, 2 - 1e-6)
        assert office.view.tenant(ACME).state is State.TRIAL  # type: ignore[union-attr]
        await pass_days(office, trials, 1e-5)
        tenant = office.view.tenant(ACME)
        assert tenant is not None
        assert (tenant.state, tenant.reason) == (State.PAST_DUE, REASON)
        await pass_days(office, trials, 2)
        assert (ends(office), trials.ended) == (1, 1)


async def test_a_trial_that_ended_while_no_hub_ran_ends_at_the_start() -> None:
    async with opened() as office:
        await office.tenants.create(OPERATOR, trial_of(office))
        office.clock.advance(15 * DAY_MS)
        for _ in range(2):  # two starts
            trials = Trials(office.view, office.sequencer, office.clock)
            await trials.prime()
            await looked(trials)
        assert office.view.tenant(ACME).state is State.PAST_DUE  # type: ignore[union-attr]
        assert ends(office) == 1


async def test_two_who_end_the_same_trial_end_it_once() -> None:
    async with opened() as office:
        await office.tenants.create(OPERATOR, trial_of(office))
        office.clock.advance(15 * DAY_MS)
        both = [Trials(office.view, office.sequencer, office.clock) for _ in range(2)]
        for trials in both:
            await trials.prime()
        for trials in both:
            await looked(trials)
        assert (ends(office), both[0].ended + both[1].ended) == (1, 1)


async def test_a_trial_without_an_end_goes_on() -> None:
    async with opened() as office:
        trials = follow(office)
        await office.tenants.create(OPERATOR, msgspec.structs.replace(trial_of(office), trial_until_ms=None))
        await pass_days(office, trials, 2)
        assert ends(office) == 0


@pytest.mark.parametrize("move", [Move.ACTIVATE, Move.PAST_DUE, Move.SUSPEND, Move.DELETE])
async def test_a_tenant_that_is_on_trial_no_more_is_left_alone(move: Move) -> None:
    async with opened() as office:
        trials = follow(office)
        await office.tenants.create(OPERATOR, trial_of(office, 1))
        after = (await office.life.move(OPERATOR, "acme", move)).state
        await pass_days(office, trials, 2)
        assert office.view.tenant(ACME).state is after  # type: ignore[union-attr]
        assert trials.ended == 0


async def test_an_extended_trial_ends_later_and_a_shortened_one_sooner() -> None:
    async with opened() as office:
        trials = follow(office)
        await office.tenants.create(OPERATOR, trial_of(office, 2))
        start_ms = office.clock.now_ms()
        await office.tenants.change(OPERATOR, "acme", name=None, tier=None, trial_until_ms=start_ms + 3 * DAY_MS)
        await pass_days(office, trials, 2.5)
        assert ends(office) == 0
        soon = office.clock.now_ms() + 1_000
        await office.tenants.change(OPERATOR, "acme", name=None, tier=None, trial_until_ms=soon)
        await pass_days(office, trials, 0.1)
        assert ends(office) == 1


async def test_what_is_no_end_of_a_trial_is_refused() -> None:
    async with opened() as office:
        past = msgspec.structs.replace(trial_of(office), trial_until_ms=office.clock.now_ms())
        await _refused(office.tenants.create(OPERATOR, past), "invalid_expiry")
        await office.tenants.create(OPERATOR, trial_of(office))
        change: Any = {"name": None, "tier": None}
        await _refused(office.tenants.change(OPERATOR, "acme", trial_until_ms=1, **change), "invalid_expiry")
        await office.life.move(OPERATOR, "acme", Move.ACTIVATE)
        late = office.clock.now_ms() + DAY_MS
        await _refused(office.tenants.change(OPERATOR, "acme", trial_until_ms=late, **change), "wrong_state")


async def _refused(command: Any, code: str) -> None:
    with pytest.raises(HubError) as caught:
        await command
    assert caught.value.code == code


async def test_a_clock_that_is_set_forward_is_noticed_and_one_set_back_ends_nothing_early() -> None:
    async with opened() as office:
        trials = follow(office)
        await office.tenants.create(OPERATOR, trial_of(office, 10))
        office.clock.jump_wall(-DAY_MS)
        await pass_days(office, trials, 10)
        assert ends(office) == 0
        office.clock.jump_wall(DAY_MS)
        office.clock.advance(LOOK_AGAIN_MS)
        await looked(trials)
        assert ends(office) == 1


async def test_while_the_store_is_away_a_trial_waits() -> None:
    async with opened() as office:
        trials = follow(office)
        await office.tenants.create(OPERATOR, trial_of(office, 1))
        office.log.fail_with = store_unavailable("gone")
        office.clock.advance(2 * DAY_MS)
        trials.look(64)
        assert not await trials.write()
        office.log.fail_with = None
        assert await trials.write()
        assert ends(office) == 1


async def test_the_end_of_a_trial_is_in_the_snapshot() -> None:
    async with opened() as office:
        await office.tenants.create(OPERATOR, trial_of(office))
        restored = type(office.view)()
        restored.restore(ACME, [msgspec.msgpack.encode(chunk) for chunk in office.view.dump(ACME)])
        assert restored.tenant(ACME) == office.view.tenant(ACME)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["day", "extend", "restart", "back"]), max_size=12))
async def test_whatever_happens_a_trial_ends_once_and_never_early(steps: list[str]) -> None:
    async with opened() as office:
        trials = follow(office)
        await office.tenants.create(OPERATOR, trial_of(office, 3))
        for step in [*steps, *["day"] * 20]:
            tenant = office.view.tenant(ACME)
            assert tenant is not None
            if step == "day":
                await pass_days(office, trials, 1)
            elif step == "back":
                office.clock.jump_wall(-DAY_MS // 2)
            elif step == "restart":
                trials = follow(office)
                await trials.prime()
                await looked(trials)
            elif tenant.state is State.TRIAL:
                until_ms = office.clock.now_ms() + 2 * DAY_MS
                await office.tenants.change(OPERATOR, "acme", name=None, tier=None, trial_until_ms=until_ms)
            ended = [record for record in office.log.records if record.type == "TenantStateChanged"]
            assert all(record.time_ms >= office.view.tenant(ACME).trial_until_ms for record in ended)  # type: ignore[union-attr]
        assert ends(office) == 1


async def test_who_is_on_no_trial_that_ends_is_not_followed() -> None:
    async with opened() as office:
        trials = follow(office)
        await office.tenants.create(OPERATOR, msgspec.structs.replace(trial_of(office), trial_until_ms=None))
        assert trials.followed == 0
        await office.tenants.create(OPERATOR, msgspec.structs.replace(trial_of(office), id="globex"))
        assert trials.followed == 1
        await office.life.move(OPERATOR, "globex", Move.ACTIVATE)
        assert trials.followed == 0


async def test_a_tenant_that_is_gone_is_not_followed() -> None:
    async with opened() as office:
        trials = follow(office)
        await office.tenants.create(OPERATOR, trial_of(office, 1))
        await office.life.move(OPERATOR, "acme", Move.DELETE)
        await office.life.shred(OPERATOR, "acme", confirm="acme")
        assert trials.followed == 0


async def test_what_is_extended_after_it_was_noted_does_not_end() -> None:
    async with opened() as office:
        await office.tenants.create(OPERATOR, trial_of(office, 1))
        trials = Trials(office.view, office.sequencer, office.clock)
        office.clock.advance(2 * DAY_MS)
        await trials.prime()
        until_ms = office.clock.now_ms() + DAY_MS
        await office.tenants.change(OPERATOR, "acme", name=None, tier=None, trial_until_ms=until_ms)
        assert await trials.write()
        assert ends(office) == 0


def test_the_table_says_what_a_trial_becomes() -> None:
    assert moved(State.TRIAL, TRIAL_ENDED) is State.PAST_DUE
