"""What a tenant's plan says about its breakers, as a policy. Pure.

A plan names `breaker_failure_rate` and `breaker_open_s`; it may name `breaker_confidence` and `breaker_probes`. What
it does not name, or names as something that no breaker can be, is the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from central_hub.breakers.bounds import patient_confidence
from central_hub.breakers.model import IDLE_S, OPEN_SECONDS_MAX, PROBES_MAX, PROVABLE_RATE_MAX, Policy

FAILURE_RATE: Final = "breaker_failure_rate"
OPEN: Final = "breaker_open_s"
CONFIDENCE: Final = "breaker_confidence"
PROBES: Final = "breaker_probes"
FEATURES: Final = (FAILURE_RATE, OPEN, CONFIDENCE, PROBES)

WINDOW: Final = 64
RATE_MIN: Final = 0.01

OPEN_SECONDS_MIN: Final = 0.1
CONFIDENCE_MIN: Final = 0.5
CONFIDENCE_MAX: Final = 0.999999999
PROBES_DEFAULT: Final = 5
PROBE_WAIT_S: Final = 60.0


def policy_of(words: Mapping[str, object]) -> Policy:
    """Return the policy of a tenant, given what its entitlements say.

    Args:
        words: values by feature; other features are ignored.
    """
    rate = _number(words.get(FAILURE_RATE), RATE_MIN, 1.0)
    rate = DEFAULT_RATE if rate is None else min(rate, PROVABLE_RATE_MAX)
    open_s = _number(words.get(OPEN), OPEN_SECONDS_MIN, OPEN_SECONDS_MAX)
    confidence = _number(words.get(CONFIDENCE), CONFIDENCE_MIN, CONFIDENCE_MAX)
    probes = _number(words.get(PROBES), 1, PROBES_MAX)
    return Policy(
        failure_rate=rate,
        confidence=patient_confidence(WINDOW, rate) if confidence is None else confidence,
        window_size=WINDOW,
        minimum_calls=10,
        slow_rate=0.5,
        open_s=DEFAULT_OPEN_S if open_s is None else open_s,
        probes=PROBES_DEFAULT if probes is None else int(probes),
        probe_wait_s=PROBE_WAIT_S,
        early=True,
        automatic=True,
        forget_s=IDLE_S,
        shares=True,
    )


DEFAULT_RATE: Final = 0.5
DEFAULT_OPEN_S: Final = 10.0
"""Where no plan is known: opens on the plainest evidence only, and tries again soon."""


def _number(value: object, low: float, high: float) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        return None
    return float(value)


DEFAULT: Final = policy_of({})
