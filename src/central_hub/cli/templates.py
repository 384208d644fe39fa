"""`central-hub template …`: layers made of a document and typed parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from central_hub.cli.config import path_of, read_json, tell_change, value_of
from central_hub.cli.connection import segment
from central_hub.cli.failures import usage
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

TEMPLATE_COLUMNS: Final = ("template", "parameters")

Name = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Name of the template.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    template = typer.Typer(no_args_is_help=True, help="Templates: layers made of a document and typed parameters.")
    client_command(template, "list")(list_templates)
    client_command(template, "put")(put)
    client_command(template, "apply")(apply)
    client_command(template, "remove")(remove)
    app.add_typer(template, name="template")


def list_templates(session: Session) -> None:
    """List the templates with their parameters."""
    answer = session.hub.get("/config/templates")

    def in_words(out: Output) -> None:
        rows = [
            (one["template"], ", ".join(f"{name} ({schema['type']})" for name, schema in one["parameters"].items()))
            for one in answer["templates"]
        ]
        out.table(TEMPLATE_COLUMNS, rows, empty="No templates yet. Try: central-hub template put NAME FILE")

    session.show(answer, in_words)


def put(
    session: Session,
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON file with its parameters and document.")],
) -> None:
    """Keep a template under a name."""
    body = read_json(file, "central-hub template list -o json")
    answer = session.hub.request("PUT", f"/config/templates/{segment(name)}", body=body).body
    session.show(answer, lambda out: out.talk(f"Next: central-hub template apply {name} LAYER"))


def apply(
    session: Session,
    name: Name,
    layer: Annotated[str, typer.Argument(metavar="LAYER", help="global, tier/NAME, tenant/NAME, …")],
    values: Annotated[
        list[str] | None, typer.Argument(metavar="[PARAMETER=VALUE...]", help="The value is JSON, or a text.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the layer's history.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say whom it would reach, and change nothing.")] = False,
) -> None:
    """Make a layer of a template: it then says that and nothing else."""
    parameters: dict[str, Any] = {}  # Any: JSON
    for each in values or []:
        parameter, equals, text = each.partition("=")
        if not equals:
            raise usage(f"'{each}' is not PARAMETER=VALUE.", "central-hub template apply --help")
        parameters[parameter] = value_of(text)
    etag = session.hub.get(path_of(layer))["etag"]
    kind, _, named = layer.partition("/")
    body = {
        "layer": {kind: named} if named else {},
        "if_match": etag,
        "parameters": parameters,
        "reason": reason,
        "dry_run": dry_run,
    }
    answer = session.hub.post(f"/config/templates/{segment(name)}/apply", body)
    session.show(answer, lambda out: tell_change(out, answer))


def remove(session: Session, name: Name) -> None:
    """Take a template away; layers that were made of it stay."""
    session.hub.request("DELETE", f"/config/templates/{segment(name)}")
    session.show({"removed": name}, lambda out: out.talk(f"The template {name} is taken away."))
