"""Whatever is registered, the hub opens no connection to where it must not: a recorder counts connect() calls.

The recorder is the interpreter's own audit hook, so it sees every connect of this process, whoever
makes it. A canary listens as well: were the recorder blind, the canary would still be called.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from central_hub.adapters.egress import Egress, Refused, SocketAddress
from central_hub.adapters.egress_policy import (
    LOOPBACK_GRANTS,
    Grant,
    Policy,
    Purpose,
    Refusal,
    embedded,
    is_address,
    machine_addresses,
    parse_grants,
)
from central_hub.adapters.probes import Probes
from central_hub.kernel.clock import ManualClock
from central_hub.kernel.errors import HubError
from central_hub.kernel.ids import DomainId
from central_hub.kernel.probing import ProbeProtocol, ProbeResult, ProbeTarget

ACME, OTHER = DomainId("acme"), DomainId("other")

WIDE = (
    Grant(network="0.0.0.0/0"),
    Grant(network="::/0"),
    Grant(network="10.1.0.0/16", tenant="acme", ports=((8000, 8999),)),
    Grant(network="fd12::/16", tenant="acme"),
)
"""As much as an operator can open without naming loopback."""

FORBIDDEN_V4 = """
169.254.169.254 169.254.170.2 169.254.0.1 169.254.255.255 100.100.100.200 168.63.129.16 192.0.0.192
127.0.0.1 127.0.0.2 127.1.2.3 127.255.255.254 0.0.0.0 0.0.0.1 0.1.2.3 255.255.255.255
224.0.0.1 239.255.255.250 233.252.0.1 240.0.0.1 254.1.2.3 100.64.0.1 100.127.255.254
10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254 192.168.0.1 192.168.1.254
192.0.0.1 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.7 203.0.113.9 192.88.99.1
""".split()  # noqa: SIM905  # a hundred quotes would hide the addresses

FORBIDDEN_V6 = """
::1 :: fe80::1 fe80::1%1 febf::1 fec0::1 ff02::1 ff05::2 ff0e::1 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 fd00:42::42
fc00::1 fd00::1 fdff::1 100::1 2001:db8::1 2001:db8:ffff::1 3fff::1 5f00::1 2001::1 2001:10::1 2001:20::1 2001:2::1
64:ff9b:1::1 ::ffff:7f00:1 4000::1 8000::1 e000::1 1::1 0:0:0:1::1
""".split()  # noqa: SIM905  # a hundred quotes would hide the addresses

SPELLINGS = """
127.1 127.0.1 2130706433 0x7f000001 0x7f.0x0.0x0.0x1 0177.0.0.1 017700000001 0177.0.0.01 0x7f.1 00000177.0.0.1
2852039166 0xa9fea9fe 0251.0376.0251.0376 0xa9.0xfe.0xa9.0xfe 169.254.43518 025177524776 169.16689662
0 0x0 00 10.1 0xa000001 167772161 012.0.0.1 0300.0250.0.1 3232235521 0xc0a80001 192.168.257
LOCALHOST localhost localhost. ::FFFF:127.0.0.1 0:0:0:0:0:0:0:1 [::1] ::127.0.0.1
0000::1 FE80::1 fE80::A ::FFFF:A9FE:A9FE
""".split()  # noqa: SIM905  # a hundred quotes would hide the addresses

HOSTILE_TEXT = (
    "127.0.0.1\x00.example.com", "127.0.0.1 ", " 127.0.0.1", "127.0.0.1\r\nx: y", "http://127.0.0.1", "127.0.0.1/8",
    "user@127.0.0.1", "127.0.0.1#x", "127.0.0.1?x", "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1", "ⓛocalhost", "",
    "." , "a" * 300, "%31%32%37.0.0.1", "::1%lo/../", "-", "0x", "127..1", "256.256.256.256", "1.2.3.4.5",
)  # fmt: skip

REBINDING = {
    "metadata.attacker.test": ["169.254.169.254"],
    "loopback.attacker.test": ["127.0.0.1"],
    "loopback6.attacker.test": ["::1"],
    "private.attacker.test": ["10.0.0.5"],
    "mixed.attacker.test": ["93.184.216.34", "127.0.0.1"],
    "mixed-late.attacker.test": ["93.184.216.34", "93.184.216.35", "169.254.169.254"],
    "mapped.attacker.test": ["::ffff:169.254.169.254"],
    "scoped.attacker.test": ["fe80::1%2"],
    "nothing.attacker.test": [],
    "garbage.attacker.test": ["not an address"],
    "many.attacker.test": ["93.184.216.34"] * 17,
}


def embeddings(inner: str) -> list[str]:
    """Write an IPv4 address in every way IPv6 can carry one."""
    value = int(IPv4Address(inner))
    high, low = value >> 16, value & 0xFFFF
    forms = [
        value | 0xFFFF << 32,
        value | 0xFFFF << 48,
        value | 0x0064_FF9B << 96,
        value | 0x0064_FF9B_0001 << 80,
        0x0064_FF9B_0001 << 80 | high << 64 | low << 40,
        0x2002 << 112 | value << 80 | 1,
        0x2001_0000 << 96 | value << 64 | 0xFFFF_FFFF,
        0x2001_0000 << 96 | 0x0808_0808 << 64 | value ^ 0xFFFF_FFFF,
        0x2606_4700 << 96 | 0x5EFE << 32 | value,
        0x2606_4700 << 96 | 0x0200_5EFE << 32 | value,
    ]
    return [str(IPv6Address(form)) for form in forms]


EMBEDDED = [form for inner in FORBIDDEN_V4 for form in embeddings(inner)]
TARGETS = (*FORBIDDEN_V4, *FORBIDDEN_V6, *SPELLINGS, *HOSTILE_TEXT, *REBINDING, *EMBEDDED)


class Recorder:
    """Every connect() of this process while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.connects: list[Any] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and event == "socket.connect":
            self.connects.append(args[1])


