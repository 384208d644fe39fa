"""Signs events and gives them to the transport. A secret is opened for the length of one signature."""

from __future__ import annotations

from typing import Final

import msgspec

from central_hub.kernel.clock import Clock, rfc3339
from central_hub.kernel.events import MEDIA_TYPE, SPEC_VERSION
from central_hub.kernel.ids import DomainId
from central_hub.kernel.messaging import Outcome, Result, Sender
from central_hub.kernel.ports import Sealer
from central_hub.kernel.signatures import HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, sign
from central_hub.webhooks.lines import Told
from central_hub.webhooks.model import BODY_BYTES_MAX, PING, Webhook, secret_data
from central_hub.webhooks.rules import target_of

USER_AGENT: Final = "central-hub-webhook"


class Sending:
    """Makes messages of events.

    Args:
        sender: the transport.
        sealer: opens secrets.
        clock: wall time, for the signature.
    """

    def __init__(self, sender: Sender, sealer: Sealer, clock: Clock) -> None:
        self._sender = sender
        self._sealer = sealer
        self._clock = clock

    async def send(self, domain: DomainId, webhook: Webhook, told: Told) -> Outcome:
        """Try to deliver one event once.

        Raises:
            HubError: `unreadable_record` when the tenant's key is gone.
        """
        # A publisher's own id is unique among its events only; the record's is among all.
        return await self._send(domain, webhook, told.applied.id, told.event.body)

    async def ping(self, domain: DomainId, webhook: Webhook, event_id: str) -> Outcome:
        """Try to deliver an event that says nothing but that the endpoint is reached.

        Args:
            event_id: a new id.

        Raises:
            HubError: as `send`.
        """
        event = {
            "specversion": SPEC_VERSION,
            "id": event_id,
            "source": f"/tenants/{domain}",
            "type": PING,
            "subject": f"webhook/{webhook.id}",
            "time": rfc3339(self._clock.now_ms()),
            "datacontenttype": "application/json",
            "tenantid": domain,
            "data": {"webhook_id": webhook.id},
        }
        return await self._send(domain, webhook, event_id, msgspec.json.encode(event))

    async def _send(self, domain: DomainId, webhook: Webhook, message_id: str, body: bytes) -> Outcome:
        if len(body) > BODY_BYTES_MAX:
            return Outcome(result=Result.TOO_LARGE)
        now_ms = self._clock.now_ms()
        stamp = now_ms // 1_000
        headers = {
            "user-agent": USER_AGENT,
            "content-type": MEDIA_TYPE,
            HEADER_ID: message_id,
            HEADER_TIMESTAMP: str(stamp),
            HEADER_SIGNATURE: sign(self._secrets(domain, webhook, now_ms), message_id, stamp, body),
        }
        # Whether plain http is allowed was decided when the endpoint was made.
        return await self._sender.send(domain, target_of(webhook.url, plain=True), headers, body)

    def _secrets(self, domain: DomainId, webhook: Webhook, now_ms: int) -> list[bytes]:
        bound = secret_data(domain, webhook.id)
        secrets = [self._sealer.open(domain, webhook.sealed_by, webhook.sealed, bound)]
        if now_ms < webhook.previous_until_ms:
            secrets.append(self._sealer.open(domain, webhook.previous_sealed_by, webhook.previous_sealed, bound))
        return secrets
