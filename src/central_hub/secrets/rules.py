"""Decisions about secrets: what a path and a value may be, for which version a change is made, what it is sealed for.
Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

from central_hub.kernel.context import Principal
from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.secrets.model import (
    PATH_LENGTH_MAX,
    PATH_PATTERN,
    SEALED_BYTES_MAX,
    SECRETS_OF_PLATFORM_MAX,
    SECRETS_PER_TENANT_MAX,
    VALUE_BYTES_MAX,
    Secret,
)

ANY: Final = "*"
SUGGESTED_CUTOFF: Final = 0.6

_PATH: Final = re.compile(PATH_PATTERN[:-1] + r"\Z")


def is_path(text: object) -> bool:
    """Say whether a text may name a secret."""
    return isinstance(text, str) and len(text) <= PATH_LENGTH_MAX and _PATH.match(text) is not None


def check_path(path: str) -> str:
    """Return a path if it may name a secret.

    Raises:
        HubError: `invalid_secret_path` (422).
    """
    if not is_path(path):
        raise HubError(
            "invalid_secret_path",
            Kind.MALFORMED,
            "A secret's path is one to eight names with slashes between, each of A-Z, a-z, 0-9, '.', '_' and '-'.",
            next_step="Use a path such as db/password.",
        )
    return path


def check_value(value: str) -> bytes:
    """Return a value's bytes.

    Raises:
        HubError: `invalid_secret` (422), `secret_too_large` (413).
    """
    try:
        data = value.encode()
    except UnicodeEncodeError:
        data = b""
    if not data:
        raise HubError(
            "invalid_secret",
            Kind.MALFORMED,
            "A secret is text and not empty.",
            next_step="Encode what is no text as base64; delete a secret that is to be no more.",
        )
    if len(data) > VALUE_BYTES_MAX:
        raise HubError(
            "secret_too_large",
            Kind.TOO_LARGE,
            f"A secret has at most {VALUE_BYTES_MAX} bytes.",
            next_step="Keep large files elsewhere, and here the key that opens them.",
        )
    return data


def bound_to(domain: DomainId, path: str, version: int) -> bytes:
    """Return what a value is sealed for: put elsewhere, under another path or version, it does not open."""
    return f"secret\n{domain}\n{path}\n{version}".encode()


def etag_of(version: int) -> str:
    """Return the strong entity tag of a version: `"v3"`."""
    return f'"v{version}"'


def check_precondition(if_match: str | None, current: Secret | None) -> None:
    """Hold the version that a change is made for against the newest one.

    Raises:
        HubError: `precondition_required` (428) to replace what is there without saying which version of it,
            `revision_moved` (412) when it is another one or none.
    """
    if current is None:
        if if_match is not None:
            raise HubError(
                "revision_moved",
                Kind.PRECONDITION,
                "There is no such secret, and this change is for a version of it.",
                next_step="Leave If-Match out to create it.",
            )
        return
    tag = etag_of(current.newest.number)
    if if_match is None:
        raise HubError(
            "precondition_required",
            Kind.PRECONDITION_MISSING,
            "There is such a secret; a change says which version it replaces, and this one does not.",
            next_step=f"Send 'If-Match: {tag}'.",
            fields={"etag": tag},
        )
    if if_match not in (ANY, tag):
        raise HubError(
            "revision_moved",
            Kind.PRECONDITION,
            f"The secret is at version {current.newest.number}, which is not the one this change was made for.",
            next_step="Find out who changed it, and make the change for the etag of this answer.",
            fields={"etag": tag, "revision": current.newest.number},
        )


def check_room(domain: DomainId, *, secrets: int, sealed_bytes: int) -> None:
    """Check what a domain would keep.

    Raises:
        HubError: `limit_reached` (429).
    """
    limit = SECRETS_OF_PLATFORM_MAX if domain == PLATFORM else SECRETS_PER_TENANT_MAX
    for found, most, what in ((secrets, limit, "secrets"), (sealed_bytes, SEALED_BYTES_MAX, "bytes of secrets")):
        if found > most:
            raise HubError(
                "limit_reached",
                Kind.LIMIT,
                f"There may be {most} {what} here, and these would be more.",
                next_step="Delete secrets that are not used.",
                retry_after_s=60,
                fields={"limit": most},
            )


def nearest(path: str, known: Iterable[str]) -> str:
    """Return the path that may have been meant, empty when none is near."""
    found = difflib.get_close_matches(path, list(known), n=1, cutoff=SUGGESTED_CUTOFF)
    return found[0] if found else ""


def secret_missing(suggested: str = "") -> HubError:
    """Return the one refusal of a secret that is not there, or not for the caller."""
    return HubError(
        "secret_not_found",
        Kind.NOT_FOUND,
        "There is no such secret." + (f" Did you mean '{suggested}'?" if suggested else ""),
        next_step="List the secrets to see their paths.",
    )


def version_missing(kept: Secret) -> HubError:
    """Return the refusal of a version that is not kept."""
    numbers = ", ".join(str(version.number) for version in kept.versions)
    return HubError(
        "secret_version_not_found",
        Kind.NOT_FOUND,
        "That version of the secret is not kept.",
        next_step=f"Read one of the kept versions: {numbers}.",
    )


def check_environment(principal: Principal, path: str) -> None:
    """Hold a path against the environment that a credential is bound to: it has the secrets below that name only.

    Raises:
        HubError: `environment_denied` (403).
    """
    if principal.environment and not path.startswith(principal.environment + "/"):
        raise HubError(
            "environment_denied",
            Kind.DENIED,
            f"This credential speaks for the environment '{principal.environment}' only.",
            next_step=f"Keep what it needs below {principal.environment}/, or use a key that is bound to none.",
        )


REFERENCE: Final = "$secret"
"""The one member of what stands in a document in the place of a secret's value."""


def referred(value: object) -> str | None:
    """Return the path that a reference names, None for what is no reference; its path may still be no path."""
    if not isinstance(value, dict) or REFERENCE not in value:
        return None
    path = cast(Mapping[str, Any], value)[REFERENCE]  # Any: JSON
    return path if isinstance(path, str) and len(cast(Mapping[str, Any], value)) == 1 else ""
