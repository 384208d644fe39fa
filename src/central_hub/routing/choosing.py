"""Which of the candidates: strategies as arrays in, one index out. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np

from central_hub.routing.fleet import Numbers
from central_hub.routing.sizes import Draw

ALIKE: Final = 0.01
"""Costs within this share of the least are alike: which of them is a matter of chance."""


def least(costs: Numbers, draw: Draw) -> int:
    """Return the index of the least cost; of those alike, any."""
    best = int(costs.argmin())
    alike = np.flatnonzero(costs <= costs[best] * (1.0 + ALIKE))
    return best if len(alike) == 1 else int(alike[draw(16) % len(alike)])
