"""What a path and a value may be, for which version a change is made, and what is near to what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.secrets.model import (
    PATH_PATTERN,
    SEALED_BYTES_MAX,
    SECRETS_OF_PLATFORM_MAX,
    SECRETS_PER_TENANT_MAX,
    VALUE_BYTES_MAX,
    Secret,
    Version,
)
from central_hub.secrets.rules import (
    bound_to,
    check_path,
    check_precondition,
    check_room,
    check_value,
    etag_of,
    is_path,
    nearest,
    referred,
)

ACME = DomainId("acme")


def secret_at(number: int) -> Secret:
    version = Version(number=number, key_id="k", sealed=b"x", author="a", time_ms=1)
    return Secret(path="db/password", versions=(version,))


@pytest.mark.parametrize("path", ["a", "db/password", "A.b-c_d", "a/b/c/d/e/f/g/h", "0", "x" * 63])
def test_what_may_be_a_path(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "..", "a/../b", ".a", "-a", "a b", "a\n", "ä", "a/b/c/d/e/f/g/h/i", "x" * 64, "a\x00"],
)
def test_what_may_not_be_a_path(path: str) -> None:
    with pytest.raises(HubError) as refused:
        check_path(path)
    assert refused.value.code == "invalid_secret_path"


@given(st.text(max_size=300) | st.from_regex(PATH_PATTERN))
def test_what_is_taken_for_a_path_leads_nowhere_else(text: str) -> None:
    if is_path(text):
        assert check_path(text) == text
        assert text.isascii()
        assert not {"", ".", ".."} & set(text.split("/"))
    else:
        with pytest.raises(HubError):
            check_path(text)


@given(st.text(min_size=1, max_size=200, alphabet=st.characters(exclude_categories=["Cs"])))
def test_a_value_comes_back_as_it_was(text: str) -> None:
    assert check_value(text).decode() == text


def test_the_largest_value_is_taken_and_the_next_larger_one_not() -> None:
    assert check_value("x" * VALUE_BYTES_MAX)
    with pytest.raises(HubError) as refused:
        check_value("x" * (VALUE_BYTES_MAX + 1))
    assert refused.value.code == "secret_too_large"
    with pytest.raises(HubError):  # bytes count, not characters
        check_value("ä" * (VALUE_BYTES_MAX // 2 + 1))
    with pytest.raises(HubError):
        check_value("")
    with pytest.raises(HubError):
        check_value("\ud800")


@given(
    st.tuples(st.sampled_from(["acme", "globex", "platform"]), st.sampled_from(["a", "a/b", "b"]), st.integers(1, 99)),
    st.tuples(st.sampled_from(["acme", "globex", "platform"]), st.sampled_from(["a", "a/b", "b"]), st.integers(1, 99)),
)
def test_no_two_versions_are_sealed_for_the_same(one: tuple[str, str, int], other: tuple[str, str, int]) -> None:
    bound = [bound_to(DomainId(domain), path, version) for domain, path, version in (one, other)]
    assert (bound[0] == bound[1]) == (one == other)


def test_a_change_says_which_version_it_replaces() -> None:
    check_precondition(None, None)
    check_precondition('"v3"', secret_at(3))
    check_precondition("*", secret_at(3))
    for if_match, current, code in (
        (None, secret_at(3), "precondition_required"),
        ('"v2"', secret_at(3), "revision_moved"),
        ("v3", secret_at(3), "revision_moved"),
        ('"v1"', None, "revision_moved"),
        ("*", None, "revision_moved"),
    ):
        with pytest.raises(HubError) as refused:
            check_precondition(if_match, current)
        assert refused.value.code == code
        if current is not None:
            assert refused.value.fields["etag"] == etag_of(3)


def test_a_domain_keeps_no_more_than_it_may() -> None:
    check_room(ACME, secrets=SECRETS_PER_TENANT_MAX, sealed_bytes=SEALED_BYTES_MAX)
    check_room(PLATFORM, secrets=SECRETS_OF_PLATFORM_MAX, sealed_bytes=0)
    for domain, secrets, sealed_bytes in (
        (ACME, SECRETS_PER_TENANT_MAX + 1, 0),
        (PLATFORM, SECRETS_OF_PLATFORM_MAX + 1, 0),
        (ACME, 1, SEALED_BYTES_MAX + 1),
    ):
        with pytest.raises(HubError) as refused:
            check_room(domain, secrets=secrets, sealed_bytes=sealed_bytes)
        assert refused.value.code == "limit_reached"


def test_the_nearest_path_is_suggested() -> None:
    assert nearest("db/pasword", ["db/password", "stripe/key"]) == "db/password"
    assert nearest("zzz", ["db/password"]) == ""


def test_what_is_a_reference() -> None:
    assert referred({"$secret": "db/password"}) == "db/password"
    assert referred({"$secret": "db/password", "more": 1}) == ""
    assert referred({"$secret": 7}) == ""
    for other in ("$secret", {}, {"secret": "a"}, ["$secret"], None, 7):
        assert referred(other) is None
