"""The registry's view: folding, revisions, traces of what left, snapshots."""

from __future__ import annotations

import random

import msgspec
import pytest

from central_hub.kernel.ids import SHARED, DomainId
from central_hub.registry import dumping
from central_hub.registry.model import (
    RANK_NOBODY,
    REMOVED_PER_SERVICE_MAX,
    TOMBSTONES_PER_DOMAIN_MAX,
    ServiceDrainChanged,
    ServiceHealthChanged,
    ServiceRegistered,
    ServicesRegistered,
    ServiceUnregistered,
    Status,
)
from central_hub.registry.view import RegistryView, required_rank
from tests.unit.registry.support import ACME, RANKS, Fold, instance


def left(service: str = "risk", instance_id: str = "i-1") -> ServiceUnregistered:
    return ServiceUnregistered(service=service, instance_id=instance_id)


def state(view: RegistryView, domain: DomainId) -> object:
    return {
        name: (
            service.created, service.revision, service.rank, service.ranked, service.rank_floor,
            dict(service.instances), dict(service.removed or {}), service.removed_horizon,
        )
        for name, service in view.services(domain).items()
    }  # fmt: skip


def test_registered_one_by_one_or_together_is_the_same() -> None:
    one, many = Fold(), Fold()
    for number in range(3):
        one.apply(ServiceRegistered(instance=instance(instance_id=f"i-{number}")))
    many.apply(ServicesRegistered(instances=tuple(instance(instance_id=f"i-{number}") for number in range(3))))
    assert one.view.count_instances(SHARED) == many.view.count_instances(SHARED) == 3
    assert one.view.count_services(SHARED) == 1
    held = many.view.instance(SHARED, "risk", "i-2")
    assert held is not None
    assert held.revision == 1


def test_domains_do_not_mix() -> None:
    fold = Fold()
    fold.apply(ServiceRegistered(instance=instance()), ACME)
    assert fold.view.service(SHARED, "risk") is None
    assert fold.view.service(DomainId("other"), "risk") is None
    assert fold.view.instance(ACME, "risk", "i-1") is not None


def test_verdicts_and_drains_move_status_counts_and_revisions() -> None:
    fold = Fold()
    fold.apply(ServiceRegistered(instance=instance()))
    fold.apply(ServiceHealthChanged(service="risk", instance_id="i-1", status=Status.HEALTHY, reason="ok"), time_ms=50)
    fold.apply(ServiceDrainChanged(service="risk", instance_id="i-1", draining=True, by="key-1"), time_ms=60)
    held = fold.view.instance(SHARED, "risk", "i-1")
    assert held is not None
    assert (held.status, held.status_since_ms, held.draining, held.drain_seq, held.revision) == (
        "healthy",
        50,
        True,
        3,
        3,
    )
    assert fold.view.count_status(SHARED)["healthy"] == 1
    assert fold.view.count_status(SHARED)["unknown"] == 0
    assert fold.view.revision(SHARED, "risk") == 3


def test_a_fact_about_what_is_gone_changes_nothing() -> None:
    fold = Fold()
    fold.apply(left())
    fold.apply(ServiceHealthChanged(service="risk", instance_id="i-1", status=Status.HEALTHY))
    assert fold.view.take_changes() == {}
    assert fold.view.revision(SHARED, "risk") == 0


def test_the_last_instance_takes_the_service_with_it_and_leaves_its_revision() -> None:
    fold = Fold()
    fold.apply(ServiceRegistered(instance=instance()))
    fold.apply(left())
    assert fold.view.service(SHARED, "risk") is None
    assert fold.view.revision(SHARED, "risk") == 2
    assert fold.view.vanished_since(SHARED, 1) == ["risk"]
    fold.apply(ServiceRegistered(instance=instance()))
    assert fold.view.vanished_since(SHARED, 1) == []


def test_a_revision_never_goes_back_even_when_tombstones_are_dropped() -> None:
    fold = Fold()
    last: dict[str, int] = {}
    names = [f"s-{number}" for number in range(TOMBSTONES_PER_DOMAIN_MAX + 50)]
    for name in names:
        fold.apply(ServiceRegistered(instance=instance(name)))
        fold.apply(left(name))
        last[name] = fold.view.revision(SHARED, name)
    assert fold.view.horizon(SHARED) > 0
    assert len(fold.view.vanished_since(SHARED, 0)) == TOMBSTONES_PER_DOMAIN_MAX
    assert all(fold.view.revision(SHARED, name) >= at for name, at in last.items())


def test_removed_ids_are_remembered_up_to_a_limit_and_not_guessed_before_it() -> None:
    fold = Fold()
    fold.apply(ServiceRegistered(instance=instance(instance_id="stays")))
    for number in range(REMOVED_PER_SERVICE_MAX + 1):
        fold.apply(ServiceRegistered(instance=instance(instance_id=f"i-{number}")))
        fold.apply(left(instance_id=f"i-{number}"))
    service = fold.view.service(SHARED, "risk")
    assert service is not None
    assert service.removed_since(1) is None
    assert service.removed_since(fold.position(SHARED) - 1) == [f"i-{REMOVED_PER_SERVICE_MAX}"]


