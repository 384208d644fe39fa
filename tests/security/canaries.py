"""Canaries: secrets that are planted where callers put them, and a watch over every place they might turn up in.

Each is told where it may be seen, which is nowhere unless somebody was meant to get it. Everything that a hub gives off
is kept as bytes under a name, and looked through at the end: as it is, in base64 and in hex.
"""

from __future__ import annotations

import base64
import random
import string
from dataclasses import dataclass, field

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
