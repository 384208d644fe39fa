"""Every instance this hub keeps, by domain and service, with counters moved at each transition. Pure.

A read of any aggregate is a look at counters; nothing is summed when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from central_hub.health.model import SILENCE_SAMPLE_MAX, UNJUDGED, Standing
from central_hub.health.rules import status_of_group
from central_hub.kernel.ids import DomainId
from central_hub.kernel.probing import ProbeTarget
from central_hub.kernel.wheel import Timer
from central_hub.registry.model import RemovalReason, Status

ORDER: Final = (Status.HEALTHY, Status.DEGRADED, Status.UNHEALTHY, Status.UNKNOWN)
POSITION: Final = {status: index for index, status in enumerate(ORDER)}
LATENCY_WEIGHT: Final = 0.2
"""Share of the newest measurement in a service's moving average."""

BY_HEARTBEAT: Final = "heartbeat"
BY_PROBE: Final = "probe"
BY_NOTHING: Final = "nothing"


class Kept:
    """One instance as this hub keeps it: its lease, its probe and its verdict. Times are monotonic."""

    __slots__ = (
        "answered",
        "domain",
        "gap_ms",
        "group",
        "instance_id",
        "journaled",
        "kept_by",
        "lease",
        "leaving",
        "ours",
        "owner",
        "probe",
        "probing",
        "renewed_ms",
        "round",
        "silent_ms",
        "standing",
        "target",
        "ttl_ms",
    )

    def __init__(self, group: Group, instance_id: str) -> None:
        self.group = group
        self.domain = group.domain.id
        self.instance_id = instance_id
        self.owner = ""
        self.kept_by = BY_HEARTBEAT
        self.ttl_ms = 0.0
        self.renewed_ms = 0.0
        self.gap_ms = 0.0
        self.silent_ms = -1.0
        self.lease: Timer[Kept] = Timer(self)
        self.target: ProbeTarget | None = None
        self.probe: Timer[Kept] | None = None
        self.probing = False
        self.answered: bool | None = None
        self.standing: Standing = UNJUDGED
        self.journaled = Status.UNKNOWN
        self.leaving: RemovalReason | None = None
        self.ours = True
        self.round = -1

    @property
    def name(self) -> str:
        """What it is called among all instances of all domains."""
        return f"{self.domain}/{self.group.name}/{self.instance_id}"

    @property
    def service(self) -> str:
        """The service's name."""
        return self.group.name

    def judge(self, standing: Standing) -> bool:
        """Take a new standing; say whether the status changed."""
        before, self.standing = self.standing.status, standing
        group = self.group
        if standing.last_check_ms > group.last_check_ms:
            group.last_check_ms = standing.last_check_ms
        if standing.status is before:
            return False
        group.move(before, standing.status)
        return True


