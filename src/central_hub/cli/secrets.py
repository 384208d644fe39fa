"""`central-hub secret …` and `central-hub encryption …`: values nobody sees by accident, and the keys they are under.

A value is never an argument: everyone on the machine can read those. It comes from a prompt, from a file or by a pipe.
"""

from __future__ import annotations

import getpass
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from central_hub.cli.connection import Json, segment
from central_hub.cli.failures import ExitCode, Failure, usage
from central_hub.cli.output import Output
from central_hub.cli.session import Session, client_command

SECRET_COLUMNS: Final = ("path", "version", "kept", "changed", "author", "shared", "note")
VERSION_COLUMNS: Final = ("version", "changed", "author", "note")
PLATFORM: Final = "platform"
BAR_WIDTH: Final = 30
LOOK_S: Final = 0.2
ENDED: Final = frozenset({"done", "idle"})

Owner = Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant; 'platform' for the platform's own.")]
PathOf = Annotated[str, typer.Argument(metavar="PATH", help="Path of the secret, as db/password.")]
Note = Annotated[str, typer.Option(help="What it is for; whoever may list secrets sees it.")]


class What(StrEnum):
    """What is rotated."""

    KEY_ENCRYPTION_KEY = "key-encryption-key"
    DATA_KEYS = "data-keys"


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    secret = typer.Typer(no_args_is_help=True, help="Secrets: kept as ciphertext, read on record.")
    client_command(secret, "put")(put)
    client_command(secret, "get")(get)
    client_command(secret, "list")(list_secrets)
    client_command(secret, "history")(history)
    client_command(secret, "delete")(delete)
    app.add_typer(secret, name="secret")
    encryption = typer.Typer(no_args_is_help=True, help="Encryption: the keys that everything kept is under.")
    client_command(encryption, "status")(status)
    client_command(encryption, "rotate")(rotate)
    app.add_typer(encryption, name="encryption")


def put(
    session: Session,
    owner: Owner,
    path: PathOf,
    file: Annotated[Path | None, typer.Option("--file", help="File that holds the value, instead of stdin.")] = None,
    note: Note = "",
    shared: Annotated[
        bool, typer.Option("--shared", help="Let every tenant read it; for the platform's own only.")
    ] = False,
    if_version: Annotated[
        int | None, typer.Option(help="Replace this version and no other; the newest when left out.")
    ] = None,
) -> None:
    """Keep a secret, or give it a new version; the value is asked for, or read from a pipe or a file."""
    value = _value(file)
    at = _path_of(owner)
    etag = f'"v{if_version}"' if if_version is not None else _etag(session, at, path)
    body: dict[str, object] = {"value": value, "note": note}
    if shared:
        body["shared"] = True
    answer = session.hub.request("PUT", at + "/value", body=body, query={"path": path}, if_match=etag).body
    session.show(answer, lambda out: out.talk(f"{answer['path']} is at version {answer['version']}."))


def get(
    session: Session,
    owner: Owner,
    path: PathOf,
    version: Annotated[int | None, typer.Option(help="An earlier version that is still kept.")] = None,
) -> None:
    """Write a secret's value to stdout; that it was read is on record."""
    query: dict[str, object] = {"path": path, "version": version}
    answer = session.hub.request("GET", _path_of(owner) + "/value", query=query).body

    def in_words(out: Output) -> None:
        if out.stdout_is_terminal:
            out.text(answer["value"])
        else:  # as it is, for a file or the next program
            sys.stdout.write(answer["value"])
            sys.stdout.flush()

    session.show(answer, in_words)


def list_secrets(
    session: Session, owner: Owner, prefix: Annotated[str, typer.Option(help="Only paths that begin so.")] = ""
) -> None:
    """List secrets by path, never their values."""
    at, cursor = _path_of(owner), None
    secrets: list[Json] = []
    while True:
        page = session.hub.get(at, prefix=prefix or None, cursor=cursor, limit=500)
        secrets += page["secrets"]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    def in_words(out: Output) -> None:
        rows = [
            (
                one["path"], one["version"], one["versions"], one["changed_at"], one["author"],
                one.get("shared", False), one.get("note"),
            )
            for one in secrets
        ]  # fmt: skip
        out.table(SECRET_COLUMNS, rows, empty="There are no secrets here.")

    session.show({"secrets": secrets}, in_words)


