"""Which settings work, which events are for whom, how long is waited."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central_hub.kernel.brokers import BrokerKind
from central_hub.kernel.errors import HubError
from central_hub.relays.model import BACKOFF_S, CA_BYTES_MAX, FILTER_MAX, SERVERS_MAX, Server
from central_hub.relays.rules import check_settings, wait_s, wants
from tests.unit.relays.house import SETTINGS

WORDS = st.sampled_from(["a.b", "a.c", "b", "a.b.c"])


def settings(**changes: object):  # of the model's own type
    return msgspec.structs.replace(SETTINGS, **changes)


@given(types=st.frozensets(st.one_of(WORDS, WORDS.map(lambda word: word + "*")), max_size=4), type_=WORDS)
def test_a_type_is_wanted_when_it_is_named_or_begins_as_one_that_ends_in_a_star(
    types: frozenset[str], type_: str
) -> None:
    found = wants(settings(types=tuple(types)), tenant="acme", category="domain", type_=type_, title="")
    named = not types or type_ in types or any(one[-1] == "*" and type_.startswith(one[:-1]) for one in types)
    assert found == named


@given(tenants=st.frozensets(st.sampled_from("abc")), categories=st.frozensets(st.sampled_from("xyz")))
def test_tenant_and_category_both_have_to_be_named(tenants: frozenset[str], categories: frozenset[str]) -> None:
    found = wants(
        settings(tenants=tuple(tenants), categories=tuple(categories)), tenant="a", category="x", type_="t", title=""
    )
    assert found == ((not tenants or "a" in tenants) and (not categories or "x" in categories))


def test_a_type_can_be_named_by_its_word() -> None:
    given_ = settings(types=("TenantCreated",))
    assert wants(given_, tenant="acme", category="tenant", type_="io.x.v1", title="TenantCreated")
    assert not wants(given_, tenant="acme", category="tenant", type_="io.x.v1", title="Other")


@given(failures=st.integers(1, 1_000), drawn=st.floats(0, 1))
def test_a_wait_is_between_half_of_its_step_and_all_of_it(failures: int, drawn: float) -> None:
    step = BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]
    assert step / 2 <= wait_s(failures, drawn) <= step


@pytest.mark.parametrize(
    "changes",
    [
        {"servers": ()},
        {"servers": (Server(host="h", port=1),) * (SERVERS_MAX + 1)},
        {"servers": (Server(host="u@h", port=1),)},
        {"servers": (Server(host="h/", port=1),)},
        {"servers": (Server(host="h\r\n", port=1),)},
        {"destination": "a.b"},
        {"destination": "a b"},
        {"prefix": ""},
        {"prefix": "a..b"},
        {"prefix": "a.*"},
        {"secret": "plain"},
        {"secret": "/relays/x"},
        {"ca": "-----BEGIN CERTIFICATE-----"},
        {"tls": True, "ca": "-----BEGIN CERTIFICATE-----" + "x" * CA_BYTES_MAX},
        {"mechanism": "PLAIN"},
        {"tenants": tuple(f"t{n}" for n in range(FILTER_MAX + 1))},
        {"tenants": ("A",)},
        {"types": ("a b",)},
        {"types": ("*a",)},
        {"categories": ("a.b",)},
    ],
)
def test_what_cannot_work_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(HubError) as refused:
        check_settings(settings(**changes))
    assert refused.value.code == "invalid_relay"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"servers": (Server(host="::1", port=65_535), Server(host="broker-1.plant.example.", port=1))},
        {"prefix": "plant.eu", "types": ("*", "com.example.*"), "tenants": ("acme",), "categories": ("domain",)},
        {"tls": True, "ca": "-----BEGIN CERTIFICATE-----\n", "secret": "relays/out"},
        {"kind": BrokerKind.REDIS, "destination": "{hub}:events"},
        {"kind": BrokerKind.KAFKA, "destination": "hub.events", "mechanism": "SCRAM-SHA-512"},
    ],
)
def test_what_can_work_is_taken(changes: dict[str, object]) -> None:
    check_settings(settings(**changes))
