"""The less busy of d candidates drawn without looking.

Source: Mitzenmacher, The power of two choices in randomized load balancing (2001); d = 2 is what Envoy's least_request
does with equal weights. d = 4 is there because two draws may both hit a slow server.
"""

from __future__ import annotations

import random

from benchmarks.routing.baselines.ledger import Ledger
from benchmarks.routing.model import Outcome, Request, Setting, View


class PowerOfD:
    """Draws d and takes the one with fewest in flight."""

    def __init__(self, setting: Setting, d: int) -> None:
        """Start with nothing in flight."""
        self._draw = random.Random(setting.seed)
        self._ledger = Ledger(len(setting.servers), setting.ledger_ttl_s)
        self._d = d

    def decide(self, request: Request, view: View) -> int:
        """Draw and compare."""
        self._ledger.expire(view.now_s)
        drawn = self._draw.sample(view.candidates, min(self._d, len(view.candidates)))
        chosen = min(drawn, key=self._ledger.count.__getitem__)
        self._ledger.opened(request, chosen)
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Count it out."""
        self._ledger.closed(outcome.decision)


def two(setting: Setting) -> PowerOfD:
    """Make the power of two choices."""
    return PowerOfD(setting, 2)


def four(setting: Setting) -> PowerOfD:
    """Make d = 4."""
    return PowerOfD(setting, 4)
