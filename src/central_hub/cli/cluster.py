"""`central-hub cluster …`: the hubs that share a store."""

from __future__ import annotations

from typing import Final

import typer

from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

COLUMNS: Final = ("hub", "version", "epoch", "position", "behind", "silent ms", "instances", "deliveries", "")


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Hubs that share a store: who is there, who does what.")
    client_command(group, "status")(status)
    app.add_typer(group, name="cluster")


def status(session: Session) -> None:
    """Show the hubs that share the store, as the one that you ask sees them."""
    answer = session.hub.get("/cluster")

    def in_words(out: Output) -> None:
        if answer["mode"] == "alone":
            out.text("This hub has its store for itself.")
            return
        rows = [
            (
                one["node"], one["version"], one["epoch"], one["position"], one["behind"], one["silent_ms"],
                one["work"].get("instance", 0), one["work"].get("delivery", 0),
                "asked" if one["node"] == answer["node"] else "",
            )
            for one in answer["members"]
        ]  # fmt: skip
        out.table(COLUMNS, rows, empty="Nobody is on the roster: the store is away, or was until now.")
        settled = "all go by it" if answer["settled"] else "not all go by it yet"
        out.talk(f"Roster {answer['roster']}: {settled}.")
        if answer["stale_ms"]:
            out.talk(f"The store has not answered this hub for {answer['stale_ms'] / 1_000:.1f} s.")

    session.show(answer, in_words)
