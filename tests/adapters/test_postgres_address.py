"""Addresses of stores: taken apart, held to what the hub needs, shown without their secrets."""

from __future__ import annotations

import pytest

from central_hub.adapters.postgres.address import HOSTS_MAX, parse_address, redacted
from central_hub.kernel.errors import HubError
from central_hub.settings import Settings, without_password


def test_each_host_becomes_an_address_of_its_own() -> None:
    found = parse_address("postgresql://u:p@one:5433,two,[::1]:5434/db?sslmode=verify-full&sslrootcert=/ca.pem")
    assert found.names == ("one:5433", "two", "[::1]:5434")
    assert found.hosts[0] == "postgresql://u:p@one:5433/db?sslmode=verify-full&sslrootcert=%2Fca.pem"
    assert found.hosts[2].startswith("postgresql://u:p@[::1]:5434/db?")
    assert found.is_verified


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("postgresql://u@127.0.0.1/db", True),
        ("postgresql://u@localhost:5433/db", True),
        ("postgresql://u@[::1]:5432/db", True),
        ("postgresql://u@%2Fvar%2Frun%2Fpostgresql/db", True),
        ("postgresql://u@/db?host=/var/run/postgresql", True),
        ("postgresql://u@127.0.0.1,db.example/db", False),
        ("postgresql://u@10.0.0.7/db", False),
    ],
)
def test_it_is_known_whether_a_connection_leaves_the_machine(text: str, local: bool) -> None:
    assert parse_address(text).is_local is local


def test_a_sockets_directory_goes_into_the_query() -> None:
    [host] = parse_address("postgresql://u@/db?host=/var/run/postgresql").hosts
    assert host == "postgresql://u@/db?host=%2Fvar%2Frun%2Fpostgresql"


@pytest.mark.parametrize(
    "text",
    [
        "mysql://u@h/db",
        "postgresql:///db",
        "postgresql://u@h",
        "postgresql://u@h/",
        "postgresql://u@h/db?target_session_attrs=any",
        f"postgresql://u@{','.join(['h'] * (HOSTS_MAX + 1))}/db",
    ],
)
def test_what_cannot_be_used_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(HubError) as refused:
        parse_address(text.replace("u@", "u:secret@"))
    assert refused.value.code == "invalid_store"
    assert "secret" not in str(refused.value)


SECRETS = [
    "postgresql://user:pa:ss@word@host/db",
    "postgresql://user:secret@one,two/db?sslpassword=hidden",
    "postgresql://user@host/db?password=secret&sslmode=require",
]


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_is_shown(text: str) -> None:
    for shown in (redacted(text), without_password(text)):
        assert "user" in shown
        assert not any(word in shown for word in ("secret", "hidden", "pa:ss", "word@"))
    settings = Settings(store=text)
    assert settings.redacted()["store"] == without_password(text)
    assert not any(word in repr(settings) for word in ("secret", "hidden", "pa:ss"))


def test_what_is_no_address_is_masked_whole() -> None:
    assert redacted("nothing of the kind, secret") == "********"