@pytest.fixture(scope="module")
def installed() -> Recorder:
    return Recorder()


@pytest.fixture
def recorder(installed: Recorder) -> Iterator[Recorder]:
    installed.connects.clear()
    installed.on = True
    yield installed
    installed.on = False


class Canary:
    """A listener that must never be called."""

    def __init__(self) -> None:
        self.sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self.sockets[0].getsockname()[1]
        self.sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        for listening in self.sockets:
            listening.setblocking(False)

    def called(self) -> bool:
        for listening in self.sockets:
            try:
                listening.accept()[0].close()
            except BlockingIOError:
                continue
            return True
        return False

    def close(self) -> None:
        for listening in self.sockets:
            listening.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    listening = Canary()
    yield listening
    listening.close()


def resolve(host: str, port: int) -> list[SocketAddress]:
    if host in REBINDING:
        return [(address, port) for address in REBINDING[host]]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(str(entry[4][0]), port) for entry in found]


def probe_of(host: str, port: int, domain: DomainId = ACME) -> ProbeTarget:
    return ProbeTarget(domain=domain, host=host, port=port, protocol=ProbeProtocol.HTTP)


def test_there_are_at_least_200_different_targets() -> None:
    assert len(set(TARGETS)) >= 200


@pytest.mark.parametrize("grants", [(), WIDE], ids=["no_grants", "widest_grants"])
async def test_no_forbidden_target_is_ever_connected_to(
    recorder: Recorder, canary: Canary, grants: tuple[Grant, ...]
) -> None:
    egress = Egress(Policy(grants), ManualClock(), resolve=resolve)
    probes = Probes(egress)
    unasked = {ProbeResult.NOT_GRANTED, ProbeResult.UNRESOLVED}
    for host in dict.fromkeys(TARGETS):
        outcome = await probes.probe(probe_of(host, canary.port))
        assert outcome.result in unasked, host
        assert recorder.connects == [], host
    assert not canary.called()
    assert egress.opened == 0
    egress.close()


async def test_the_recorder_and_the_canary_see_a_connection_that_is_granted(recorder: Recorder, canary: Canary) -> None:
    egress = Egress(Policy(LOOPBACK_GRANTS), ManualClock())
    (await egress.connect(ACME, "127.0.0.1", canary.port)).close()
    assert recorder.connects == [("127.0.0.1", canary.port)]
    assert canary.called()


