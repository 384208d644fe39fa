"""How a command fails: a stable exit code, one sentence, and the next command to try."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import IntEnum
from typing import Any, Final, TextIO, cast


class ExitCode(IntEnum):
    """What the shell is told; the numbers are a promise to scripts."""

    OK = 0
    ERROR = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    CONFLICT = 5
    QUOTA = 6
    UNAVAILABLE = 7


EXIT_OF_STATUS: Final[Mapping[int, ExitCode]] = {
    307: ExitCode.UNAVAILABLE,  # another hub has it; who follows the redirection finds it
    400: ExitCode.USAGE,
    401: ExitCode.DENIED,
    403: ExitCode.DENIED,
    404: ExitCode.NOT_FOUND,
    408: ExitCode.UNAVAILABLE,
    409: ExitCode.CONFLICT,
    410: ExitCode.NOT_FOUND,
    412: ExitCode.CONFLICT,
    413: ExitCode.USAGE,
    415: ExitCode.USAGE,
    422: ExitCode.USAGE,
    428: ExitCode.CONFLICT,
    429: ExitCode.QUOTA,
    502: ExitCode.UNAVAILABLE,
    503: ExitCode.UNAVAILABLE,
    504: ExitCode.UNAVAILABLE,
    507: ExitCode.UNAVAILABLE,
}

# What to type next, by the problem's code where that says more than its status does.
NEXT_OF_CODE: Final[Mapping[str, str]] = {
    "credential_required": (
        "export HUB_API_KEY=…   (a first start prints a token; an operator makes keys: central-hub key create TENANT)"
    ),
    "invalid_credential": (
        "export HUB_API_KEY=chk_…   (from: central-hub key create TENANT; a first start's token ends with the first "
        "operator's key)"
    ),
    "scope_missing": "central-hub key create TENANT --scope SCOPE",
    "service_not_found": "central-hub services list",
    "instance_not_found": "central-hub services get NAME",
    "tenant_not_found": "central-hub tenant list",
    "key_not_found": "central-hub key list TENANT",
    "gateway_not_found": "central-hub gateway list",
    "flag_not_found": "central-hub flag list",
    "flag_not_overridable": "central-hub flag explain TENANT FLAG",
    "segment_not_found": "central-hub segment list",
    "segment_in_use": "central-hub flag list",
    "tenant_exists": "central-hub tenant show TENANT",
    "quota_exceeded": "central-hub quota show TENANT",
    "unknown_resource": "central-hub quota show TENANT",
    "unknown_limit": "central-hub quota show TENANT",
    "lease_not_found": "central-hub quota leases TENANT",
    "not_lease_holder": "central-hub quota leases TENANT",
    "webhook_not_found": "central-hub webhook list TENANT",
    "webhook_disabled": "central-hub webhook enable TENANT WEBHOOK",
    "default_template_missing": "central-hub template list",
    "tier_too_low": "central-hub tenant set-tier TENANT TIER",
    "unknown_feature": "central-hub plan show",
    "unknown_addon": "central-hub plan show",
    "unknown_tier": "central-hub plan show",
    "invalid_plans": "central-hub plan show",
    "plan_in_use": "central-hub tenant list",
    "plans_changed": "central-hub plan apply FILE",
    "template_not_found": "central-hub template list",
    "unknown_key": "central-hub config sections",
    "unknown_secret": "central-hub secret list TENANT",
    "secret_literal": "central-hub secret put TENANT PATH",
    "secret_not_found": "central-hub secret list TENANT",
    "secret_version_not_found": "central-hub secret history TENANT PATH",
    "rotation_running": "central-hub encryption status",
    "key_provider_external": "central-hub encryption status",
    "key_provider_unavailable": "central-hub encryption status",
    "revision_not_found": "central-hub config history LAYER",
    "locked": "central-hub config explain TENANT",
    "out_of_bounds": "central-hub config explain TENANT",
    "tenant_deleted": "central-hub tenant restore TENANT",
    "wrong_state": "central-hub tenant show TENANT",
    "invalid_export": "central-hub tenant export TENANT",
    "tenant_suspended": "central-hub tenant resume TENANT",
}

NEXT_OF_EXIT: Final[Mapping[ExitCode, str]] = {
    ExitCode.ERROR: "central-hub doctor",
    ExitCode.USAGE: "central-hub --help",
    ExitCode.NOT_FOUND: "central-hub services list",
    ExitCode.DENIED: "central-hub doctor",
    ExitCode.CONFLICT: "central-hub services list",
    ExitCode.QUOTA: "sleep 1, then the same command again",
    ExitCode.UNAVAILABLE: "central-hub doctor",
}


class Failure(Exception):
    """A command could not do what it was asked to.

    Args:
        exit_code: what the shell gets.
        message: one sentence for a person.
        next_command: what to type next; never empty.
        code: the hub's stable problem code, or one of the command line's own.
        hint: what the hub suggests in words.
        decision_id: token of a refusal that `central-hub explain` resolves.
    """

    def __init__(
        self,
        exit_code: ExitCode,
        message: str,
        *,
        next_command: str,
        code: str = "",
        hint: str = "",
        decision_id: str = "",
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.message = message
        self.next_command = next_command
        self.code = code
        self.hint = hint
        self.decision_id = decision_id

    def tell(self, stream: TextIO, *, as_json: bool) -> None:
        """Write the failure to `stream`, as lines for a person or as one JSON object."""
        if as_json:
            error = {
                "exit_code": int(self.exit_code),
                "code": self.code,
                "detail": self.message,
                "hint": self.hint,
                "next": self.next_command,
                "decision_id": self.decision_id,
            }
            stream.write(json.dumps({"error": {name: value for name, value in error.items() if value != ""}}) + "\n")
            return
        stream.write(f"error: {self.message}" + (f" [{self.code}]" if self.code else "") + "\n")
        if self.hint:
            stream.write(f"       {self.hint}\n")
        if self.decision_id:
            stream.write(f"why:   central-hub explain {self.decision_id}\n")
        stream.write(f"try:   {self.next_command}\n")


def failure_of_problem(status: int, body: object) -> Failure:
    """Turn a refusal of the hub into a failure of the command; `body` is whatever was decoded."""
    problem = cast("dict[str, Any]", body) if isinstance(body, dict) else {}  # Any: JSON values
    exit_code = EXIT_OF_STATUS.get(status, ExitCode.ERROR)
    code = str(problem.get("code", ""))
    return Failure(
        exit_code,
        str(problem.get("detail") or problem.get("title") or f"The hub answered {status}."),
        next_command=NEXT_OF_CODE.get(code, NEXT_OF_EXIT[exit_code]),
        code=code or f"http_{status}",
        hint=str(problem.get("next", "")),
        decision_id=str(problem.get("decision_id", "")),
    )


def unreachable(url: str, reason: str) -> Failure:
    """Return the failure of a hub that does not answer."""
    return Failure(
        ExitCode.UNAVAILABLE,
        f"No hub answers at {url} ({reason}).",
        next_command="central-hub doctor   (or start one: central-hub serve)",
        code="hub_unreachable",
    )


def usage(message: str, next_command: str) -> Failure:
    """Return the failure of a command that was not given what it needs."""
    return Failure(ExitCode.USAGE, message, next_command=next_command, code="usage")
