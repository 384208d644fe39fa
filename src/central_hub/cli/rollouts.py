"""`central-hub rollout …`: let a change reach a few first, look on, and go on, hold or take it back."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from central_hub.cli.config import path_of, put_value, read_json, value_of
from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import ExitCode, Failure, usage
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

LOOK_S: Final = 0.5
BAR_WIDTH: Final = 20
OPEN: Final = ("running", "paused")
COLUMNS: Final = ("rollout", "state", "stage", "exposed", "started", "author", "reason")
STAGE_COLUMNS: Final = ("stage", "reaches", "looked at for", "since")
RUNNING_COLUMNS: Final = ("service", "instance", "environment", "state", "since", "there", "rollouts", "reason")

Id = Annotated[str, typer.Argument(metavar="ROLLOUT", help="Its id, as start and list show it.")]
Of = Annotated[str, typer.Option("--of", metavar="TENANT", help="Tenant whose own layers it changes.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the rollout.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    rollout = typer.Typer(no_args_is_help=True, help="Rollouts: changes of configuration that reach a few first.")
    client_command(rollout, "start")(start)
    client_command(rollout, "show")(show)
    client_command(rollout, "list")(list_rollouts)
    client_command(rollout, "watch")(watch)
    client_command(rollout, "pause")(pause)
    client_command(rollout, "resume")(resume)
    client_command(rollout, "promote")(promote)
    client_command(rollout, "abort")(abort)
    client_command(rollout, "instances")(instances)
    app.add_typer(rollout, name="rollout")


def start(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="LAYER", help="global, tier/NAME, tenant/NAME, service/NAME or environment/NAME.")
    ],
    values: Annotated[list[str], typer.Argument(metavar="PATH=VALUE...", help="As /risk/depth=5; the value is JSON.")],
    for_service: Annotated[str, typer.Option("--for-service", help="Only for this service.")] = "",
    for_environment: Annotated[str, typer.Option("--for-environment", help="Only for this environment.")] = "",
    kind: Annotated[str, typer.Option("--strategy", help="all_at_once, linear or canary.")] = "canary",
    percent: Annotated[float | None, typer.Option(help="Share that a canary reaches first; 10 when left out.")] = None,
    unit: Annotated[str, typer.Option(help="What it is a share of: instance or tenant.")] = "instance",
    instance: Annotated[list[str], typer.Option(help="An instance the canary reaches; may be repeated.")] = [],
    to_tenant: Annotated[list[str], typer.Option("--to-tenant", help="A tenant it reaches; may be repeated.")] = [],
    to_tier: Annotated[list[str], typer.Option("--to-tier", help="A tier it reaches; may be repeated.")] = [],
    steps: Annotated[int | None, typer.Option(help="Equal steps of a linear one; 4 when left out.")] = None,
    bake_s: Annotated[float, typer.Option("--bake", help="Seconds each stage is looked at.")] = 10.0,
    gates: Annotated[Path | None, typer.Option(help="JSON file with gates other than the usual.")] = None,
    reason: Reason = "",
    follow: Annotated[bool, typer.Option("--watch", help="Look on until it is over.")] = False,
) -> None:
    """Roll out values of a layer; everything else it says stays. It comes back by itself when a gate fails."""
    patch: dict[str, Any] = {}  # Any: JSON
    for each in values:
        path, equals, text = each.partition("=")
        if not equals:
            raise usage(f"'{each}' is not PATH=VALUE.", "central-hub rollout start --help")
        put_value(patch, path, value_of(text))
    kind_of, _, named = name.partition("/")
    tenant = named if kind_of == "tenant" else ""
    query = {"service": for_service or None, "environment": for_environment or None}
    etag = session.hub.get(path_of(name), **query)["etag"]
    layer = {kind_of: named} if named else {}
    layer |= {key: value for key, value in query.items() if value}
    strategy = {
        "kind": kind, "unit": unit, "percent": percent, "instances": instance, "tenants": to_tenant, "tiers": to_tier,
        "steps": steps, "bake_s": bake_s,
    }  # fmt: skip
    body: Json = {
        "changes": [{"layer": layer, "if_match": etag, "merge_patch": patch}],
        "reason": reason,
        "strategy": {key: value for key, value in strategy.items() if value not in (None, [])},
    }
    if gates is not None:
        body["gates"] = read_json(gates, "central-hub rollout start --help")
    answer = session.hub.request("POST", _path_of(tenant), body=body).body
    if follow and not session.out.json:
        session.out.text(answer["rollout_id"])
        _look_on(session, tenant, answer["rollout_id"])
        return

    def in_words(out: Output) -> None:
        out.text(answer["rollout_id"])
        out.talk(line_of(answer))
        if answer["state"] in OPEN:
            out.talk(f"Next: central-hub rollout watch {answer['rollout_id']}{_of(tenant)}")

    session.show(answer, in_words)


def show(session: Session, rollout_id: Id, of: Of = "") -> None:
    """Show how far a rollout is, what its gates see, and why it ended."""
    answer = session.hub.get(_path_of(of, rollout_id))

    def in_words(out: Output) -> None:
        out.text(line_of(answer))
        since = {one["stage"]: one["at"] for one in answer["entered"]}
        rows = [
            (number, reach_of(stage), f"{stage.get('bake_s', 10):g} s", since.get(number))
            for number, stage in enumerate(answer["stages"], start=1)
        ]
        out.table(STAGE_COLUMNS, rows, empty="")
        for layer in answer["layers"]:
            became = f", revision {layer['revision']} now" if layer.get("revision") else ""
            out.talk(f"It changes {layer['layer']} (was revision {layer['before']}{became}).")
        for suspect in answer["evidence"]["suspects"]:
            where = f"{suspect['service_name']}/{suspect['instance_id']} of {suspect['tenant_id']}"
            out.talk(f"{where}: {suspect.get('reason', '')}")

    session.show(answer, in_words)


def list_rollouts(session: Session, of: Of = "") -> None:
    """List rollouts, the newest first."""
    answer = session.hub.get(_path_of(of))

    def in_words(out: Output) -> None:
        rows = [
            (
                one["rollout_id"],
                one["state"],
                f"{one['stage']}/{len(one['stages'])}",
                f"{one['evidence']['exposed']}/{one['evidence']['population']}",
                one["started_at"],
                one["author"],
                one["reason"],
            )
            for one in answer["rollouts"]
        ]
        out.table(COLUMNS, rows, empty="Nothing was rolled out yet.")

    session.show(answer, in_words)


def watch(session: Session, rollout_id: Id, of: Of = "") -> None:
    """Look on until a rollout is over; the exit code says whether everyone has it."""
    _look_on(session, of, rollout_id)


def pause(session: Session, rollout_id: Id, of: Of = "", reason: Reason = "") -> None:
    """Let a rollout go no further by itself; its gates go on looking."""
    _do(session, of, rollout_id, "pause", {"reason": reason})


def resume(session: Session, rollout_id: Id, of: Of = "") -> None:
    """Let a paused rollout go on; the time of its stage begins anew."""
    _do(session, of, rollout_id, "resume", {})


def promote(
    session: Session,
    rollout_id: Id,
    of: Of = "",
    from_stage: Annotated[int | None, typer.Option(help="Only if it is still in this stage.")] = None,
    reason: Reason = "",
) -> None:
    """Take a rollout into its next stage at once; after the last one everyone has it for good."""
    body: Json = {"reason": reason} if from_stage is None else {"reason": reason, "from_stage": from_stage}
    _do(session, of, rollout_id, "promote", body)


def abort(session: Session, rollout_id: Id, of: Of = "", reason: Reason = "") -> None:
    """Take a rollout back, whatever it is doing; one that is completed too, while nothing came after it."""
    _do(session, of, rollout_id, "abort", {"reason": reason})


def instances(
    session: Session,
    tenant_id: Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")],
    service: Annotated[str, typer.Option(help="Only of this service.")] = "",
) -> None:
    """Say which instances run which value of a tenant's configuration, and since when."""
    answer = session.hub.get(f"/config/{segment(tenant_id)}/instances", service=service or None)

    def in_words(out: Output) -> None:
        rows = [
            (
                one["service_name"],
                one["instance_id"],
                one["environment"],
                one["state"],
                one["since"],
                one["connected"],
                one.get("rollouts"),
                one.get("reason"),
            )
            for one in answer["instances"]
        ]
        out.table(RUNNING_COLUMNS, rows, empty="No instance follows this configuration.")

    session.show(answer, in_words)


