"""The figures that the explanations quote are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from central_hub.adapters.snapshot_files import KEPT as SNAPSHOTS_KEPT
from central_hub.adapters.sqlite.log import LOG_BYTES_MAX, RESERVED_BYTES, RESERVED_FOR_FACTS_BYTES
from central_hub.app.hub import RESULTS_KEPT_MS
from central_hub.breakers import bounds, tiers
from central_hub.breakers import model as breakers
from central_hub.edge.streams import BUFFERED_BYTES_MAX, KEEP_ALIVE_S
from central_hub.health import model as health
from central_hub.kernel.probing import PROBE_TIMEOUT_S
from central_hub.kernel.sequencer import GROUP_COMMIT_MAX
from central_hub.plans.document import default_catalogue
from central_hub.registry import picker, signals, waiting, watching
from central_hub.registry.catalogue import SIGNAL_REBUILD_MS
from central_hub.registry.model import LEASE_TTL_S_MAX, LEASE_TTL_S_MIN, Status


def _tier(name: str, said: str) -> str:
    policy = tiers.policy_of(default_catalogue().plans[name].entitlements)
    needed = dict(bounds.spans(policy.window_size, policy.failure_rate, policy.confidence))
    cells = (name, f"{policy.failure_rate:.0%}".replace("%", " %"), said, needed[6], needed[12], needed[24], needed[64])
    return "| " + " | ".join(str(cell) for cell in cells) + f" | {policy.open_s:g} s |"


EXPLANATION = Path(__file__).parents[2] / "docs" / "explanation"
MIB = 1024 * 1024

LOG = (
    f"up to {GROUP_COMMIT_MAX} in one transaction",
    f"Below {RESERVED_FOR_FACTS_BYTES // MIB} MiB of free space events and audit are refused",
    f"below {RESERVED_BYTES // MIB} MiB every write",
    f"more than {LOG_BYTES_MAX // MIB // 1024} GiB",
    f"It is kept for {({86_400_000: 'a day'})[RESULTS_KEPT_MS]}",
    f"the {({2: 'two'})[SNAPSHOTS_KEPT]} snapshots kept",
)
HEALTH = (
    f"({LEASE_TTL_S_MIN:g} to {LEASE_TTL_S_MAX:g})",
    f"after {health.PROBE_KEPT_TTL_MS / 60_000:g} minutes without a passing probe",
    f"after {({60: 'an hour'})[round(health.UNPROBED_TTL_MS / 60_000)]}; the registration",
    f"{PROBE_TIMEOUT_S:g} s for everything",
    f"up to {health.PROBES_PER_S_EASY * health.PROBE_INTERVAL_MIN_MS / 1_000:g} targets",
    f"at most {health.PROBE_INTERVAL_MAX_MS / 1_000:g} s (at",
    f"{health.PROBES_PER_S:,} probes a second are the limit",
    f"{health.FALL} failures in a row, or {health.FALL_REFUSED} refused connections",
    f"after {health.PROBE_CONFIRM_MS:g} ms: nobody listens there",
    f"{health.RISE} in a row for an instance that was unhealthy",
    f"{health.STRAIN} reports in a row of load ≥ {health.LOAD_STRAINED:g}",
    f"or p95 ≥ {health.LATENCY_STRAINED_MS / 1_000:g} s",
    f"below {health.LOAD_RELAXED:g} and {health.LATENCY_RELAXED_MS / 1_000:g} s",
    f"({health.PENALTY_PER_FALL:g} for unhealthy, {health.PENALTY_PER_CHANGE:g} for degraded)",
    f"At {health.PENALTY_SUPPRESS:g} the instance",
    f"faded to {health.PENALTY_REUSE:g}",
    f"later than {health.LATE_GAPS:g} times their own usual gap",
    f"({health.PROTECTION_MIN_MS / 1_000:g} s at least, {health.PROTECTION_MAX_MS / 60_000:g} minutes at most)",
)
PICKS = (
    f"over {picker.SLOTS} slots",
    f"max({picker.RAMP_MIN:g}, age / {picker.RAMP_MS // 1_000} s)",
    f"min(load, {picker.LOAD_CEILING:g})",
    "standing = "
    + ", ".join(f"{name} {picker.STANDING[Status(name)]:g}" for name in ("healthy", "unknown", "degraded")),
    f"a report older than {signals.LOAD_FRESH_MS / 1_000:g} s is forgotten",
    f"at most every {SIGNAL_REBUILD_MS:g} ms",
    f"({waiting.WAIT_S_MAX:g} at most)",
    f"a tenant may have {waiting.WAITERS_PER_TENANT_MAX:,}",
    f"({watching.SERVICES_PER_WATCH_MAX} names at most",
    f"merge for at most {watching.MERGE_MS:g} ms",
    f"every {KEEP_ALIVE_S:g} s",
    f"lets {BUFFERED_BYTES_MAX // 1024} KiB pile up unread",
)

BREAKERS = (
    _tier("free", "95 %"),
    _tier("pro", "99 %"),
    _tier("enterprise", "99.999 %"),
    f"the last {tiers.WINDOW} calls, and among them at the last 6, 8, 12, 16, 24 and 40",
    f"fewer than 1 of {round(1 / breakers.FALSE_TRIPS_MAX):,} windows",
    f"fails {breakers.HEALTHY_RATE:.0%}".replace("%", " %"),
    f"after {breakers.IDLE_S / 60:g} minutes without a call",
    f"once in {breakers.WITNESS_EVERY_S * 1_000:g} ms at most",
    f"the last {breakers.WITNESSED_MAX} outcomes of the {breakers.WITNESSES_MAX} tenants heard last",
    f"within 1, 3 and {breakers.WITNESS_AGE_S:g} s",
    f"lower end of a {breakers.ENDPOINT_CONFIDENCE:.0%} interval".replace("%", " %"),
    f"holds for {breakers.ENDPOINT_OPEN_S:g} s",
    f"make {breakers.ENDPOINT_PROBES_PER_S} probes a second",
    f"lets {tiers.PROBES_DEFAULT} calls through",
    f"after {({60: 'a minute'})[round(tiers.PROBE_WAIT_S)]} as failed",
    f"{tiers.DEFAULT_RATE:.0%}, {tiers.DEFAULT_OPEN_S:g} s".replace("%", " %"),
)


@pytest.mark.parametrize(
    ("page", "quoted"),
    [
        *(("breakers.md", quoted) for quoted in BREAKERS),
        *(("log-and-durability.md", quoted) for quoted in LOG),
        *(("health.md", quoted) for quoted in HEALTH),
        *(("discovery-and-picks.md", quoted) for quoted in PICKS),
    ],
)
def test_a_figure_is_quoted_as_it_is(page: str, quoted: str) -> None:
    text = " ".join((EXPLANATION / page).read_text("utf-8").split())
    assert quoted in text
