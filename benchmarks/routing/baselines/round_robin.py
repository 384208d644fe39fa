"""One candidate after the other, from a drawn start."""

from __future__ import annotations

import random

from benchmarks.routing.model import Outcome, Request, Setting, View


class RoundRobin:
    """Takes turns."""

    def __init__(self, setting: Setting) -> None:
        """Start anywhere, as several hubs would."""
        self._turn = random.Random(setting.seed).randrange(len(setting.servers))

    def decide(self, request: Request, view: View) -> int:
        """Take the next."""
        self._turn += 1
        return view.candidates[self._turn % len(view.candidates)]

    def told(self, outcome: Outcome) -> None:
        """Learn nothing."""