def line_of(rollout: Json) -> str:
    """Say in one line how far a rollout is."""
    seen, stages = rollout["evidence"], rollout["stages"]
    share: float = seen["exposed"] / seen["population"] if seen["population"] else rollout["stage"] / len(stages)
    ends: dict[str, float] = {"completed": 1.0, "rolled_back": 0.0, "aborted": 0.0}
    share = ends.get(rollout["state"], share)
    done = round(BAR_WIDTH * share)
    parts = [
        f"[{'#' * done}{'-' * (BAR_WIDTH - done)}]",
        f"{rollout['state']}, stage {rollout['stage']} of {len(stages)}",
        f"{seen['exposed']} of {seen['population']} instances exposed",
        f"{seen['acknowledged']} acknowledged",
    ]
    for what in ("refused", "failing"):
        if seen[what]:
            parts.append(f"{seen[what]} {what}")
    if seen["requests"]:
        parts.append(f"{seen['errors']} of {seen['requests']} requests failed")
    ended = rollout["ended_reason"] or rollout["failed_gate"]
    if ended:
        parts.append(f"because {ended}")
    elif rollout["waits_for"]:
        parts.append(f"waiting for {rollout['waits_for']}")
    return f"{parts[0]} {'; '.join(parts[1:])}"


def reach_of(stage: Json) -> str:
    """Say in words whom a stage reaches."""
    if stage.get("percent", 0) >= 100:
        return "everyone"
    parts = [f"{stage['percent']:g} %"] if stage.get("percent") else []
    parts += [f"{what} {', '.join(stage[what])}" for what in ("instances", "tenants", "tiers") if stage.get(what)]
    return " and ".join(parts)


