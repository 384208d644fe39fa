"""Signals between hubs by the store's own notifications: sealed, because whoever may connect may listen.

Several signals travel together, ten times a second, in packets that PostgreSQL takes (under 8,000 bytes). What does
not fit is lost, the oldest first; while the store is away nothing travels. A packet names who sent it and is counted,
so that one that is played back is not taken.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from central_hub.kernel.signals import SIGNAL_BYTES_MAX, Heard

PACKET_BYTES_MAX: Final = 5_600
"""Of signals in one packet, before it is sealed and written in letters: then it is under 8,000."""
PACKETS_AT_ONCE: Final = 16
WAITING_MAX: Final = 1_024
NONCE_BYTES: Final = 12
SENDERS_MAX: Final = 256


class _Packet(msgspec.Struct, frozen=True, array_like=True):
    process: str
    number: int
    signals: list[tuple[str, bytes]]


class SealedSignals:
    """Implements `Signals`.

    Args:
        process: this run of this hub.
        others: whether anybody is there to hear.
    """

    def __init__(self, process: str, others: Callable[[], bool]) -> None:
        self._process = process
        self._others = others
        self._cipher: AESGCM | None = None
        self._about = b""
        self._number = 0
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=WAITING_MAX)
        self._heard: dict[str, Heard] = {}
        self._numbers: dict[str, int] = {}
        self._decoder = msgspec.msgpack.Decoder(_Packet)
        self.sent = 0
        self.taken = 0
        self.refused = 0
        self.lost = 0

    def begin(self, key: bytes, incarnation: str) -> None:
        """Seal and open from now on.

        Args:
            key: 32 bytes that every hub on the store has.
            incarnation: the history that they share.
        """
        self._cipher = AESGCM(key)
        self._about = f"signals\n{incarnation}".encode()

    @property
    def anybody(self) -> bool:
        """Whether there is another hub to hear it."""
        return self._cipher is not None and self._others()

    def send(self, kind: str, body: bytes) -> None:
        """Let the others hear something with the next packet; see the port."""
        assert len(body) <= SIGNAL_BYTES_MAX
        if not self.anybody:
            return
        self.lost += len(self._waiting) == WAITING_MAX
        self._waiting.append((kind, body))

    def on(self, kind: str, heard: Heard) -> None:
        """Call `heard` with what another hub sends; see the port."""
        self._heard[kind] = heard

    def counts(self) -> dict[str, int]:
        """Return how many signals were sent, taken, refused and lost; see the port."""
        return {"sent": self.sent, "taken": self.taken, "refused": self.refused, "lost": self.lost}

    def packets(self) -> Iterator[str]:
        """Yield what is to be sent now, as PostgreSQL takes it."""
        for _ in range(PACKETS_AT_ONCE):
            if not self._waiting or self._cipher is None:
                return
            size, taken = 0, list[tuple[str, bytes]]()
            while self._waiting and size + len(self._waiting[0][1]) + 32 <= PACKET_BYTES_MAX:
                taken.append(self._waiting.popleft())
                size += len(taken[-1][1]) + 32
            self._number += 1
            plain = msgspec.msgpack.encode(_Packet(self._process, self._number, taken))
            nonce = os.urandom(NONCE_BYTES)
            self.sent += len(taken)
            yield base64.b64encode(nonce + self._cipher.encrypt(nonce, plain, self._about)).decode("ascii")

    def take(self, payload: str) -> None:
        """Take a packet that was heard; one that does not open, or was heard before, is nobody's."""
        if self._cipher is None:
            return
        try:
            sealed = base64.b64decode(payload, validate=True)
            packet = self._decoder.decode(
                self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], self._about)
            )  # fmt: skip
        except (InvalidTag, ValueError, binascii.Error):  # msgspec's errors are ValueErrors
            self.refused += 1
            return
        if packet.process == self._process or packet.number <= self._numbers.get(packet.process, 0):
            self.refused += 1
            return
        if packet.process not in self._numbers and len(self._numbers) >= SENDERS_MAX:
            self._numbers.pop(next(iter(self._numbers)))
        self._numbers[packet.process] = packet.number
        for kind, body in packet.signals:
            heard = self._heard.get(kind)
            if heard is not None:
                heard(body)
                self.taken += 1
