"""`central-hub route …`: which instance serves a request best, why, and what there is to choose from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Final, cast

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import ExitCode, Failure
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

RANKED_COLUMNS: Final = ("service", "instance", "offering", "score", "p50 ms", "p90 ms", "p99 ms")
CANDIDATE_COLUMNS: Final = (
    "service", "instance", "offering", "score", "wait ms", "work ms", "in flight", "outcomes", "price", "quality",
)  # fmt: skip
SIMULATED_COLUMNS: Final = (
    "strategy",
    "service",
    "instance",
    "offering",
    "share",
    "wait ms",
    "all p50 ms",
    "all p99 ms",
)
OFFERING_COLUMNS: Final = ("service", "instance", "offering", "model", "task", "takes work", "outcomes", "typical ms")

Service = Annotated[list[str], typer.Option("--service", help="Only instances of this service; repeat it.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Routing: which instance serves a request best, and why.")
    client_command(group, "decide")(decide)
    client_command(group, "explain")(explain)
    client_command(group, "simulate")(simulate)
    client_command(group, "offerings")(offerings)
    client_command(group, "declare")(declare)
    client_command(group, "withdraw")(withdraw)
    app.add_typer(group, name="route")


def decide(
    session: Session,
    task: Annotated[str, typer.Argument(metavar="[TASK]", help="What is to be done, such as chat.")] = "",
    service: Service = [],
    model: Annotated[str, typer.Option(help="Only this model.")] = "",
    latency: Annotated[str, typer.Option(help="Wanted latency: '< 100ms'.")] = "",
    accuracy: Annotated[str, typer.Option(help="Wanted accuracy: '> 95%'.")] = "",
    data_size: Annotated[str, typer.Option(help="Class of data: small, medium, large.")] = "",
    region: Annotated[str, typer.Option(help="Only in this region.")] = "",
    input_size: Annotated[float, typer.Option("--input", help="Size of the input, such as tokens.")] = 0.0,
    output_size: Annotated[float, typer.Option("--output-size", help="Size of the output.")] = 0.0,
    strategy: Annotated[str, typer.Option(help="What counts among those that meet all this.")] = (
        "performance_optimized"
    ),
    require: Annotated[str, typer.Option(help="Further requirements, as JSON.")] = "",
) -> None:
    """Ask which instance would serve a request best."""
    asked: Json = {} if not require else _object(require)
    given = {"task": task, "model": model, "latency_ms": latency, "data_size": data_size, "region": region}
    asked.update({name: value for name, value in given.items() if value})
    if accuracy:
        asked["quality"] = {**asked.get("quality", {}), "accuracy": accuracy}
    body: Json = {"require": asked, "strategy": strategy, "services": service, "limit": 32}
    if input_size or output_size:
        body["size_hint"] = {"input": input_size, "output": output_size}
    answer = session.hub.post("/routing/decide", body)

    def in_words(out: Output) -> None:
        rows: list[tuple[object, ...]] = []
        for one in answer["ranked"]:
            predicted = one["predicted_ms"]
            rows.append(
                (
                    one["service_name"], one["instance_id"], one["offering"], one["score"], predicted["p50"],
                    predicted["p90"], predicted["p99"],
                )
            )  # fmt: skip
        out.table(RANKED_COLUMNS, rows, empty="Nobody.")
        out.talk(f"confidence {answer['confidence']}, by what is {answer['basis']}")
        out.talk(f"Why: central-hub route explain {answer['decision_id']}")

    session.show(answer, in_words)


def explain(
    session: Session,
    decision_id: Annotated[str, typer.Argument(metavar="DECISION", help="Id of a decision.")],
) -> None:
    """Say why a decision was as it was: every candidate with the parts of its score, and who was left out."""
    answer = session.hub.get(f"/routing/decisions/{segment(decision_id)}")

    def in_words(out: Output) -> None:
        rows: list[tuple[object, ...]] = []
        for one in answer["candidates"]:
            parts = one["parts"]
            rows.append(
                (
                    one["service_name"], one["instance_id"], one["offering"], one["score"], parts["wait_ms"],
                    parts["work_ms"], parts["in_flight"], parts["outcomes"], parts["price"], parts["quality"],
                )
            )  # fmt: skip
        out.talk(f"{answer['strategy']}, {answer['considered']} offerings considered; lower scores are better")
        out.table(CANDIDATE_COLUMNS, rows, empty="Nobody.")
        for one in answer["left_out"]:
            out.talk(f"left out: {one['service_name']} {one['instance_id']} {one['offering']}: {one['reason']}")

    session.show(answer, in_words)


def simulate(
    session: Session,
    task: Annotated[str, typer.Argument(metavar="[TASK]", help="What is to be done, such as chat.")] = "",
    service: Service = [],
    require: Annotated[str, typer.Option(help="Further requirements, as JSON.")] = "",
    count: Annotated[int, typer.Option(min=1, max=500, help="How many requests, all strategies together.")] = 100,
    every: Annotated[float, typer.Option(help="Milliseconds from one to the next.")] = 10.0,
    strategy: Annotated[list[str], typer.Option(help="Strategy; repeat it to compare.")] = [],
) -> None:
    """Say where many requests would go and how long they would take, by each strategy."""
    asked: Json = {} if not require else _object(require)
    if task:
        asked["task"] = task
    body: Json = {"require": asked, "services": service, "count": count, "every_ms": every, "strategies": strategy}
    answer = session.hub.post("/routing/simulate", body)

    def in_words(out: Output) -> None:
        rows: list[tuple[object, ...]] = []
        for one in answer["strategies"]:
            predicted = one["predicted_ms"] or {"p50": None, "p99": None}
            for each in one["instances"]:
                rows.append(
                    (
                        one["strategy"], each["service_name"], each["instance_id"], each["offering"], each["share"],
                        each["wait_ms"], predicted["p50"], predicted["p99"],
                    )
                )  # fmt: skip
        out.table(SIMULATED_COLUMNS, rows, empty="Nobody.")

    session.show(answer, in_words)


def offerings(
    session: Session,
    service: Annotated[str, typer.Option(help="Only of this service.")] = "",
    task: Annotated[str, typer.Option(help="Only for this task.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="Most to show.")] = 100,
    cursor: Annotated[str, typer.Option(help="Where to go on.")] = "",
) -> None:
    """List the models that the caller may be routed to."""
    query = {"service": service or None, "task": task or None, "limit": limit, "cursor": cursor or None}
    answer = session.hub.get("/routing/offerings", **query)

    def in_words(out: Output) -> None:
        rows: list[tuple[object, ...]] = []
        for one in answer["offerings"]:
            offering = one["offering"]
            rows.append(
                (
                    one["service_name"], one["instance_id"], offering["id"], offering["model"], offering["task"],
                    one["takes_work"], one["outcomes"], one["typical_ms"],
                )
            )  # fmt: skip
        out.table(OFFERING_COLUMNS, rows, empty="No models yet. Try: central-hub route declare SERVICE INSTANCE FILE")
        if answer["next_cursor"]:
            out.talk(f"There is more: central-hub route offerings --cursor {answer['next_cursor']}")

    session.show(answer, in_words)


def declare(
    session: Session,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service.")],
    instance_id: Annotated[str, typer.Argument(metavar="INSTANCE", help="Id of the instance.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON: a list of offerings.", exists=True)],
) -> None:
    """Declare which models an instance offers, in place of what it offered."""
    given = _json(file.read_text("utf-8"))
    listed: Json = cast("Json", given).get("offerings", []) if isinstance(given, dict) else given
    path = f"/services/{segment(service)}/instances/{segment(instance_id)}/offerings"
    answer = session.hub.request("PUT", path, body={"offerings": listed}).body
    session.show(answer, lambda out: out.talk(f"{instance_id} of {service} offers {len(answer['offerings'])} models."))


def withdraw(
    session: Session,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="Name of the service.")],
    instance_id: Annotated[str, typer.Argument(metavar="INSTANCE", help="Id of the instance.")],
) -> None:
    """Withdraw what an instance offers."""
    session.hub.request("DELETE", f"/services/{segment(service)}/instances/{segment(instance_id)}/offerings")
    said = {"service_name": service, "instance_id": instance_id, "withdrawn": True}
    session.show(said, lambda out: out.talk(f"{instance_id} of {service} offers nothing any more."))


def _object(text: str) -> Json:
    found = _json(text)
    if not isinstance(found, dict):
        raise _usage("Requirements are a JSON object.")
    return cast("Json", found)


def _json(text: str) -> Any:  # Any: JSON
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise _usage(f"That is not JSON: {error.msg} at character {error.pos}.") from None


def _usage(message: str) -> Failure:
    return Failure(ExitCode.USAGE, message, next_command="central-hub route --help", code="usage")
