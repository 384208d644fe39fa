"""Writes a report as the tables of the page about scale."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.cells.costs import HOW
from benchmarks.cells.demand import RESOURCES
from benchmarks.cells.scenarios import DEAD_CELL_ENDS_S, NOTICED_S, CellDeath, HubDeath, Report
from benchmarks.cells.storm import ENDS_S
from benchmarks.cells.world import BEAT_EVERY_S
from central_hub.sdk.serving import LEASE_TTL_S

BEGIN: Final = "<!-- tables: begin -->"
END: Final = "<!-- tables: end -->"


def write_into(page: Path, report: Report) -> None:
    """Put the tables of a report between the marks of a page.

    Raises:
        ValueError: the page has no marks.
    """
    text = page.read_text("utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has no marks to write between")
    inside = f"{BEGIN}\n\n{tables(report)}\n\n{END}"
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: inside, text, flags=re.DOTALL), "utf-8")


def tables(report: Report) -> str:
    """Return all tables."""
    return "\n\n".join(
        (
            _costs(report), _assumed(report), _carried(report), _whales(report), _fleets(report), _uneven(report),
            _hub_deaths(report), _cell_deaths(report), _reads(report),
        )
    )  # fmt: skip


def table(heading: str, head: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    """Return one table with its heading."""
    lines = [f"### {heading}", ""]
    if note:
        lines += [note, ""]
    lines += [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def seconds(value: float | None, ends_s: float) -> str:
    """Write a time, or that it did not come."""
    return f"not in {ends_s:,.0f} s" if value is None else f"{value:,.1f} s"


def cost(name: str, value: float) -> str:
    """Write a cost with its unit."""
    if name.endswith("_per_s"):
        return f"{value:,.0f} /s"
    if name.endswith("_bytes"):
        return f"{value:,.0f} bytes"
    return f"{value * 1e6:,.1f} µs"


def _costs(report: Report) -> str:
    costs = report.costs
    rows = [(HOW[name], cost(name, getattr(costs, name))) for name in HOW]
    note = f"Measured on {costs.on}, {costs.machine}; the store is {costs.store}. Times are of the hub's core."
    return table("What one hub costs", ("what", "cost"), rows, note)


def _assumed(report: Report) -> str:
    world = report.world
    rows = [
        (name.replace("_", " "), f"{value:,.12g}")
        for name, value in msgspec.to_builtins(world).items()
        if isinstance(value, (int, float))
    ]
    limits = msgspec.to_builtins(world.limits)
    rows += [(f"limit: {name.replace('_', ' ')}", f"{value:,.12g}") for name, value in limits.items()]
    rows.append(("seconds between renewals", f"{BEAT_EVERY_S:g}"))
    return table("What is assumed", ("what", "value"), rows)


def _carried(report: Report) -> str:
    rows = [
        (
            one.way, *(f"{one.instances[name]:,}" for name in RESOURCES), f"**{one.first}**", f"{one.cells_needed:,}",
            f"{one.tenant:,} ({one.tenant_by})",
        )
        for one in report.carried
    ]  # fmt: skip
    head = ("instances talk by", *RESOURCES, "first", "cells for all", "largest tenant")
    note = "Instances that a cell carries with one of its hubs gone, as far as each goes."
    return table("What a cell carries", head, rows, note)


def _whales(report: Report) -> str:
    whole = report.world.instances
    rows = [
        (
            one.way, f"{one.skew:g}", f"{one.largest:,}", f"{one.fits:,}", f"{one.too_large:,}",
            f"{one.turned_away:,} ({one.turned_away / whole:.1%})",
        )
        for one in report.whales
    ]  # fmt: skip
    head = (
        "instances talk by",
        "skew",
        "largest tenant",
        "a cell holds",
        "tenants too large",
        "instances without room",
    )
    return table("Tenants that no cell holds", head, rows)


def _fleets(report: Report) -> str:
    rows = [
        (one.way, f"{one.cells:,}", f"{one.mean:,.0f}", *(f"{one.used[name]:.2f}" for name in RESOURCES), one.first)
        for one in report.fleets
    ]
    head = ("instances talk by", "cells", "instances each", *RESOURCES, "first")
    note = "The busiest cell, tenants placed where there is most room; more than 1 is more than there is."
    return table("What the busiest cell uses", head, rows, note)


def _uneven(report: Report) -> str:
    fleets = [one for one in report.fleets if one.way == report.fleets[0].way]
    names = list(fleets[0].uneven)
    rows = [
        (f"{one.cells:,}", *(f"{one.uneven[name]:.2f}" for name in names), f"{one.moved_by_one_more:.2%}")
        for one in fleets
    ]
    note = f"The fullest cell over the mean, {fleets[0].way}. Last: tenants that a hash moves when a cell is added."
    return table("How evenly tenants are placed", ("cells", *names, "moved by one more"), rows, note)


def _hub_deaths(report: Report) -> str:
    def row(one: HubDeath) -> tuple[str, ...]:
        seen = one.seen
        return (
            one.way, "vanishes" if one.silent else "killed", f"{one.filled:.0%}", f"{one.instances:,}",
            f"{seen.clients:,}", seconds(seen.half_s, ENDS_S), seconds(seen.all_s, ENDS_S),
            f"{seen.longest_wait_s:.2f} s", f"{one.expired:,}",
        )  # fmt: skip

    head = ("instances talk by", "the hub", "cell full", "instances", "clients it had", "half back", "all back",
            "longest queue", "expired")  # fmt: skip
    note = f"One of {report.world.hubs} hubs dies. Expired: instances not back within a lease of {LEASE_TTL_S:g} s."
    return table("A hub dies", head, map(row, report.hub_deaths), note)


def _cell_deaths(report: Report) -> str:
    def row(one: CellDeath) -> tuple[str, ...]:
        seen = one.seen
        return (
            one.way, f"{one.cells:,}", f"{one.tenants:,}", f"{one.instances:,}", f"{one.imported_s:.1f} s",
            seconds(seen.half_s, DEAD_CELL_ENDS_S), seconds(seen.all_s, DEAD_CELL_ENDS_S),
            f"{seen.back / max(1, seen.clients):.1%}", f"{seen.refused:,}",
        )  # fmt: skip

    head = ("instances talk by", "cells", "its tenants", "its instances", "last one imported", "half back", "all back",
            "back at the end", "turned away")  # fmt: skip
    note = f"Nobody knows for {NOTICED_S:g} s; then its tenants are imported elsewhere and their instances register."
    return table("A cell is lost", head, map(row, report.cell_deaths), note)


def _reads(report: Report) -> str:
    rows = [
        (
            f"{one.busy:.0%}", f"{one.instances:,}", f"{one.quiet.mean_ms:.3f} ms", f"{one.quiet.p99_ms:.3f} ms",
            f"{one.while_told.p99_ms:.2f} ms",
        )
        for one in report.reads
    ]  # fmt: skip
    head = ("core busy", "instances that poll", "mean", "p99", "p99 while a change is told")
    return table("Reads of a busy hub", head, rows)
