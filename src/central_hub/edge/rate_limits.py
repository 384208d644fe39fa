"""The fields `RateLimit-Policy` and `RateLimit`, which tell a caller where a limit stands.

Source: draft-ietf-httpapi-ratelimit-headers; values are structured fields (RFC 9651).
"""

from __future__ import annotations

from collections.abc import Mapping

HeaderLines = tuple[tuple[str, str], ...]


def rate_limit_lines(
    policy: str, *, quota: int, remaining: int, window_s: int | None = None, reset_s: int | None = None
) -> HeaderLines:
    """Return the two header lines.

    Args:
        policy: name of the limit; letters, digits and underscores.
        quota: what the limit grants.
        remaining: what is left of it.
        window_s: length of its period; None for what is held rather than counted.
        reset_s: seconds until there is more.
    """
    window = "" if window_s is None else f";w={window_s}"
    reset = "" if reset_s is None else f";t={reset_s}"
    return (
        ("ratelimit-policy", f'"{policy}";q={quota}{window}'),
        ("ratelimit", f'"{policy}";r={remaining}{reset}'),
    )


def rate_limit_lines_of(fields: Mapping[str, object], retry_after_s: int | None) -> HeaderLines:
    """Return the header lines of a refusal whose problem names the limit that it violated; none for others."""
    policies, quota, remaining = fields.get("violated-policies"), fields.get("limit"), fields.get("remaining")
    if not isinstance(policies, list) or not isinstance(quota, int) or not isinstance(remaining, int):
        return ()
    window_s = fields.get("window_s")
    return rate_limit_lines(
        str(policies[0]),  # pyright: ignore[reportUnknownArgumentType]  # what the fields hold is JSON
        quota=quota,
        remaining=remaining,
        window_s=window_s if isinstance(window_s, int) else None,
        reset_s=retry_after_s,
    )
