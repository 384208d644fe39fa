"""What the log says of plans, folded, and the same again from a snapshot."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import Actor, Applied, Category
from central_hub.plans import view as view_module
from central_hub.plans.model import (
    AddonAttached,
    AddonDetached,
    CatalogueApplied,
    EntitlementGranted,
    GrantRevoked,
    OverrideRemoved,
    OverrideSet,
)
from central_hub.plans.view import PlansView
from tests.unit.plans.support import ACME, GLOBEX, catalogue

IDS = st.sampled_from(["a", "b", "c"])
FACTS = st.one_of(
    st.builds(AddonAttached, addon=IDS),
    st.builds(AddonDetached, addon=IDS),
    st.builds(EntitlementGranted, grant_id=IDS, feature=IDS, value=st.integers(0, 9), reason=st.text(max_size=3)),
    st.builds(GrantRevoked, grant_id=IDS),
    st.builds(OverrideSet, feature=IDS, value=st.sampled_from([None, True, 1, 0.5, "w"])),
    st.builds(OverrideRemoved, feature=IDS),
)
TOLD = st.lists(st.tuples(st.sampled_from([ACME, GLOBEX]), FACTS), max_size=20)


def told(*facts: tuple[DomainId, Fact]) -> PlansView:
    view = PlansView(catalogue())
    for seq, (domain, fact) in enumerate(facts, start=1):
        view.apply(
            Applied(
                pos=seq, domain=domain, domain_seq=seq, streams=("s",), category=Category.FACT,
                type=type(fact).__name__, id=str(seq), time_ms=1_000 + seq,
                actor=Actor(principal="key:op", kind="key"), fact=fact,
            )
        )  # fmt: skip
    return view


def copied(view: PlansView) -> PlansView:
    again = PlansView(catalogue())
    for domain in (PLATFORM, ACME, GLOBEX):
        again.restore(domain, [msgspec.msgpack.encode(chunk) for chunk in view.dump(domain)])
    return again


def test_a_layer_remembers_who_and_when() -> None:
    view = told(
        (ACME, EntitlementGranted(grant_id="g", feature="calls", value=5, priority=2, expires_at_ms=9, reason="r")),
        (ACME, OverrideSet(feature="ai", value=True, reason="why")),
        (ACME, AddonAttached(addon="more")),
    )
    above = view.above(ACME)
    grant, override, addon = above.grants["g"], above.overrides["ai"], above.addons["more"]
    assert (grant.value, grant.priority, grant.expires_at_ms, grant.reason) == (5, 2, 9, "r")
    assert [(one.author, one.created_at_ms) for one in (grant, override, addon)] == [
        ("key:op", 1_001), ("key:op", 1_002), ("key:op", 1_003),
    ]  # fmt: skip
    assert view.above(GLOBEX).is_empty


def test_a_catalogue_replaces_the_one_before_and_says_whether_ranks_moved() -> None:
    view = told()
    assert (view.revision, view.ranks_revision) == (0, 0)
    cheaper = catalogue(addons={})
    view = told((PLATFORM, CatalogueApplied(catalogue=cheaper)))
    assert (view.revision, view.ranks_revision, view.ladder.catalogue) == (1, 0, cheaper)
    fewer = catalogue(plans={"low": catalogue().plans["low"]})
    view = told((PLATFORM, CatalogueApplied(catalogue=cheaper)), (PLATFORM, CatalogueApplied(catalogue=fewer)))
    assert (view.revision, view.ranks_revision, view.ladder.names()) == (2, 1, ("low",))
    again = copied(view)
    assert (again.revision, again.ranks_revision, again.ladder.catalogue) == (2, 1, fewer)
    assert list(view.dump(ACME)) == []


@given(TOLD)
def test_a_snapshot_is_as_good_as_the_log(facts: list[tuple[DomainId, Fact]]) -> None:
    view = told(*facts)
    again = copied(view)
    for domain in (ACME, GLOBEX):
        assert again.above(domain) == view.above(domain)


@given(TOLD)
def test_one_tenants_facts_never_move_anothers(facts: list[tuple[DomainId, Fact]]) -> None:
    alone = told(*[one for one in facts if one[0] == ACME])
    together = told(*facts)
    same = [
        [msgspec.structs.replace(one, created_at_ms=0) for one in view.above(ACME).grants.values()]
        for view in (alone, together)
    ]
    assert same[0] == same[1]
    assert alone.above(ACME).overrides.keys() == together.above(ACME).overrides.keys()


def test_nothing_is_kept_of_a_tenant_without_layers() -> None:
    view = told((ACME, AddonAttached(addon="a")), (ACME, AddonDetached(addon="a")))
    assert list(view.dump(ACME)) == []


def test_a_dump_comes_in_chunks() -> None:
    facts = [(ACME, EntitlementGranted(grant_id=str(at), feature="calls", value=at)) for at in range(600)]
    chunks = list(told(*facts).dump(ACME))
    assert len(chunks) == 1 + -(-600 // view_module.CHUNK)
