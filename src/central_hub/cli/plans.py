"""`central-hub plan …` and `central-hub entitlement …`: what tenants can have, and what one of them has."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import ExitCode, Failure, usage
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

CHANGE_COLUMNS: Final = ("action", "what", "before", "after")
ENTITLEMENT_COLUMNS: Final = ("feature", "allowed", "limit", "used", "period", "source", "upgrade to")
LAYER_COLUMNS: Final = ("layer", "id", "feature", "value", "live", "expires", "author", "reason")
UNLIMITED: Final = "unlimited"
_WORDS: Final = {"true": True, "yes": True, "false": False, "no": False, UNLIMITED: None}
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")]
Feature = Annotated[str, typer.Argument(metavar="FEATURE", help="A feature of the plans.")]
ValueOf = Annotated[str, typer.Argument(metavar="VALUE", help="yes or no, a limit ('unlimited' for none), or a value.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the tenant's trail.")]
Addon = Annotated[str, typer.Argument(metavar="ADDON", help="An add-on of the plans.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    plan = typer.Typer(no_args_is_help=True, help="Plans: what tenants can subscribe to, as data.")
    client_command(plan, "show")(show)
    client_command(plan, "apply")(apply)
    app.add_typer(plan, name="plan")
    entitlement = typer.Typer(no_args_is_help=True, help="Entitlements: what one tenant may do, and why.")
    client_command(entitlement, "list")(list_entitlements)
    client_command(entitlement, "explain")(explain)
    client_command(entitlement, "grants")(grants)
    client_command(entitlement, "grant")(grant)
    client_command(entitlement, "revoke")(revoke)
    client_command(entitlement, "override")(override)
    client_command(entitlement, "restore")(restore)
    client_command(entitlement, "attach")(attach)
    client_command(entitlement, "detach")(detach)
    app.add_typer(entitlement, name="entitlement")


def show(session: Session) -> None:
    """Print the plans in force, as the file that `plan apply` takes."""
    answer = session.hub.get("/plans")

    def in_words(out: Output) -> None:
        from central_hub.plans.document import print_catalogue

        out.text(print_catalogue(answer["catalogue"]).rstrip())

    session.show(answer, in_words)


def apply(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML file with all features, plans and add-ons.")],
    yes: Annotated[bool, typer.Option("--yes", help="Make it so; without it only the changes are shown.")] = False,
    reason: Reason = "",
) -> None:
    """Show what a file of plans would change; with --yes change it."""
    catalogue = _read(file)
    looked = session.hub.request(
        "PUT", "/plans?dry_run=true", body={"catalogue": catalogue}
    ).body  # the changes are looked at first, and exactly those are applied
    answer = looked
    if yes and looked["changes"]:
        body = {"catalogue": catalogue, "if_revision": looked["revision"], "reason": reason}
        answer = session.hub.request("PUT", "/plans", body=body).body

    def in_words(out: Output) -> None:
        rows = [(one["action"], one["path"], one["before"], one["after"]) for one in answer["changes"]]
        out.table(CHANGE_COLUMNS, rows, empty="Nothing would change.")

    session.show(answer, in_words)
    if answer["changes"]:
        done = f"Applied: the plans are at revision {answer['revision']}."
        session.out.talk(done if yes else f"Nothing is changed yet. Next: central-hub plan apply {file} --yes")


def list_entitlements(session: Session, tenant_id: Tenant) -> None:
    """Show what a tenant may do, feature by feature."""
    answer = session.hub.get(f"/tenants/{segment(tenant_id)}/entitlements")

    def in_words(out: Output) -> None:
        rows = [
            (
                one["feature"], one["allowed"], _how_much(one), one["used"], one["period"], one["source"],
                one["upgrade_to"],
            )
            for one in answer["entitlements"]
        ]  # fmt: skip
        out.table(ENTITLEMENT_COLUMNS, rows, empty="The plans have no features.")

    session.show(answer, in_words)


def explain(session: Session, tenant_id: Tenant, feature: Feature) -> None:
    """Show what a tenant may do with one feature, and which layer says so."""
    answer = session.hub.get(f"/tenants/{segment(tenant_id)}/entitlements/{segment(feature)}")

    def in_words(out: Output) -> None:
        out.fields(
            {
                "feature": answer["feature"],
                "allowed": answer["allowed"],
                "says": _how_much(answer),
                "used": answer["used"],
                "source": answer["source"],
                "upgrade to": answer["upgrade_to"],
                "layers": " > ".join(f"{one['source']}={_said(one['value'])}" for one in answer["layers"]),
                "decision": answer["decision_id"],
            }
        )

    session.show(answer, in_words)


def grants(session: Session, tenant_id: Tenant) -> None:
    """List what stands above a tenant's plan: add-ons, grants, overrides."""
    answer = session.hub.get(f"/tenants/{segment(tenant_id)}/grants", limit=500)

    def in_words(out: Output) -> None:
        rows = [
            (
                one["layer"], one["id"], one["feature"], _said(one["value"]) if one["feature"] else None, one["live"],
                one["expires_at"], one["author"], one["reason"],
            )
            for one in answer["layers"]
        ]  # fmt: skip
        out.table(LAYER_COLUMNS, rows, empty="The plan alone decides.")

    session.show(answer, in_words)


