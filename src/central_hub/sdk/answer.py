"""What a call to a service brings back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.sdk.model import CALL_ANSWER_BYTES_MAX, Endpoint

if TYPE_CHECKING:
    import aiohttp

Source = Literal["service", "cache", "default"]


class ServiceResponse:
    """What a service answered; the body has been read.

    `source` says "cache" or "default" for what stands in for an answer, `age_s` how old that is; a default comes from
    an endpoint without a name.
    """

    __slots__ = ("age_s", "attempts", "body", "endpoint", "headers", "source", "status")

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        body: bytes,
        endpoint: Endpoint,
        attempts: int,
        *,
        source: Source = "service",
        age_s: float = 0.0,
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.endpoint = endpoint
        self.attempts = attempts
        self.source: Source = source
        self.age_s = age_s

    @property
    def ok(self) -> bool:
        """Whether the status is below 400."""
        return self.status < 400

    def json(self) -> Any:  # Any: a JSON document
        """Return the decoded body.

        Raises:
            msgspec.DecodeError: it is not JSON.
        """
        return msgspec.json.decode(self.body)

    def text(self) -> str:
        """Return the body as UTF-8 text."""
        return self.body.decode("utf-8", "replace")


async def read_limited(service: str, response: aiohttp.ClientResponse) -> bytes:
    """Read a body of unknown length.

    Raises:
        HubError: `answer_too_large`.
    """
    body = bytearray()
    try:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > CALL_ANSWER_BYTES_MAX:
                raise HubError(
                    "answer_too_large",
                    Kind.TOO_LARGE,
                    f"{service} answered with more than {CALL_ANSWER_BYTES_MAX} bytes.",
                    next_step="Page the answer, or call resolve() and stream it yourself.",
                )
    finally:
        response.release() if response.content.at_eof() else response.close()
    return bytes(body)
