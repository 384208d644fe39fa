"""All breakers of a process, by service and route class and then by tenant: bounded, the idle ones forgotten. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final

from central_hub.breakers.model import BREAKERS_MAX, IDLE_S, POOLS_MAX, SWEPT_MAX, Policy, Transition, Window
from central_hub.breakers.pool import Pool
from central_hub.breakers.rules import Breaker, breaker
from central_hub.breakers.terms import terms_of

PolicyOf = Callable[[str, str, str], Policy]
"""What holds for a tenant, a service and a route class."""

_MADE_ROOM: Final = 16
"""Breakers looked at for a closed one when there has to be room."""


class Group:
    """The breakers of one service and route class, the oldest first."""

    __slots__ = ("breakers", "pool")

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.breakers: dict[str, Breaker] = {}


class Breakers:
    """Every breaker of a process.

    Args:
        policy_of: asked when a breaker is made, and when it is told that a policy changed.
        changed: told of every transition.
        breakers_max, pools_max: how many there may be.
    """

    def __init__(
        self,
        policy_of: PolicyOf,
        changed: Callable[[Transition], None],
        *,
        breakers_max: int = BREAKERS_MAX,
        pools_max: int = POOLS_MAX,
    ) -> None:
        self._policy_of = policy_of
        self._changed = changed
        self._breakers_max = breakers_max
        self._pools_max = pools_max
        self._groups: dict[tuple[str, str], Group] = {}
        self._keys: list[tuple[str, str]] = []
        self._names: list[str] = []
        self._swept = Group(Pool("", "", changed))
        self.count = 0
        self.forgotten = 0

    def of(self, tenant: str, service: str, route_class: str = "") -> Breaker:
        """Return the breaker of a tenant, service and route class; made when it is first asked for."""
        group = self._groups.get((service, route_class))
        if group is not None:
            found = group.breakers.get(tenant)
            if found is not None:
                return found
        return self._made(tenant, service, route_class)

    def known(self, tenant: str, service: str) -> list[Breaker]:
        """Return a tenant's breakers of a service, of every route class that was called."""
        return [
            found
            for (name, _), group in list(self._groups.items())
            if name == service and (found := group.breakers.get(tenant)) is not None
        ]

    def of_tenant(self, tenant: str) -> Iterator[Breaker]:
        """Yield every breaker of a tenant."""
        for group in list(self._groups.values()):
            found = group.breakers.get(tenant)
            if found is not None:
                yield found

    def pool(self, service: str, route_class: str) -> Pool:
        """Return the common evidence about a service and route class; made when it is first asked for."""
        return self._group(service, route_class).pool

    def of_pool(self, service: str, route_class: str) -> list[Breaker]:
        """Return every tenant's breaker of a service and route class."""
        group = self._groups.get((service, route_class))
        return [] if group is None else list(group.breakers.values())

    def pools(self) -> list[Pool]:
        """Return all common evidence."""
        return [group.pool for group in self._groups.values()]

    def renew(self, tenant: str) -> None:
        """Ask again what holds for a tenant."""
        for held in list(self.of_tenant(tenant)):
            self._renew(tenant, held)

    def renew_service(self, service: str) -> None:
        """Ask again what holds for every tenant of a service."""
        for (name, _), group in list(self._groups.items()):
            if name == service:
                for tenant, held in list(group.breakers.items()):
                    self._renew(tenant, held)

    def sweep(self, now_s: float, idle_s: float = IDLE_S) -> int:
        """Look at some breakers and forget the idle ones; returns how many were forgotten.

        Called again and again it gets round to all; a step looks at `SWEPT_MAX` at most. What is not forgotten stays
        where it is, so that another thread may look things up meanwhile.
        """
        gone = 0
        for _ in range(SWEPT_MAX):
            if not self._names and not self._next_group():
                break
            tenant, group = self._names.pop(), self._swept
            held = group.breakers.get(tenant)
            if held is not None and held.is_idle(now_s, idle_s):
                del group.breakers[tenant]
                gone += 1
        self.count -= gone
        self.forgotten += gone
        return gone

    def _next_group(self) -> bool:
        """Take up the next group that has breakers, letting go of those that have none; says whether there is one."""
        for _ in range(SWEPT_MAX):
            if not self._keys:
                self._keys = list(self._groups)
            if not self._keys:
                return False
            key = self._keys.pop()
            group = self._groups.get(key)
            if group is not None and group.breakers:
                self._swept, self._names = group, list(group.breakers)
                return True
            if group is None or group.pool.leases is None:  # what the hub said is kept until it says otherwise
                self._groups.pop(key, None)
        return False

    def _made(self, tenant: str, service: str, route_class: str) -> Breaker:
        if self.count >= self._breakers_max:
            self._make_room()
        group = self._group(service, route_class)
        made = group.breakers[tenant] = breaker(self._policy_of(tenant, service, route_class), group.pool, tenant)
        self.count += 1
        return made

    def _group(self, service: str, route_class: str) -> Group:
        group = self._groups.get((service, route_class))
        if group is None:
            if len(self._groups) >= self._pools_max:
                self._drop(next(iter(self._groups)))
            pool = Pool(service, route_class, self._changed)
            group = self._groups[service, route_class] = Group(pool)
        return group

    def _renew(self, tenant: str, held: Breaker) -> None:
        pool = held.pool
        policy = self._policy_of(tenant, pool.service, pool.route_class)
        before: Window = held.terms.policy.window
        if policy.window is before:
            held.adopt(terms_of(policy))
        else:
            self._groups[pool.service, pool.route_class].breakers[tenant] = breaker(policy, pool, tenant)

    def _make_room(self) -> None:
        """Forget one of the oldest breakers of the fullest group, a closed one if there is one among them."""
        key = max(self._groups, key=lambda one: len(self._groups[one].breakers))
        breakers = self._groups[key].breakers
        oldest = list(islice(breakers, _MADE_ROOM))
        del breakers[next((tenant for tenant in oldest if breakers[tenant].trip is None), oldest[0])]
        self.count -= 1
        self.forgotten += 1

    def _drop(self, key: tuple[str, str]) -> None:
        gone = len(self._groups.pop(key).breakers)
        self.count -= gone
        self.forgotten += gone
