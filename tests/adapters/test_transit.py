"""The transit provider: what it sends, what it makes of answers, and what goes on when the server is away."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from central_hub.adapters.key_encryption import DataKey, LocalKeys, parted
from central_hub.adapters.keyring import KeyRing, MemoryKeys
from central_hub.adapters.stores import open_directory
from central_hub.adapters.transit import AT_ONCE, TransitKeys, address_of
from central_hub.app.providing import key_provider
from central_hub.kernel.errors import HubError
from central_hub.settings import Settings
from tests.adapters.logs import ACME, OTHER
from tests.adapters.transit_server import TOKEN, Engine, real_engine, real_server, transit_engine

PLAIN = DataKey(b"k" * 32, b"bound to this")


def provider(url: str, **more: object) -> TransitKeys:
    given = {"key_provider": "transit", "transit_url": url, "transit_token": TOKEN, **more}
    made = key_provider(Settings.model_validate(given))
    assert isinstance(made, TransitKeys)
    return made


@pytest.fixture(params=["double", "real"] if real_server() else ["double"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a double, and of a real server where there is one."""
    if request.param == "double":
        with transit_engine(Engine()) as url:
            yield url
        return
    program = real_server()
    assert program is not None
    with real_engine(program, tmp_path) as url:
        yield url


async def test_data_keys_are_wrapped_and_opened_by_the_server(server: str) -> None:
    keys = provider(server)
    await keys.open()
    assert keys.current == "transit:transit/central-hub:v1"
    wrapped = await keys.wrap([PLAIN, DataKey(b"l" * 32, b"other")])
    assert all(PLAIN.data not in each for each in wrapped)
    assert {parted(each)[0] for each in wrapped} == {keys.current}
    again = [DataKey(data, bound) for data, bound in zip(wrapped, (PLAIN.associated, b"other"), strict=True)]
    assert await keys.unwrap(again) == [PLAIN.data, b"l" * 32]
    with pytest.raises(HubError) as refused:  # another domain's wrapped key does not open as one's own
        await keys.unwrap([DataKey(wrapped[0], b"other")])
    assert refused.value.code == "key_provider_refused"


async def test_a_rotation_makes_a_new_version_and_the_old_one_opens(server: str) -> None:
    keys = provider(server)
    await keys.open()
    (before,) = await keys.wrap([PLAIN])
    await keys.rotate()
    assert keys.current.endswith(":v2")
    (after,) = await keys.wrap([PLAIN])
    assert parted(after)[0] == keys.current
    assert await keys.unwrap([DataKey(each, PLAIN.associated) for each in (before, after)]) == [PLAIN.data] * 2


async def test_a_ring_is_rewrapped_by_the_server_in_few_requests(server: str) -> None:
    kept = MemoryKeys()
    keys = provider(server)
    ring = KeyRing(keys, kept)
    await ring.load()
    for at in range(AT_ONCE + 5):
        await ring.ensure(type(ACME)(f"t{at}"))
    await keys.rotate()
    while behind := ring.behind():
        await ring.rewrap(behind[:AT_ONCE])
    again = KeyRing(provider(server), kept)
    await again.load()
    assert (again.data_keys(), again.behind()) == (AT_ONCE + 5, [])


async def test_a_wrong_token_is_refused_and_not_repeated(server: str) -> None:
    with pytest.raises(HubError) as refused:
        await provider(server, transit_token="hvs.wrong-token").open()
    assert refused.value.code == "key_provider_refused"
    assert "hvs." not in f"{refused.value} {refused.value.internal}"


async def test_a_key_that_is_not_there_is_refused(server: str) -> None:
    with pytest.raises(HubError) as refused:
        await provider(server, transit_key="nothing").open()
    assert refused.value.code == "key_provider_refused"


async def test_a_directory_goes_from_its_own_file_to_the_server(server: str, tmp_path: Path) -> None:
    stores = await open_directory(tmp_path / "data", incarnation="i")
    await stores.sealer.ensure(ACME)
    key_id, sealed = stores.sealer.seal(ACME, b"kept", b"")
    await stores.log.close()
    stores = await open_directory(tmp_path / "data", incarnation="i", keys=provider(server))
    await stores.sealer.rewrap(stores.sealer.behind())
    await stores.sealer.forget_replaced()
    await stores.log.close()
    (tmp_path / "data" / "keys" / "master.key").unlink()
    stores = await open_directory(tmp_path / "data", incarnation="i", keys=provider(server))
    assert stores.sealer.open(ACME, key_id, sealed, b"") == b"kept"
    await stores.log.close()


async def test_a_server_that_goes_away_stops_new_domains_only() -> None:
    kept, engine = MemoryKeys(), Engine()
    with transit_engine(engine) as url:
        ring = KeyRing(provider(url), kept)
        await ring.load()
        await ring.ensure(ACME)
        key_id, sealed = ring.seal(ACME, b"kept", b"")
        engine.sealed = True
        with pytest.raises(HubError) as refused:
            await ring.ensure(OTHER)
        assert (refused.value.code, refused.value.retry_after_s) == ("key_provider_unavailable", 5)
    assert ring.open(ACME, key_id, sealed, b"") == b"kept"
    assert ring.seal(ACME, b"more", b"")[0] == key_id
    with pytest.raises(HubError) as refused:
        await ring.ensure(OTHER)
    assert refused.value.code == "key_provider_unavailable"
    with pytest.raises(HubError) as refused:  # and a hub that starts does not
        await KeyRing(provider(url), kept).load()
    assert refused.value.code == "key_provider_unavailable"
    assert ring.provider_failures == 2