def test_an_instance_that_is_back_is_not_removed() -> None:
    fold = Fold()
    for name in ("a", "b"):
        fold.apply(ServiceRegistered(instance=instance(instance_id=name)))
    fold.apply(left(instance_id="a"))
    fold.apply(ServiceRegistered(instance=instance(instance_id="a")))
    service = fold.view.service(SHARED, "risk")
    assert service is not None
    assert service.removed_since(1) == []


def test_the_strictest_instance_sets_the_rank_and_its_leaving_opens_the_service_again() -> None:
    fold = Fold()
    fold.apply(ServiceRegistered(instance=instance(instance_id="a")))
    fold.apply(ServiceRegistered(instance=instance(instance_id="b", subscription_requirements=("enterprise", "pro"))))
    service = fold.view.service(SHARED, "risk")
    assert service is not None
    assert (service.rank, service.ranked, service.rank_floor) == (1, 2, 0)
    fold.apply(left(instance_id="b"))
    assert (service.rank, service.ranked) == (0, 3)


@pytest.mark.parametrize(
    ("requirements", "rank"),
    [((), 0), (("free",), 0), (("enterprise", "pro"), 1), (("gold",), RANK_NOBODY), (("pro", "gold"), RANK_NOBODY)],
)
def test_a_requirement_means_the_lowest_tier_it_names_and_an_unknown_one_means_nobody(
    requirements: tuple[str, ...], rank: int
) -> None:
    assert required_rank(requirements, RANKS.get) == rank


def test_changes_say_what_a_service_asked_for_before() -> None:
    fold = Fold()
    fold.apply(ServiceRegistered(instance=instance(subscription_requirements=("pro",))))
    assert fold.view.take_changes()[SHARED, "risk"].rank_before is None
    fold.apply(ServiceRegistered(instance=instance(instance_id="i-2")))
    fold.apply(left())
    change = fold.view.take_changes()[SHARED, "risk"]
    assert (change.rank_before, change.instance_ids) == (1, {"i-1", "i-2"})
    assert fold.view.take_changes() == {}


def test_equal_maps_are_shared_but_true_is_not_one() -> None:
    fold = Fold()
    for name, metadata in (("a", {"x": 1}), ("b", {"x": 1}), ("c", {"x": True})):
        fold.apply(ServiceRegistered(instance=instance(instance_id=name, metadata=metadata)))
    service = fold.view.service(SHARED, "risk")
    assert service is not None
    assert service.instances["a"].metadata is service.instances["b"].metadata
    assert service.instances["c"].metadata["x"] is True


def test_what_is_dumped_comes_back_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumping, "DUMP_CHUNK", 3)
    dice = random.Random(5)
    fold = Fold()
    for _ in range(500):
        name, instance_id = f"s-{dice.randrange(6)}", f"i-{dice.randrange(5)}"
        asked = dice.choice([(), ("pro",)])
        made = instance(name, instance_id, metadata={"n": [1, {"a": None}]}, subscription_requirements=asked)
        fold.apply(dice.choice([ServiceRegistered(instance=made), left(name, instance_id)]), ACME)
    chunks = [msgspec.msgpack.encode(chunk) for chunk in fold.view.dump(ACME)]
    back = RegistryView(RANKS.get)
    back.restore(ACME, chunks)
    assert state(back, ACME) == state(fold.view, ACME)
    assert back.count_instances(ACME) == fold.view.count_instances(ACME)
    assert dict(back.count_status(ACME)) == dict(fold.view.count_status(ACME))
    assert back.vanished_since(ACME, 0) == fold.view.vanished_since(ACME, 0)
    assert list(back.dump(SHARED)) == []


def test_what_changes_while_it_is_dumped_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dumping, "DUMP_CHUNK", 3)
    dice = random.Random(7)

    def change(fold: Fold) -> None:
        name, instance_id = f"s-{dice.randrange(6)}", f"i-{dice.randrange(4)}"
        made = instance(name, instance_id, metadata={"n": dice.randrange(9)})
        health = ServiceHealthChanged(service=name, instance_id=instance_id, status=Status.UNHEALTHY, reason="probe")
        fold.apply(dice.choice([ServiceRegistered(instance=made), left(name, instance_id), health]), ACME)

    for _ in range(60):
        fold = Fold()
        for _ in range(dice.randrange(60)):
            change(fold)
        then, gone = state(fold.view, ACME), fold.view.vanished_since(ACME, 0)
        older, chunks = fold.view.dump(ACME), list[bytes]()
        for chunk in fold.view.dump(ACME):
            chunks.append(msgspec.msgpack.encode(chunk))
            for _ in range(dice.randrange(6)):
                change(fold)
        for taken in (chunks, [msgspec.msgpack.encode(chunk) for chunk in older]):
            back = RegistryView(RANKS.get)
            back.restore(ACME, taken)
            assert state(back, ACME) == then
            assert back.vanished_since(ACME, 0) == gone


def test_tiers_that_move_move_the_ranks() -> None:
    ranks = {"pro": 1}
    fold = Fold()
    view = RegistryView(lambda tier: ranks.get(tier))
    view.apply(fold.apply(ServiceRegistered(instance=instance(subscription_requirements=("pro",)))))
    ranks["pro"] = 3
    view.ranks_changed()
    service = view.service(SHARED, "risk")
    assert service is not None
    assert service.rank == 3
