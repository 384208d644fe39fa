"""The lane's strict reading: what it takes, and that everything else is the parser's business."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.edge.lane import lines
from central_hub.edge.lane.lines import Lines

PLAIN = b"GET /services/discover/risk HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer chk_a_b\r\n\r\n"


def test_a_plain_request_is_read() -> None:
    parsed = Lines().parse(PLAIN)
    assert parsed is not None
    assert (parsed.prefix, parsed.name) == (b"/services/discover/", b"risk")
    assert parsed.headers == [(b"host", b"hub"), (b"authorization", b"Bearer chk_a_b")]
    assert not parsed.volatile


def test_a_correlation_id_is_read_and_kept_out_of_what_is_remembered() -> None:
    parsed = Lines().parse(PLAIN[:-2] + b"X-Correlation-Id: c-1\r\n\r\n")
    assert parsed is not None
    assert parsed.volatile
    assert parsed.correlation_id == b"c-1"
    assert len(parsed.stable) == 2


@pytest.mark.parametrize(
    "packet",
    [
        PLAIN[:-1], PLAIN + b"x", PLAIN * 2, b"\r\n" + PLAIN, PLAIN.replace(b"GET", b"HEAD"),
        PLAIN.replace(b"/1.1", b"/1.0"),
        PLAIN.replace(b"risk", b"risk?"), PLAIN.replace(b"risk", b"ri%73k"), PLAIN.replace(b"risk", b"Risk"),
        PLAIN.replace(b"risk", b"risk#"), PLAIN.replace(b"risk", b"r" * 64), PLAIN.replace(b"Host: hub\r\n", b""),
        PLAIN.replace(b"Host: hub", b"Host: hub\r\nHost: hub"), PLAIN.replace(b"\r\n", b"\n"),
        PLAIN.replace(b"Host: hub", b"Host:hub"), PLAIN.replace(b"Host: hub", b"Host:  hub"),
        PLAIN.replace(b"Host: hub", b"Host: hub "), PLAIN.replace(b"Host: hub", b"Host: hub\t"),
        PLAIN.replace(b"Host: hub", b"Host: h\x00"), PLAIN.replace(b"Host: hub", b"Host: h\xff"),
        PLAIN.replace(b"Host: hub", b"Host: hub\r\n folded"), PLAIN.replace(b"Host: hub", b"Host : hub"),
        PLAIN.replace(b"Bearer", b"bearer"), PLAIN.replace(b"Bearer chk_", b"Bearer eyJ"),
        PLAIN.replace(b"Host: hub", b"Host: " + b"h" * lines.PACKET_BYTES_MAX),
        *[
            PLAIN[:-2] + line + b"\r\n\r\n"
            for line in (
                b"Content-Length: 0", b"Transfer-Encoding: chunked", b"TE: trailers", b"Expect: 100-continue",
                b"Upgrade: h2c", b"Connection: close", b"Connection: upgrade", b"Cookie: a", b"If-None-Match: *",
                b"X-Forwarded-For: 1", b"Forwarded: for=1", b"Via: 1", b"Origin: http://localhost", b"x_tenant_id: a",
                b"X-Unknown: 1", b"authorization: Bearer chk_a_b", b"x-correlation-id: a b", b"x-api-key: k", b"",
            )
        ],
    ],
)  # fmt: skip
def test_everything_else_is_the_parsers_business(packet: bytes) -> None:
    assert Lines().parse(packet) is None


def test_the_memo_is_bounded_and_never_keeps_what_changes() -> None:
    reader = Lines()
    for at in range(lines.LINE_MEMO_MAX + 10):
        assert reader.parse(PLAIN[:-2] + b"User-Agent: a-%d\r\nX-Correlation-Id: c-%d\r\n\r\n" % (at, at)) is not None
    memo = reader._memo  # pyright: ignore[reportPrivateUsage]
    assert len(memo) <= lines.LINE_MEMO_MAX
    assert not any(b"orrelation" in line for line in memo)
    long = PLAIN[:-2] + b"User-Agent: " + b"u" * lines.LINE_MEMO_BYTES_MAX + b"\r\n\r\n"
    assert reader.parse(long) is not None
    assert max(map(len, memo)) <= lines.LINE_MEMO_BYTES_MAX


BEAT = b"PUT /services/risk/instances/i-1/heartbeat HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("lines", "body", "taken"),
    [
        (b"Host: hub", b"", True),
        (b"Host: hub\r\nContent-Length: 0", b"", True),
        (b"Host: hub\r\nContent-Type: application/json\r\nContent-Length: 2", b"{}", True),
        (b"Host: hub\r\nContent-Type: application/json\r\nContent-Length: 3", b"{}", False),
        (b"Host: hub\r\nContent-Type: application/json\r\nContent-Length: 2", b"{} ", False),
        (b"Host: hub\r\nContent-Type: application/json\r\nContent-Length: 02", b"{}", False),
        (b"Host: hub\r\nContent-Type: application/json", b"{}", False),
        (b"Host: hub\r\nContent-Length: 2", b"{}", False),
        (b"Host: hub\r\nContent-Type: text/plain\r\nContent-Length: 2", b"{}", False),
        (b"Host: hub\r\nContent-Length: 2\r\nContent-Length: 2\r\nContent-Type: application/json", b"{}", False),
        (b"Content-Length: 0", b"", False),
        (b"Host: hub\r\nTransfer-Encoding: chunked", b"", False),
    ],
)
def test_a_small_json_body_is_taken_when_its_length_is_what_is_there(lines: bytes, body: bytes, taken: bool) -> None:
    parsed = Lines().parse_signal(BEAT + lines + b"\r\n\r\n" + body, len(BEAT))
    assert (parsed is not None) is taken
    if parsed is not None:
        assert parsed.body == body


class _Collector:
    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = 0

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        self.complete += 1


header_names = st.sampled_from([name.decode() for name in sorted(lines.STABLE | lines.VOLATILE)])
values = st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=20) | st.sampled_from(
    ["keep-alive", "Bearer chk_a"]
)
odd_lines = st.builds(
    lambda name, colon, value: f"{name}{colon}{value}".encode("latin-1"),
    header_names, st.sampled_from([": ", ":", ":  ", " : "]), values,
)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(st.lists(odd_lines, max_size=6), st.text("abcz09_-%?#/A", min_size=1, max_size=8))
def test_what_the_lane_reads_the_parser_reads_alike(odd: list[bytes], name: str) -> None:
    packet = b"\r\n".join([f"GET /services/discover/{name} HTTP/1.1".encode(), b"Host: hub", *odd, b"", b""])
    parsed = Lines().parse(packet)
    if parsed is None:
        return
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    parser.feed_data(packet)
    assert collector.complete == 1
    assert collector.url == parsed.prefix + parsed.name
    assert [line for line in collector.headers if line[0] not in lines.VOLATILE] == parsed.headers
    assert parser.should_keep_alive()
    assert not parser.should_upgrade()
