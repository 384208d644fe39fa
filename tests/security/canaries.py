"""Canaries: secrets that are planted where callers put them, and a watch over every place they might turn up in.

Each is told where it may be seen, which is nowhere unless somebody was meant to get it. Everything that a hub gives off
is kept as bytes under a name, and looked through at the end: as it is, in base64 and in hex.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import random
import signal
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from central_hub.cli.demo.processes import free_ports

READY_S = 30.0
STOP_S = 20.0
ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Canary:
    """A planted secret: what kind it is, where it was put, and the outputs (by the beginning of their names) it may be
    seen in."""

    text: str
    kind: str
    where: str
    allowed: tuple[str, ...] = ()

    @property
    def forms(self) -> tuple[bytes, ...]:
        """The ways in which it might be written."""
        raw = self.text.encode()
        return raw, base64.b64encode(raw).rstrip(b"="), raw.hex().encode()


@dataclass
class Watch:
    """Plants canaries and keeps what comes out."""

    seed: int
    planted: list[Canary] = field(default_factory=list)
    outputs: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def letters(self, count: int) -> str:
        """Return letters and digits that nobody else has."""
        return "".join(self._random.choices(ALPHABET, k=count))

    def plant(self, kind: str, where: str, *allowed: str, text: str = "") -> str:
        """Plant a canary, of letters unless its text is given; returns the text."""
        canary = Canary(text or "Cnry" + self.letters(28), kind, where, allowed)
        self.planted.append(canary)
        return canary.text

    def api_key(self, where: str) -> str:
        """Plant what has the form of an API key."""
        return self.plant("API key", where, text=f"chk_{self.letters(12)}_{self.letters(49)}")

    def see(self, name: str, data: bytes | str) -> None:
        """Keep what came out."""
        data = data.encode() if isinstance(data, str) else data
        self.outputs[name] = self.outputs.get(name, b"") + data

    def found(self) -> list[str]:
        """Return where canaries are that should not be there, without repeating them."""
        wrong: list[str] = []
        everything = b"\0".join(self.outputs.values())
        for canary in self.planted:
            if not any(form in everything for form in canary.forms):
                continue
            for name, data in self.outputs.items():
                if any(name.startswith(each) for each in canary.allowed):
                    continue
                if any(form in data for form in canary.forms):
                    at = min(at for form in canary.forms if (at := data.find(form)) >= 0)
                    around = data[max(0, at - 60) : at].decode("utf-8", "replace")
                    wrong.append(f"{canary.kind} planted in {canary.where} is in {name} after …{around}")
        return wrong


@dataclass(slots=True)
class Driven:
    """A running hub, and how to ask it."""

    port: int
    process: subprocess.Popen[bytes]
    watch: Watch
    data: Path
    key: str = ""
    asked: int = 0

    def ask(
        self, method: str, target: str, body: Any = None, *, name: str = "", raw: bytes | None = None, **headers: str
    ) -> tuple[int, Any]:
        """Send a request and keep the whole answer; the operator's key goes along unless another one is given."""
        given = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        given |= {key.replace("_", "-"): value for key, value in headers.items()}
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        for _ in range(20):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            with contextlib.closing(connection):
                connection.request(method, target, data, {key: value for key, value in given.items() if value})
                answer = connection.getresponse()
                received = answer.read()
            if answer.status != 429:
                break
            time.sleep(0.2)
        self.asked += 1
        head = "\n".join(f"{key}: {value}" for key, value in answer.getheaders())
        self.watch.see(
            name or f"answer {self.asked} {method} {target.partition('?')[0][:40]}", head.encode() + received
        )
        return answer.status, json.loads(received) if received[:1] in (b"{", b"[") else received.decode()

    def must(self, method: str, target: str, body: Any = None, **more: Any) -> Any:
        """Send a request that has to succeed."""
        status, answer = self.ask(method, target, body, **more)
        assert status < 300, (method, target, status, answer)
        return answer

    def look_at_disk(self, when: str) -> None:
        """Keep the bytes of every file of the data directory, but the keys that belong there."""
        for path in sorted(self.data.rglob("*")):
            if path.is_file() and path.parent.name != "keys":
                self.watch.see(f"disk {when} {path.name}", path.read_bytes())


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a hub that is set by it alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HUB_")}
    return {**kept, **{f"HUB_{name.upper()}": value for name, value in settings.items()}}


@contextmanager
def hub(watch: Watch, directory: Path, name: str, **settings: str) -> Iterator[Driven]:
    """Run a hub and keep what it says on both standard streams."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "central_hub", "serve", "--port", str(port), "--data", str(directory / "data")]
    command += ["--log-level", "debug", "--log-format", "json", "--snapshot-every", "100"]
    streams = {stream: directory / f"{name}.{stream}" for stream in ("stdout", "stderr")}
    with streams["stdout"].open("wb") as out, streams["stderr"].open("wb") as err:
        process = subprocess.Popen(command, env=environment(**settings), stdout=out, stderr=err)
    driven = Driven(port, process, watch, directory / "data")
    try:
        deadline = time.monotonic() + READY_S
        while True:
            assert process.poll() is None, streams["stderr"].read_text()
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError):
                if driven.ask("GET", "/readyz", authorization="")[0] == 200:
                    break
            time.sleep(0.05)
        yield driven
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream, path in streams.items():
            watch.see(f"{stream} of the {name} hub", path.read_bytes())
