"""Messages to real servers: what is delivered, what fails and how, and that nothing runs away."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from time import monotonic

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from central_hub.adapters.egress import Egress
from central_hub.adapters.egress_policy import LOOPBACK_WEBHOOKS, Policy, Purpose, parse_grants
from central_hub.adapters.webhook_sender import HEAD_BYTES_MAX, WebhookSender, request_of
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.ids import DomainId
from central_hub.kernel.messaging import Outcome, Result, Target

ACME = DomainId("acme")
Respond = Callable[[asyncio.StreamWriter], None]


def sender(grants: str = LOOPBACK_WEBHOOKS, *, tls: ssl.SSLContext | None = None) -> WebhookSender:
    policy = Policy(parse_grants(grants, purpose=Purpose.WEBHOOK))
    return WebhookSender(Egress(policy, ManualClock()), tls=tls, timeout_s=1.0)


@asynccontextmanager
async def serving(
    answer: bytes, *, seen: list[bytes] | None = None, hold_s: float = 0.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            body = await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            if seen is not None:
                seen.append(head + body)
            for at in range(0, len(answer), 4_096):
                writer.write(answer[at : at + 4_096])
                await writer.drain()
            await asyncio.sleep(hold_s)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def sent(port: int, *, by: WebhookSender | None = None, host: str = "127.0.0.1", tls: bool = False) -> Outcome:
    target = Target(host=host, port=port, tls=tls, path="/in?x=1")
    return await (by or sender()).send(ACME, target, {"webhook-id": "m1"}, b"{}")


@pytest.mark.parametrize(
    ("answer", "result", "status", "retry_after_s"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", Result.DELIVERED, 200, 0),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Result.DELIVERED, 204, 0),
        (b"HTTP/1.0 299 x\r\n\r\n", Result.DELIVERED, 299, 0),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n", Result.DELIVERED, 202, 0),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n", Result.REFUSED, 302, 0),
        (b"HTTP/1.1 410 Gone\r\n\r\n", Result.REFUSED, 410, 0),
        (b"HTTP/1.1 429 x\r\nRetry-After: 7\r\n\r\n", Result.REFUSED, 429, 7),
        (b"HTTP/1.1 503 x\r\nretry-after: 9999999\r\n\r\n", Result.REFUSED, 503, 0),
        (b"HTTP/1.1 503 x\r\nretry-after: -1\r\n\r\n", Result.REFUSED, 503, 0),
        (b"HTTP/1.1 503 x\r\nretry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n\r\n", Result.REFUSED, 503, 0),
        (b"SSH-2.0-OpenSSH_9\r\n", Result.INVALID_ANSWER, 0, 0),
        (b"", Result.INVALID_ANSWER, 0, 0),
        (b"HTTP/1.1 200 OK\r\nx: y\r\n", Result.INVALID_ANSWER, 0, 0),
        (b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * HEAD_BYTES_MAX, Result.INVALID_ANSWER, 0, 0),
    ],
)
async def test_an_answer_is_judged(answer: bytes, result: Result, status: int, retry_after_s: int) -> None:
    async with serving(answer) as port:
        outcome = await sent(port)
    assert (outcome.result, outcome.status, outcome.retry_after_s) == (result, status, retry_after_s)


async def test_the_request_is_whole_and_says_nothing_more() -> None:
    seen: list[bytes] = []
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n", seen=seen) as port:
        await sent(port)
    expected = (
        f"POST /in?x=1 HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nwebhook-id: m1\r\n"
        "content-length: 2\r\nconnection: close\r\n\r\n{}"
    )
    assert seen == [expected.encode()]


def test_a_host_is_written_as_it_should_be() -> None:
    six = Target(host="2001:db8::1", port=443, tls=True, path="/")
    assert b"host: [2001:db8::1]\r\n" in request_of(six, {}, b"")
    odd = Target(host="a.example", port=80, tls=True, path="/")
    assert b"host: a.example:80\r\n" in request_of(odd, {}, b"")


async def test_a_body_is_not_waited_for() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n", hold_s=5) as port:
        started = monotonic()
        assert (await sent(port)).result is Result.DELIVERED
        assert monotonic() - started < 1


async def test_silence_ends_in_time() -> None:
    async with serving(b"HTTP/1.1 2", hold_s=5) as port:
        started = monotonic()
        assert (await sent(port)).result is Result.TIMED_OUT
        assert monotonic() - started < 2


async def test_nobody_there() -> None:
    async with serving(b"") as port:
        pass
    assert (await sent(port)).result is Result.UNREACHABLE


@pytest.mark.parametrize("grants", ["", "10.0.0.0/8", "0.0.0.0/0", "globex@127.0.0.0/8", "127.0.0.0/8=1"])
async def test_what_is_not_granted_is_not_reached(grants: str) -> None:
    seen: list[bytes] = []
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n", seen=seen) as port:
        by = sender(grants)
        assert (await sent(port, by=by)).result is Result.NOT_GRANTED
        assert not by.granted(ACME, "127.0.0.1", port)
    assert seen == []


async def test_a_grant_for_probes_is_none_for_webhooks() -> None:
    by = WebhookSender(Egress(Policy(parse_grants("127.0.0.0/8")), ManualClock()))
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        assert (await sent(port, by=by)).result is Result.NOT_GRANTED


async def test_metadata_is_reached_under_no_grant() -> None:
    by = sender("0.0.0.0/0,169.254.0.0/16")
    assert (await sent(80, by=by, host="169.254.169.254")).result is Result.NOT_GRANTED


async def test_a_name_is_judged_by_where_it_leads() -> None:
    policy = Policy(parse_grants("0.0.0.0/0", purpose=Purpose.WEBHOOK))
    inside = Egress(policy, ManualClock(), resolve=lambda _host, port: [("127.0.0.1", port)])
    nowhere = Egress(policy, ManualClock(), resolve=lambda _host, _port: [])
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as port:
        assert (await sent(port, by=WebhookSender(inside), host="hooks.example")).result is Result.NOT_GRANTED
    assert (await sent(80, by=WebhookSender(nowhere), host="hooks.example")).result is Result.UNRESOLVED


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for 127.0.0.1, and a client's that trusts it."""
    directory: Path = tmp_path_factory.mktemp("certificates")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "receiver")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (directory / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return server, ssl.create_default_context(cafile=str(directory / "cert.pem"))


async def test_tls_to_a_receiver_that_is_who_it_should_be(
    certificates: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    server, client = certificates
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n", tls=server) as port:
        assert (await sent(port, by=sender(tls=client), tls=True)).result is Result.DELIVERED


async def test_tls_to_a_receiver_that_is_not(certificates: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = certificates
    seen: list[bytes] = []
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n", tls=server, seen=seen) as port:
        assert (await sent(port, tls=True)).result is Result.TLS_FAILED  # signed by nobody the system trusts
        lying = Egress(
            Policy(parse_grants(LOOPBACK_WEBHOOKS, purpose=Purpose.WEBHOOK)), ManualClock(),
            resolve=lambda _host, to: [("127.0.0.1", to)],
        )  # fmt: skip
        by = WebhookSender(lying, tls=client)
        assert (await sent(port, by=by, host="hooks.example", tls=True)).result is Result.TLS_FAILED
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n", seen=seen) as port:
        assert (await sent(port, by=sender(tls=client), tls=True)).result in (Result.TLS_FAILED, Result.TIMED_OUT)
    assert seen == []
