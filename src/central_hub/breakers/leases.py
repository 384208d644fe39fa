"""Probes that the hub leases to a process while its verdicts hold: how many callers there are, few calls try. Pure."""

from __future__ import annotations

import msgspec


class Tokens(msgspec.Struct, gc=False):
    """Probes that a tenant's calls may make in this process, and until when."""

    count: int = 0
    until_s: float = 0.0
    asked_s: float = 0.0
    """From when on it is worth asking for more."""


class Leases:
    """What holds for one service and route class in a process; times are monotonic seconds.

    Attributes:
        everyone: whether a verdict is in force that holds for all tenants.
        until_s: until when that one lets nothing through.
        tenants: those for which one of their own is.
        local_until_s: as long as it is ahead the hub is away, and local rules hold.
        wanted: tenants whose calls found no probe to make.
    """

    __slots__ = ("_tokens", "everyone", "local_until_s", "tenants", "until_s", "wanted")

    def __init__(self) -> None:
        self.everyone = False
        self.until_s = 0.0
        self.tenants: set[str] = set()
        self.local_until_s = 0.0
        self.wanted: set[str] = set()
        self._tokens: dict[str, Tokens] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no verdict is in force."""
        return not self.everyone and not self.tenants

    def govern(self, tenant: str, now_s: float) -> bool:
        """Say whether the hub decides which of a tenant's calls try a service out."""
        return now_s >= self.local_until_s and (self.everyone or tenant in self.tenants)

    def take(self, tenant: str, now_s: float) -> bool:
        """Take a probe, if there is one; otherwise one is wanted."""
        held = self._tokens.get(tenant)
        if held is not None and held.count > 0 and now_s < held.until_s:
            held.count -= 1
            return True
        self.wanted.add(tenant)
        return False

    def may_ask(self, tenant: str, now_s: float) -> bool:
        """Say whether asking for a probe makes sense by now."""
        held = self._tokens.get(tenant)
        return held is None or now_s >= held.asked_s

    def grant(self, tenant: str, count: int, until_s: float, *, again_s: float) -> None:
        """Take what the hub granted, none perhaps.

        Args:
            again_s: from when on it is worth asking again.
        """
        self.wanted.discard(tenant)
        held = self._tokens.setdefault(tenant, Tokens())
        held.count, held.until_s, held.asked_s = count, until_s, again_s

    def end(self, tenant: str | None) -> None:
        """Take note that a verdict is over: a tenant's, or everyone's (None)."""
        if tenant is None:
            self.everyone = False
        else:
            self.tenants.discard(tenant)
        self._tokens.clear()
        self.wanted.clear()
