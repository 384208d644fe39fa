"""NVIDIA Dynamo's cost of a worker, in blocks of 16 tokens.

Source: ai-dynamo/dynamo, docs/components/router. linear (the default): prefill_load_scale * max(active prefill +
incoming - overlap, 0) + active decode + incoming, scale 1, overlap credit 1, temperature 0 (least cost, ties drawn).
lmetric: adjusted prefill * (decode + 1). Dynamo reads the prompt itself; here the hint stands for it, and the mean
prompt told so far where there is none. Prefill counts until the outcome, because nobody reports its end.
"""

from __future__ import annotations

import random
from typing import Final

from benchmarks.routing.baselines.ledger import Ledger
from benchmarks.routing.model import Outcome, Request, Setting, View

BLOCK_TOKENS: Final = 16
PREFILL_SCALE: Final = 1.0
OVERLAP_CREDIT: Final = 1.0
OVERLAP_SHARE: Final = 0.8
"""Of the prompt of a conversation that was sent there before."""
PROMPT_UNKNOWN: Final = 1_000.0


class Dynamo:
    """Keeps active blocks for each worker."""

    def __init__(self, setting: Setting, *, product: bool) -> None:
        """Start with nothing active; `product` takes lmetric instead of the sum."""
        self._draw = random.Random(setting.seed)
        self._ledger = Ledger(len(setting.servers), setting.ledger_ttl_s)
        self._sent: list[set[int]] = [set() for _ in setting.servers]
        self._product = product
        self._prompts = 0
        self._prompt_mean = PROMPT_UNKNOWN

    def decide(self, request: Request, view: View) -> int:
        """Take the least cost."""
        self._ledger.expire(view.now_s)
        prompt = request.hint.prompt_tokens if request.hint else self._prompt_mean
        costs = [self._cost(server, prompt, request.prefix) for server in view.candidates]
        least = min(costs)
        tied = [server for server, cost in zip(view.candidates, costs, strict=True) if cost == least]
        chosen = self._draw.choice(tied)
        left = prompt - self._overlap(chosen, prompt, request.prefix)
        self._ledger.opened(request, chosen, left, prompt)
        if request.prefix is not None:
            self._sent[chosen].add(request.prefix)
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Free its blocks."""
        self._ledger.closed(outcome.decision)
        if outcome.ok:
            self._prompts += 1
            self._prompt_mean += (outcome.prompt_tokens - self._prompt_mean) / self._prompts

    def _overlap(self, server: int, prompt: float, prefix: int | None) -> float:
        return OVERLAP_CREDIT * OVERLAP_SHARE * prompt if prefix is not None and prefix in self._sent[server] else 0.0

    def _cost(self, server: int, prompt: float, prefix: int | None) -> float:
        overlap = self._overlap(server, prompt, prefix)
        prefill = PREFILL_SCALE * max(self._ledger.prompt_tokens[server] + prompt - overlap, 0.0) / BLOCK_TOKENS
        active = self._ledger.tokens[server] / BLOCK_TOKENS
        return prefill * (active + 1) if self._product else prefill + active + prompt / BLOCK_TOKENS


def linear(setting: Setting) -> Dynamo:
    """Make the default cost."""
    return Dynamo(setting, product=False)


def lmetric(setting: Setting) -> Dynamo:
    """Make the product."""
    return Dynamo(setting, product=True)
