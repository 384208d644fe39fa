"""Any candidate, all alike."""

from __future__ import annotations

import random

from benchmarks.routing.model import Outcome, Request, Setting, View


class RandomChoice:
    """Draws."""

    def __init__(self, setting: Setting) -> None:
        """Seed the draws."""
        self._draw = random.Random(setting.seed)

    def decide(self, request: Request, view: View) -> int:
        """Draw one."""
        return self._draw.choice(view.candidates)

    def told(self, outcome: Outcome) -> None:
        """Learn nothing."""
