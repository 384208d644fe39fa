"""What health knows about an instance, and every number that decides about it. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from central_hub.kernel.facts import Fact
from central_hub.registry.model import Status

PROBE_KEPT_TTL_MS: Final = 600_000.0
"""Ten minutes of failing probes remove an instance that probes keep."""

UNPROBED_TTL_MS: Final = 3_600_000.0
"""Lease of an instance that neither beats nor may be probed."""

RENEWALS_PER_TTL: Final = 3
"""How often within its TTL an instance is told to renew."""

HEARTBEAT_BATCH_MAX: Final = 5_000
"""Leases renewed in one call."""

HEARTBEAT_BATCH_BYTES_MAX: Final = 1_048_576

FALL: Final = 3
"""Failures in a row that make an instance unhealthy."""

FALL_REFUSED: Final = 2
"""Refused connections in a row that do: nobody listens there, which is not a matter of load."""

RISE: Final = 2
"""Passes in a row that make an unhealthy instance eligible again."""

STRAIN: Final = 3
"""Strained (or relaxed) reports in a row that make an instance degraded (or healthy)."""

LOAD_STRAINED: Final = 0.95
LOAD_RELAXED: Final = 0.85
LATENCY_STRAINED_MS: Final = 2_000.0
LATENCY_RELAXED_MS: Final = 1_500.0

PENALTY_PER_FALL: Final = 1_000.0
PENALTY_PER_CHANGE: Final = 500.0
PENALTY_MAX: Final = 6_000.0
PENALTY_SUPPRESS: Final = 3_000.0
PENALTY_REUSE: Final = 1_000.0
PENALTY_HALF_LIFE_MS: Final = 60_000.0
"""From the cap to reuse takes log2(6) half-lives: suppression ends within 156 s of the last flap."""

SILENCE_MIN: Final = 3
"""Fewer silent instances than this are never called a mass silence."""

SILENCE_SHARE: Final = 0.5
SILENCE_SAMPLE_MAX: Final = 256
"""Instances looked at when judging a group; larger groups are sampled evenly."""

LATE_GAPS: Final = 1.5
"""An instance is late when it has been silent for this many of its own usual gaps..."""

LATE_SLACK_MS: Final = 50.0
LATE_TTL_SHARE_MIN: Final = 0.5
"""...and for this share of its TTL, or..."""

LATE_TTL_SHARE: Final = 0.66
"""...before it has a usual gap, for this one."""

PROTECTION_TTLS: Final = 10.0
PROTECTION_MIN_MS: Final = 30_000.0
PROTECTION_MAX_MS: Final = 600_000.0
PROTECTION_RECHECK_MS: Final = 250.0

PAUSE_MIN_MS: Final = 500.0
"""A gap between two looks at the wheel beyond this is a pause of the hub itself."""

PAUSES_KEPT_MAX: Final = 64

BLAME_TARGETS_MIN: Final = 5
"""Different targets of a domain that must all stay silent before the prober suspects itself."""

BLAME_SERVICES_MIN: Final = 2
PROBE_LATE_MS: Final = 250.0
"""A probe that could not start for this long is left out, and one whose timeout came this much too
late is not believed: both say more about the hub than about the target."""

PROBES_PER_S: Final = 2_000
PROBES_PER_S_EASY: Final = 1_000
"""Rate at which the interval starts to stretch beyond its minimum."""

PROBE_INTERVAL_MIN_MS: Final = 500.0
PROBE_INTERVAL_MAX_MS: Final = 10_000.0
PROBE_CONFIRM_MS: Final = 100.0
"""How soon a refused connection is asked about again."""

PROBES_RUNNING_PER_DOMAIN_MAX: Final = 128

JOURNAL_BATCH_MAX: Final = 256
JOURNAL_RETRY_S: Final = 0.25

SERVICES_LISTED_MAX: Final = 10_000
INSTANCES_LISTED_MAX: Final = 1_000

SCOPE_READ: Final = "health:read"
SCOPE_WRITE: Final = "registry:write"
SCOPE_PLATFORM: Final = "platform:admin"
SYSTEM_STREAM: Final = "system/health"

REASON_NONE: Final = ""
REASON_REFUSED: Final = "probe: connection not accepted"
REASON_FAILED: Final = "probe: no passing answer"
REASON_WARNED: Final = "probe: answered with a warning"
REASON_STRAINED: Final = "reported load or latency is too high"
REASON_FLAPPING: Final = "flapping: held back until it has been steady"
REASON_MASS_SILENCE: Final = "protected: most of this group fell silent at once"
REASON_OWN_FAULT: Final = "protected: every probe of this hub fails, the fault may be its own"
REASON_EXPIRED: Final = "lease: no heartbeat within its time"
REASON_UNPROBED: Final = "lease: neither heartbeats nor probes kept it"
REASON_NOT_GRANTED: Final = "not probed: this address is not granted"


class Sign(StrEnum):
    """What one heartbeat or probe says."""

    PASS = "pass"  # noqa: S105  # a sign of health, not a secret
    WARN = "warn"
    FAIL = "fail"
    REFUSED = "refused"


class Standing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An instance's verdict and the evidence behind it.

    `since_ms` and `last_check_ms` are wall time; `penalty_at_ms` is monotonic. `strain` counts
    reports in a row towards the other side of `strained`.
    """

    status: Status = Status.UNKNOWN
    reason: str = REASON_NONE
    since_ms: int = 0
    passes: int = 0
    fails: int = 0
    refusals: int = 0
    warned: bool = False
    strained: bool = False
    strain: int = 0
    penalty: float = 0.0
    penalty_at_ms: float = 0.0
    suppressed: bool = False
    protected: bool = False
    latency_ms: float | None = None
    last_check_ms: int = 0


UNJUDGED: Final = Standing()


class SystemHealthChanged(Fact, frozen=True, kw_only=True):
    """The system as a whole is in another state (an event of the platform's domain)."""

    status: Status
    previous: Status
    services: dict[str, int]
    instances: dict[str, int]


FACTS: Final[tuple[type[Fact], ...]] = (SystemHealthChanged,)
