"""What the lane answers, when it stops answering, and that its memory is bounded."""

from __future__ import annotations

import pytest

from central_hub.edge.lane import answers
from central_hub.edge.lane.answers import OriginMemory
from central_hub.edge.lane.entries import PICKS, Epochs, LaneEntry
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import SHARED
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.kernel.seq import HubSeq
from tests.lane.world import DATE, World

KEY = b"chk_acme_1"


def packet(name: bytes = b"risk", key: bytes = KEY, more: bytes = b"") -> bytes:
    return b"GET /services/discover/%b HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %b\r\n%b\r\n" % (name, key, more)


def applied(category: Category, kind: str = "ServiceRegistered") -> Applied:
    return Applied(
        pos=1, domain=SHARED, domain_seq=1, streams=("x",), category=category, type=kind, id="", time_ms=0,
        actor=HUB_ACTOR, fact=Fact(),
    )  # fmt: skip


class Lane:
    """A world's lane and the memory of one origin."""

    def __init__(self) -> None:
        self.world = World()
        self.memory: OriginMemory = self.world.lane.connected("10.0.0.1")

    def ask(self, data: bytes) -> bytes | None:
        return self.world.lane.answer(data, self.memory, DATE)


def test_a_hit_has_date_entry_lines_callers_lines_and_body() -> None:
    lane = Lane()
    answer = lane.ask(packet())
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head == (
        b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 08:00:00 GMT\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\netag: W/\"shared.0\"\r\nhub-seq: i1.5.7\r\nhub-tier: pro" % len(body)
    )  # fmt: skip
    assert body.startswith(b'{"service_name":"risk","recommended_endpoint":"http://h')


def test_a_correlation_id_is_echoed_and_not_remembered() -> None:
    lane = Lane()
    for at in range(20):
        answer = lane.ask(packet(more=b"X-Correlation-Id: c-%d\r\n" % at))
        assert answer is not None
        assert b"hub-tier: pro\r\nx-correlation-id: c-%d\r\n\r\n" % at in answer
    assert len(lane.memory.plans) == 1


def test_picks_follow_the_draw() -> None:
    lane = Lane()
    seen = {answer.rpartition(b"http://h")[2][:4] for _ in range(100) if (answer := lane.ask(packet())) is not None}
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("name", "key"),
    [(b"gold", KEY), (b"missing", KEY), (b"own", b"chk_free_1"), (b"risk", b"chk_blind_1"), (b"risk", b"chk_none_1")],
)
def test_refusals_are_left_to_the_framework(name: bytes, key: bytes) -> None:
    assert Lane().ask(packet(name, key)) is None


def test_a_caller_without_a_credential_is_left_to_the_framework() -> None:
    assert Lane().ask(b"GET /services/discover/risk HTTP/1.1\r\nHost: hub\r\n\r\n") is None


def test_claims_that_do_not_fit_are_left_to_the_framework() -> None:
    lane = Lane()
    assert lane.ask(packet(more=b"X-Tenant-Id: globex\r\n")) is None
    assert lane.ask(packet(more=b"X-Subscription-Tier: enterprise\r\n")) is None
    assert lane.ask(packet(more=b"X-Tenant-Id: acme\r\nX-Company-Id: globex\r\n")) is None
    assert lane.ask(packet(more=b"X-Tenant-Id: acme\r\nX-Subscription-Tier: pro\r\n")) is not None


def test_a_revoked_key_stops_at_the_next_request() -> None:
    lane = Lane()
    assert lane.ask(packet()) is not None
    lane.world.revoke("chk_acme_1")
    assert lane.ask(packet()) is None
    lane.world.restore()
    assert lane.ask(packet()) is not None


def test_a_key_stops_when_it_expires() -> None:
    lane = Lane()
    assert lane.ask(packet(key=b"chk_short_1")) is not None
    lane.world.clock.advance(59_999)
    assert lane.ask(packet(key=b"chk_short_1")) is not None
    lane.world.clock.advance(1)
    assert lane.ask(packet(key=b"chk_short_1")) is None


def test_the_limiter_is_asked_on_every_hit_and_a_refusal_takes_nothing() -> None:
    lane = Lane()
    busy = packet(key=b"chk_busy_1")
    answered = [lane.ask(busy) is not None for _ in range(5)]
    assert answered == [True, True, False, False, False]
    lane.world.clock.advance(2_000)
    assert lane.ask(busy) is not None


