"""The catalogue of attacks over raw sockets, by what they abuse."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace

from tests.security.raw_requests import Attack, body, request

READ = frozenset({200, 204, 304})
SLOW_PAUSE_S = 0.9
SLOW_PIECES = 16
FLOOD = 400
CLOSE = b"connection: close\r\n"
KEPT_PAUSE_S = 0.5

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(189)


def attacks(key: str) -> list[Attack]:
    """Return every attack, with a valid key in it."""
    every = [*lines(key), *heads(key), *framing(key), *truncated(key), *slow(key), *bodies(key), *floods(key)]
    every += [kept(attack) for attack in every if len(attack.pieces) == 1 and CLOSE in attack.pieces[0]]
    assert len({attack.name for attack in every}) == len(every)
    return every


def kept(attack: Attack) -> Attack:
    """Return the attack on a connection that is to be kept: only there does the lane look at writes."""
    whole = attack.pieces[0].replace(CLOSE, b"")
    return replace(
        attack, count=None, name=attack.name + ", kept", pieces=(whole,), pause_s=KEPT_PAUSE_S, half_close=True
    )


def lines(key: str) -> Iterator[Attack]:
    """Request lines."""
    good = body()
    for name, line in {
        "no version": b"POST /services/register",
        "no target": b"POST HTTP/1.1",
        "tab for space": b"POST\t/services/register\tHTTP/1.1",
        "version 9": b"POST /services/register HTTP/9.9",
        "version with tail": b"POST /services/register HTTP/1.1x",
        "unknown method": b"FROB /services/register HTTP/1.1",
        "method in lower case": b"post /services/register HTTP/1.1",
        "method of another protocol": b"MKCOL /services/register HTTP/1.1",
        "connect": b"CONNECT 127.0.0.1:7000 HTTP/1.1",
        "asterisk": b"POST * HTTP/1.1",
        "target without slash": b"POST services/register HTTP/1.1",
        "percent and nothing": b"POST /services/register% HTTP/1.1",
        "percent and no hex": b"POST /services/%zz/instances HTTP/1.1",
        "percent and NUL": b"POST /services/register%00 HTTP/1.1",
        "percent and overlong UTF-8": b"POST /services/%c0%af/instances HTTP/1.1",
        "raw UTF-8": "POST /services/régister HTTP/1.1".encode(),
        "raw NUL": b"POST /services/\x00register HTTP/1.1",
        "backslash": b"POST /services\\register HTTP/1.1",
        "dots": b"POST /services/../services/register HTTP/1.1",
        "encoded dots": b"POST /services/%2e%2e/services/register HTTP/1.1",
        "two slashes": b"POST //services/register HTTP/1.1",
        "long target": b"POST /services/" + b"a" * 9_000 + b" HTTP/1.1",
        "long query": b"POST /services/register?" + b"a=b&" * 2_000 + b" HTTP/1.1",
        "query not understood": b"POST /services/register?tenant_id HTTP/1.1",
        "query with bad percent": b"POST /services/register?tenant_id=%ff%fe HTTP/1.1",
    }.items():
        yield Attack("line: " + name, (request(key, good, line=line),))
    yield Attack("line: NUL bytes", (bytes(64) + b"\r\n\r\n",))
    yield Attack("line: TLS hello", (TLS_HELLO,), half_close=True)
    yield Attack("line: HTTP/2 preface", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),))
    yield Attack("line: endless", (b"A" * 65_536, b"A" * 65_536))
    hot = request(key, line=b"GET /services/discover/nobody HTTP/1.1", framing=b"")
    for name, raw in {
        "NUL in the name": hot.replace(b"nobody", b"no\x00body"),
        "bad percent": hot.replace(b"nobody", b"%zz"),
        "bare newlines": hot.replace(b"\r\n", b"\n"),
        "bare carriage returns": hot.replace(b"\r\n", b"\r"),
        "a body": hot.replace(b"host:", b"content-length: 4\r\nhost:") + b"abcd",
        "chunked and length": hot.replace(b"host:", b"transfer-encoding: chunked\r\ncontent-length: 3\r\nhost:") + b"0",
        "an upgrade": hot.replace(b"host:", b"connection: upgrade\r\nupgrade: h2c\r\nhost:"),
        "garbage behind": hot + b"\x00\xff garbage\r\n\r\n",
        "two credentials": hot.replace(b"host:", b"authorization: Bearer chk_x\r\nhost:"),
        "folded credential": hot.replace(b"Bearer ", b"Bearer\r\n "),
        "space before colon": hot.replace(b"host:", b"host :"),
    }.items():
        yield Attack("hot line: " + name, (raw,), fine=READ)


def heads(key: str) -> Iterator[Attack]:
    """Header lines."""
    good = body()
    for name, line in {
        "space before colon": b"x-tenant-id : acme",
        "no colon": b"x-tenant-id acme",
        "no name": b": acme",
        "folded": b"x-tenant-id: acme\r\n globex",
        "NUL": b"x-tenant-id: ac\x00me",
        "bare carriage return": b"x-tenant-id: acme\rx-user-id: root",
        "not ASCII": "x-tenant-id: ácme".encode(),
        "name not ASCII": "x-ténant: acme".encode(),
        "name in brackets": b"(x): y",
        "underscore": b"x_tenant_id: acme",
        "tenant twice": b"x-tenant-id: acme\r\nx-tenant-id: globex",
        "tenant twice alike": b"x-tenant-id: acme\r\nX-Tenant-Id: acme",
        "tenant in two names": b"x-tenant-id: acme\r\nx-company-id: globex",
        "tenants in one line": b"x-tenant-id: acme, globex",
        "credential twice": b"authorization: Bearer chk_other",
        "host twice": b"host: localhost",
        "correlation too long": b"x-correlation-id: " + b"a" * 65,
        "deep requirements": b"x-resource-requirements: " + b"[" * 200 + b"]" * 200,
        "requirements not JSON": b"x-resource-requirements: {NaN}",
        "idempotency key twice": b"idempotency-key: a\r\nidempotency-key: b",
        "many": b"\r\n".join(b"x-%d: y" % number for number in range(150)),
        "long": b"x-long: " + b"a" * 200_000,
    }.items():
        yield Attack("head: " + name, (request(key, good, headers=(line,)),))
    endless = [b"x-%d: %s\r\n" % (number, b"a" * 1_000) for number in range(300)]
    yield Attack("head: endless", (b"POST /services/register HTTP/1.1\r\n", *endless))
    yield Attack("head: other media type", (request(key, good).replace(b"application/json", b"text/plain"),))
    yield Attack("head: form", (request(key, good).replace(b"json", b"x-www-form-urlencoded"),))


def framing(key: str) -> Iterator[Attack]:
    """Where a body ends: everything two readers could see differently."""
    good = body()
    chunk = b"%x\r\n%s\r\n" % (len(good), good)
    whole = chunk + b"0\r\n\r\n"
    for name, (line, content) in {
        "length and chunked": (b"content-length: 4\r\ntransfer-encoding: chunked", whole),
        "chunked and length": (b"transfer-encoding: chunked\r\ncontent-length: 4", whole),
        "two lengths": (b"content-length: 3\r\ncontent-length: %d" % len(good), good),
        "lengths in one line": (b"content-length: %d, %d" % (len(good), len(good)), good),
        "negative length": (b"content-length: -1", good),
        "signed length": (b"content-length: +%d" % len(good), good),
        "hexadecimal length": (b"content-length: 0x%x" % len(good), good),
        "length of words": (b"content-length: many", good),
        "length with a gap": (b"content-length: 1 2", good),
        "empty length": (b"content-length:", good),
        "length past 64 bits": (b"content-length: 99999999999999999999", good),
        "length past every limit": (b"content-length: 1000000000000", good),
        "unknown coding": (b"transfer-encoding: xchunked", whole),
        "identity coding": (b"transfer-encoding: identity", good),
        "chunked not last": (b"transfer-encoding: chunked, gzip", whole),
        "coding after a control character": (b"transfer-encoding: \x0bchunked", whole),
        "chunk size of words": (b"transfer-encoding: chunked", b"zz\r\n" + good),
        "chunk size past 64 bits": (b"transfer-encoding: chunked", b"F" * 17 + b"\r\n" + good),
        "negative chunk size": (b"transfer-encoding: chunked", b"-1\r\n" + good),
        "chunk without end": (b"transfer-encoding: chunked", chunk[:-2] + b"xx0\r\n\r\n"),
        "chunk size in hexadecimal prefix": (b"transfer-encoding: chunked", b"0x" + whole),
    }.items():
        yield Attack("framing: " + name, (request(key, content, framing=line),))
    chunks = [b"8000\r\n" + b" " * 32_768 + b"\r\n"] * 64
    yield Attack(
        "framing: chunks past the limit",
        (request(key, framing=b"transfer-encoding: chunked"), *chunks),
    )
    hidden = request(key, good)
    yield Attack(
        "framing: a request in the body of a bad one",
        (request(key, hidden, line=b"PATCH /services/register HTTP/1.1", framing=b"content-length: 0x5"),),
    )
    yield Attack(
        "framing: expects to go on, too large",
        (request(key, framing=b"content-length: 9000000\r\nexpect: 100-continue"),),
    )


def truncated(key: str) -> Iterator[Attack]:
    """Requests that stop in the middle."""
    whole = request(key, body())
    head = whole.index(b"\r\n\r\n") + 4
    for name, at in {
        "line": 10,
        "head": head - 20,
        "end of head": head - 2,
        "body": head + 20,
        "last byte": -1,
    }.items():
        yield Attack(f"truncated: {name}, hung up", (whole[:at],), hang_up=True)
        yield Attack(f"truncated: {name}, half closed", (whole[:at],), half_close=True)
    yield Attack("truncated: head, then nothing", (whole[: head - 20],))
    yield Attack("truncated: body, then nothing", (whole[: head + 20],))
    tenant = request(key, b'{"id": "intruder", "name": "i", "tier": "pro"}', line=b"POST /tenants HTTP/1.1")
    yield Attack("truncated: a tenant, hung up", (tenant[:-5],), hang_up=True)
    yield Attack("truncated: a tenant, half closed", (tenant[:-5],), half_close=True)
    chunked = request(key, b"%x\r\n" % len(body()) + body()[:30], framing=b"transfer-encoding: chunked")
    yield Attack("truncated: chunk, half closed", (chunked,), half_close=True)


def slow(key: str) -> Iterator[Attack]:
    """Requests that take their time: each would be whole after the hub's patience has ended."""
    whole = request(key, body())
    head = whole.index(b"\r\n\r\n") + 4
    step = head // (SLOW_PIECES - 1)
    yield Attack(
        "slow: head", (*(whole[at : at + step] for at in range(0, head, step)), whole[head:]),
        pause_s=SLOW_PAUSE_S,
    )  # fmt: skip
    step = len(body()) // (SLOW_PIECES - 1)
    yield Attack(
        "slow: body", (whole[:head], *(whole[at : at + step] for at in range(head, len(whole), step))),
        pause_s=SLOW_PAUSE_S,
    )  # fmt: skip


