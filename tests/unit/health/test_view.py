"""The counters equal what a walk over all instances would count, whatever happened before."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from central_hub.health.rules import status_of_group
from central_hub.health.view import ORDER, Kept, Population
from central_hub.kernel.ids import DomainId
from central_hub.registry.model import Status

names = st.sampled_from(["a", "b"])
ids = st.sampled_from(["1", "2", "3"])


class Counting(RuleBasedStateMachine):
    """Adds, judges and removes; compares every counter with a recount."""

    def __init__(self) -> None:
        super().__init__()
        self.population = Population()
        self.kept: dict[tuple[str, str, str], Kept] = {}

    @rule(domain=names, service=names, name=ids)
    def add(self, domain: str, service: str, name: str) -> None:
        if (domain, service, name) not in self.kept:
            self.kept[domain, service, name] = self.population.add(DomainId(domain), service, name)

    @rule(domain=names, service=names, name=ids, status=st.sampled_from(list(Status)))
    def judge(self, domain: str, service: str, name: str, status: Status) -> None:
        kept = self.kept.get((domain, service, name))
        if kept is not None:
            differs = kept.standing.status != status
            assert kept.judge(replace(kept.standing, status=status)) == differs

    @rule(domain=names, service=names, name=ids, answered=st.sampled_from([True, False, None]))
    def hear(self, domain: str, service: str, name: str, answered: bool | None) -> None:
        kept = self.kept.get((domain, service, name))
        if kept is not None:
            kept.group.domain.heard(kept, answered)

    @rule(domain=names, service=names, name=ids)
    def remove(self, domain: str, service: str, name: str) -> None:
        kept = self.kept.pop((domain, service, name), None)
        if kept is not None:
            self.population.remove(kept)

    @property
    def statuses(self) -> dict[tuple[str, str, str], Status]:
        return {key: kept.standing.status for key, kept in self.kept.items()}

    @invariant()
    def recount(self) -> None:
        assert self.population.instances == count(self.statuses.values())
        every: list[Status] = []
        for domain_id in ("a", "b"):
            domain = self.population.domain(DomainId(domain_id))
            members = {key: kept for key, kept in self.kept.items() if key[0] == domain_id}
            assert (domain is None) == (not members)
            if domain is None:
                continue
            assert domain.instances == count(kept.standing.status for kept in members.values())
            services: list[Status] = []
            for service in {key[1] for key in members}:
                own = count(kept.standing.status for key, kept in members.items() if key[1] == service)
                group = self.population.group(DomainId(domain_id), service)
                assert group is not None
                assert group.counts == own
                services.append(status_of_group(own))
            assert domain.services == count(services)
            every += services
            heard = Counter(kept.answered for kept in members.values())
            assert (domain.answered, domain.silent) == (heard[True], heard[False])
            silent = Counter(key[1] for key, kept in members.items() if kept.answered is False)
            assert domain.silent_services == dict(silent)
        assert self.population.services == count(every)


def count(statuses: object) -> list[int]:
    counted = Counter(statuses)  # type: ignore[call-overload]
    return [counted[status] for status in ORDER]


TestCounting = Counting.TestCase
TestCounting.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
