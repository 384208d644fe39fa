"""What is assumed of a fleet, by name: everything that is neither measured nor a limit of the product.

Nothing here is known of any real fleet. Change it and run again: every figure of the page follows from these, from
`costs.json` and from the limits that the source has.
"""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.edge.connection import CONNECTIONS_MAX
from central_hub.edge.shares import WATCHES_MAX
from central_hub.registry.model import INSTANCES_PER_DOMAIN_MAX
from central_hub.sdk.registration import RENEWAL_JITTER, RENEWALS_PER_LEASE
from central_hub.sdk.serving import LEASE_TTL_S

DAY_S: Final = 86_400.0
BEAT_EVERY_S: Final = LEASE_TTL_S / RENEWALS_PER_LEASE * (1 - RENEWAL_JITTER / 2)
"""How often an instance of the SDK renews, on average."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one hub and one tenant may have: limits of the product, and of what an operator would give a hub."""

    connections: int = CONNECTIONS_MAX
    instances_of_a_tenant: int = INSTANCES_PER_DOMAIN_MAX
    watches_of_a_tenant: int = WATCHES_MAX
    core_share: float = 0.5
    """Of a hub's core that steady work may take, so that a storm finds the other half."""
    store_share: float = 0.5
    """Of the store's rate, likewise."""
    memory_bytes: float = 4e9
    """What an operator gives one hub."""


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """How instances talk to their hub.

    Args:
        name: for tables.
        together: instances that share connections and renew in one batch; 1 for each on its own.
        connections: how many such a group holds.
        watches: open streams among them.
        reads_per_s: discovery reads of one instance that the hub answers.
    """

    name: str
    together: int = 1
    connections: int = 2
    watches: int = 1
    reads_per_s: float = 0.0


SDK: Final = Way(name="SDK")
"""A watch and a connection for renewals; resolving is done from memory, so it asks for nothing else."""
POLLING: Final = Way(name="polling", connections=1, watches=0, reads_per_s=1.0)
"""Any HTTP client: asks where something is once a second, and renews."""
AGENT: Final = Way(name="agent of 20", together=20)
"""A process on each node that watches and renews for 20 instances: the API has the batches, there is no such agent."""
WAYS: Final = (SDK, POLLING, AGENT)


class World(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet.

    Args:
        instances: of all tenants.
        tenants: customers; the k-th largest has a share in proportion to k to the power of -`skew` (Zipf).
        hubs: of one cell.
        restarts_a_day: how often an instance registers and leaves.
        verdicts_a_day: changes of an instance's status that are written down.
        changes_a_day: changes of configuration of one tenant, each told to its own streams.
        changes_for_all_a_day: changes of configuration told to every stream.
        told: open streams that one instance's coming or going is told to.
        events_per_s: published by one instance, in batches.
    """

    instances: int = 10_000_000
    tenants: int = 100_000
    skew: float = 1.0
    hubs: int = 3
    restarts_a_day: float = 2.0
    verdicts_a_day: float = 1.0
    changes_a_day: float = 10.0
    changes_for_all_a_day: float = 24.0
    told: float = 20.0
    events_per_s: float = 0.01
    limits: Limits = Limits()


def sizes(instances: int, tenants: int, skew: float) -> list[int]:
    """Return how many instances each tenant has, largest first; they add up to `instances` exactly.

    Raises:
        ValueError: there are fewer instances than tenants.
    """
    if instances < tenants:
        raise ValueError("every tenant has an instance at least")
    shares = [rank**-skew for rank in range(1, tenants + 1)]
    whole = sum(shares)
    exact = [1 + (instances - tenants) * share / whole for share in shares]
    found = [int(size) for size in exact]
    missing = instances - sum(found)
    for at in sorted(range(tenants), key=lambda at: (found[at] - exact[at], at))[:missing]:
        found[at] += 1
    return found
