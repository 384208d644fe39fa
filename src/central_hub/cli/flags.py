"""`central-hub flag …` and `central-hub segment …`: define flags, try them, and see why they say what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import ExitCode, Failure, usage
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

FLAG_COLUMNS: Final = ("flag", "type", "state", "default", "rules", "revision", "changed by")
RULE_COLUMNS: Final = ("rule", "variant", "for")
SEGMENT_COLUMNS: Final = ("segment", "keys", "conditions", "revision")
OVERRIDE_COLUMNS: Final = ("flag", "variant", "environments", "by", "reason")
VALUE_COLUMNS: Final = ("flag", "value", "variant", "reason", "source")
STEP_COLUMNS: Final = ("step", "decided", "variant", "because")
WRITTEN: Final = ("type", "variants", "default", "state", "rules", "only_tenants", "overridable", "description")
"""Members of a flag that a person writes; the rest is the hub's."""

FlagKey = Annotated[str, typer.Argument(metavar="FLAG", help="Key of the flag.")]
Variant = Annotated[str, typer.Argument(metavar="VARIANT", help="One of the flag's variants.")]
Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")]
SegmentName = Annotated[str, typer.Argument(metavar="SEGMENT", help="Name of the segment.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the trail.")]
Environments = Annotated[list[str], typer.Option("--environment", help="Environment; may be repeated. All if none.")]
Subject = Annotated[str, typer.Option("--subject", help="The targeting key: whom it is about.")]
Attributes = Annotated[list[str], typer.Option("--attribute", help="name=value of the context; may be repeated.")]
Environment = Annotated[str, typer.Option("--environment", help="Which one, where the key is bound to none.")]
Conditions = Annotated[
    list[str], typer.Option("--where", help="A condition, as 'age gte 18' or 'country in CA,US'; all have to hold.")
]
Variants = Annotated[list[str], typer.Option("--variant", help="NAME=VALUE in JSON; may be repeated.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Feature flags: define, switch, try, explain.")
    client_command(group, "list")(list_flags)
    client_command(group, "show")(show)
    client_command(group, "create")(create)
    client_command(group, "rule")(add_rule)
    client_command(group, "apply")(apply)
    client_command(group, "enable")(enable)
    client_command(group, "disable")(disable)
    client_command(group, "archive")(archive)
    client_command(group, "overrides")(overrides)
    client_command(group, "override")(override)
    client_command(group, "restore")(restore)
    client_command(group, "eval")(evaluate)
    client_command(group, "explain")(explain)
    app.add_typer(group, name="flag")
    segments = typer.Typer(no_args_is_help=True, help="Segments: named parts of everyone who is asked about.")
    client_command(segments, "list")(list_segments)
    client_command(segments, "set")(set_segment)
    client_command(segments, "remove")(remove_segment)
    app.add_typer(segments, name="segment")


def list_flags(
    session: Session,
    state: Annotated[str, typer.Option(help="Only enabled, disabled or archived ones.")] = "",
    limit: Annotated[int, typer.Option(help="Most rows to show.")] = 100,
) -> None:
    """List flags; archived ones by name of their state."""
    answer = session.hub.get("/flags", limit=limit, state=state or None)

    def in_words(out: Output) -> None:
        rows = [
            (
                one["key"],
                one["type"],
                one["state"],
                one["default"],
                len(one["rules"]),
                one["revision"],
                one["changed_by"],
            )
            for one in answer["flags"]
        ]
        out.table(FLAG_COLUMNS, rows, empty="No flags yet. Try: central-hub flag create new-search")

    session.show(answer, in_words)


def show(session: Session, flag: FlagKey) -> None:
    """Show a flag and its rules."""
    answer = session.hub.get(f"/flags/{segment(flag)}")
    session.show(answer, lambda out: _tell(out, answer))


def create(
    session: Session,
    flag: FlagKey,
    kind: Annotated[str, typer.Option("--type", help="boolean, string, integer, number or object.")] = "boolean",
    variant: Variants = [],
    default: Annotated[str, typer.Option(help="The variant that is served where no rule holds.")] = "",
    overridable: Annotated[bool, typer.Option("--overridable", help="Tenants may choose their variant.")] = False,
    only: Annotated[list[str], typer.Option(help="Tenant that sees the flag; may be repeated. All if none.")] = [],
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Create a flag: off for everyone, unless variants are given."""
    variants = dict(_pair(one, as_text=kind == "string") for one in variant) or {"on": True, "off": False}
    body = {
        "type": kind,
        "variants": variants,
        "default": default or ("off" if "off" in variants else next(iter(variants))),
        "overridable": overridable,
        "only_tenants": only,
        "description": description,
    }
    answer = session.hub.request("PUT", f"/flags/{segment(flag)}", body=body).body
    session.show(answer, lambda out: _tell(out, answer))
    session.out.talk(f"Next: central-hub flag rule {flag} VARIANT --percentage 10")


def add_rule(
    session: Session,
    flag: FlagKey,
    variant: Variant,
    name: Annotated[str, typer.Option(help="What the rule is called.")] = "",
    only: Annotated[list[str], typer.Option("--for", help="Tenant it is for; may be repeated.")] = [],
    tier: Annotated[list[str], typer.Option(help="Tier it is for; may be repeated.")] = [],
    environment: Environments = [],
    in_segment: Annotated[list[str], typer.Option("--segment", help="Segment it is for; may be repeated.")] = [],
    percentage: Annotated[float | None, typer.Option(min=0, max=100, help="Share of subjects it is for.")] = None,
    first: Annotated[bool, typer.Option("--first", help="Ask it before the other rules.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Instead of all other rules.")] = False,
) -> None:
    """Add a rule: who gets a variant. The first rule that holds decides."""
    rule: dict[str, Any] = {"variant": variant, "name": name, "tenants": only, "tiers": tier}  # Any: JSON values
    rule |= {"environments": environment, "segments": in_segment, "percentage": percentage}
    found = session.hub.request("GET", f"/flags/{segment(flag)}")
    before: list[Json] = [] if clear else found.body["rules"]
    rules = [rule, *before] if first else [*before, rule]
    answer = _replace(session, flag, found.body | {"rules": rules}, found.headers["etag"])
    session.show(answer, lambda out: _tell(out, answer))


def apply(
    session: Session,
    flag: FlagKey,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON file, as 'flag show -o json' writes it.")],
) -> None:
    """Make a flag what a file says, created or replaced whole."""
    try:
        wanted = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])  # Any: JSON values
    except (OSError, msgspec.MsgspecError) as error:
        raise usage(f"{file} is no JSON object: {error}.", f"central-hub flag show {flag} -o json > {file}") from None
    answer = _replace(session, flag, wanted, _etag(session, f"/flags/{segment(flag)}"))
    session.show(answer, lambda out: _tell(out, answer))


def enable(session: Session, flag: FlagKey, reason: Reason = "") -> None:
    """Let a flag follow its rules."""
    _set_state(session, flag, "enabled", reason)


def disable(session: Session, flag: FlagKey, reason: Reason = "") -> None:
    """Serve a flag's default to everyone, at once and whatever its rules say."""
    _set_state(session, flag, "disabled", reason)


def archive(session: Session, flag: FlagKey, reason: Reason = "") -> None:
    """Put a flag away: clients get their code's default."""
    _set_state(session, flag, "archived", reason)


def overrides(session: Session, tenant_id: Tenant) -> None:
    """List what a tenant gets instead of what rules say."""
    answer = session.hub.get(f"/tenants/{segment(tenant_id)}/flags")

    def in_words(out: Output) -> None:
        rows = [
            (one["key"], one["variant"], one["environments"], one["changed_by"], one["reason"])
            for one in answer["overrides"]
        ]
        out.table(OVERRIDE_COLUMNS, rows, empty="The tenant has no variants of its own.")

    session.show(answer, in_words)


def override(
    session: Session,
    tenant_id: Tenant,
    flag: FlagKey,
    variant: Variant,
    environment: Environments = [],
    reason: Reason = "",
) -> None:
    """Give a tenant a variant of its own, whatever the rules say."""
    body = {"variant": variant, "environments": environment, "reason": reason}
    answer = session.hub.request("PUT", _own(tenant_id, flag), body=body).body
    session.show(answer, lambda out: out.fields({"flag": flag, "tenant": tenant_id, "variant": answer["variant"]}))


def restore(session: Session, tenant_id: Tenant, flag: FlagKey) -> None:
    """Let a tenant have what the rules say again."""
    session.hub.request("DELETE", _own(tenant_id, flag))
    session.show({"key": flag, "restored": True}, lambda out: out.talk(f"The rules of {flag} decide for {tenant_id}."))


def evaluate(
    session: Session,
    flag: Annotated[str, typer.Argument(metavar="[FLAG]", help="Key of the flag; all of them when left out.")] = "",
    subject: Subject = "",
    attribute: Attributes = [],
    environment: Environment = "",
) -> None:
    """Evaluate flags as an application does, over OFREP, for the tenant of the key (or --tenant)."""
    query = f"?environment={segment(environment)}" if environment else ""
    at = "/ofrep/v1/evaluate/flags" + (f"/{segment(flag)}" if flag else "")
    answer = session.hub.post(at + query, {"context": _context(subject, attribute)})

    def in_words(out: Output) -> None:
        rows = [
            (one["key"], one["value"], one["variant"], one["reason"], one["metadata"]["source"])
            if "errorCode" not in one
            else (one["key"], None, None, one["errorCode"], None)
            for one in ([answer] if flag else answer["flags"])
        ]
        out.table(VALUE_COLUMNS, rows, empty="There are no flags for this tenant.")

    session.show(answer, in_words)


def explain(
    session: Session,
    tenant_id: Tenant,
    flag: FlagKey,
    subject: Subject = "",
    attribute: Attributes = [],
    environment: Environment = "",
) -> None:
    """Show what a flag says to a tenant, and every step that led there."""
    body: dict[str, Any] = {"context": _context(subject, attribute)}  # Any: JSON values
    if environment:
        body["environment"] = environment
    answer = session.hub.post(_own(tenant_id, flag) + "/explain", body)

    def in_words(out: Output) -> None:
        names = ("key", "tenant_id", "tier", "environment", "value", "variant", "reason")
        out.fields({name: answer[name] for name in names})
        rows = [
            (f"{one['step']} {one.get('rule', '')}".strip(), one["decided"], one.get("variant"), one["because"])
            for one in answer["steps"]
        ]
        out.table(STEP_COLUMNS, rows, empty="")

    session.show(answer, in_words)


def list_segments(session: Session) -> None:
    """List segments."""
    answer = session.hub.get("/segments", limit=500)

    def in_words(out: Output) -> None:
        rows = [
            (one["name"], len(one["keys"]), [_condition_text(each) for each in one["conditions"]], one["revision"])
            for one in answer["segments"]
        ]
        out.table(
            SEGMENT_COLUMNS, rows, empty="No segments yet. Try: central-hub segment set adults --where 'age gte 18'"
        )

    session.show(answer, in_words)


def set_segment(
    session: Session,
    name: SegmentName,
    listed: Annotated[
        list[str], typer.Option("--subject", help="A targeting key that is in it; may be repeated.")
    ] = [],
    where: Conditions = [],
    description: Annotated[str, typer.Option(help="Who that is.")] = "",
) -> None:
    """Say who is in a segment: subjects that are listed, and those for whom all conditions hold."""
    body = {"keys": listed, "conditions": [_condition(one) for one in where], "description": description}
    at = f"/segments/{segment(name)}"
    answer = session.hub.request("PUT", at, body=body, if_match=_etag(session, at)).body
    session.show(answer, lambda out: out.fields({one: answer[one] for one in ("name", "keys", "revision")}))


def remove_segment(session: Session, name: SegmentName) -> None:
    """Remove a segment that no rule names."""
    session.hub.request("DELETE", f"/segments/{segment(name)}")
    session.show({"name": name, "removed": True}, lambda out: out.talk(f"{name} is removed."))


def _set_state(session: Session, flag: str, state: str, reason: str) -> None:
    answer = session.hub.post(f"/flags/{segment(flag)}/state", {"state": state, "reason": reason})
    session.show(answer, lambda out: _tell(out, answer))


def _replace(session: Session, flag: str, wanted: Json, etag: str) -> Json:
    body = {name: wanted[name] for name in WRITTEN if name in wanted}
    return session.hub.request("PUT", f"/flags/{segment(flag)}", body=body, if_match=etag).body


def _etag(session: Session, path: str) -> str:
    """Return the revision of what is there, empty when nothing is."""
    try:
        return session.hub.request("GET", path).headers["etag"]
    except Failure as failure:
        if failure.exit_code is ExitCode.NOT_FOUND:
            return ""
        raise


def _own(tenant_id: str, flag: str) -> str:
    return f"/tenants/{segment(tenant_id)}/flags/{segment(flag)}"


def _tell(out: Output, flag: Json) -> None:
    out.fields(
        {
            "flag": flag["key"],
            "type": flag["type"],
            "state": flag["state"],
            "variants": flag["variants"],
            "default": flag["default"],
            "only for": flag["only_tenants"],
            "overridable": flag["overridable"],
            "revision": flag["revision"],
        }
    )
    rows = [(number, rule["variant"], _for_whom(rule)) for number, rule in enumerate(flag["rules"], start=1)]
    if rows:
        out.table(RULE_COLUMNS, rows, empty="")


def _for_whom(rule: Json) -> str:
    words = [
        f"{name} {', '.join(rule[name])}" for name in ("tenants", "tiers", "environments", "segments") if name in rule
    ]
    if rule.get("percentage") is not None:
        words.append(f"{rule['percentage']:g} %")
    return "; ".join(words) or "everyone"


def _context(subject: str, attributes: list[str]) -> Json:
    context: dict[str, Any] = dict(_pair(one, as_text=False) for one in attributes)  # Any: JSON values
    return context | ({"targetingKey": subject} if subject else {})


def _pair(text: str, *, as_text: bool) -> tuple[str, Json]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise usage(f"'{text}' is not NAME=VALUE.", "central-hub flag --help")
    return name, value if as_text else _value(value)


def _value(text: str) -> Json:
    """Read a value as JSON, or as the text that it is."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _condition(text: str) -> Json:
    attribute, _, rest = text.strip().partition(" ")
    operator, _, values = rest.strip().partition(" ")
    if not operator:
        raise usage(
            f"'{text}' is not 'ATTRIBUTE OPERATOR VALUES'.", "central-hub segment set adults --where 'age gte 18'"
        )
    return {
        "attribute": attribute,
        "operator": operator,
        "values": [_value(one) for one in values.split(",")] if values else [],
    }


def _condition_text(condition: Json) -> str:
    values = ",".join(str(one) for one in condition["values"])
    return f"{condition['attribute']} {condition['operator']} {values}".strip()
