"""`central-hub config …`: what customers are configured with, where it came from, and changing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import usage
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command
from central_hub.sdk.configuration import difference

VALUE_COLUMNS: Final = ("path", "value")
EXPLAIN_COLUMNS: Final = ("path", "value", "layer", "revision", "author", "bound by")
HISTORY_COLUMNS: Final = ("revision", "changed", "author", "reason", "goes back to")
CHANGE_COLUMNS: Final = ("path", "before", "after", "tenants")
SINGLE: Final = ("tier", "tenant", "service", "environment")

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")]
LayerOf = Annotated[
    str, typer.Argument(metavar="LAYER", help="global, tier/NAME, tenant/NAME, service/NAME or environment/NAME.")
]
Service = Annotated[str, typer.Option(help="Service it is for.")]
Environment = Annotated[str, typer.Option(help="Environment it is for.")]
Combined = Annotated[str, typer.Option("--for-service", help="Only for this service: an exact combination.")]
CombinedToo = Annotated[str, typer.Option("--for-environment", help="Only for this environment: an exact combination.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the layer's history.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say whom it would reach, and change nothing.")]
Revision = Annotated[int, typer.Argument(metavar="REVISION", min=0, help="A revision of the history.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    config = typer.Typer(no_args_is_help=True, help="Configuration: values in layers, and where each came from.")
    client_command(config, "show")(show)
    client_command(config, "explain")(explain)
    client_command(config, "layer")(layer)
    client_command(config, "set")(set_values)
    client_command(config, "unset")(unset)
    client_command(config, "apply")(apply)
    client_command(config, "history")(history)
    client_command(config, "diff")(diff)
    client_command(config, "rollback")(rollback)
    client_command(config, "sections")(sections)
    client_command(config, "describe")(describe)
    app.add_typer(config, name="config")


def show(session: Session, tenant_id: Tenant, service: Service = "", environment: Environment = "") -> None:
    """Show a tenant's effective configuration."""
    answer = session.hub.get(f"/config/{segment(tenant_id)}", **_for(service, environment))

    def in_words(out: Output) -> None:
        rows = [(each.path, _said(each.after)) for each in difference({}, answer["config"])]
        out.table(VALUE_COLUMNS, rows, empty="Nothing is configured.")

    session.show(answer, in_words)


def explain(session: Session, tenant_id: Tenant, service: Service = "", environment: Environment = "") -> None:
    """Say for every value which layer it is from, who wrote that, and what locks or limits it."""
    answer = session.hub.get(f"/config/{segment(tenant_id)}/explain", **_for(service, environment))

    def in_words(out: Output) -> None:
        rows = [
            (path, _said(one["value"]), one["layer"], one["revision"], one["author"], _bound_by(one))
            for path, one in answer["values"].items()
        ]
        out.table(EXPLAIN_COLUMNS, rows, empty="Nothing is configured.")
        for rollout_id in answer.get("rollouts", ()):
            out.talk(f"Something else is tried out instead. Next: central-hub rollout show {rollout_id}")

    session.show(answer, in_words)


def layer(session: Session, name: LayerOf, for_service: Combined = "", for_environment: CombinedToo = "") -> None:
    """Print what a layer says, as the file that `config apply` takes."""
    answer = session.hub.get(path_of(name), **_for(for_service, for_environment))
    session.show(answer, lambda out: out.data(answer["document"]))


def set_values(
    session: Session,
    name: LayerOf,
    values: Annotated[list[str], typer.Argument(metavar="PATH=VALUE...", help="As /risk/depth=5; the value is JSON.")],
    for_service: Combined = "",
    for_environment: CombinedToo = "",
    reason: Reason = "",
    dry_run: DryRun = False,
) -> None:
    """Say values in a layer; everything else it says stays."""
    patch: dict[str, Any] = {}  # Any: JSON
    for each in values:
        path, equals, text = each.partition("=")
        if not equals:
            raise usage(f"'{each}' is not PATH=VALUE.", "central-hub config set --help")
        put_value(patch, path, value_of(text))
    _change(session, name, _for(for_service, for_environment), patch, reason, dry_run=dry_run)


def unset(
    session: Session,
    name: LayerOf,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="As /risk/depth.")],
    for_service: Combined = "",
    for_environment: CombinedToo = "",
    reason: Reason = "",
    dry_run: DryRun = False,
) -> None:
    """Let a layer say nothing at some places, so that the layers before it decide."""
    patch: dict[str, Any] = {}  # Any: JSON
    for path in paths:
        put_value(patch, path, None)
    _change(session, name, _for(for_service, for_environment), patch, reason, dry_run=dry_run)


def apply(
    session: Session,
    name: LayerOf,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON file with the whole layer.")],
    for_service: Combined = "",
    for_environment: CombinedToo = "",
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", help="Make it so; without it only the changes are shown.")] = False,
) -> None:
    """Show what a file would make of a layer; with --yes make it so."""
    query = _for(for_service, for_environment)
    document = read_json(file, f"central-hub config layer {name} > {file}")
    etag = session.hub.get(path_of(name), **query)["etag"]
    _send(session, "PUT", name, query, document, etag, reason, dry_run=not yes)
    if not yes:
        session.out.talk(f"Nothing is changed yet. Next: central-hub config apply {name} {file} --yes")


def history(session: Session, name: LayerOf, for_service: Combined = "", for_environment: CombinedToo = "") -> None:
    """List the revisions of a layer, newest first."""
    answer = session.hub.get(path_of(name) + "/history", **_for(for_service, for_environment))

    def in_words(out: Output) -> None:
        rows = [
            (one["revision"], one["changed_at"], one["author"], one.get("reason"), one.get("restores"))
            for one in answer["revisions"]
        ]
        out.table(HISTORY_COLUMNS, rows, empty="Nobody has written this layer yet.")

    session.show(answer, in_words)


