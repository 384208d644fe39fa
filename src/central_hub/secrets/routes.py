"""The rows of secrets and of encryption, and their handlers, which only translate."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from central_hub.edge.operations import Call, Operation, Reply
from central_hub.kernel.ids import PLATFORM, DomainId
from central_hub.secrets.model import (
    SCOPE_ADMIN,
    SCOPE_LIST,
    SCOPE_PLATFORM,
    SCOPE_READ,
    SCOPE_WRITE,
    VALUE_BYTES_MAX,
    Secret,
)
from central_hub.secrets.ports import Keys
from central_hub.secrets.rotation import Rotation
from central_hub.secrets.rules import etag_of
from central_hub.secrets.schemas import (
    EncryptionAnswer,
    PutPlatformSecret,
    PutSecret,
    ReadQuery,
    Rotate,
    SecretAnswer,
    SecretList,
    SecretQuery,
    SecretsQuery,
    SecretValue,
    VersionList,
    secret_answer,
    value_answer,
    version_answer,
)
from central_hub.secrets.usecases import NewVersion, Secrets
from central_hub.secrets.view import SecretsView

TAG: Final = "secrets"
BODY_BYTES_MAX: Final = VALUE_BYTES_MAX * 6 + 4_096
"""A value whose every byte is escaped, and what is around it."""
NO_STORE: Final = (("cache-control", "no-store"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRoutes:
    """The handlers and what they hand calls to."""

    secrets: Secrets
    view: SecretsView
    keys: Keys
    rotation: Rotation

    async def list_secrets(self, call: Call) -> Reply:
        """List secrets by page, without values."""
        query: SecretsQuery = call.query
        domain = _domain(call)
        self.secrets.check_domain(domain)
        known = self.view.secrets(domain)
        after = query.cursor or ""
        bound = call.ctx.principal.environment
        prefixes = (query.prefix, bound + "/" if bound else "")
        wanted = (path for path in sorted(known) if path > after and all(map(path.startswith, prefixes)))
        found: list[Secret] = [known[path] for path in islice(wanted, query.limit + 1)]
        more = found[query.limit - 1].path if len(found) > query.limit else None
        return Reply(SecretList(secrets=[secret_answer(each) for each in found[: query.limit]], next_cursor=more))

    async def put_secret(self, call: Call) -> Reply:
        """Give a secret a new version, or make it."""
        query: SecretQuery = call.query
        body: PutSecret | PutPlatformSecret = call.body
        wanted = NewVersion(
            path=query.path,
            value=body.value,
            if_match=call.headers.get("if-match"),
            note=body.note,
            shared=isinstance(body, PutPlatformSecret) and body.shared,
        )
        secret, created = await self.secrets.put(call.ctx, _domain(call), wanted, key=call.idempotency_key)
        headers = (("etag", etag_of(secret.newest.number)),)
        return Reply(secret_answer(secret), status=201 if created else 200, headers=headers)

    async def read_secret(self, call: Call) -> Reply:
        """Hand out a value, on record."""
        query: ReadQuery = call.query
        opened = await self.secrets.read(call.ctx, _domain(call), query.path, query.version)
        return Reply(value_answer(opened), headers=(*NO_STORE, ("etag", etag_of(opened.version))))

    async def delete_secret(self, call: Call) -> Reply:
        """Let go of a secret."""
        query: SecretQuery = call.query
        await self.secrets.delete(call.ctx, _domain(call), query.path, if_match=call.headers.get("if-match"))
        return Reply()

    async def list_versions(self, call: Call) -> Reply:
        """List the kept versions of a secret, without values."""
        query: SecretQuery = call.query
        secret = self.secrets.get(call.ctx, _domain(call), query.path)
        return Reply(
            VersionList(path=secret.path, versions=[version_answer(each) for each in reversed(secret.versions)])
        )

    async def show_encryption(self, call: Call) -> Reply:
        """Show what everything is encrypted under."""
        return Reply(self._encryption())

    async def rotate_keys(self, call: Call) -> Reply:
        """Begin a rotation of keys."""
        body: Rotate = call.body or Rotate()
        await self.rotation.begin(call.ctx, body.what, body.tenants)
        return Reply(self._encryption())

    def _encryption(self) -> EncryptionAnswer:
        return EncryptionAnswer(
            provider=self.keys.encryption.provider,
            key_encryption_key=self.keys.encryption.current,
            domains=self.keys.count_domains(),
            data_keys=self.keys.data_keys(),
            behind=self.keys.count_behind(),
            rotation=self.rotation.state,
        )


def operations(routes: SecretRoutes) -> tuple[Operation, ...]:
    """Return the rows of secrets and of encryption."""
    of_tenant: dict[str, Any] = {"tenant_param": "tenant_id"}  # Any: Operation's own types
    of_platform: dict[str, Any] = {"platform": True}
    return (
        *_secrets(routes, "/tenants/{tenant_id}/secrets", "", PutSecret, of_tenant),
        *_secrets(routes, "/secrets", "platform_", PutPlatformSecret, of_platform),
        *_encryption(routes),
    )


def _secrets(
    routes: SecretRoutes,
    path: str,
    whose: str,
    body: type[PutSecret | PutPlatformSecret],
    row: dict[str, Any],  # Any: Operation's own types
) -> tuple[Operation, ...]:
    of = "the platform" if whose else "a tenant"
    or_shared = "" if whose else "; its own, or else one that the platform shares"
    row = {"tag": TAG, **row}
    lists, reads, writes = (SCOPE_ADMIN,) * 3 if whose else (SCOPE_LIST, SCOPE_READ, SCOPE_WRITE)
    refused = (
        "environment_denied",
        "precondition_required",
        "revision_moved",
        "invalid_secret",
        "secret_too_large",
        "limit_reached",
    )
    return (
        Operation(
            id=f"list_{whose}secrets", method="GET", path=path, handler=routes.list_secrets, query=SecretsQuery,
            answer=SecretList, scope=lists, summary=f"List the secrets of {of}, never their values.", **row,
        ),
        Operation(
            id=f"read_{whose}secret", method="GET", path=path + "/value", handler=routes.read_secret, query=ReadQuery,
            answer=SecretValue, scope=reads,
            problems=("secret_not_found", "secret_version_not_found", "environment_denied"),
            summary=f"Read a secret's value for {of}{or_shared}. Each time is on record.", **row,
        ),
        Operation(
            id=f"put_{whose}secret", method="PUT", path=path + "/value", handler=routes.put_secret, query=SecretQuery,
            body=body, answer=SecretAnswer, statuses=(201,), scope=writes, problems=refused,
            body_bytes_max=BODY_BYTES_MAX,
            summary=f"Make a secret of {of}, or give it a new version in place of the one that If-Match names.", **row,
        ),
        Operation(
            id=f"delete_{whose}secret", method="DELETE", path=path + "/value", handler=routes.delete_secret,
            query=SecretQuery, status=204, scope=writes, problems=("revision_moved", "environment_denied"),
            summary=f"Delete a secret of {of} with all of its versions.", **row,
        ),
        Operation(
            id=f"list_{whose}secret_versions", method="GET", path=path + "/versions", handler=routes.list_versions,
            query=SecretQuery, answer=VersionList, scope=lists,
            problems=("secret_not_found", "environment_denied"),
            summary=f"List the kept versions of a secret of {of}, newest first, never their values.", **row,
        ),
    )  # fmt: skip


def _encryption(routes: SecretRoutes) -> tuple[Operation, ...]:
    row: dict[str, Any] = {"tag": TAG, "scope": SCOPE_PLATFORM, "platform": True}  # Any: Operation's own types
    return (
        Operation(
            id="show_encryption", method="GET", path="/encryption", handler=routes.show_encryption,
            answer=EncryptionAnswer, summary="Show what all is encrypted under, and how far a rotation is.", **row,
        ),
        Operation(
            id="rotate_keys", method="POST", path="/encryption/rotations", handler=routes.rotate_keys, body=Rotate,
            body_optional=True, answer=EncryptionAnswer, status=202,
            problems=(
                "rotation_running", "key_provider_external", "key_file_not_shared", "invalid_rotation",
                "tenant_not_found",
            ),
            summary="Rotate the key-encryption key or domains' data keys, while everything goes on.", **row,
        ),
    )  # fmt: skip


def _domain(call: Call) -> DomainId:
    return DomainId(call.path["tenant_id"]) if "tenant_id" in call.path else PLATFORM
