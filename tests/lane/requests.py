"""Generated requests: mostly plain hot GETs, each with a chance to be odd in every way we know."""

from __future__ import annotations

import random

NAMES = ["risk", "risk", "risk", "own", "gold", "missing", "a", "risk2", "RISK", "ri%73k", "shared", "x" * 63, "x" * 64]
AUTH = ["chk_acme_1"] * 6 + ["chk_free_1", "chk_blind_1", "chk_short_1", "chk_busy_1", "chk_none_1"]

ODD_LINES = [
    b"X-Tenant-Id: globex", b"x-tenant-id: acme", b"x_tenant_id: acme", b"X-Tenant_Id: acme", b"x-company-id: acme",
    b"x-company-id: globex", b"x-subscription-tier: enterprise", b"x-subscription-tier: pro", b"x-user-id: u1",
    b"x-user-id: a,b", b"x-tenant-id: acme\xa0", b"x-tenant-id:", b"x-tenant-id: ", b"x-tenant-id:acme",
    b"x-tenant-id:  acme", b"x-tenant-id: acme ", b"x-tenant-id: acme\t", b"x-tenant-id: " + b"a" * 65,
    b"x-tenant-id: acme\r\n x", b"X-Correlation-Id: c-1",
    b"x-correlation-id: bad id", b"x-correlation-id: " + b"c" * 65,
    b"traceparent: 00-1-2-01", b"X-Service-Name: billing", b"x-service-name: b c", b"Connection: close",
    b"Connection: keep-alive", b"Connection: Keep-Alive", b"Connection: keep-alive, close", b"Connection: upgrade",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", b"Upgrade: h2c",
    b"Connection: Upgrade\r\nUpgrade: websocket", b"TE: trailers", b"Expect: 100-continue", b"Expect: 200-ok",
    b"Cookie: a=b", b"If-None-Match: W/\"shared.0\"", b"If-None-Match: *", b"Authorization: Bearer chk_free_1",
    b"authorization: Bearer chk_acme_1", b"Authorization: bearer chk_acme_1", b"Authorization: Basic YTpi",
    b"Host: other", b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: -1", b"Content-Length: 0x5", b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"Transfer-Encoding : chunked", b"X: \x00",
    b"X: \x01", b"X: \xff",
    b" leading: space", b"no colon", b": empty", b"a b: c", b"X-Long: " + b"v" * 5000, b"Forwarded: for=1",
    b"X-Forwarded-For: 1.2.3.4", b"Accept: */*",
    b"accept-encoding: gzip, deflate", b"x-resource-requirements: {\"a\":1}",
    b"x-resource-requirements: {", b"User-Agent: " + b"u" * 900, b"Range: bytes=0-1", b"Trailer: X", b"x-api-key: k",
]  # fmt: skip
METHODS = [b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"get", b"CONNECT", b"TRACE", b"G ET", b"GET ", b"PRI", b""]
VERSIONS = [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"http/1.1", b"HTTP/1.1 ", b"HTTP/1.2", b"", b"HTP/1.1"]
TARGETS = [
    "/services/discover/{}?", "/services/discover/{}?explain=1", "/services/discover/{}?tenant_id=acme",
    "/services/discover/{}?tenant_id=globex", "/services/discover/{}#f", "/services/discover/{}/",
    "//services/discover/{}", "/services//discover/{}", "http://h/services/discover/{}", "/services/discover/{}%00",
    "/services/discover/{}%2f", "/services/discover/{};a=1", "/services/discover/../discover/{}", "/services/discover/",
    "/services/discover", "/SERVICES/discover/{}", "*", "services/discover/{}", "/services/discover/{}?a=%zz",
    "/services/discover/\u00e9{}", "/services/discover/{}\t", "/slow", "/end", "/nope", "/services/register",
    "/services/discover/{}??", "/services/discover/{}?#", "/watch/x",
]  # fmt: skip


BEATS = [
    b"", b"{}", b'{"in_flight":3}', b'{"in_flight":3,"load":0.5,"latency_ms_p95":12.5,"acked_seq":4}', b'{"load":-1}',
    b'{"load":NaN}', b'{"load":1e400}', b'{"in_flght":3}', b'{"in_flight":3,"in_flight":4}', b"[]", b"null", b"nul",
    b'{"load":0.5', b" {} ", b"\xef\xbb\xbf{}", b"\xff", b"[" * 40 + b"]" * 40,
]  # fmt: skip
BEAT_LINES = [
    b"Content-Type: application/json; charset=utf-8", b"Content-Type: text/plain", b"content-type: application/JSON",
    b"Content-Encoding: gzip", b"Content-Length: 3", b"Content-Length: 0", b"Content-Length: 00",
    b"Expect: 100-continue",
    b"Transfer-Encoding: chunked", b"Idempotency-Key: k", b"Content-Length: +2", b"If-None-Match: *",
]  # fmt: skip


def heartbeat(rng: random.Random) -> bytes:
    """Return the bytes of one heartbeat, mostly as the lane takes it."""
    odd = rng.random() < 0.4
    service = rng.choice(["own", "own", "risk2", "risk", "missing", "ri%73k"] if odd else ["own", "risk2"])
    instance_id = (
        f"{service}-{rng.randrange(3)}" if rng.random() < 0.95 else rng.choice(["", "a b", "x" * 129, "%6fwn-0"])
    )
    body = rng.choice(BEATS if odd else BEATS[:4])
    lines = [b"Host: hub:7000", b"Authorization: Bearer " + rng.choice(AUTH if odd else AUTH[:1]).encode()]
    if body or rng.random() < 0.5:
        lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    if rng.random() < 0.2:
        lines.append(b"X-Correlation-Id: c-%d" % rng.randrange(99))
    if odd:
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(BEAT_LINES + ODD_LINES))
        if rng.random() < 0.1:
            lines.pop(rng.randrange(len(lines)))
        if rng.random() < 0.1:
            body += rng.choice([b" ", b"GET / HTTP/1.1\r\n\r\n", b"\r\n"])
    target = f"/services/{service}/instances/{instance_id}/heartbeat" + (
        rng.choice(["", "?", "?a=1", "/"]) if odd else ""
    )
    return b"\r\n".join([b"PUT " + target.encode() + b" HTTP/1.1", *lines, b"", b""]) + body


