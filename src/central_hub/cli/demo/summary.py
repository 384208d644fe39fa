"""How the demo ends: what was done, what went wrong, and whether it may be called a success."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from central_hub.cli.demo.figures import Figures, percentile


@dataclass(frozen=True, slots=True)
class TenantSummary:
    """One tenant's calls; latencies in milliseconds."""

    tenant: str
    tier: str
    calls: int
    failures: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The demo's result."""

    seconds: float
    calls: int
    failures: int
    tenants: list[TenantSummary]
    instances_killed: int
    instances_restarted: int
    hub_down_s: float
    calls_sent_again: int
    orders_acknowledged: int
    orders_executed: int
    answers_replayed: int
    model_shares: dict[str, float]
    walls: dict[str, bool]
    hub_position: str
    load: str
    reasons: dict[str, int] = field(default_factory=dict[str, int])
    parts_killed: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def good(self) -> bool:
        """Whether callers saw no error, every order was executed exactly once, and every wall held."""
        once = self.orders_acknowledged == self.orders_executed
        return self.calls > 0 and self.failures == 0 and once and all(self.walls.values())

    def as_json(self) -> dict[str, Any]:  # Any: JSON values
        """Return the result as JSON values."""
        return {**asdict(self), "good": self.good}

    def lines(self) -> list[str]:
        """Return the result in words."""
        lines = [f"{self.calls} calls in {self.seconds:.0f} s, {self.failures} failed  (load: {self.load})"]
        for each in self.tenants:
            lines.append(
                f"  {each.tenant:<12} {each.tier:<10} {each.calls:>6} calls  {each.failures} failed  "
                f"p50 {each.p50_ms:.0f} ms  p99 {each.p99_ms:.0f} ms"
            )
        killed = "parts" if self.parts_killed else "instances"
        lines.append(
            f"{killed} killed (kill -9): {self.instances_killed}, started again: {self.instances_restarted}; "
            f"calls that went to another instance unnoticed: {self.calls_sent_again}"
        )
        if self.parts_killed:
            lines.append("killed in turn (kill -9): " + ", ".join(f"{n} {c}x" for n, c in self.parts_killed.items()))
        if self.hub_down_s:
            lines.append(f"hub killed (kill -9) and away for {self.hub_down_s:.0f} s")
        lines.append(
            f"orders: {self.orders_acknowledged} acknowledged, {self.orders_executed} executed, "
            f"{self.answers_replayed} answered again for a retry"
        )
        shares = ", ".join(f"{name} {share:.0%}" for name, share in sorted(self.model_shares.items()))
        lines.append(f"model servers, speeds 1:3:6, took: {shares}")
        lines += [f"wall {'held' if held else 'BROKEN'}: {wall}" for wall, held in self.walls.items()]
        lines += [f"  {count} failed: {reason}" for reason, count in self.reasons.items()]
        lines.append(f"hub position: {self.hub_position}")
        lines.append("No caller saw an error." if self.good else "This demo did NOT go as it should.")
        return lines


def summarize(
    figures: Figures, *, seconds: float, orders_acknowledged: int, orders_executed: int, hub_position: str, load: str
) -> Summary:
    """Sum the figures of a finished demo up.

    Args:
        seconds: how long load was sent.
        orders_acknowledged: orders whose caller was told that they were executed.
        orders_executed: orders that the trading engines wrote down.
        hub_position: the hub's opaque position at the end.
        load: where the arrivals came from.
    """
    model_calls = {name: count for name, count in figures.served_by.items() if name.startswith("model-server")}
    total = sum(model_calls.values()) or 1
    return Summary(
        seconds=seconds,
        calls=figures.calls,
        failures=figures.failures,
        tenants=[_tenant(name, figures) for name in figures.tenants],
        instances_killed=figures.killed,
        instances_restarted=figures.restarted,
        hub_down_s=figures.hub_down_s,
        calls_sent_again=figures.sent_again,
        orders_acknowledged=orders_acknowledged,
        orders_executed=orders_executed,
        answers_replayed=sum(each.replayed for each in figures.tenants.values()),
        model_shares={name: count / total for name, count in model_calls.items()},
        walls=dict(figures.walls),
        hub_position=hub_position,
        load=load,
        reasons=dict(figures.reasons),
        parts_killed=dict(figures.parts_killed),
    )


def _tenant(name: str, figures: Figures) -> TenantSummary:
    tenant = figures.tenants[name]
    ordered = sorted(tenant.latencies_ms)
    return TenantSummary(
        tenant=name,
        tier=tenant.tier,
        calls=tenant.calls,
        failures=tenant.failures,
        p50_ms=percentile(ordered, 0.5),
        p99_ms=percentile(ordered, 0.99),
    )
