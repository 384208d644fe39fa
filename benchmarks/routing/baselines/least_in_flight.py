"""The candidate with the fewest requests in flight; of equals, any."""

from __future__ import annotations

import random

from benchmarks.routing.baselines.ledger import Ledger
from benchmarks.routing.model import Outcome, Request, Setting, View


class LeastInFlight:
    """Counts."""

    def __init__(self, setting: Setting) -> None:
        """Start with nothing in flight."""
        self._draw = random.Random(setting.seed)
        self._ledger = Ledger(len(setting.servers), setting.ledger_ttl_s)

    def decide(self, request: Request, view: View) -> int:
        """Take the least busy."""
        self._ledger.expire(view.now_s)
        count = self._ledger.count
        least = min(count[server] for server in view.candidates)
        chosen = self._draw.choice([server for server in view.candidates if count[server] == least])
        self._ledger.opened(request, chosen)
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Count it out."""
        self._ledger.closed(outcome.decision)