async def test_a_granted_private_address_works_for_its_tenant_port_and_purpose_only(recorder: Recorder) -> None:
    """A private address of this machine stands for the granted network."""
    private = next((a for a in machine_addresses() if a.startswith(("10.", "172.", "192.168.", "fd"))), None)
    address = private or "127.0.0.1"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listening:
        port = listening.getsockname()[1]
        bits = 128 if ":" in address else 32
        grant = Grant(network=f"{address}/{bits}", tenant="acme", ports=((port, port),))
        egress = Egress(Policy([grant]), ManualClock())
        (await egress.connect(ACME, address, port)).close()
        assert len(recorder.connects) == 1
        for domain, asked, purpose in (
            (OTHER, port, Purpose.PROBE),
            (ACME, port - 1, Purpose.PROBE),
            (ACME, port, Purpose.WEBHOOK),
        ):
            with pytest.raises(Refused):
                await egress.connect(domain, address, asked, purpose=purpose)
        assert len(recorder.connects) == 1


@pytest.mark.parametrize(
    ("address", "port", "domain", "refusal"),
    [
        ("10.1.2.3", 8080, ACME, None),
        ("10.1.2.3", 8080, OTHER, Refusal.PRIVATE),
        ("10.1.2.3", 22, ACME, Refusal.PRIVATE),
        ("10.2.2.3", 8080, ACME, Refusal.PRIVATE),
        ("::ffff:10.1.2.3", 8080, ACME, None),
        ("64:ff9b::a01:203", 8080, ACME, None),
        ("64:ff9b::a02:203", 8080, ACME, Refusal.PRIVATE),
        ("fd12::1", 80, ACME, None),
        ("fd12::1", 80, OTHER, Refusal.PRIVATE),
        ("93.184.216.34", 443, OTHER, None),
        ("2606:4700::1111", 443, OTHER, None),
        ("93.184.216.34", 0, OTHER, Refusal.PORT),
        ("93.184.216.34", 65_536, OTHER, Refusal.PORT),
        ("169.254.169.254", 80, ACME, Refusal.METADATA),
        ("127.0.0.1", 80, ACME, Refusal.LOOPBACK),
    ],
)
def test_a_grant_opens_exactly_what_it_names(
    address: str, port: int, domain: DomainId, refusal: Refusal | None
) -> None:
    assert Policy(WIDE).classify(address, port, domain) is refusal
    may = Egress(Policy(WIDE), ManualClock()).may_be_granted(domain, address, port)
    assert may == (refusal is None)


def test_without_grants_the_public_internet_is_closed_too() -> None:
    assert Policy().classify("93.184.216.34", 443, ACME) is Refusal.NOT_GRANTED


@pytest.mark.parametrize(
    "network", ["169.254.0.0/16", "169.254.169.254/32", "100.64.0.0/10", "fe80::/10", "224.0.0.0/4"]
)
def test_a_grant_for_a_closed_network_opens_nothing(network: str) -> None:
    address = network.partition("/")[0].replace("fe80::", "fe80::1")
    assert Policy([Grant(network=network)]).classify(address, 80, ACME) is not None


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::"])
def test_the_hubs_own_listeners_are_closed_even_where_loopback_is_granted(bound: str) -> None:
    policy = Policy(LOOPBACK_GRANTS, own_listeners=[(bound, 7000)], own_addresses=["10.9.9.9"])
    assert policy.classify("127.0.0.1", 7000, ACME) is Refusal.OWN_LISTENER
    assert policy.classify("::ffff:127.0.0.1", 7000, ACME) is Refusal.OWN_LISTENER
    assert policy.classify("127.0.0.1", 7001, ACME) is None


def test_a_listener_on_every_address_closes_the_machines_other_addresses() -> None:
    grants = [*LOOPBACK_GRANTS, Grant(network="10.0.0.0/8")]
    policy = Policy(grants, own_listeners=[("0.0.0.0", 7000)], own_addresses=["10.9.9.9"])
    assert policy.classify("127.0.0.5", 7000, ACME) is Refusal.OWN_LISTENER
    assert policy.classify("10.9.9.9", 7000, ACME) is Refusal.OWN_LISTENER
    assert policy.classify("10.9.9.8", 7000, ACME) is None