def history(session: Session, owner: Owner, path: PathOf) -> None:
    """List the kept versions of a secret, newest first, never their values."""
    answer = session.hub.request("GET", _path_of(owner) + "/versions", query={"path": path}).body

    def in_words(out: Output) -> None:
        rows = [(one["version"], one["changed_at"], one["author"], one.get("note")) for one in answer["versions"]]
        out.table(VERSION_COLUMNS, rows, empty="")

    session.show(answer, in_words)


def delete(session: Session, owner: Owner, path: PathOf) -> None:
    """Delete a secret with all of its versions; what refers to it is unresolved then."""
    session.hub.request("DELETE", _path_of(owner) + "/value", query={"path": path})
    session.show({"path": path, "deleted": True}, lambda out: out.talk(f"{path} is deleted."))


def status(session: Session) -> None:
    """Say what everything is encrypted under, and how far a rotation is."""
    answer = session.hub.get("/encryption")
    session.show(answer, lambda out: out.fields(_fields(answer)))


def rotate(
    session: Session,
    what: Annotated[What, typer.Argument(metavar="WHAT", help="key-encryption-key or data-keys.")],
    tenants: Annotated[
        list[str] | None, typer.Option("--for", metavar="TENANT", help="Only this tenant's data keys; may be repeated.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for its end and show how far it is.")] = True,
) -> None:
    """Rotate keys while everything goes on; one that was interrupted is gone on with by the hub itself."""
    body = {"what": what.value.replace("-", "_"), "tenants": tenants or []}
    answer = session.hub.post("/encryption/rotations", body)
    while wait and answer["rotation"].get("phase", "idle") not in ENDED:
        _show_progress(session, answer["rotation"])
        time.sleep(LOOK_S)
        answer = session.hub.get("/encryption")
    if wait:
        _show_progress(session, answer["rotation"], last=True)
    session.show(answer, lambda out: out.fields(_fields(answer)))


def _show_progress(session: Session, rotation: Json, *, last: bool = False) -> None:
    if session.out.json or not sys.stderr.isatty():
        return
    done, total = rotation.get("done", 0), max(1, rotation.get("total", 0))
    filled = BAR_WIDTH * done // total if not last else BAR_WIDTH
    held = f"  held up by {rotation['held_up_by']}" if rotation.get("held_up_by") else ""
    sys.stderr.write(f"\r[{'#' * filled}{' ' * (BAR_WIDTH - filled)}] {done} of {total}{held}\x1b[K")
    if last:
        sys.stderr.write("\n")
    sys.stderr.flush()


def _fields(answer: Json) -> dict[str, object]:
    rotation = answer["rotation"]
    phase, what = rotation.get("phase", "idle"), rotation.get("what")
    how_far = f"{phase}: {what}, {rotation.get('done', 0)} of {rotation.get('total', 0)}"
    return {
        "provider": answer["provider"],
        "key-encryption key": answer["key_encryption_key"],
        "domains": answer["domains"],
        "data keys": answer["data_keys"],
        "not under it yet": answer["behind"],
        "rotation": how_far if what else phase,
    }


def _path_of(owner: str) -> str:
    return "/secrets" if owner == PLATFORM else f"/tenants/{segment(owner)}/secrets"


def _etag(session: Session, at: str, path: str) -> str:
    """Return the tag of a secret's newest version, empty where there is none: asked for by what is refused without."""
    try:
        known: Json = session.hub.request("GET", at + "/versions", query={"path": path}).body
        return str(known["versions"][0]["etag"])
    except Failure as failure:
        if failure.code in ("secret_not_found", "scope_missing"):  # who may not list may still make one
            return ""
        raise


def _value(file: Path | None) -> str:
    try:
        if file is not None:
            return file.read_text("utf-8").removesuffix("\n")
        asked = sys.stdin.isatty()
        value = getpass.getpass("Value (not shown): ") if asked else sys.stdin.read().removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise usage(f"The value cannot be read: {reason}.", "central-hub secret put --help") from None
    if not value:
        raise Failure(
            ExitCode.USAGE,
            "A secret is not empty.",
            next_command="printf %s 'the value' | central-hub secret put TENANT PATH",
            code="usage",
        )
    return value
