"""What the log says of relays, folded; a snapshot and back."""

from __future__ import annotations

import msgspec

from central_hub.kernel.brokers import Trouble
from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.relays.model import (
    Parked,
    PausedBecause,
    Relay,
    RelayChanged,
    RelayCreated,
    RelayDeleted,
    RelayEventParked,
    RelayPaused,
    RelayResumed,
    Start,
    Status,
)
from central_hub.relays.view import RelaysView
from tests.unit.relays.house import SETTINGS

PARKED = Parked(domain="acme", seq=3, event_id="e", event_type="t", trouble=Trouble.TOO_LARGE, bytes=9, at_ms=1)


def folded(*facts: Fact) -> RelaysView:
    view = RelaysView()
    for pos, fact in enumerate(facts, 10):
        view.apply(
            Applied(
                pos=pos, domain=PLATFORM, domain_seq=pos, streams=("relays",), category=Category.FACT,
                type=type(fact).__name__, id=str(pos), time_ms=pos, actor=HUB_ACTOR, fact=fact,
            )
        )  # fmt: skip
    return view


def created(relay_id: str = "r1", name: str = "out", start: Start = Start.NOW) -> RelayCreated:
    return RelayCreated(relay=Relay(id=relay_id, name=name, settings=SETTINGS), start=start)


def test_a_relay_begins_after_its_own_creation_or_before_everything() -> None:
    view = folded(created(), created("r2", "all", Start.START))
    assert [(one.name, one.from_pos) for one in view.relays(PLATFORM)] == [("all", 0), ("out", 10)]


def test_each_change_counts() -> None:
    other = msgspec.structs.replace(SETTINGS, prefix="other")
    view = folded(
        created(), RelayChanged(relay_id="r1", settings=other),
        RelayPaused(relay_id="r1", reason=PausedBecause.PARKED), RelayResumed(relay_id="r1"),
    )  # fmt: skip
    relay = view.named(PLATFORM, "out")
    assert relay is not None
    assert (relay.settings, relay.status, relay.reason, relay.revision) == (other, Status.RUNNING, "", 4)


def test_no_other_domain_has_relays() -> None:
    view = folded(created(), RelayEventParked(relay_id="r1", parked=PARKED))
    acme = DomainId("acme")
    assert view.relays(acme) == ()
    assert view.named(acme, "out") is None
    assert view.relay(acme, "r1") is None
    assert view.parked(acme, "r1") == ()
    assert list(view.dump(acme)) == []


def test_what_is_deleted_is_gone_with_what_it_set_aside() -> None:
    view = folded(
        created(), RelayEventParked(relay_id="r1", parked=PARKED), RelayDeleted(relay_id="r1"),
        RelayEventParked(relay_id="r1", parked=PARKED),
    )  # fmt: skip
    assert view.relays(PLATFORM) == ()
    assert view.parked(PLATFORM, "r1") == ()


def test_a_snapshot_brings_everything_back() -> None:
    view = folded(created(), created("r2", "two"), *[RelayEventParked(relay_id="r1", parked=PARKED)] * 600)
    again = RelaysView()
    again.restore(PLATFORM, [msgspec.msgpack.encode(chunk) for chunk in view.dump(PLATFORM)])
    assert again.relays(PLATFORM) == view.relays(PLATFORM)
    assert again.parked(PLATFORM, "r1") == view.parked(PLATFORM, "r1")
