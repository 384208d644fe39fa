"""Secrets against a naive model: whatever is put, read, deleted, rotated and restarted in whatever order."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.secrets.model import VERSIONS_KEPT
from tests.unit.secrets.support import ACME, GLOBEX, House, ctx_of, opened

DOMAINS = (ACME, GLOBEX, PLATFORM)
PATHS = ("a", "a/b", "c")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "share", "read", "delete", "renew", "rewrap", "restart"]),
        st.sampled_from(DOMAINS),
        st.sampled_from(PATHS),
        st.integers(0, 3),
    ),
    max_size=40,
)


@dataclass
class Naive:
    """What there should be: the versions of each path, and which of the platform's are shared."""

    versions: dict[tuple[DomainId, str], dict[int, str]] = field(default_factory=dict)
    shared: dict[str, bool] = field(default_factory=dict)
    given_out: dict[DomainId, int] = field(default_factory=dict)

    def put(self, domain: DomainId, path: str, value: str, *, shared: bool) -> int:
        known = self.versions.setdefault((domain, path), {})
        newest = max(known, default=0)
        if known and known[newest] == value and self.shared.get(path, False) == shared and domain == PLATFORM:
            return newest
        if known and known[newest] == value and domain != PLATFORM:
            return newest
        number = newest + 1 if known else self.given_out.get(domain, 0) + 1
        known[number] = value
        for old in sorted(known)[:-VERSIONS_KEPT]:
            del known[old]
        if domain == PLATFORM:
            self.shared[path] = shared
        return number

    def read(self, domain: DomainId, path: str, version: int | None) -> str | None:
        known = self.versions.get((domain, path))
        if known is None and self.shared.get(path):
            known = self.versions.get((PLATFORM, path))
        return None if known is None else known.get(max(known) if version is None else version)

    def delete(self, domain: DomainId, path: str) -> None:
        known = self.versions.pop((domain, path), {})
        self.given_out[domain] = max(self.given_out.get(domain, 0), max(known, default=0))
        if domain == PLATFORM:
            self.shared.pop(path, None)


async def read(house: House, domain: DomainId, path: str, version: int | None) -> str | None:
    try:
        ctx = ctx_of(None if domain == PLATFORM else domain)
        return (await house.secrets.read(ctx, domain, path, version)).value
    except HubError as refused:
        if refused.code not in ("secret_not_found", "secret_version_not_found"):
            raise
        return None


async def live(steps: list[tuple[str, DomainId, str, int]]) -> None:
    naive, house = Naive(), House()
    at = 0
    while True:
        async with opened(house):
            for domain in DOMAINS:
                await house.ring.ensure(domain)
            while at < len(steps):
                what, domain, path, number = steps[at]
                at += 1
                if what in ("put", "share"):
                    shared = what == "share" and domain == PLATFORM
                    there = house.view.secret(domain, path) is not None
                    made = await house.put(
                        path, str(number), domain=domain, if_match="*" if there else None, shared=shared
                    )
                    assert made.newest.number == naive.put(domain, path, str(number), shared=shared)
                elif what == "read":
                    version = number or None
                    assert await read(house, domain, path, version) == naive.read(domain, path, version)
                elif what == "delete":
                    ctx = ctx_of(None if domain == PLATFORM else domain)
                    await house.secrets.delete(ctx, domain, path)
                    naive.delete(domain, path)
                elif what == "renew":
                    await house.ring.renew(domain)
                elif what == "rewrap":
                    await house.provider.rotate()
                    await house.ring.rewrap(house.ring.behind())
                else:
                    break
            for domain in DOMAINS:
                for path in PATHS:
                    assert await read(house, domain, path, None) == naive.read(domain, path, None)
        if at == len(steps):
            return
        keys = house.provider._keys[:1]  # pyright: ignore[reportPrivateUsage]  # what was rewrapped needs the newest only
        house = House(house.log, house.kept, *keys)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_it_is_as_the_naive_model_says(steps: list[tuple[str, DomainId, str, int]]) -> None:
    asyncio.run(live(steps))
