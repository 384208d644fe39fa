"""`central-hub key …` and `central-hub gateway …`: who may call the hub, and for whom."""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

KEY_COLUMNS: Final = ("key", "name", "status", "scopes", "created", "expires")
GATEWAY_COLUMNS: Final = ("gateway", "name", "proof", "tenants", "created")

Owner = Annotated[
    str, typer.Argument(metavar="TENANT", help="Tenant it belongs to; 'platform' for the operator's own.")
]
KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Id of the key, the part after chk_.")]

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
    scope: Annotated[list[str], typer.Option(help="Scope; may be repeated. A tenant's usual ones when left out.")] = [],  # noqa: B006
    expires_at: Annotated[str, typer.Option(help="End of its life, as 2030-01-31T00:00:00Z.")] = "",
) -> None:
    """Create a key; its secret is printed once and cannot be shown again."""
    wanted: dict[str, Any] = {"name": name}  # Any: JSON values
    if scope:
        wanted["scopes"] = scope
    if expires_at:
        wanted["expires_at"] = expires_at
    _tell_secret(session, session.hub.post(_keys_path(owner), wanted))


def list_keys(session: Session, owner: Owner) -> None:
    """List keys; secrets are never shown."""
    answer = session.hub.get(_keys_path(owner))

    def in_words(out: Output) -> None:
        rows = [
            (
                _key_id(each),
                each.get("name"),
                each.get("status"),
                each.get("scopes"),
                each.get("created_at"),
                each.get("expires_at"),
            )
            for each in answer["keys"]
        ]
        out.table(KEY_COLUMNS, rows, empty=f"No keys yet. Try: central-hub key create {owner}")

    session.show(answer, in_words)


def rotate_key(session: Session, owner: Owner, key_id: KeyId) -> None:
    """Give a key a second secret; the old one works until the overlap ends."""
    _tell_secret(session, session.hub.post(f"{_keys_path(owner)}/{segment(key_id)}/rotate", {}))


def revoke_key(session: Session, owner: Owner, key_id: KeyId) -> None:
    """Revoke a key: it stops working at once, open streams included."""
    session.hub.request("DELETE", f"{_keys_path(owner)}/{segment(key_id)}")
    session.show({"key_id": key_id, "revoked": True}, lambda out: out.talk(f"{key_id} is revoked."))


def add_gateway(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the gateway.")],
    may_assert: Annotated[
        list[str], typer.Option("--may-assert", help="Tenant it may speak for; may be repeated; any when left out.")
    ] = [],  # noqa: B006
) -> None:
    """Let a gateway speak for tenants."""
    answer = session.hub.post("/gateways", {"name": name, "tenants": may_assert} if may_assert else {"name": name})
    session.show(answer, lambda out: out.fields(answer))


def list_gateways(session: Session) -> None:
    """List gateways."""
    answer = session.hub.get("/gateways")

    def in_words(out: Output) -> None:
        rows = [
            (each["id"], each.get("name"), each.get("proof"), each.get("tenants"), each.get("created_at"))
            for each in answer["gateways"]
        ]
        out.table(GATEWAY_COLUMNS, rows, empty="No gateways yet. Try: central-hub gateway add edge")

    session.show(answer, in_words)


def remove_gateway(session: Session, gateway_id: Annotated[str, typer.Argument(metavar="GATEWAY")]) -> None:
    """Remove a gateway; it speaks for nobody from now on."""
    session.hub.request("DELETE", f"/gateways/{segment(gateway_id)}")
    session.show({"id": gateway_id, "removed": True}, lambda out: out.talk(f"{gateway_id} is removed."))


def _keys_path(owner: str) -> str:
    return "/keys" if owner == PLATFORM else f"/tenants/{segment(owner)}/keys"


def _key_id(key: Json) -> object:
    return key.get("key_id", key.get("id"))


def _tell_secret(session: Session, answer: Json) -> None:
    def in_words(out: Output) -> None:
        out.text(answer["secret"])
        out.talk(f"key {_key_id(answer)}; this is the only time its secret is shown.")
        out.talk("Next: export HUB_API_KEY=<the line above>")

    session.show(answer, in_words)