async def test_a_version_that_may_not_decrypt_any_more_keeps_a_hub_from_starting() -> None:
    kept, engine = MemoryKeys(), Engine()
    with transit_engine(engine) as url:
        ring = KeyRing(provider(url), kept)
        await ring.load()
        await ring.ensure(ACME)
        await ring.encryption.rotate()
        engine.least["central-hub"] = 2
        with pytest.raises(HubError) as refused:
            await KeyRing(provider(url), kept).load()
        assert refused.value.code == "key_provider_refused"
        engine.least["central-hub"] = 1
        await ring.rewrap(ring.behind())
        engine.least["central-hub"] = 2
        await KeyRing(provider(url), kept).load()


async def test_a_key_of_the_wrong_kind_is_refused() -> None:
    engine = Engine()
    for kind in ("rsa-4096", "ed25519", "hmac"):
        engine.kinds["central-hub"] = kind
        with transit_engine(engine) as url:
            with pytest.raises(HubError) as refused:
                await provider(url).open()
            assert refused.value.code == "key_provider_refused"


@pytest.mark.parametrize(
    "strange",
    [
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"data":null}',
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n" + b"x" * 5_000_000,
    ],
)
async def test_an_answer_that_is_none_is_refused(strange: bytes) -> None:
    engine = Engine()
    engine.strange = strange
    with transit_engine(engine) as url, pytest.raises(HubError) as refused:
        await provider(url).open()
    assert refused.value.code in ("key_provider_refused", "key_provider_unavailable")


async def test_a_token_in_a_file_is_read_anew_and_kept_private(tmp_path: Path) -> None:
    engine, path = Engine(), tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    with transit_engine(engine) as url:
        keys = provider(url, transit_token=None, transit_token_file=path)
        await keys.open()
        engine.token = "hvs.renewed"
        with pytest.raises(HubError):
            await keys.wrap([PLAIN])
        path.write_text("hvs.renewed")
        await keys.wrap([PLAIN])
        path.chmod(0o644)
        with pytest.raises(HubError) as refused:
            provider(url, transit_token=None, transit_token_file=path)
        assert refused.value.code == "key_file_exposed"


@pytest.mark.parametrize(
    "url",
    ["", "vault:8200", "ftp://vault", "http://", "https://user:password@vault", "http://vault:99999", "http://v?a=b"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(HubError) as refused:
        address_of(url, "key", "transit")
    assert refused.value.code == "key_provider_invalid"
    assert "password" not in str(refused.value)


async def test_only_the_servers_own_port_is_opened_and_never_what_no_grant_opens() -> None:
    for url in ("http://169.254.169.254:8200", "http://[fd00:ec2::254]:8200"):
        with pytest.raises(HubError) as refused:
            await provider(url).open()
        assert refused.value.code == "key_provider_unavailable"
        assert "Refused" in refused.value.internal


def certificate(directory: Path, address: str) -> tuple[Path, Path]:
    """Make a certificate for an address that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "transit")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = directory / f"{address}.pem", directory / f"{address}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    unencrypted = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, unencrypted))
    return files


async def test_under_tls_the_server_proves_who_it_is(tmp_path: Path) -> None:
    good = certificate(tmp_path, "127.0.0.1")
    with transit_engine(Engine(), good) as url:
        keys = provider(url, transit_ca_file=good[0])
        await keys.open()
        many = [DataKey(b"k" * 32, b"x" * 64)] * AT_ONCE
        wrapped = await keys.wrap(many)
        again = [DataKey(data, b"x" * 64) for data in wrapped]
        assert await keys.unwrap(again) == [b"k" * 32] * AT_ONCE
        with pytest.raises(HubError) as refused:  # nobody vouches for it
            await provider(url).open()
        assert refused.value.code == "key_provider_unavailable"
    with transit_engine(Engine(), certificate(tmp_path, "127.0.0.2")) as url:
        assert urlsplit(url).hostname == "127.0.0.1"
        with pytest.raises(HubError) as refused:  # it is somebody else
            await provider(url, transit_ca_file=tmp_path / "127.0.0.2.pem").open()
        assert refused.value.code == "key_provider_unavailable"


async def test_a_ring_never_asks_the_server_for_what_it_knows() -> None:
    engine = Engine()
    with transit_engine(engine) as url:
        ring = KeyRing(provider(url), MemoryKeys())
        await ring.load()
        await ring.ensure(ACME)
        asked = len(engine.requests)
        for _ in range(50):
            key_id, sealed = ring.seal(ACME, b"x", b"")
            ring.open(ACME, key_id, sealed, b"")
            await ring.ensure(ACME)
        assert len(engine.requests) == asked


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"key_provider": "env"}, "key_provider_invalid"),
        ({"key_provider": "env", "master_key": "short"}, "key_invalid"),
        ({"key_provider": "transit"}, "key_provider_invalid"),
        ({"key_provider": "transit", "transit_url": "http://127.0.0.1:1"}, "key_provider_invalid"),
        ({"key_provider": "transit", "transit_url": "x", "transit_token": "t"}, "key_provider_invalid"),
    ],
)
def test_settings_that_do_not_hold_together_are_refused(given: dict[str, str], code: str) -> None:
    with pytest.raises(HubError) as refused:
        key_provider(Settings.model_validate(given))
    assert refused.value.code == code
    assert refused.value.next_step


def test_the_settings_name_the_provider() -> None:
    assert key_provider(Settings()) is None
    env = key_provider(Settings.model_validate({"key_provider": "env", "master_key": "ab" * 32}))
    assert isinstance(env, LocalKeys)
    assert env.provider == "env"
