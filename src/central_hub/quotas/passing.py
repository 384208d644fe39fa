"""Passes renewals of quota leases on to the other hubs: one of them ends the leases, whichever hub was asked to renew.

Sent at once, and lossy as a renewal itself is; when renewals may have been missed every lease has its time again.
"""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.ids import DomainId
from central_hub.kernel.signals import Signals
from central_hub.quotas.keeper import LeaseKeeper

KIND: Final = "renewals"


class RenewalsPassed:
    """Passes renewals on, and takes those of other hubs.

    Args:
        signals: how hubs speak to each other.
        keeper: when leases end.
    """

    def __init__(self, signals: Signals, keeper: LeaseKeeper) -> None:
        self._signals = signals
        self._keeper = keeper
        self._decoder = msgspec.msgpack.Decoder(tuple[str, str, str])
        keeper.on_renewal(self.renewed)
        signals.on(KIND, self.take)

    def renewed(self, domain: DomainId, resource: str, lease_id: str) -> None:
        """Pass a renewal on."""
        if self._signals.anybody:
            self._signals.send(KIND, msgspec.msgpack.encode((domain, resource, lease_id)))

    def take(self, body: bytes) -> None:
        """Take a renewal that another hub was asked for."""
        domain, resource, lease_id = self._decoder.decode(body)
        self._keeper.heard(DomainId(domain), resource, lease_id)
