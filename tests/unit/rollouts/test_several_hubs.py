"""The hub that steps a rollout knows of instances that are connected to others."""

from __future__ import annotations

from central_hub.kernel.ids import DomainId
from central_hub.rollouts.followers import LOST_AFTER_MS
from central_hub.rollouts.passing import SLICE, TELL_EVERY_S, TOLD_AT_ONCE_MAX, FollowersPassed
from central_hub.rollouts.schemas import Report
from tests.unit.rollouts.support import House, ctx_of
from tests.unit.sharing import Wire

ACME = DomainId("acme")


def joined() -> tuple[House, House, FollowersPassed]:
    """Return a hub that instances are connected to, one that hears of them, and what tells."""
    here, there = House(), House()
    wire, other = Wire(), Wire()
    wire.other = other
    FollowersPassed(other, there.book, there.view)
    return here, there, FollowersPassed(wire, here.book, here.view)


def test_an_instance_that_is_connected_elsewhere_is_there_as_long_as_it_is_told_of() -> None:
    here, there, passed = joined()
    here.instance("i-1")
    passed.tell(list(here.book.near()))
    [heard] = there.book.of(ACME)
    assert (heard.key, heard.principal, heard.here) == (("risk", "", "i-1"), ctx_of("acme").principal.id, False)
    assert heard.is_there(there.clock.monotonic_ms())
    assert not list(there.book.near()), "what was heard is not passed on"
    there.clock.advance(LOST_AFTER_MS)
    assert not heard.is_there(there.clock.monotonic_ms())
    assert TELL_EVERY_S * 1_000 * 2 < LOST_AFTER_MS


def test_what_it_reports_is_counted_once_however_often_it_is_told() -> None:
    here, there, passed = joined()
    here.instance("i-1")
    said = Report(etag="e1", ok=9, errors=1)
    here.book.report(ctx_of("acme"), "risk", "i-1", said)
    for _ in range(3):
        passed.tell(list(here.book.near()))
    here.book.report(ctx_of("acme"), "risk", "i-1", said)
    passed.tell(list(here.book.near()))
    [heard] = there.book.of(ACME)
    assert (heard.etag, heard.refused, heard.requests, heard.errors) == ("e1", False, 20, 2)


def test_one_that_is_connected_here_is_known_better_here() -> None:
    here, there, passed = joined()
    here.instance("i-1")
    there.instance("i-1")
    there.book.report(ctx_of("acme"), "risk", "i-1", Report(etag="newer"))
    here.book.report(ctx_of("acme"), "risk", "i-1", Report(etag="older"))
    passed.tell(list(here.book.near()))
    [known] = there.book.of(ACME)
    assert (known.etag, known.here) == ("newer", True)


def test_many_are_told_of_in_signals_that_fit() -> None:
    here, there, passed = joined()
    for number in range(100):
        here.instance(f"instance-with-a-long-name-{number:04d}")
    near = list(here.book.near())
    for start in range(0, len(near), SLICE):
        passed.tell(near[start : start + SLICE])
    assert len(there.book.of(ACME)) == 100
    assert TOLD_AT_ONCE_MAX == 5_000
