"""Who depends on whom: what instances declare, and what services were seen looking up.

Look-ups are signals: counted in memory, per domain, bounded, gone with the process. The first
time a pair is seen it is also worth an event.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from central_hub.edge.lane.entries import LookupCounter
from central_hub.kernel.ids import DomainId, is_name
from central_hub.registry.schemas import DependencyGraph, Edge
from central_hub.registry.view import RegistryView
from central_hub.registry.visibility import Viewer, visible, visible_services

OBSERVED_PER_DOMAIN_MAX: Final = 10_000
EDGES_SHOWN_MAX: Final = 10_000

FirstSeen = Callable[[DomainId, str, str], None]


class Dependencies:
    """The dependency graph of every domain.

    Args:
        view: what instances declare.
        first_seen: called with (domain, caller, service) when a pair is seen for the first time.
    """

    def __init__(self, view: RegistryView, first_seen: FirstSeen | None = None) -> None:
        self._view = view
        self._first_seen = first_seen
        self._observed: dict[DomainId, dict[tuple[str, str], LookupCounter]] = {}
        self._uncounted = LookupCounter()

    @property
    def uncounted(self) -> int:
        """Look-ups that belong to no edge: callers that do not say who they are, or past the limit."""
        return self._uncounted.count

    def counter(self, domain: DomainId, caller: str, service: str) -> LookupCounter:
        """Return what counts the look-ups of `service` by `caller`.

        Args:
            domain: the caller's.
            caller: what it says it is, a label and never authority; may be empty.
            service: what it looked up and may see.
        """
        observed = self._observed.get(domain)
        pair = (caller, service)
        if observed is not None:
            counter = observed.get(pair)
            if counter is not None:
                return counter
        if not is_name(caller) or caller == service:
            return self._uncounted
        if observed is None:
            observed = self._observed[domain] = {}
        if len(observed) >= OBSERVED_PER_DOMAIN_MAX:
            return self._uncounted
        counter = observed[pair] = LookupCounter()
        if self._first_seen is not None:
            self._first_seen(domain, caller, service)
        return counter

    def graph(self, viewer: Viewer) -> DependencyGraph:
        """Return the edges a caller may see: its own look-ups, and what visible services declare.

        Look-ups by other tenants are never shown, not even of shared services.
        """
        edges: dict[tuple[str, str], tuple[bool, int]] = {}
        truncated = False
        for _, service in visible_services(self._view, viewer):
            for needed in dict.fromkeys(name for one in service.instances.values() for name in one.depends_on):
                if len(edges) >= EDGES_SHOWN_MAX:
                    truncated = True
                    break
                edges[(service.name, needed)] = (True, 0)
        for pair, counter in self._observed.get(viewer.domain, {}).items():
            if pair not in edges and len(edges) >= EDGES_SHOWN_MAX:
                truncated = True
                break
            edges[pair] = (edges.get(pair, (False, 0))[0], counter.count)
        return DependencyGraph(
            edges=tuple(
                Edge(
                    caller=caller,
                    service=service,
                    declared=declared,
                    lookups=lookups,
                    known=visible(self._view, viewer, service) is not None,
                )
                for (caller, service), (declared, lookups) in sorted(edges.items())
            ),
            truncated=truncated,
        )