def bodies(key: str) -> Iterator[Attack]:
    """Bodies that are no registration."""
    good = body()
    for name, content in {
        "nothing": b"",
        "null": b"null",
        "an array": b"[" + good + b"]",
        "a string": b'"intruder"',
        "two documents": good + good,
        "something behind": good + b"x",
        "cut short": good[:-1],
        "not JSON": b"name=intruder",
        "comment": b"/* */" + good,
        "single quotes": good.replace(b'"', b"'"),
        "byte order mark": b"\xef\xbb\xbf" + good,
        "UTF-16": good.decode().encode("utf-16"),
        "compressed": gzip.compress(good),
        "invalid UTF-8 in a value": good.replace(b"intruder", b"intr\xff\xfeder"),
        "invalid UTF-8 in a key": good.replace(b'"port"', b'"po\xc3\x28rt"'),
        "overlong UTF-8": good.replace(b"intruder", b"intr\xc0\xafder"),
        "lone surrogate": good.replace(b"intruder", rb"\ud800"),
        "NUL": good.replace(b"intruder", b"in\x00truder"),
        "escaped NUL": good.replace(b"intruder", rb"in\u0000truder"),
        "NUL in metadata key": body(metadata={"a": 1}).replace(b'"a"', b'"a\x00"'),
        "NaN": good.replace(b"666,", b"NaN,"),
        "Infinity": good.replace(b'"lease_ttl_s": 60', b'"lease_ttl_s": Infinity'),
        "1e400 for a port": good.replace(b"666,", b"1e400,"),
        "1e400 for a lease": good.replace(b'"lease_ttl_s": 60', b'"lease_ttl_s": 1e400'),
        "1e400 in metadata": body(metadata={"a": 1}).replace(b'"a": 1', b'"a": 1e400'),
        "a number of 5,000 digits": good.replace(b"666,", b"9" * 5_000 + b","),
        "a number of 5,000 digits in metadata": body(metadata={"a": 1}).replace(b'"a": 1', b'"a": ' + b"9" * 5_000),
        "past 64 bits in metadata": body(metadata={"a": 2**64}),
        "negative port": body(port=-1),
        "half a port": body(port=80.5),
        "port as text": body(port="80"),
        "unknown field": body(prot="http"),
        "name in another script": body(name="intrudеr"),
        "reserved name": body(name="discover"),
        "path in the name": body(name="../intruder"),
        "address with credentials": body(host="root@10.6.6.6"),
        "address in octal": body(host="0251.0376.0251.0376"),
        "deep arrays": b'{"metadata": ' + b"[" * 100_00 + b"]" * 100_00 + b"}",
        "deep objects": b'{"metadata": ' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}",
        "deep and not closed": b"[" * 60_000,
        "deep metadata": body(metadata={"a": {"b": {"c": {"d": {"e": 1}}}}}),
        "metadata of many keys": body(metadata={f"k{number}": 1 for number in range(100)}),
        "metadata too large": body(metadata={"a": "x" * 5_000}),
        "many tags": body(tags=[f"t{number}" for number in range(1_000)]),
        "body too large": body(metadata={"a": "x" * 70_000}),
        "tenants that differ": body(tenant_id="Nobody/../acme"),
    }.items():
        yield Attack("body: " + name, (request(key, content),))


