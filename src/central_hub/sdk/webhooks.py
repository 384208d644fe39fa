"""Receiving the hub's webhooks: one function that verifies a delivery, and the route of a service.

A delivery may come again, always under the same id: whoever acts on one remembers ids, or acts so that twice is once.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from central_hub.kernel.errors import HubError, Kind
from central_hub.kernel.events import TYPE_PREFIX
from central_hub.kernel.signatures import TOLERANCE_S, SignatureError, secret_bytes, verify

CONFIG_CHANGED: Final = f"{TYPE_PREFIX}config.changed.v1"
BODY_BYTES_MAX: Final = 65_536
IDS_KEPT: Final = 4_096
"""Deliveries that a service remembers, so that one which comes again is not handled again."""

_log: Final = logging.getLogger("central_hub")


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A verified event, as CloudEvents 1.0 has it; `data` is what its type says.

    `hubseq` orders the events of one tenant: incarnation and position, separated by a dot. `message_id` is the same
    whenever the event is delivered, and no other event's; `id` is its publisher's.
    """

    id: str
    type: str
    source: str
    subject: str = ""
    time: str = ""
    tenantid: str = ""
    data: Any = None  # Any: JSON
    data_base64: str = ""
    hubseq: str = ""
    correlationid: str = ""
    message_id: str = ""


_read: Final = msgspec.json.Decoder(WebhookEvent).decode


def verify_webhook(
    headers: Mapping[str, str],
    body: bytes,
    secret: str | Sequence[str],
    *,
    now_s: float | None = None,
    tolerance_s: float = TOLERANCE_S,
) -> WebhookEvent:
    """Verify a delivery and return its event.

    Args:
        headers: of the request, names in any case.
        body: exactly the bytes that came, before any parsing.
        secret: the endpoint's `whsec_…`; several while one is replaced, any of which may have signed.
        now_s: this machine's clock, Unix seconds; asked for when left out.
        tolerance_s: how far the delivery's timestamp may be from it, either way.

    Raises:
        HubError: `invalid_webhook` (401): it is not from the hub, is too old, was altered, or is no event.
        ValueError: a secret is none.
    """
    secrets = [secret_bytes(one) for one in ((secret,) if isinstance(secret, str) else secret)]
    try:
        message_id = verify(
            headers, body, secrets, now_s=time.time() if now_s is None else now_s, tolerance_s=tolerance_s
        )
        event = _read(body)
    except SignatureError as error:
        raise _invalid(str(error)) from None
    except msgspec.DecodeError:
        raise _invalid("its body is no event") from None
    return msgspec.structs.replace(event, message_id=message_id)


class WebhookReceiver:
    """What a service does with deliveries: verify, act once, answer.

    Args:
        secrets: any of them may have signed.
        act: awaited with every event that was not handled before; raises to have the hub send it again.
    """

    def __init__(self, secrets: Sequence[str], act: Callable[[WebhookEvent], Awaitable[None]]) -> None:
        for one in secrets:
            secret_bytes(one)
        self._secrets = tuple(secrets)
        self._act = act
        self._seen: OrderedDict[str, None] = OrderedDict()
        self.refused = 0
        self.repeated = 0

    async def take(self, headers: Mapping[str, str], body: bytes) -> int:
        """Handle one delivery; returns the status to answer with: 204, 401 for a forgery, 500 to get it again."""
        try:
            event = verify_webhook(headers, body, self._secrets)
        except HubError as error:
            self.refused += 1
            _log.warning("webhook refused: %s", error.message)
            return 401
        if event.message_id in self._seen:
            self.repeated += 1
            return 204
        try:
            await self._act(event)
        except Exception:
            _log.exception("webhook %s (%s) was not handled; the hub sends it again", event.id, event.type)
            return 500
        self._seen[event.message_id] = None
        while len(self._seen) > IDS_KEPT:
            self._seen.popitem(last=False)
        return 204


def _invalid(reason: str) -> HubError:
    return HubError(
        "invalid_webhook",
        Kind.UNAUTHENTICATED,
        f"The delivery is refused: {reason}.",
        next_step="Verify the bytes as they came, under the secret that `webhook create` or `webhook rotate` showed.",
    )