class Group:
    """One service of one domain: its members, how many have which status, when it was last looked at."""

    __slots__ = ("counts", "domain", "last_check_ms", "late", "latency_ms", "members", "name")

    def __init__(self, domain: Domain, name: str) -> None:
        self.domain = domain
        self.name = name
        self.members: dict[str, Kept] = {}
        self.counts = [0, 0, 0, 0]
        self.latency_ms: float | None = None
        self.last_check_ms = 0
        self.late: tuple[float, bool] = (-1.0, False)

    @property
    def status(self) -> Status:
        """The service's status from its members'."""
        return status_of_group(self.counts)

    def measured(self, latency_ms: float) -> None:
        """Fold a latency into the service's moving average."""
        known = self.latency_ms
        self.latency_ms = latency_ms if known is None else known + LATENCY_WEIGHT * (latency_ms - known)

    def move(self, before: Status | None, after: Status | None) -> None:
        """Count a member's change of status; None stands for not being there."""
        old = self.status if self.members else None
        for status, change in ((before, -1), (after, 1)):
            if status is not None:
                self.counts[POSITION[status]] += change
                self.domain.instances[POSITION[status]] += change
                self.domain.population.instances[POSITION[status]] += change
        new = self.status if self.members else None
        if old is not new:
            self.domain.move_service(old, new)
        self.domain.population.touch(self.domain.id)

    def sample(self) -> list[Kept]:
        """Return at most `SILENCE_SAMPLE_MAX` members, evenly taken."""
        members = list(self.members.values())
        return members[:: -(-len(members) // SILENCE_SAMPLE_MAX)] if members else members


class Domain:
    """One domain's services and counters; what its probes say about the prober."""

    __slots__ = (
        "answered", "blamed_ms", "groups", "id", "instances", "late", "population", "probing", "services", "silent",
        "silent_services",
    )  # fmt: skip

    def __init__(self, population: Population, domain: DomainId) -> None:
        self.population = population
        self.id = domain
        self.groups: dict[str, Group] = {}
        self.instances = [0, 0, 0, 0]
        self.services = [0, 0, 0, 0]
        self.late: tuple[float, bool] = (-1.0, False)
        self.answered = 0
        self.silent = 0
        self.silent_services: dict[str, int] = {}
        self.blamed_ms = -1.0
        self.probing = 0

    @property
    def status(self) -> Status:
        """The domain's status from its services'."""
        return status_of_group(self.services)

    def move_service(self, before: Status | None, after: Status | None) -> None:
        """Count a service's change of status."""
        for status, change in ((before, -1), (after, 1)):
            if status is not None:
                self.services[POSITION[status]] += change
                self.population.services[POSITION[status]] += change

    def sample(self) -> list[Kept]:
        """Return about `SILENCE_SAMPLE_MAX` instances, taken evenly over the services."""
        groups = list(self.groups.values())
        chosen = groups[:: -(-len(groups) // SILENCE_SAMPLE_MAX)] if groups else groups
        each = max(1, SILENCE_SAMPLE_MAX // max(1, len(chosen)))
        return [kept for group in chosen for kept in islice(group.members.values(), each)]

    def heard(self, kept: Kept, answered: bool | None) -> None:
        """Note whether an instance's latest probe was answered; None takes it out."""
        before, kept.answered = kept.answered, answered
        if before is answered:
            return
        for value, change in ((before, -1), (answered, 1)):
            if value is True:
                self.answered += change
            elif value is False:
                self.silent += change
                left = self.silent_services.get(kept.service, 0) + change
                if left > 0:
                    self.silent_services[kept.service] = left
                else:
                    self.silent_services.pop(kept.service, None)


class Population:
    """All of it."""

    def __init__(self) -> None:
        self._versions: dict[DomainId, int] = {}
        self._domains: dict[DomainId, Domain] = {}
        self.instances = [0, 0, 0, 0]
        self.services = [0, 0, 0, 0]

    @property
    def status(self) -> Status:
        """The system's status from all services'."""
        return status_of_group(self.services)

    def version(self, domain: DomainId) -> int:
        """Return a number that grows with every change of a status, or of who is there, in a domain."""
        return self._versions.get(domain, 0)

    def touch(self, domain: DomainId) -> None:
        """Note such a change."""
        self._versions[domain] = self._versions.get(domain, 0) + 1

    def domain(self, domain: DomainId) -> Domain | None:
        """Return a domain that has instances."""
        return self._domains.get(domain)

    def domains(self) -> Iterator[Domain]:
        """Iterate over the domains that have instances."""
        return iter(tuple(self._domains.values()))

    def group(self, domain: DomainId, service: str) -> Group | None:
        """Return a service that has instances."""
        known = self._domains.get(domain)
        return None if known is None else known.groups.get(service)

    def find(self, domain: DomainId, service: str, instance_id: str) -> Kept | None:
        """Return one instance."""
        known = self._domains.get(domain)
        group = None if known is None else known.groups.get(service)
        return None if group is None else group.members.get(instance_id)

    def add(self, domain_id: DomainId, service: str, instance_id: str) -> Kept:
        """Take in an instance that is not here yet, as unknown."""
        domain = self._domains.get(domain_id)
        if domain is None:
            domain = self._domains[domain_id] = Domain(self, domain_id)
        group = domain.groups.get(service)
        if group is None:
            group = domain.groups[service] = Group(domain, service)
        self.touch(domain_id)
        kept = Kept(group, instance_id)
        before = group.status if group.members else None
        group.members[instance_id] = kept
        for counts in (group.counts, domain.instances, self.instances):
            counts[POSITION[Status.UNKNOWN]] += 1
        if before is not group.status:
            domain.move_service(before, group.status)
        return kept

    def remove(self, kept: Kept) -> None:
        """Let go of an instance, and of its service and domain when it was their last."""
        group, domain = kept.group, kept.group.domain
        before = group.status
        if group.members.pop(kept.instance_id, None) is None:
            return
        self.touch(domain.id)
        domain.heard(kept, None)
        at = POSITION[kept.standing.status]
        for counts in (group.counts, domain.instances, self.instances):
            counts[at] -= 1
        after = group.status if group.members else None
        if before is not after:
            domain.move_service(before, after)
        if not group.members:
            del domain.groups[group.name]
            if not domain.groups:
                del self._domains[domain.id]
