"""What the hub may connect to and on whose behalf: classes of addresses, grants, the verdict.

An address is judged as the socket address a resolver returned, never as the text somebody
registered. Nothing is reachable without a grant; some addresses no grant can open.

Source: OWASP API7:2023, Smokescreen's address classification, RFC 6890 and the IANA special-purpose registries.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from contextlib import suppress
from enum import StrEnum
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import DomainId

ADDRESSES_KEPT: Final = 8_192
ANY_TENANT: Final = "*"
PORT_MAX: Final = 65_535

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Purpose(StrEnum):
    """What a connection is for."""

    PROBE = "probe"
    WEBHOOK = "webhook"
    JWKS = "jwks"
    KEYS = "keys"


class Refusal(StrEnum):
    """Why a connection is not opened; for the operator, never shown to who registered the address."""

    METADATA = "metadata"
    LINK_LOCAL = "link_local"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    BROADCAST = "broadcast"
    CARRIER_NAT = "carrier_nat"
    RESERVED = "reserved"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    OWN_LISTENER = "own_listener"
    NOT_GRANTED = "not_granted"
    PORT = "port"
    UNRESOLVED = "unresolved"
    OVER_BUDGET = "over_budget"


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """An operator's leave to reach a network.

    A network that holds private or loopback addresses opens those only if it lies wholly within
    them: `0.0.0.0/0` opens the public internet and nothing else.
    """

    network: str
    tenant: str = ANY_TENANT
    ports: tuple[tuple[int, int], ...] = ((1, PORT_MAX),)
    purposes: frozenset[Purpose] = frozenset({Purpose.PROBE})


LOOPBACK_GRANTS: Final = (Grant(network="127.0.0.0/8"), Grant(network="::1/128"))
"""What open mode and the demo add."""

LOOPBACK_WEBHOOKS: Final = "127.0.0.0/8,::1/128"
"""What open mode adds for webhooks."""

_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fd00:42::42",
    )
)  # fmt: skip


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


_PRIVATE: Final = _networks("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_LOOPBACK: Final = _networks("127.0.0.0/8", "::1/128")

# In order: the first that holds an address names the refusal. No grant opens any of them.
_CLOSED: Final[tuple[tuple[Refusal, tuple[Network, ...]], ...]] = (
    (Refusal.UNSPECIFIED, _networks("0.0.0.0/8", "::/128")),
    (Refusal.BROADCAST, _networks("255.255.255.255/32")),
    (Refusal.LINK_LOCAL, _networks("169.254.0.0/16", "fe80::/10", "fec0::/10")),
    (Refusal.MULTICAST, _networks("224.0.0.0/4", "ff00::/8")),
    (Refusal.CARRIER_NAT, _networks("100.64.0.0/10")),
    (
        Refusal.RESERVED,
        _networks(
            "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24",
            "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
            "100::/64", "2001:db8::/32", "3fff::/20", "5f00::/16", "2620:4f:8000::/48",
        ),
    ),
)  # fmt: skip

_GLOBAL_V6: Final = ip_network("2000::/3")
_MAPPED: Final = ip_network("::ffff:0:0/96")
_TRANSLATED: Final = ip_network("::ffff:0:0:0/96")
_COMPATIBLE: Final = ip_network("::/96")
_NAT64: Final = ip_network("64:ff9b::/96")
_NAT64_LOCAL: Final = ip_network("64:ff9b:1::/48")
_SIX_TO_FOUR: Final = ip_network("2002::/16")
_TEREDO: Final = ip_network("2001::/32")
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)
_LOW_32: Final = 0xFFFF_FFFF


def embedded(address: IPv6Address) -> tuple[tuple[IPv4Address, ...], bool]:
    """Decode the IPv4 addresses an IPv6 address carries.

    Returns:
        The addresses, and whether they stand for it entirely (a translator sends the packet there).

    Source: RFC 4291 2.5.5, RFC 6052, RFC 8215, RFC 3056, RFC 4380, RFC 5214, RFC 7915.
    """
    value = int(address)
    low = IPv4Address(value & _LOW_32)
    if address in _MAPPED or address in _TRANSLATED or address in _NAT64:
        return (low,), True
    if address in _NAT64_LOCAL:
        # The prefix may be used as /48 (bits 48-63 and 72-87 carry the address) or longer, down to /96.
        split_48 = (value >> 64 & 0xFFFF) << 16 | value >> 40 & 0xFFFF
        split_56 = (value >> 64 & 0xFF) << 24 | value >> 32 & 0xFF_FFFF
        whole_64 = value >> 24 & _LOW_32
        return (low, IPv4Address(split_48), IPv4Address(split_56), IPv4Address(whole_64)), True
    if address in _COMPATIBLE and value > 1:
        return (low,), False
    if address in _SIX_TO_FOUR:
        return (IPv4Address(value >> 80 & _LOW_32),), False
    if address in _TEREDO:
        return (IPv4Address(value >> 64 & _LOW_32), IPv4Address(value & _LOW_32 ^ _LOW_32)), False
    if value >> 32 & _LOW_32 in _ISATAP:
        return (low,), False
    return (), False


class Policy:
    """What an operator granted, compiled; decides on an address without I/O.

    Args:
        grants: networks that may be reached.
        own_listeners: (address, port) pairs the hub itself listens on; an unspecified address
            means every address of this machine, so the port alone is closed on loopback.
        own_addresses: further addresses of this machine, for listeners on an unspecified address.

    Raises:
        HubError: `invalid_grant` for a network or port range that is none.
    """

    def __init__(
        self,
        grants: Iterable[Grant] = (),
        *,
        own_listeners: Iterable[tuple[str, int]] = (),
        own_addresses: Iterable[str] = (),
    ) -> None:
        self._grants = [(_network(grant), grant) for grant in grants]
        listeners = [(ip_address(host), port) for host, port in own_listeners]
        self._own: frozenset[tuple[Address, int]] = frozenset(listeners)
        self._own_everywhere = frozenset(port for address, port in listeners if address.is_unspecified)
        self._own_addresses = frozenset(ip_address(text) for text in own_addresses)

    def classify(
        self, address: str, port: int, domain: DomainId, *, purpose: Purpose = Purpose.PROBE
    ) -> Refusal | None:
        """Judge a socket address; None means it may be reached.

        Args:
            address: as the resolver returned it, a zone id allowed.
            port: 1 to 65535.
            domain: on whose behalf.
        """
        if not 0 < port <= PORT_MAX:
            return Refusal.PORT
        try:
            parsed = ip_address(address.partition("%")[0])
        except (AddressValueError, ValueError):
            return Refusal.UNRESOLVED
        return self._judge(parsed, port, domain, purpose)

    def covers_port(self, port: int, domain: DomainId, *, purpose: Purpose = Purpose.PROBE) -> bool:
        """Say whether any grant of the domain covers the port, wherever it leads."""
        return any(_applies(grant, port, domain, purpose) for _, grant in self._grants)

    def _judge(self, address: Address, port: int, domain: DomainId, purpose: Purpose) -> Refusal | None:
        if address in _METADATA:
            return Refusal.METADATA
        if isinstance(address, IPv6Address):
            carried, entirely = embedded(address)
            for inner in carried:
                refusal = self._judge(inner, port, domain, purpose)
                if refusal is not None:
                    return refusal
            if carried and entirely:
                return None
        closed = _closed(address)
        if closed is not None:
            return closed
        if (address, port) in self._own or (port in self._own_everywhere and self._is_own(address)):
            return Refusal.OWN_LISTENER
        return self._granted(address, port, domain, purpose)

    def _is_own(self, address: Address) -> bool:
        return _within(address, _LOOPBACK) or address in self._own_addresses

    def _granted(self, address: Address, port: int, domain: DomainId, purpose: Purpose) -> Refusal | None:
        kept, refusal = (
            (_LOOPBACK, Refusal.LOOPBACK)
            if _within(address, _LOOPBACK)
            else (_PRIVATE, Refusal.PRIVATE)
            if _within(address, _PRIVATE)
            else ((), Refusal.NOT_GRANTED)
        )
        for network, grant in self._grants:
            if address.version != network.version or address not in network:
                continue
            if kept and not any(network.version == k.version and network.subnet_of(k) for k in kept):  # pyright: ignore[reportArgumentType]  # same version, as checked
                continue
            if _applies(grant, port, domain, purpose):
                return None
        return refusal


def _applies(grant: Grant, port: int, domain: DomainId, purpose: Purpose) -> bool:
    return (
        (grant.tenant in (ANY_TENANT, domain))
        and purpose in grant.purposes
        and any(low <= port <= high for low, high in grant.ports)
    )


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _closed(address: Address) -> Refusal | None:
    for refusal, networks in _CLOSED:
        if _within(address, networks):
            return refusal
    if isinstance(address, IPv6Address) and not (
        address in _GLOBAL_V6 or _within(address, _PRIVATE) or _within(address, _LOOPBACK)
    ):
        return Refusal.RESERVED
    # 2001::/23 holds protocol assignments (Teredo, ORCHID, benchmarking): nothing there is a service.
    if isinstance(address, IPv6Address) and int(address) >> 105 == 0x2001_0000 >> 9:
        return Refusal.RESERVED
    return None


def _network(grant: Grant) -> Network:
    if not grant.ports or any(not 1 <= low <= high <= PORT_MAX for low, high in grant.ports):
        raise _invalid_grant(f"{grant.network} has a port range that is none")
    try:
        return ip_network(grant.network)
    except ValueError:
        raise _invalid_grant(f"'{grant.network}' is no network") from None


def _invalid_grant(reason: str) -> HubError:
    return HubError(
        "invalid_grant",
        Kind.INVALID,
        f"An egress grant cannot be read: {reason}.",
        next_step="Write [tenant@]network[=port[-port][+port…]], for example 10.0.0.0/8 or acme@10.1.0.0/16=8000-8999.",
    )


def parse_grants(text: str, *, purpose: Purpose = Purpose.PROBE) -> tuple[Grant, ...]:
    """Read a comma-separated list of `[tenant@]network[=port[-port][+port…]]`, granted for one purpose.

    Raises:
        HubError: `invalid_grant`.
    """
    grants: list[Grant] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        tenant, at, rest = entry.rpartition("@")
        network, equals, ports = rest.partition("=")
        grant = Grant(
            network=network,
            tenant=tenant if at else ANY_TENANT,
            ports=_ports(ports, entry) if equals else ((1, PORT_MAX),),
            purposes=frozenset({purpose}),
        )
        _network(grant)
        grants.append(grant)
    return tuple(grants)


def _ports(text: str, entry: str) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for part in text.split("+"):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise _invalid_grant(f"'{entry}' has a port that is none")
        ranges.append((int(low), int(high) if dash else int(low)))
    return tuple(ranges)


@lru_cache(ADDRESSES_KEPT)
def is_address(host: str) -> bool:
    """Say whether a host is an address in the one canonical spelling; every other spelling is the resolver's."""
    try:
        return str(ip_address(host)) == host
    except ValueError:
        return False


def machine_addresses() -> tuple[str, ...]:
    """List this machine's own addresses, for a hub that listens on all of them; blocking, call it at start."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        found = []
    addresses = {str(entry[4][0]).partition("%")[0] for entry in found}
    with suppress(OSError), open("/proc/net/fib_trie", encoding="ascii") as table:
        last = ""
        for line in table:
            word = line.split()
            if word[:1] == ["|--"]:
                last = word[1]
            elif word[:2] == ["/32", "host"] and word[-1] == "LOCAL":
                addresses.add(last)
    with suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as table:
        addresses.update(str(IPv6Address(int(line[:32], 16))) for line in table)
    return tuple(sorted(addresses))
