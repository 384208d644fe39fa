"""SGLang's cache-aware routing: stick to the prefix while the load is even, else to the least loaded.

Source: sgl-project/sglang, router (now lightseekorg/smg), policy cache_aware. If max - min > 64 and max > 1.5 * min in
flight: the least loaded. Else the server with the longest prefix match if it exceeds 0.3 of the prompt, or else the one
whose tree is smallest. Where requests continue no conversation there is no prefix to match, so the smallest tree wins,
which is close to a round robin by prompt tokens.
"""

from __future__ import annotations

import random
from typing import Final

from benchmarks.routing.baselines.ledger import Ledger
from benchmarks.routing.model import Outcome, Request, Setting, View

BALANCE_ABSOLUTE: Final = 64
BALANCE_RELATIVE: Final = 1.5
MATCH_SHARE: Final = 0.8
"""Of a prompt that matches where the conversation was before; above the threshold of 0.3."""
PROMPT_UNKNOWN: Final = 1_000.0


class CacheAware:
    """Keeps which conversations went where, and how much text."""

    def __init__(self, setting: Setting) -> None:
        """Start with empty trees."""
        self._draw = random.Random(setting.seed)
        count = len(setting.servers)
        self._ledger = Ledger(count, setting.ledger_ttl_s)
        self._sent: list[set[int]] = [set() for _ in range(count)]
        self._tree = [0.0] * count

    def decide(self, request: Request, view: View) -> int:
        """Choose by balance, prefix, or size of the tree."""
        self._ledger.expire(view.now_s)
        chosen = self._choose(request, view)
        prompt = request.hint.prompt_tokens if request.hint else PROMPT_UNKNOWN
        if request.prefix is not None and request.prefix in self._sent[chosen]:
            prompt *= 1 - MATCH_SHARE
        self._tree[chosen] += prompt
        if request.prefix is not None:
            self._sent[chosen].add(request.prefix)
        self._ledger.opened(request, chosen)
        return chosen

    def told(self, outcome: Outcome) -> None:
        """Count it out."""
        self._ledger.closed(outcome.decision)

    def _choose(self, request: Request, view: View) -> int:
        count = self._ledger.count
        loads = [count[server] for server in view.candidates]
        low, high = min(loads), max(loads)
        if high - low > BALANCE_ABSOLUTE and high > BALANCE_RELATIVE * low:
            return view.candidates[loads.index(low)]
        if request.prefix is not None:
            matching = [server for server in view.candidates if request.prefix in self._sent[server]]
            if matching:
                return self._draw.choice(matching)
        return min(view.candidates, key=self._tree.__getitem__)