@pytest.mark.parametrize("inner", ["8.8.8.8", "10.1.2.3", "169.254.169.254"])
def test_every_embedding_is_decoded(inner: str) -> None:
    for form in embeddings(inner):
        carried, _ = embedded(IPv6Address(form))
        assert IPv4Address(inner) in carried, form


def test_only_the_canonical_spelling_counts_as_an_address() -> None:
    assert is_address("127.0.0.1")
    assert is_address("::1")
    for text in SPELLINGS:
        assert not is_address(text), text


async def test_a_name_is_resolved_once_and_the_connection_goes_to_the_address_that_was_judged(
    recorder: Recorder, canary: Canary
) -> None:
    asked: list[str] = []

    def turning(host: str, port: int) -> list[SocketAddress]:
        asked.append(host)
        return [("127.0.0.1" if len(asked) == 1 else "169.254.169.254", port)]

    clock = ManualClock()
    egress = Egress(Policy(LOOPBACK_GRANTS), clock, resolve=turning)
    (await egress.connect(ACME, "turning.test", canary.port)).close()
    assert asked == ["turning.test"]
    assert recorder.connects == [("127.0.0.1", canary.port)]
    clock.advance(6_000)
    with pytest.raises(Refused) as refused:
        await egress.connect(ACME, "turning.test", canary.port)
    assert refused.value.refusal is Refusal.METADATA
    assert len(recorder.connects) == 1


async def test_a_domain_reaches_only_so_many_distinct_targets_an_hour(canary: Canary) -> None:
    clock = ManualClock()
    egress = Egress(Policy(LOOPBACK_GRANTS), clock, distinct_targets_per_hour=2)
    for _ in range(3):
        (await egress.connect(ACME, "127.0.0.1", canary.port)).close()
    (await egress.connect(ACME, "127.0.0.1", canary.port)).close()
    (await egress.connect(ACME, "::1", canary.port)).close()
    with pytest.raises(Refused) as refused:
        await egress.connect(ACME, "127.0.0.2", canary.port)
    assert refused.value.refusal is Refusal.OVER_BUDGET
    (await egress.connect(OTHER, "127.0.0.1", canary.port)).close()
    clock.advance(2 * 3_600_000)
    with pytest.raises(ConnectionRefusedError):
        await egress.connect(ACME, "127.0.0.2", canary.port)


async def test_a_resolver_that_hangs_holds_nobody_longer_than_its_timeout() -> None:
    def hanging(host: str, port: int) -> list[SocketAddress]:
        import time

        time.sleep(1.5)
        return [("127.0.0.1", port)]

    egress = Egress(Policy(LOOPBACK_GRANTS), ManualClock(), resolve=hanging)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(Refused) as refused:
        await egress.connect(ACME, "slow.test", 80)
    assert refused.value.refusal is Refusal.UNRESOLVED
    assert loop.time() - started < 1.4
    egress.close()


def test_proxies_from_the_environment_are_not_looked_at(monkeypatch: pytest.MonkeyPatch, canary: Canary) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        asyncio.run(_connect_and_close(port))
    assert not canary.called()


async def _connect_and_close(port: int) -> None:
    (await Egress(Policy(LOOPBACK_GRANTS), ManualClock()).connect(ACME, "127.0.0.1", port)).close()


def test_grants_are_read_from_text() -> None:
    assert parse_grants("10.0.0.0/8, acme@10.1.0.0/16=80+8000-8999,") == (
        Grant(network="10.0.0.0/8"),
        Grant(network="10.1.0.0/16", tenant="acme", ports=((80, 80), (8000, 8999))),
    )
    assert parse_grants("fd12::/16=80") == (Grant(network="fd12::/16", ports=((80, 80),)),)


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "nonsense", "10.0.0.0/8=", "10.0.0.0/8=90-80", "10.0.0.0/8=70000", "=80"]
)
def test_a_grant_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(HubError) as refused:
        parse_grants(text)
    assert refused.value.code == "invalid_grant"