def grant(
    session: Session,
    tenant_id: Tenant,
    feature: Feature,
    value: ValueOf,
    lasts: Annotated[str, typer.Option("--for", help="How long: 90s, 30m, 12h, 14d. (for good)")] = "",
    priority: Annotated[int, typer.Option(help="Between two grants the higher one decides.")] = 0,
    reason: Reason = "",
) -> None:
    """Give a tenant a feature, for a while or for good."""
    body: dict[str, object] = {"feature": feature, "value": value_of(value), "priority": priority, "reason": reason}
    if lasts:
        body["expires_at_ms"] = int(time.time() * 1_000) + seconds_of(lasts) * 1_000
    answer = session.hub.post(f"/tenants/{segment(tenant_id)}/grants", body)
    session.show(answer, lambda out: _tell(out, answer))
    session.out.talk(f"Next: central-hub entitlement explain {tenant_id} {feature}")


def revoke(
    session: Session, tenant_id: Tenant, grant_id: Annotated[str, typer.Argument(metavar="GRANT", help="Its id.")]
) -> None:
    """Take a grant back."""
    session.hub.request("DELETE", f"/tenants/{segment(tenant_id)}/grants/{segment(grant_id)}")
    session.show({"revoked": grant_id}, lambda out: out.talk(f"The grant {grant_id} is taken back."))


def override(session: Session, tenant_id: Tenant, feature: Feature, value: ValueOf, reason: Reason = "") -> None:
    """Say the last word about a feature for a tenant."""
    answer = session.hub.request(
        "PUT",
        f"/tenants/{segment(tenant_id)}/overrides/{segment(feature)}",
        body={"value": value_of(value), "reason": reason},
    ).body
    session.show(answer, lambda out: _tell(out, answer))


def restore(session: Session, tenant_id: Tenant, feature: Feature) -> None:
    """Remove an override: the layers below decide again."""
    session.hub.request("DELETE", f"/tenants/{segment(tenant_id)}/overrides/{segment(feature)}")
    session.show({"restored": feature}, lambda out: out.talk(f"Nothing overrides {feature} any more."))


def attach(session: Session, tenant_id: Tenant, addon: Addon) -> None:
    """Let a tenant have an add-on."""
    answer = session.hub.request("PUT", f"/tenants/{segment(tenant_id)}/addons/{segment(addon)}").body
    session.show(answer, lambda out: _tell(out, answer))


def detach(session: Session, tenant_id: Tenant, addon: Addon) -> None:
    """Take an add-on away from a tenant."""
    session.hub.request("DELETE", f"/tenants/{segment(tenant_id)}/addons/{segment(addon)}")
    session.show({"detached": addon}, lambda out: out.talk(f"The tenant has {addon} no more."))


def value_of(text: str) -> bool | int | float | str | None:
    """Read what a grant says: yes or no, `unlimited`, a number, or a text."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def seconds_of(text: str) -> int:
    """Read a length of time such as `12h`.

    Raises:
        Failure: it is none.
    """
    number, unit = text[:-1], text[-1:]
    if not (number.isascii() and number.isdigit() and unit in _UNITS_S):
        raise usage(f"'{text}' is not a length of time.", "central-hub entitlement grant --help   (--for 14d)")
    return int(number) * _UNITS_S[unit]


def _read(file: Path) -> object:
    from central_hub.kernel.errors import HubError
    from central_hub.plans.document import parse_yaml

    try:
        return parse_yaml(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a text"
        raise usage(f"{file} cannot be read: {reason}.", f"central-hub plan show > {file}") from None
    except HubError as error:
        raise Failure(
            ExitCode.USAGE, error.message, next_command="central-hub plan show", code=error.code, hint=error.next_step
        ) from None


def _how_much(one: Json) -> object:
    return _said(one["limit"]) if one["kind"] == "metered" else one["value"]


def _said(value: Json) -> object:
    return UNLIMITED if value is None else value


def _tell(out: Output, layer: Json) -> None:
    shown = {name: layer[name] for name in ("layer", "id", "feature", "value", "expires_at", "reason", "author")}
    if layer["layer"] != "addon":
        shown["value"] = _said(layer["value"])
    out.fields(shown)
