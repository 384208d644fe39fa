"""Secrets as the log tells them: versions, what is kept of them, and that a snapshot brings all of it back."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.facts import Fact
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.kernel.records import HUB_ACTOR, Applied, Category
from central_hub.secrets.model import (
    VERSIONS_KEPT,
    EncryptionRotationBegun,
    EncryptionRotationEnded,
    Rotating,
    SecretDeleted,
    SecretPut,
)
from central_hub.secrets.view import CHUNK_BYTES, SecretsView
from central_hub.tenants.model import TenantShredded

ACME, GLOBEX = DomainId("acme"), DomainId("globex")
BEGUN = EncryptionRotationBegun(what=Rotating.DATA_KEYS, began_at_ms=5, from_key="local:1")


def told(view: SecretsView, *facts: tuple[DomainId, Fact]) -> SecretsView:
    for seq, (domain, fact) in enumerate(facts, start=1):
        view.apply(
            Applied(
                pos=seq, domain=domain, domain_seq=seq, streams=("s",), category=Category.FACT,
                type=type(fact).__name__, id=str(seq), time_ms=1_000 + seq, actor=HUB_ACTOR, fact=fact,
            )
        )  # fmt: skip
    return view


def put(path: str, version: int, sealed: bytes = b"sealed", **more: bool) -> SecretPut:
    return SecretPut(path=path, version=version, key_id="k1", sealed=sealed, **more)


def again(view: SecretsView, *domains: DomainId) -> SecretsView:
    """Return what a snapshot of a view brings back."""
    other = SecretsView()
    for domain in domains:
        other.restore(domain, [msgspec.msgpack.encode(chunk) for chunk in view.dump(domain)])
    return other


def test_a_secret_is_its_domains_own() -> None:
    view = told(SecretsView(), (ACME, put("a", 1)), (GLOBEX, put("b", 1)))
    assert view.secret(ACME, "a") is not None
    assert view.secret(GLOBEX, "a") is None
    assert list(view.secrets(GLOBEX)) == ["b"]
    assert (view.count(ACME), view.count(PLATFORM)) == (1, 2)


def test_so_many_versions_are_kept_and_no_more() -> None:
    view = told(SecretsView(), *((ACME, put("a", number, b"x" * number)) for number in range(1, VERSIONS_KEPT + 4)))
    secret = view.secret(ACME, "a")
    assert secret is not None
    assert [version.number for version in secret.versions] == list(range(4, VERSIONS_KEPT + 4))
    assert secret.version(3) is None
    assert view.sealed_bytes(ACME) == sum(range(4, VERSIONS_KEPT + 4))


def test_a_version_is_never_given_out_twice() -> None:
    view = told(SecretsView(), (ACME, put("a", 1)), (ACME, put("a", 2)))
    assert (view.next_version(ACME, "a"), view.next_version(ACME, "b")) == (3, 1)
    told(view, (ACME, SecretDeleted(path="a", last_version=2)))
    assert view.secret(ACME, "a") is None
    assert view.sealed_bytes(ACME) == 0
    assert (view.next_version(ACME, "a"), view.next_version(GLOBEX, "a")) == (3, 1)
    assert again(view, ACME).next_version(ACME, "a") == 3


def test_nothing_is_left_of_a_shredded_tenant() -> None:
    view = told(SecretsView(), (ACME, put("a", 1)), (PLATFORM, TenantShredded(tenant_id="acme")))
    assert not view.secrets(ACME)
    assert list(view.dump(ACME)) == []


def test_a_rotation_that_has_begun_is_known_until_it_ends() -> None:
    view = told(SecretsView(), (PLATFORM, BEGUN))
    assert view.rotation(PLATFORM) == BEGUN
    assert view.rotation(ACME) is None
    assert again(view, PLATFORM).rotation(PLATFORM) == BEGUN
    told(view, (PLATFORM, EncryptionRotationEnded(what=Rotating.DATA_KEYS, data_keys=1, to_key="local:1")))
    assert view.rotation(PLATFORM) is None


@given(
    st.lists(
        st.tuples(st.sampled_from([ACME, GLOBEX, PLATFORM]), st.sampled_from(["a", "b", "c/d"]), st.booleans()),
        max_size=40,
    )
)
def test_a_snapshot_brings_everything_back(steps: list[tuple[DomainId, str, bool]]) -> None:
    view = SecretsView()
    for domain, path, deletes in steps:
        secret = view.secret(domain, path)
        if not deletes:
            told(view, (domain, put(path, view.next_version(domain, path))))
        elif secret is not None:
            told(view, (domain, SecretDeleted(path=path, last_version=secret.newest.number)))
    domains = (ACME, GLOBEX, PLATFORM)
    other = again(view, *domains)
    for domain in domains:
        assert other.secrets(domain) == view.secrets(domain)
        assert other.sealed_bytes(domain) == view.sealed_bytes(domain)
        assert sum(secret.sealed_bytes for secret in view.secrets(domain).values()) == view.sealed_bytes(domain)
        for path in ("a", "b", "c/d", "new"):
            assert other.next_version(domain, path) == view.next_version(domain, path)


def test_a_large_domain_is_dumped_in_chunks() -> None:
    view = told(SecretsView(), *((ACME, put(f"s{at}", 1, b"x" * (CHUNK_BYTES // 2))) for at in range(5)))
    assert len(list(view.dump(ACME))) == 3
    assert again(view, ACME).secrets(ACME) == view.secrets(ACME)
