"""The local view against a model of the server: random changes, random cuts, long snapshots in parts."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from central_hub.sdk.sse import Event, SseParser
from central_hub.sdk.view import LocalView
from tests.sdk.fake_hub import FakeHub

NAMES = ("risk", "bridge", "model")
changes = st.lists(
    st.tuples(
        st.sampled_from(("put", "remove", "cut", "read", "parts")),
        st.sampled_from(NAMES),
        st.sampled_from(("i-1", "i-2", "i-3")),
    ),
    max_size=60,
)


class Server(FakeHub):
    """The fake hub's state without its sockets; what it would send is taken from `frames`."""

    def __init__(self) -> None:
        super().__init__(port=1)
        self.frames: list[bytes] = []

    def _tell(self, name: str, *, upsert: list[Any], remove: list[str], gone: bool = False) -> None:
        delta: dict[str, Any] = {"service": name, "revision": self.seq, "upsert": upsert, "remove": remove}
        if gone:
            delta["gone"] = True
        self.frames.append(self.event("delta", delta))

    def in_parts(self) -> list[bytes]:
        """A snapshot as a hub sends it when it is long: the beginning, the rest as deltas, one id at the end."""
        names = sorted(self.services)
        frames = [b"event: snapshot\ndata: " + msgspec.json.encode(self.snapshot(set(names[:1]))) + b"\n\n"]
        for name in names[1:]:
            full = self._service(name)
            if full is not None:
                delta = {"service": name, "revision": full["revision"], "upsert": full["instances"], "remove": []}
                frames.append(b"event: delta\ndata: " + msgspec.json.encode(delta) + b"\n\n")
        return [*frames, self.event("sync", {})]


def shown(view: LocalView) -> dict[str, set[str]]:
    return {name: set(state.instances) for name, state in view.services.items() if state.instances}


def truth(server: FakeHub) -> dict[str, set[str]]:
    return {name: set(service.instances) for name, service in server.services.items() if service.instances}


@settings(max_examples=300, deadline=None)
@given(changes, st.integers(1, 40))
def test_after_any_cuts_the_map_equals_the_servers_and_no_revision_goes_back(
    steps: list[tuple[str, str, str]], chunk: int
) -> None:
    server, view = Server(), LocalView()
    parser = SseParser()
    highest: dict[str, int] = {}

    def receive(frames: list[bytes]) -> None:
        sent = b"".join(frames)
        for start in range(0, len(sent), chunk):
            for event in parser.feed(sent[start : start + chunk]):
                view.apply(event)
                for name, state in view.services.items():
                    assert state.revision >= highest.get(name, 0)
                    highest[name] = state.revision

    receive([server.event("snapshot", server.snapshot({"*"})), server.event("sync", {})])
    for what, name, instance_id in steps:
        if what == "put":
            server.put(name, instance_id)
        elif what == "remove":
            server.remove(name, instance_id)
        elif what == "read":
            receive(server.frames)
            server.frames = []
            assert shown(view) == truth(server)
        else:
            server.frames = []  # cut: what was under way is lost
            parser = SseParser()
            if what == "parts" or not view.position:
                receive(server.in_parts())
            else:
                receive([*server.since({"*"}, int(view.position.split(".")[2])), server.event("sync", {})])
            assert shown(view) == truth(server)
    receive(server.frames)
    assert shown(view) == truth(server)


@given(changes, st.integers(0, 3))
@settings(max_examples=100, deadline=None)
def test_a_long_snapshot_that_is_cut_begins_anew_and_nothing_is_lost_meanwhile(
    steps: list[tuple[str, str, str]], taken: int
) -> None:
    server, view = Server(), LocalView()
    for name in NAMES:
        server.put(name, "i-0")
    parser = SseParser()
    for event in parser.feed(server.event("snapshot", server.snapshot({"*"})) + server.event("sync", {})):
        view.apply(event)
    for what, name, instance_id in steps:
        server.put(name, instance_id) if what != "remove" else server.remove(name, instance_id)
    for event in SseParser().feed(b"".join(server.in_parts()[:-1][: taken + 1])):
        view.apply(event)
    assert view.position == ""
    assert all(view.services[name].instances for name in NAMES)
    for event in SseParser().feed(b"".join(server.in_parts())):
        view.apply(event)
    assert shown(view) == truth(server)


def test_the_parser_gives_the_same_events_however_the_bytes_are_cut() -> None:
    stream = b'event: delta\nid: a.1.2.3\ndata: {"a":1}\n\n: keep-alive\n\n'
    stream += b"event: sync\r\ndata: {}\r\n\r\ndata: x\ndata: y\n\n"
    whole = list(SseParser().feed(stream))
    assert whole == [Event("delta", b'{"a":1}', "a.1.2.3"), Event("sync", b"{}"), Event("message", b"x\ny")]
    parser = SseParser()
    assert [event for byte in stream for event in parser.feed(bytes([byte]))] == whole


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 100, b"data: 0123456789\n" * 10])
def test_an_endless_event_is_refused(stream: bytes) -> None:
    with pytest.raises(Exception, match="event_too_large"):
        list(SseParser(event_bytes_max=50).feed(stream))


def test_an_answer_read_beside_the_stream_never_takes_a_service_back() -> None:
    server, view = Server(), LocalView()
    server.put("risk", "i-1")
    view.apply(Event("snapshot", msgspec.json.encode(server.snapshot({"*"})), server.position))
    newer = view.services["risk"]
    older = msgspec.structs.replace(newer, revision=0, instances={})
    assert not view.merge(older, server.incarnation)
    assert not view.merge(msgspec.structs.replace(newer, revision=9), "another-log")
    assert view.services["risk"] is newer


def test_a_saved_view_is_restored_with_its_position() -> None:
    server, view = Server(), LocalView()
    server.put("risk", "i-1")
    view.apply(Event("snapshot", msgspec.json.encode(server.snapshot({"*"})), server.position))
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(view.save(("risk",), 5)), type=type(view.save((), 0)))
    other = LocalView()
    other.restore(kept)
    assert (other.services, other.position) == (view.services, view.position)
