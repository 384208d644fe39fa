"""`central-hub key …` and `central-hub gateway …`: who may call the hub, and for whom."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import usage
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

KEY_COLUMNS: Final = ("key", "name", "environment", "scopes", "created", "expires", "old secret until")
KEY_MEMBERS: Final = ("key_id", "name", "environment", "scopes", "created_at", "expires_at", "rotating_until")
GATEWAY_COLUMNS: Final = ("id", "issuer", "audience", "algorithm", "tenants", "created_at")

Owner = Annotated[
    str, typer.Argument(metavar="TENANT", help="Tenant it belongs to; 'platform' for the operator's own.")
]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Id of the key, the part after chk_.")]
Gateway = Annotated[str, typer.Argument(metavar="GATEWAY", help="Id of the gateway.")]

PLATFORM: Final = "platform"


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    keys = typer.Typer(no_args_is_help=True, help="API keys: create, list, rotate, revoke.")
    client_command(keys, "create")(create_key)
    client_command(keys, "list")(list_keys)
    client_command(keys, "rotate")(rotate_key)
    client_command(keys, "revoke")(revoke_key)
    app.add_typer(keys, name="key")
    gateways = typer.Typer(no_args_is_help=True, help="Gateways: who may speak for tenants.")
    client_command(gateways, "add")(add_gateway)
    client_command(gateways, "list")(list_gateways)
    client_command(gateways, "remove")(remove_gateway)
    app.add_typer(gateways, name="gateway")


def create_key(
    session: Session,
    owner: Owner,
    name: Annotated[str, typer.Option(help="What it is for.")] = "default",
    scope: Annotated[list[str], typer.Option(help="Scope; may be repeated. The usual ones when left out.")] = [],
    expires_at: Annotated[str, typer.Option(help="End of its life, as 2030-01-31T00:00:00Z.")] = "",
    may_assert: Annotated[list[str], typer.Option(help="Tenant a gateway's key may speak for; may be repeated.")] = [],
    environment: Annotated[str, typer.Option(help="The only environment it speaks for, as 'staging'.")] = "",
) -> None:
    """Create a key; its secret is printed once and cannot be shown again."""
    wanted: dict[str, Any] = {"name": name}  # Any: JSON values
    if scope:
        wanted["scopes"] = scope
    if expires_at:
        wanted["expires_at_ms"] = epoch_ms(
            expires_at, "central-hub key create TENANT --expires-at 2030-01-31T00:00:00Z"
        )
    if may_assert:
        wanted["assertable_tenants"] = may_assert
    if environment:
        wanted["environment"] = environment
    _tell_secret(session, session.hub.post(_keys_path(owner), wanted))


def list_keys(session: Session, owner: Owner) -> None:
    """List keys; secrets are never shown."""
    answer = session.hub.get(_keys_path(owner))

    def in_words(out: Output) -> None:
        rows = [tuple(each.get(member) for member in KEY_MEMBERS) for each in answer["keys"]]
        out.table(KEY_COLUMNS, rows, empty=f"No keys yet. Try: central-hub key create {owner}")

    session.show(answer, in_words)


def rotate_key(
    session: Session,
    owner: Owner,
    key_id: KeyId,
    grace: Annotated[
        int | None, typer.Option(min=0, help="Seconds the old secret still works; a day is usual.")
    ] = None,
) -> None:
    """Give a key a new secret; the old one works until the grace ends."""
    body = {} if grace is None else {"grace_s": grace}
    _tell_secret(session, session.hub.post(f"{_keys_path(owner)}/{segment(key_id)}/rotate", body))


def revoke_key(session: Session, owner: Owner, key_id: KeyId) -> None:
    """Revoke a key: it stops working at once, open streams included."""
    session.hub.request("DELETE", f"{_keys_path(owner)}/{segment(key_id)}")
    session.show({"key_id": key_id, "revoked": True}, lambda out: out.talk(f"{key_id} is revoked."))


def add_gateway(
    session: Session,
    gateway_id: Gateway,
    public_key: Annotated[typer.FileText, typer.Option(help="PEM file of the key it signs with.")],
    issuer: Annotated[str, typer.Option(help="Its 'iss'; the id when left out.")] = "",
    audience: Annotated[str, typer.Option(help="Its 'aud'.")] = "central-hub",
    algorithm: Annotated[str, typer.Option(help="EdDSA, ES256, RS256 or PS256.")] = "EdDSA",
    may_assert: Annotated[list[str], typer.Option(help="Tenant it may speak for; repeat it; any when left out.")] = [],
) -> None:
    """Let a gateway speak for tenants, with context tokens that it signs."""
    wanted = {
        "id": gateway_id,
        "issuer": issuer or gateway_id,
        "audience": audience,
        "algorithm": algorithm,
        "public_key": public_key.read(),
        "tenants": may_assert or None,
    }
    answer = session.hub.post("/gateways", wanted)
    session.show(answer, lambda out: out.fields({name: answer[name] for name in GATEWAY_COLUMNS}))


def list_gateways(session: Session) -> None:
    """List gateways."""
    answer = session.hub.get("/gateways")

    def in_words(out: Output) -> None:
        rows = [tuple(each[member] for member in GATEWAY_COLUMNS) for each in answer["gateways"]]
        out.table(
            GATEWAY_COLUMNS, rows, empty="No gateways yet. Try: central-hub gateway add edge --public-key edge.pem"
        )

    session.show(answer, in_words)


def remove_gateway(session: Session, gateway_id: Gateway) -> None:
    """Remove a gateway; it speaks for nobody from now on."""
    session.hub.request("DELETE", f"/gateways/{segment(gateway_id)}")
    session.show({"id": gateway_id, "removed": True}, lambda out: out.talk(f"{gateway_id} is removed."))


def epoch_ms(text: str, example: str) -> int:
    """Read a time that was typed.

    Args:
        text: RFC 3339; UTC when it names no offset.
        example: a command that gives one correctly.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise usage(f"'{text}' is not a time.", example) from None
    return round(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1_000)


def _keys_path(owner: str) -> str:
    return "/keys" if owner == PLATFORM else f"/tenants/{segment(owner)}/keys"


def _tell_secret(session: Session, answer: Json) -> None:
    def in_words(out: Output) -> None:
        out.text(answer["api_key"])
        out.talk(f"key {answer['key_id']}; this is the only time its secret is shown.")
        out.talk("Next: export HUB_API_KEY=<the line above>")

    session.show(answer, in_words)