def _look_on(session: Session, tenant: str, rollout_id: str) -> None:
    said = ""
    while True:
        answer = session.hub.get(_path_of(tenant, rollout_id))
        line = line_of(answer)
        if session.out.json:
            session.out.line(answer)
        elif session.out.stdout_is_terminal:
            session.out.redraw(line, last=answer["state"] not in OPEN)
        elif line != said:
            session.out.text(f"{time.strftime('%H:%M:%S')}  {line}")
        said = line
        if answer["state"] == "completed":
            return
        if answer["state"] not in OPEN:
            raise Failure(
                ExitCode.ERROR,
                f"The rollout is {answer['state'].replace('_', ' ')}; nobody has its values.",
                next_command=f"central-hub rollout show {rollout_id}{_of(tenant)}",
                code=answer["state"],
            )
        time.sleep(LOOK_S)


def _do(session: Session, tenant: str, rollout_id: str, what: str, body: Json) -> None:
    answer = session.hub.request("POST", f"{_path_of(tenant, rollout_id)}/{what}", body=body).body
    session.show(answer, lambda out: out.text(line_of(answer)))


def _path_of(tenant: str, rollout_id: str = "") -> str:
    path = f"/tenants/{segment(tenant)}/rollouts" if tenant else "/rollouts"
    return f"{path}/{segment(rollout_id)}" if rollout_id else path


def _of(tenant: str) -> str:
    return f" --of {tenant}" if tenant else ""
