"""Flags and the log: another hub writes in between, and a hub that starts again has what was acknowledged."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from central_hub.adapters.memory import MemoryLog, MemorySnapshots
from central_hub.flags.model import (
    FACTS,
    FlagDefined,
    FlagOverridden,
    FlagStateSet,
    FlagType,
    Override,
    SegmentRemoved,
    State,
    flag_stream,
    segment_stream,
)
from central_hub.flags.view import FlagsView
from central_hub.kernel.errors import HubError
from central_hub.kernel.facts import Fact, FactTypes
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.ports import Append
from central_hub.kernel.runner import Runner
from tests.unit.flags.support import ACME, GLOBEX, House, condition, flag, opened, rule


def once_before_the_next_append(house: House, domain: DomainId, fact: Fact, stream: str) -> None:
    """Let another hub write a fact between the next decision and its append."""

    def intrude(log: MemoryLog, batch: Sequence[Append]) -> None:
        log.adversary = None
        log.write_as_another_hub(house.keys, domain, fact, (stream,))

    house.log.adversary = intrude


async def refused(command: object) -> str:
    with pytest.raises(HubError) as caught:
        await command  # pyright: ignore
    return caught.value.code


async def test_a_revision_that_another_hub_wrote_in_between_is_not_overwritten() -> None:
    async with opened() as house:
        await house.define()
        theirs = FlagDefined(flag=flag(default="on"))
        once_before_the_next_append(house, PLATFORM, theirs, flag_stream("search"))
        assert await refused(house.define(description="mine", if_match='"1"')) == "revision_moved"
        assert house.says()[0] is True


async def test_a_flag_that_another_hub_made_in_between_is_not_made_again() -> None:
    async with opened() as house:
        await house.define("other")
        once_before_the_next_append(house, PLATFORM, FlagDefined(flag=flag(default="on")), flag_stream("search"))
        assert await refused(house.define()) == "precondition_required"


async def test_a_segment_that_another_hub_removed_in_between_is_not_named() -> None:
    async with opened() as house:
        await house.segment("adults", conditions=(condition("age", "gte", 18),))
        once_before_the_next_append(house, PLATFORM, SegmentRemoved(name="adults"), segment_stream("adults"))
        assert await refused(house.define(rules=(rule(segments=["adults"]),))) == "unknown_segment"


async def test_a_flag_that_another_hub_archived_in_between_is_not_overridden() -> None:
    async with opened() as house:
        await house.define()
        await house.define("other")
        await house.override("on", key="other")
        archived = FlagStateSet(key="search", state=State.ARCHIVED)
        once_before_the_next_append(house, PLATFORM, archived, flag_stream("search"))
        assert await refused(house.override("on")) == "flag_not_found"


async def test_an_override_decided_twice_is_written_once() -> None:
    async with opened() as house:
        await house.define()
        await house.define("other")
        await house.override("on", key="other")
        theirs = FlagOverridden(override=Override(key="search", variant="on"))
        once_before_the_next_append(house, ACME, theirs, flag_stream("search"))
        pos = house.runner.pos
        made = await house.override("on")
        assert (made.variant, house.runner.pos) == ("on", pos + 1)


@pytest.mark.parametrize("with_snapshot", [False, True])
async def test_a_hub_that_starts_again_answers_the_same(with_snapshot: bool) -> None:
    async with opened() as house:
        await house.segment("adults", conditions=(condition("age", "gte", 18),))
        await house.define(rules=(rule(segments=["adults"]),))
        await house.define("ratio", type=FlagType.NUMBER, variants={"one": 1, "half": 0.5}, default="one")
        await house.override("on")
        snapshots = MemorySnapshots()
        if with_snapshot:
            await house.runner.snapshot(snapshots)
        await house.define("after", variants={"v": True}, default="v")
        again = FlagsView()
        runner = Runner(house.log, house.keys, FactTypes(FACTS), [again])
        runner.incarnation = house.runner.incarnation
        await runner.start(snapshots)
        assert runner.pos == house.runner.pos
        for domain in (PLATFORM, ACME, GLOBEX):
            assert again.flags(domain) == house.view.flags(domain)
            assert again.overrides(domain) == house.view.overrides(domain)
        assert again.segments(PLATFORM) == house.view.segments(PLATFORM)
        ratio = again.flag(ACME, "ratio")
        assert ratio is not None
        assert [type(value) for value in ratio.variants.values()] == [float, float]
