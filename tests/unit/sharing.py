"""What stands in for the other hubs where only one hub's part is looked at: an ownership that a test turns, a wire."""

from __future__ import annotations

from collections.abc import Callable

from central_hub.kernel.signals import SIGNAL_BYTES_MAX, Heard


class GivenOwnership:
    """Owns what a test says; implements `Ownership`."""

    def __init__(self) -> None:
        self.mine: Callable[[str, str], bool] = lambda work, key: True
        self.is_sure = True
        self._told: list[Callable[[], None]] = []

    def owns(self, work: str, key: str) -> bool:
        return self.is_sure and self.mine(work, key)

    def likely_owns(self, work: str, key: str) -> bool:
        return self.mine(work, key)

    def owner(self, work: str, key: str) -> str | None:
        return None if self.mine(work, key) else "http://other:7000"

    def on_change(self, told: Callable[[], None]) -> None:
        self._told.append(told)

    def turn(self, *, mine: bool, is_sure: bool = True) -> None:
        self.mine, self.is_sure = lambda work, key: mine, is_sure
        for told in self._told:
            told()


class Wire:
    """Signals from one hub to another in the same process; implements `Signals` for the one that sends."""

    def __init__(self, *, anybody: bool = True) -> None:
        self.heard: dict[str, Heard] = {}
        self.other: Wire | None = None
        self.sent = 0
        self._anybody = anybody

    def send(self, kind: str, body: bytes) -> None:
        assert len(body) <= SIGNAL_BYTES_MAX
        self.sent += 1
        if self.other is not None:
            self.other.heard[kind](body)

    def on(self, kind: str, heard: Heard) -> None:
        self.heard[kind] = heard

    @property
    def anybody(self) -> bool:
        return self._anybody

    def counts(self) -> dict[str, int]:
        return {}
