"""`central-hub usage …`: record what was used, see what it adds up to, export it for billing."""

from __future__ import annotations

import csv
import io
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from central_hub.cli.connection import segment
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

ROW_COLUMNS: Final = ("meter", "from", "tier", "quantity", "events", "final")
EXPORT_COLUMNS: Final[tuple[str, ...]] = (
    "tenant_id", "meter", "period_start", "period_end", "tier", "quantity", "events", "final",
)  # fmt: skip

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")]
Row = dict[str, Any]  # Any: JSON values


class Period(StrEnum):
    """Over which time use is added up."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Usage: what was used, for the tenant and for billing.")
    client_command(group, "record")(record)
    client_command(group, "show")(show)
    client_command(group, "export")(export)
    app.add_typer(group, name="usage")


def record(
    session: Session,
    tenant_id: Tenant,
    meter: Annotated[str, typer.Argument(metavar="METER", help="What was used.")],
    quantity: Annotated[int, typer.Argument(metavar="QUANTITY", help="How much of it.")],
    event_id: Annotated[str, typer.Option("--id", help="Unique within the meter: recorded once.")],
    at_ms: Annotated[int | None, typer.Option("--at-ms", help="When, in Unix milliseconds. (now)")] = None,
) -> None:
    """Record one usage event."""
    event = {"id": event_id, "meter": meter, "quantity": quantity}
    if at_ms is not None:
        event["at_ms"] = at_ms
    answer = session.hub.post(f"/tenants/{segment(tenant_id)}/usage/events", {"events": [event]})

    def in_words(out: Output) -> None:
        refused = ", ".join(one["code"] for one in answer["refused"])
        out.fields({"accepted": answer["accepted"], "duplicates": answer["duplicates"], "refused": refused})

    session.show(answer, in_words)


def show(
    session: Session,
    tenant_id: Tenant,
    by: Annotated[Period, typer.Option(help="Added up by hour, day or month.")] = Period.DAY,
    meter: Annotated[str, typer.Option(help="Of one meter only.")] = "",
) -> None:
    """Show what a tenant's use adds up to; limits and what is left are in `quota show`."""
    rows: list[Row] = []
    cursor: str | None = None
    while True:
        path = f"/tenants/{segment(tenant_id)}/usage/meters"
        page = session.hub.get(path, period=by.value, meter=meter or None, cursor=cursor)
        rows += page["rows"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    def in_words(out: Output) -> None:
        cells = [
            (row["meter"], row["period_start"], row["tier"], row["quantity"], row["events"], row["final"])
            for row in rows
        ]
        out.table(ROW_COLUMNS, cells, empty="Nothing was recorded.")

    session.show({"rows": rows}, in_words)


def export(
    session: Session, month: Annotated[str, typer.Option(help="Which one, as YYYY-MM.", show_default=False)]
) -> None:
    """Export a month's use of every tenant, as CSV or with -o json as JSON."""
    rows: list[Row] = []
    cursor: str | None = None
    while True:
        page = session.hub.get("/usage/export", month=month, cursor=cursor)
        rows += page["rows"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    def in_words(out: Output) -> None:
        text = io.StringIO()
        writer: csv.DictWriter[str] = csv.DictWriter(text, list(EXPORT_COLUMNS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        out.text(text.getvalue().rstrip("\n"))

    session.show({"rows": rows}, in_words)