def floods(key: str) -> Iterator[Attack]:
    """Many requests at once, on one connection."""
    command = request(key, body(port=0), close=False)
    bad = command * FLOOD + request(key, body(port=0))
    yield Attack("flood: behind a command", (command, bad), pause_s=0.001, count=FLOOD + 2)
    every = (*[command] * FLOOD, request(key, body(port=0)))
    yield Attack("flood: command after command", every, pause_s=0.0005, count=FLOOD + 1)
    yield Attack("flood: garbage behind a command", (command, b"\x00" * 300_000), pause_s=0.001)
    yield Attack("flood: behind a command, hung up", (command, bad), pause_s=0.001, hang_up=True)
    read = request(key, line=b"GET /services/discover/nobody HTTP/1.1", framing=b"", close=False) * FLOOD
    yield Attack("flood: bad writes", (bad,), count=FLOOD + 1)
    yield Attack("flood: reads, then a bad write", (read + request(key, body(port=0)),), fine=READ, count=FLOOD + 1)
    yield Attack("flood: reads, then garbage", (read + b"\x00" * 100 + b"\r\n\r\n",), fine=READ)
    yield Attack("flood: reads, half closed", (read,), half_close=True, fine=READ)
    yield Attack("flood: nobody reads the answers", (read,), hang_up=True, fine=READ)