def test_a_closed_lane_answers_nothing() -> None:
    lane = Lane()
    assert lane.ask(packet()) is not None
    lane.world.epochs.is_open = False
    assert lane.ask(packet()) is None
    lane.world.epochs.is_open = True
    assert lane.ask(packet()) is not None


def test_a_change_is_seen_at_once_and_the_position_with_it() -> None:
    lane = Lane()
    assert b'"version":0' in (lane.ask(packet()) or b"")
    lane.world.change_services()
    answer = lane.ask(packet()) or b""
    assert b'"version":1' in answer
    assert b"hub-seq: i1.6.7\r\n" in answer


def test_an_entry_past_its_freshness_is_asked_for_again() -> None:
    lane = Lane()
    lane.ask(packet())
    lane.world.signal()
    assert b'"version":1' in (lane.ask(packet()) or b"")


def test_an_unrelated_commit_does_not_prove_the_caller_again() -> None:
    lane = Lane()
    lane.ask(packet())
    asked = 0
    authenticate = lane.world.authenticate

    def counting(*args: object, **kwargs: object) -> object:
        nonlocal asked
        asked += 1
        return authenticate(*args, **kwargs)  # type: ignore[arg-type]

    lane.world.authenticate = counting  # type: ignore[method-assign,assignment]
    lane.world.commit()
    assert lane.ask(packet()) is not None
    assert asked == 0
    lane.world.epochs.auth += 1
    assert lane.ask(packet()) is not None
    assert asked == 1


def test_lookups_are_counted_for_the_service_that_asked() -> None:
    lane = Lane()
    for _ in range(3):
        lane.ask(packet(more=b"X-Service-Name: billing\r\n"))
    lane.ask(packet())
    assert lane.world.looked_up() == {("acme", "billing", "risk"): 3, ("acme", "", "risk"): 1}
    assert lane.world.lane.hits == 4


def test_plans_are_bounded_and_an_origin_is_forgotten_with_its_last_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PLANS_MAX", 50)
    lane = Lane()
    other = lane.world.lane.connected("10.0.0.2")
    for at in range(200):
        assert lane.ask(packet(more=b"User-Agent: a-%d\r\n" % at)) is not None
        assert lane.world.lane.answer(packet(), other, DATE) is not None
        assert len(lane.memory.plans) + len(other.plans) <= 52
    lane.world.lane.disconnected(other)
    assert lane.world.lane.connected("10.0.0.2") is not other


def test_long_packets_are_answered_and_not_remembered() -> None:
    lane = Lane()
    long = packet(more=b"User-Agent: " + b"u" * 1_000 + b"\r\n" + b"Accept: " + b"a" * 500 + b"\r\n")
    assert len(long) > answers.PACKET_MEMO_BYTES_MAX
    assert lane.ask(long) is not None
    assert long not in lane.memory.plans


def test_a_pick_table_has_256_places() -> None:
    with pytest.raises(AssertionError):
        LaneEntry(openings=[b"{"], rest=b"}", picks=[0] * (PICKS - 1), etag="")
    entry = LaneEntry(openings=[b"{1", b"{2"], rest=b"}", picks=[0] * 128 + [1] * 128, etag='W/"x"')
    assert (entry.body(127), entry.body(128)) == (b"{1}", b"{2}")


def test_an_event_moves_the_position_and_leaves_the_entries_alone() -> None:
    lane = Lane()
    lane.ask(packet())
    asked = lane.world.entries_asked
    lane.world.seq = HubSeq("i1", 6, 7)
    lane.world.epochs.applied([applied(Category.EVENT)])
    assert b"hub-seq: i1.6.7\r\n" in (lane.ask(packet()) or b"")
    assert lane.world.entries_asked == asked
    lane.world.epochs.applied([applied(Category.FACT)])
    lane.ask(packet())
    assert lane.world.entries_asked == asked + 1


def test_only_facts_about_access_have_callers_proven_again() -> None:
    epochs = Epochs({"KeyRevoked"})
    epochs.applied([applied(Category.FACT)])
    assert (epochs.state, epochs.auth) == (1, 0)
    epochs.applied([applied(Category.FACT), applied(Category.FACT, "KeyRevoked")])
    assert (epochs.state, epochs.auth) == (2, 1)