REGISTRATIONS = [
    b'{"name":"own","instance_id":"own-%d","host":"10.0.0.1","port":80,"lease_ttl_s":60}',
    b'{"name":"risk2","instance_id":"new-%d","host":"10.0.0.%d","port":80,"lease_ttl_s":60,"version":"1"}',
    b'{"name":"own","host":"10.0.0.1","port":8%d}',
    b'{"name":"own","instance_id":"own-%d","host":"10.0.0.1","port":80,"tenant_id":"acme"}',
    b'{"name":"own","instance_id":"own-%d","host":"10.0.0.1","port":80,"tenant_id":"globex"}',
    b'{"name":"own","instance_id":"own-%d","host":"10.0.0.1","port":80,"shared":true}', b'{"name":"OWN%d"}', b"[%d]",
    b'{"name":"own","host":"10.0.0.1","port":0,"instance_id":"%d"}', b'{"nme":%d}', b"%d" + b"[" * 40,
]  # fmt: skip


def registration(rng: random.Random) -> bytes:
    """Return the bytes of one registration, mostly as the lane begins it."""
    odd = rng.random() < 0.4
    pattern = rng.choice(REGISTRATIONS if odd else REGISTRATIONS[:2])
    body = pattern.replace(b"%d", b"%d" % rng.randrange(6))
    lines = [b"Host: hub:7000", b"Authorization: Bearer " + rng.choice(AUTH if odd else AUTH[:1]).encode()]
    lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    if rng.random() < 0.2:
        lines.append(b"X-Correlation-Id: c-%d" % rng.randrange(99))
    if odd:
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(BEAT_LINES + ODD_LINES))
        if rng.random() < 0.1:
            lines.pop(rng.randrange(len(lines)))
    return b"\r\n".join([b"POST /services/register HTTP/1.1", *lines, b"", b""]) + body


def request(rng: random.Random) -> bytes:
    """Return the bytes of one request; about half are exactly what the lane answers."""
    dice = rng.random()
    if dice < 0.3:
        return heartbeat(rng) if dice < 0.15 else registration(rng)
    odd = rng.random() < 0.5
    name = rng.choice(NAMES if odd or rng.random() < 0.2 else NAMES[:4])
    method, target, version, ending = b"GET", f"/services/discover/{name}", b"HTTP/1.1", b"\r\n"
    lines = [b"Host: hub:7000", b"User-Agent: sdk/1", b"Authorization: Bearer " + rng.choice(AUTH).encode()]
    body = b""
    if rng.random() < 0.15:
        lines.append(
            rng.choice(
                [b"X-Service-Name: billing", b"X-Tenant-Id: acme", b"X-Correlation-Id: c-%d" % rng.randrange(99)]
            )
        )
    if rng.random() < 0.3:
        lines.append(rng.choice([b"Accept: */*", b"Connection: keep-alive", b"Accept-Encoding: gzip"]))
    if odd:
        for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(ODD_LINES))
        if rng.random() < 0.15:
            method = rng.choice(METHODS)
        if rng.random() < 0.2:
            target = rng.choice(TARGETS).format(name)
        if rng.random() < 0.1:
            version = rng.choice(VERSIONS)
        if rng.random() < 0.05:
            ending = b"\n"
        if rng.random() < 0.05:
            lines.pop(rng.randrange(len(lines)))
        if rng.random() < 0.1:
            lines = [line.upper() if rng.random() < 0.3 else line.lower() for line in lines]
        if rng.random() < 0.1:
            method, target = b"POST", "/services/register"
            body = rng.choice([b'{"name":"x"}', b'{"nme":"x"}', b"", b"x" * 100])
            lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
        elif any(b"ontent-" in line or b"ransfer-" in line for line in lines):
            body = rng.choice(
                [
                    b"",
                    b"hello",
                    b"5\r\nhello\r\n0\r\n\r\n",
                    b"0\r\n\r\n",
                    b"GET /services/discover/risk HTTP/1.1\r\n\r\n",
                ]
            )
    head = ending.join([b" ".join([method, target.encode("latin-1", "replace"), version]), *lines, b"", b""])
    return head + body


def script(rng: random.Random) -> list[tuple[bytes, bool]]:
    """Return what one connection sends: chunks, each with whether the client waits for answers after it."""
    requests = [request(rng) for _ in range(rng.choice([1, 1, 2, 3, 5]))]
    if rng.random() < 0.05:
        requests.insert(
            rng.randrange(len(requests) + 1), rng.choice([b"\r\n", b"\r\n\r\n", b"\n", b"\x00", b"\x16\x03\x01\x00"])
        )
    how = rng.random()
    if how < 0.5:
        chunks = requests
    elif how < 0.7:
        chunks = [b"".join(requests)]
    else:
        whole = b"".join(requests)
        if len(whole) > 400 and how > 0.97:
            cuts = list(range(1, len(whole), rng.choice([1, 2, 7])))
        else:
            cuts = (
                sorted({rng.randrange(1, len(whole)) for _ in range(rng.choice([1, 2, 4]))}) if len(whole) > 1 else []
            )
        chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    wait = rng.random()
    return [(chunk, rng.random() < wait) for chunk in chunks if chunk]
