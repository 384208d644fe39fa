"""An answer that is no older than what the caller has seen, at whichever hub."""

from __future__ import annotations

import pytest

from central_hub.edge.caught_up import caught_up
from central_hub.edge.operations import Headers
from central_hub.kernel.context import Principal, PrincipalKind, TenantContext
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM
from central_hub.kernel.patience import come_true
from central_hub.kernel.seq import HubSeq

CTX = TenantContext(
    principal=Principal(id="", kind=PrincipalKind.ANONYMOUS, home=PLATFORM, scopes=frozenset()),
    tenant_id=None,
    tier="",
    rank=0,
)


class Given:
    def __init__(self, said: bool | None, *, shared: bool = True) -> None:
        self.said = said
        self.shared = shared
        self.asked: list[str] = []

    def position_of(self, ctx: TenantContext) -> HubSeq:
        return HubSeq("inc", 0, 0)

    @property
    def may_be_behind(self) -> bool:
        return self.shared

    async def reached(self, ctx: TenantContext, position: str) -> bool | None:
        self.asked.append(position)
        return self.said


def lines(**given: str) -> Headers:
    return Headers([(name.replace("_", "-").encode(), value.encode()) for name, value in given.items()])


async def test_nothing_is_waited_for_where_nothing_is_asked() -> None:
    positions = Given(False)
    await caught_up(positions, CTX, lines(host="hub"))
    assert positions.asked == []


async def test_a_position_that_was_applied_is_answered() -> None:
    positions = Given(True)
    await caught_up(positions, CTX, lines(hub_min_seq="inc.1.2"))
    assert positions.asked == ["inc.1.2"]


@pytest.mark.parametrize(
    ("said", "code", "kind"), [(False, "behind", Kind.UNAVAILABLE), (None, "position_gone", Kind.GONE)]
)
async def test_a_position_that_was_not_is_refused_with_the_reason(said: bool | None, code: str, kind: Kind) -> None:
    with pytest.raises(HubError) as refused:
        await caught_up(Given(said), CTX, lines(hub_min_seq="inc.1.2"))
    assert (refused.value.code, refused.value.kind) == (code, kind)


@pytest.mark.parametrize(
    "text", ["", "inc", "inc.1", "inc.-1.2", "inc.1.2.3", "inc.1.2x", "i nc.1.2", "inc.1." + "9" * 30]
)
async def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(HubError) as refused:
        await caught_up(Given(True), CTX, lines(hub_min_seq=text))
    assert refused.value.code == "invalid_position"


async def test_who_resumes_a_stream_is_waited_for_where_other_hubs_write() -> None:
    for shared, asked in ((True, ["inc.1.2.7"]), (False, [])):
        positions = Given(False, shared=shared)
        await caught_up(positions, CTX, lines(last_event_id="inc.1.2.7"))
        assert positions.asked == asked
    positions = Given(False)
    await caught_up(positions, CTX, lines(last_event_id="not one of ours"))
    assert positions.asked == []


async def test_what_comes_true_is_waited_for_and_what_does_not_is_not_waited_for_long() -> None:
    left = [3]

    def true() -> bool:
        left[0] -= 1
        return left[0] <= 0

    assert await come_true(true, 1.0)
    assert not await come_true(lambda: False, 0.01)
