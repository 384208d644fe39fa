"""The `Brokers` port: opens links to whichever broker a relay names.

The operator names brokers, as with the store, so their connections do not go through the egress module: no tenant can
say where one leads, and nothing that a broker answers is shown to one.
"""

from __future__ import annotations

import ssl

from central_hub.kernel.brokers import BrokerError, BrokerKind, BrokerTarget, Link, Source, Trouble


class BrokerLinks:
    """Opens links with the libraries that are installed."""

    async def connect(self, target: BrokerTarget) -> Link:
        """Open one; see the port."""
        try:
            match target.kind:
                case BrokerKind.NATS:
                    from central_hub.adapters.brokers.nats_link import NatsLink

                    return await NatsLink.open(target, tls_of(target))
                case BrokerKind.REDIS:
                    from central_hub.adapters.brokers.redis_link import RedisLink

                    return await RedisLink.open(target, tls_of(target))
                case BrokerKind.KAFKA:
                    from central_hub.adapters.brokers.kafka_link import KafkaLink

                    return await KafkaLink.open(target, tls_of(target))
        except ModuleNotFoundError as missing:
            raise _not_installed(target, missing) from None

    async def listen(self, target: BrokerTarget) -> Source:
        """Open a source; see the port."""
        try:
            match target.kind:
                case BrokerKind.NATS:
                    from central_hub.adapters.brokers.nats_source import NatsSource

                    return await NatsSource.open(target, tls_of(target))
                case BrokerKind.REDIS:
                    from central_hub.adapters.brokers.redis_source import RedisSource

                    return await RedisSource.open(target, tls_of(target))
                case BrokerKind.KAFKA:
                    from central_hub.adapters.brokers.kafka_source import KafkaSource

                    return await KafkaSource.open(target, tls_of(target))
        except ModuleNotFoundError as missing:
            raise _not_installed(target, missing) from None


def tls_of(target: BrokerTarget) -> ssl.SSLContext | None:
    """Return how a connection is encrypted; None for one in clear.

    Raises:
        BrokerError: the certificates cannot be read.
    """
    if not target.tls:
        return None
    try:
        return ssl.create_default_context(cadata=target.ca or None)
    except ssl.SSLError as error:
        raise BrokerError(Trouble.TLS_FAILED, error.reason or "the certificates cannot be read") from None


def _not_installed(target: BrokerTarget, missing: ModuleNotFoundError) -> BrokerError:
    kind = target.kind.value
    return BrokerError(Trouble.NOT_INSTALLED, f"pip install 'central-hub[{kind}]' ({missing.name} is missing)")
