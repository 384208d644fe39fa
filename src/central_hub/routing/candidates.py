"""Who may be decided between: what a domain offers, and which of it meets what a request asks. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from central_hub.kernel.ids import SHARED, DomainId
from central_hub.routing.choosing import Numbers
from central_hub.routing.constraints import Prefer, Wanted
from central_hub.routing.fleet import Fleet
from central_hub.routing.model import CONCURRENCY_DEFAULT
from central_hub.routing.table import Row, Table
from central_hub.routing.view import Declared

EVIDENCE_HALF: Final = 10
"""Outcomes of an instance at which half of what they can add to confidence is there."""
DECLARED_CONFIDENCE: Final = 0.5
LOAD_CONFIDENCE: Final = 0.3
SHUNNED_CONFIDENCE: Final = 0.2

Rows = NDArray[np.intp]


class Offered:
    """One domain's offerings and instances."""

    def __init__(self, domain: DomainId) -> None:
        self.domain = domain
        self.table = Table()
        self.fleet = Fleet(pooled=domain == SHARED)
        self._servers: dict[tuple[str, str], int] = {}
        self._services_of: dict[str, set[str]] = {}

    def put(self, service: str, instance_id: str, endpoint: str, zone: str, declared: Declared) -> None:
        """Take in what an instance offers, in place of what it offered."""
        known = self.table.drop(service, instance_id)
        slots = max((one.concurrency or 0 for one in declared.offerings), default=0) or CONCURRENCY_DEFAULT
        server = self._servers.get((service, instance_id))
        if server is None or not known:
            server = self._servers[service, instance_id] = self.fleet.add(slots)
            self._services_of.setdefault(instance_id, set()).add(service)
        else:
            self.fleet.resize(server, slots)
        rows: list[Row] = []
        for offering in declared.offerings:
            guess_s = None if offering.latency_ms is None else offering.latency_ms.p50 / 1_000
            # What runs on the same hardware is as fast; where none is named, what is one service's is.
            alike = offering.hardware or f"service {service}"
            kind = self.fleet.kind((offering.model, offering.version, offering.precision, alike), guess_s)
            rows.append(Row(service, instance_id, endpoint, zone, offering, server, kind))
        self.table.put(rows)

    def drop(self, service: str, instance_id: str) -> None:
        """Let an instance go."""
        if self.table.drop(service, instance_id):
            self.fleet.remove(self._servers.pop((service, instance_id)))
            services = self._services_of[instance_id]
            services.discard(service)
            if not services:
                del self._services_of[instance_id]

    def server(self, service: str, instance_id: str) -> int | None:
        """Return an instance's number in the fleet."""
        return self._servers.get((service, instance_id))

    def only_service(self, instance_id: str) -> str | None:
        """Return the service of the one instance of that id; None when there is none, or several services have one."""
        services = self._services_of.get(instance_id, ())
        return next(iter(services)) if len(services) == 1 else None

    def confidence(self, service: str, instance_id: str, now_s: float) -> float | None:
        """Return how sure what an instance would give is, 0 to 1; None when it offers nothing.

        What `confidence_of` says of its best known offering, less by as much as it is slower than its kind.
        """
        rows = self.table.rows_of(service, instance_id)
        if not rows:
            return None
        server = rows[0].server
        sure = max(
            sureness(
                known=bool(self.fleet.known[row.kind]),
                outcomes=float(self.fleet.outcomes[server]),
                shunned=bool(self.fleet.shun_until[server] > now_s),
            )
            for row in rows
        )
        return sure / max(1.0, float(self.fleet.factor[server]))


def sureness(*, known: bool, outcomes: float, shunned: bool) -> float:
    """Return how sure a prediction is, 0 to 1.

    0.3 when nothing but load is known, 0.5 when latency was declared; outcomes of the instance bring it towards 1, half
    of the way with `EVIDENCE_HALF` of them. A fifth of that when it failed lately.
    """
    base = DECLARED_CONFIDENCE if known else LOAD_CONFIDENCE
    sure = base + (1.0 - base) * outcomes / (outcomes + EVIDENCE_HALF)
    return sure * SHUNNED_CONFIDENCE if shunned else sure


class Part:
    """The rows of one domain that match, with their numbers gathered."""

    __slots__ = ("count", "kinds", "offered", "rows", "servers")

    def __init__(self, offered: Offered, at: Rows) -> None:
        self.offered = offered
        self.rows = at
        self.servers = offered.table.servers[at]
        self.kinds = offered.table.kinds[at]
        self.count = len(at)


class Matched:
    """Who meets the requirements that hang on offerings alone, in one order for all columns."""

    __slots__ = (
        "at_ms", "considered", "epoch", "excluded", "left_out", "limits", "names", "outside", "parts", "prices",
        "quality", "rows",
    )  # fmt: skip

    def __init__(self, parts: Sequence[Part], wanted: Wanted, epoch: int, at_ms: int) -> None:
        self.parts = [part for part in parts if part.count]
        self.epoch = epoch
        self.at_ms = at_ms
        self.considered = 0
        """Offerings the caller sees of the services it named."""
        self.excluded: dict[str, int] = {}
        """How many of those were left out, by the first requirement that they do not meet."""
        self.left_out: list[tuple[Row, str]] = []
        self.rows: tuple[Row, ...] = tuple(row for part in self.parts for row in part.offered.table.at(part.rows))
        self.names = tuple(f"{row.service}/{row.instance_id}/{row.offering.id}" for row in self.rows)
        self.prices = self._gathered("per_request", "per_input", "per_output")
        self.limits = self._gathered("input_max", "output_max")
        self.quality = self._qualities(wanted, at_ms)
        self.outside: dict[Prefer, Numbers] = {}

    def _gathered(self, *names: str) -> tuple[Numbers, ...]:
        return tuple(joined([part.offered.table.numbers[name][part.rows] for part in self.parts]) for name in names)

    def _qualities(self, wanted: Wanted, now_ms: int) -> Numbers:
        metrics = {metric for part in self.parts for metric in part.offered.table.metrics()}
        metric = wanted.metric or ("accuracy" if "accuracy" in metrics else min(metrics, default=""))
        return joined([part.offered.table.quality(metric, now_ms)[part.rows] for part in self.parts])

    def outside_of(self, prefer: Prefer) -> Numbers:
        """Return 1 for every candidate outside the preferred region or zone."""
        found = self.outside.get(prefer)
        if found is None:
            found = np.array(
                [
                    float((prefer.region or row.offering.region) != row.offering.region)
                    + float((prefer.zone or row.zone) != row.zone)
                    for row in self.rows
                ]
            )
            self.outside = {prefer: found}
        return found


def joined(arrays: Sequence[Numbers]) -> Numbers:
    """Return columns of several domains as one, in the order of the domains."""
    if len(arrays) == 1:
        return arrays[0]
    return np.concatenate(arrays) if arrays else np.zeros(0)