def diff(
    session: Session,
    name: LayerOf,
    since: Revision,
    until: Annotated[int | None, typer.Argument(metavar="[REVISION]", min=0, help="The newest when left out.")] = None,
    for_service: Combined = "",
    for_environment: CombinedToo = "",
) -> None:
    """Compare two revisions of a layer."""
    query: dict[str, object] = {"from": since, "to": until, **_for(for_service, for_environment)}
    answer = session.hub.get(path_of(name) + "/diff", **query)

    def in_words(out: Output) -> None:
        rows = [(one["path"], _said(one.get("before")), _said(one.get("after"))) for one in answer["changes"]]
        out.table(CHANGE_COLUMNS[:3], rows, empty="They say the same.")

    session.show(answer, in_words)


def rollback(
    session: Session,
    name: LayerOf,
    revision: Revision,
    for_service: Combined = "",
    for_environment: CombinedToo = "",
    reason: Reason = "",
    dry_run: DryRun = False,
) -> None:
    """Go back to an earlier revision; it becomes a new one."""
    query = _for(for_service, for_environment)
    etag = session.hub.get(path_of(name), **query)["etag"]
    body = {"to_revision": revision, "reason": reason}
    _send(session, "POST", name, query, body, etag, "", dry_run=dry_run, what="/rollback")


def sections(session: Session) -> None:
    """List what may be configured, with the schema of each section."""
    answer = session.hub.get("/config/schemas")

    def in_words(out: Output) -> None:
        rows = [
            (
                one["section"],
                "plans" if one["built_in"] else "operator",
                ", ".join(one["json_schema"].get("properties", {})),
            )
            for one in answer["sections"]
        ]
        out.table(("section", "described by", "keys"), rows, empty="Nothing may be configured.")

    session.show(answer, in_words)


def describe(
    session: Session,
    section: Annotated[str, typer.Argument(metavar="SECTION", help="Name of the section.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON file with its schema.")],
) -> None:
    """Say by a JSON Schema what a section may hold."""
    schema = read_json(file, "central-hub config sections -o json")
    answer = session.hub.request("PUT", f"/config/schemas/{segment(section)}", body=schema).body
    session.show(answer, lambda out: out.talk(f"The section {section} may be configured."))


def read_json(file: Path, next_command: str) -> Json:
    """Read a file of JSON.

    Raises:
        Failure: it cannot be read.
    """
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise usage(f"{file} cannot be read: {reason}.", next_command) from None


def _change(
    session: Session, name: str, query: dict[str, object], patch: dict[str, Any], reason: str, *, dry_run: bool
) -> None:
    etag = session.hub.get(path_of(name), **query)["etag"]
    _send(session, "PATCH", name, query, patch, etag, reason, dry_run=dry_run)


def _send(
    session: Session,
    method: str,
    name: str,
    query: dict[str, object],
    body: object,
    etag: str,
    reason: str,
    *,
    dry_run: bool,
    what: str = "",
) -> None:
    told: dict[str, object] = {**query, "reason": reason or None, "dry_run": "true" if dry_run else None}
    answer = session.hub.request(method, path_of(name) + what, body=body, query=told, if_match=etag).body
    session.show(answer, lambda out: tell_change(out, answer))


def tell_change(out: Output, answer: Json) -> None:
    """Say what a change did, or would do."""
    radius = answer.get("blast_radius")
    if radius is None:
        out.talk(f"{answer['layer']} is at revision {answer['revision']}.")
        return
    rows = [(one["path"], _said(one["before"]), _said(one["after"]), one["tenants"]) for one in radius["changes"]]
    out.table(CHANGE_COLUMNS, rows, empty="No effective value would change.")
    reach = ", ".join(f"{radius[what]} {what}" for what in ("tenants", "services", "instances"))
    out.talk(f"It would reach {reach}.")


def path_of(name: str) -> str:
    """Return the path of a layer.

    Raises:
        Failure: it names none.
    """
    kind, _, rest = name.partition("/")
    if name != "global" and (kind not in SINGLE or not rest):
        raise usage(f"'{name}' is not a layer.", "central-hub config set --help")
    return "/config/layers/" + "/".join(segment(part) for part in name.split("/", 1))


def _for(service: str, environment: str) -> dict[str, object]:
    return {"service": service or None, "environment": environment or None}


def put_value(patch: dict[str, Any], path: str, value: Json) -> None:
    """Put a value into a patch at a place such as /risk/depth.

    Raises:
        Failure: it is no place, or below another value.
    """
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    if not path.startswith("/") or not all(parts):
        meant = f"/{path.strip('/.').replace('.', '/')}" if "//" not in path else "/risk/depth"
        raise usage(f"'{path}' is not a place such as {meant}.", "central-hub config set --help")
    node = patch
    for part in parts[:-1]:
        inner = node.setdefault(part, {})
        if not isinstance(inner, dict):
            raise usage(f"'{path}' is below a value that is set too.", "central-hub config set --help")
        node = cast("dict[str, Any]", inner)
    node[parts[-1]] = value


def value_of(text: str) -> Json:
    """Read a value: JSON, or else a text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _said(value: Json) -> object:
    return value if isinstance(value, str) else "-" if value is None else json.dumps(value)


def _bound_by(one: Json) -> str:
    if one.get("unresolved"):
        return "unresolved: there is no such secret"
    return (
        f"locked: {one['locked']}" if one.get("locked") else f"limited: {one['limited']}" if one.get("limited") else ""
    )
