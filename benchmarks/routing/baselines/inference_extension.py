"""The Kubernetes Gateway API Inference Extension's default profile.

Source: kubernetes-sigs/gateway-api-inference-extension, config/charts/inferencepool/templates/epp-config.yaml:
queue-scorer 2, kv-cache-utilization-scorer 2, prefix-cache-scorer 3, and the picker of the highest score (ties drawn).
queue = (max - q) / (max - min) over the candidates, 1 if all are alike; memory = 1 - utilization; prefix = share of the
prompt that the server should still hold, by an LRU index of what was sent where. Memory use is not simulated: the share
of busy slots stands for it. It reads reports only and keeps no count of its own.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from typing import Final

from benchmarks.routing.model import Outcome, Report, Request, Setting, View

QUEUE_WEIGHT: Final = 2.0
MEMORY_WEIGHT: Final = 2.0
PREFIX_WEIGHT: Final = 3.0
PREFIXES_PER_SERVER: Final = 1_000


class InferenceExtension:
    """Adds up weighted scores."""

    def __init__(self, setting: Setting) -> None:
        """Start with an empty prefix index."""
        self._draw = random.Random(setting.seed)
        self._sent: list[OrderedDict[int, None]] = [OrderedDict() for _ in setting.servers]

    def decide(self, request: Request, view: View) -> int:
        """Take the highest score."""
        reports = [view.reports[server] for server in view.candidates]
        queues = [report.queued if report else 0 for report in reports]
        low, high = min(queues), max(queues)
        scores = [
            QUEUE_WEIGHT * ((high - queue) / (high - low) if high > low else 1.0)
            + MEMORY_WEIGHT * (1.0 - _used(report))
            + PREFIX_WEIGHT * (request.prefix is not None and request.prefix in self._sent[server])
            for server, report, queue in zip(view.candidates, reports, queues, strict=True)
        ]
        best = max(scores)
        tied = [server for server, score in zip(view.candidates, scores, strict=True) if score == best]
        chosen = self._draw.choice(tied)
        if request.prefix is not None:
            sent = self._sent[chosen]
            sent[request.prefix] = None
            sent.move_to_end(request.prefix)
            if len(sent) > PREFIXES_PER_SERVER:
                sent.popitem(last=False)
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Learn nothing: knowledge comes from reports."""


def _used(report: Report | None) -> float:
    return report.running / report.slots if report else 0.0
