"""A server with TLS and passwords: proven with `verify-full`, refused when it proves nothing, shown without secrets."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from central_hub.adapters.postgres.address import parse_address
from central_hub.adapters.postgres.inspecting import status_of
from central_hub.adapters.postgres.log import PostgresLog
from central_hub.kernel.errors import HubError
from tests.adapters.logs import command
from tests.postgres import HUB, Database, a_server, new_database

PASSWORD = "canary-password-5"


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate that signs itself, for 127.0.0.1; returns it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (directory / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory / f"{name}.pem", directory / f"{name}.key"


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Database]:
    """A server that takes encrypted connections with a password, and no others."""
    server = a_server()
    try:
        made = new_database(server)
        server.sql(f"ALTER ROLE {HUB} PASSWORD '{PASSWORD}'")
        owner = server.data.stat()
        for path, name in zip(certificate(tmp_path, "server"), ("server.crt", "server.key"), strict=True):
            shutil.copy(path, server.data / name)
            os.chown(server.data / name, owner.st_uid, owner.st_gid)
            (server.data / name).chmod(0o600)
        server.configure(ssl="on")
        rules = "hostssl all hub 127.0.0.1/32 scram-sha-256\nhost all admin 127.0.0.1/32 trust\n"
        (server.data / "pg_hba.conf").write_text(rules)
        server.stop()
        server.start()
        yield made
    finally:
        server.remove()


def address(database: Database, query: str, password: str = PASSWORD) -> str:
    return f"postgresql://{HUB}:{password}@127.0.0.1:{database.server.port}/{database.name}?{query}"


async def code_and_reason(text: str) -> tuple[str, str]:
    with pytest.raises(HubError) as refused:
        await PostgresLog.open(parse_address(text), mint=lambda: "i")
    assert PASSWORD not in refused.value.internal + str(refused.value)
    return refused.value.code, refused.value.internal


async def test_a_server_is_proven_by_the_authority_that_is_named(secured: Database, tmp_path: Path) -> None:
    proven = address(secured, f"sslmode=verify-full&sslrootcert={tmp_path / 'server.pem'}")
    log = await PostgresLog.open(parse_address(proven), mint=lambda: "i")
    await log.append([command()])
    await log.close()
    found = await status_of(proven)
    assert (found["tls"], found["server_proven"]) == (True, True)
    assert PASSWORD not in str(found)


async def test_a_server_that_another_authority_would_prove_is_not_spoken_to(secured: Database, tmp_path: Path) -> None:
    other, _ = certificate(tmp_path, "other")
    code, reason = await code_and_reason(address(secured, f"sslmode=verify-full&sslrootcert={other}"))
    assert code == "store_unavailable"
    assert "CERTIFICATE_VERIFY_FAILED" in reason or "certificate" in reason.lower()


async def test_without_encryption_and_with_a_wrong_password_nobody_is_let_in(secured: Database) -> None:
    code, reason = await code_and_reason(address(secured, "sslmode=disable"))
    assert (code, "no encryption" in reason or "pg_hba" in reason) == ("store_unavailable", True)
    code, reason = await code_and_reason(address(secured, "sslmode=require", password="wrong"))
    assert (code, "password" in reason) == ("store_unavailable", True)


async def test_a_password_may_be_in_a_file(secured: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pass").write_text(f"127.0.0.1:{secured.server.port}:{secured.name}:{HUB}:{PASSWORD}\n")
    (tmp_path / "pass").chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "pass"))
    log = await PostgresLog.open(
        parse_address(address(secured, "sslmode=require").replace(f":{PASSWORD}", "")), mint=lambda: "i"
    )
    await log.close()


async def test_clear_text_is_refused_by_the_server_of_these_tests(secured: Database) -> None:
    with pytest.raises(asyncpg.PostgresError):
        await asyncio.wait_for(asyncpg.connect(address(secured, "sslmode=disable")), 10)
