"""What the view folds, what it shows to whom, and that a snapshot is the whole of it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.flags import view as module
from central_hub.flags.model import (
    FlagDefined,
    FlagOverridden,
    FlagOverrideRemoved,
    FlagStateSet,
    Override,
    Segment,
    SegmentDefined,
    SegmentRemoved,
    State,
)
from central_hub.flags.view import FlagsView
from central_hub.kernel.facts import Fact, FactTypes, encode_fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.tenants.model import TenantShredded
from tests.unit.flags.support import ACME, GLOBEX, applied, flag, rule, told

ON = Override(key="search", variant="on")


def test_flags_are_told_in_order_and_each_change_is_a_revision() -> None:
    view = told(
        FlagsView(),
        (PLATFORM, FlagDefined(flag=flag("b"))),
        (PLATFORM, FlagDefined(flag=flag("a"))),
        (PLATFORM, FlagDefined(flag=flag("b", default="on"))),
        (PLATFORM, FlagStateSet(key="b", state=State.DISABLED)),
    )
    assert list(view.keys(ACME)) == ["a", "b"]
    found = view.flag(ACME, "b")
    assert found is not None
    assert (found.default, found.state, found.revision, found.changed_at_ms) == ("on", State.DISABLED, 3, 1_004)
    assert found.changed_by == "hub"
    assert view.flag(ACME, "c") is None


def test_a_tenant_sees_what_is_there_for_it_and_the_platform_everything() -> None:
    view = told(
        FlagsView(),
        (PLATFORM, FlagDefined(flag=flag("mine", only_tenants=("acme",)))),
        (PLATFORM, FlagDefined(flag=flag("old"))),
        (PLATFORM, FlagStateSet(key="old", state=State.ARCHIVED)),
    )
    assert (list(view.keys(ACME)), list(view.keys(GLOBEX)), list(view.keys(PLATFORM))) == (
        ["mine"], [], ["mine", "old"],
    )  # fmt: skip
    assert view.flag(GLOBEX, "mine") is None
    assert view.flag(ACME, "old") is None
    assert view.flag(PLATFORM, "old") is not None


def test_segments_are_the_platforms() -> None:
    view = told(
        FlagsView(),
        (PLATFORM, SegmentDefined(segment=Segment(name="beta", keys=("u",)))),
        (PLATFORM, SegmentDefined(segment=Segment(name="beta", keys=("u", "v")))),
        (PLATFORM, FlagDefined(flag=flag("a", rules=(rule(segments=["beta"]),)))),
        (PLATFORM, FlagDefined(flag=flag("b"))),
    )
    found = view.segment(PLATFORM, "beta")
    assert found is not None
    assert (found.keys, found.revision) == (("u", "v"), 2)
    assert view.flags_with_segment(PLATFORM, "beta") == ["a"]
    assert (view.segment(ACME, "beta"), view.segments(ACME), view.flags_with_segment(ACME, "beta")) == (None, (), ())
    generation = view.segments_generation
    view.apply(applied(PLATFORM, SegmentRemoved(name="beta")))
    assert (view.segments(PLATFORM), view.segments_generation) == ([], generation + 1)


def test_an_override_is_its_tenants() -> None:
    view = told(FlagsView(), (ACME, FlagOverridden(override=ON)))
    mine = view.override(ACME, "search")
    assert mine is not None
    assert (mine.variant, mine.changed_at_ms) == ("on", 1_001)
    assert view.override(GLOBEX, "search") is None
    assert (len(view.overrides(ACME)), view.overrides(GLOBEX)) == (1, [])
    told(view, (PLATFORM, FlagDefined(flag=flag())))
    assert (len(list(view.dump(ACME))), list(view.dump(GLOBEX)), len(list(view.dump(PLATFORM)))) == (1, [], 1)
    told(view, (ACME, FlagOverrideRemoved(key="search")), (GLOBEX, FlagOverrideRemoved(key="search")))
    assert view.override(ACME, "search") is None


def test_what_it_does_not_fold_is_a_mistake_of_ours() -> None:
    with pytest.raises(AssertionError):
        FlagsView().apply(applied(ACME, Fact()))


KEYS, NAMES, TENANTS = st.sampled_from("abc"), st.sampled_from("xy"), st.sampled_from([ACME, GLOBEX])
FLAGS = st.builds(flag, KEYS, default=st.sampled_from(["on", "off"]))
SEGMENTS = st.builds(Segment, name=NAMES, keys=st.sampled_from([("u",), ("v",)]))
FACTS = st.one_of(
    st.tuples(st.just(PLATFORM), st.builds(FlagDefined, flag=FLAGS)),
    st.tuples(st.just(PLATFORM), st.builds(SegmentDefined, segment=SEGMENTS)),
    st.tuples(st.just(PLATFORM), st.builds(SegmentRemoved, name=NAMES)),
    st.tuples(TENANTS, st.builds(FlagOverridden, override=st.builds(Override, key=KEYS, variant=st.just("on")))),
    st.tuples(TENANTS, st.builds(FlagOverrideRemoved, key=KEYS)),
)


@given(st.lists(FACTS, max_size=30))
def test_a_snapshot_is_the_whole_of_it(facts: list[tuple[DomainId, Fact]]) -> None:
    view, again = told(FlagsView(), *facts), FlagsView()
    for domain in (PLATFORM, ACME, GLOBEX):
        again.restore(domain, [msgspec.msgpack.encode(chunk) for chunk in view.dump(domain)])
    for domain in (PLATFORM, ACME, GLOBEX):
        assert list(again.keys(domain)) == list(view.keys(domain))
        assert [again.flag(domain, key) for key in again.keys(domain)] == [
            view.flag(domain, key) for key in view.keys(domain)
        ]
        assert again.overrides(domain) == view.overrides(domain)
    assert again.segments(PLATFORM) == view.segments(PLATFORM)


def test_a_snapshot_comes_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    flags = [(PLATFORM, FlagDefined(flag=flag(f"f{number}"))) for number in range(5)]
    assert len(list(told(FlagsView(), *flags).dump(PLATFORM))) == 3


def test_every_fact_survives_the_log() -> None:
    facts = [
        FlagDefined(flag=flag(rules=(rule(percentage=5, tenants=["acme"]),), variants={"on": {"a": [1, 2.5]}})),
        FlagStateSet(key="search", state=State.ARCHIVED, reason="old"),
        SegmentDefined(segment=Segment(name="beta", keys=("u",))),
        SegmentRemoved(name="beta"),
        FlagOverridden(override=ON),
        FlagOverrideRemoved(key="search"),
    ]
    types = FactTypes(type(one) for one in facts)
    assert {type(one) for one in facts} == FlagsView().facts - {TenantShredded}
    for fact in facts:
        assert types.decode(type(fact).__name__, encode_fact(fact)) == fact
