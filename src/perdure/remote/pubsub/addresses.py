"""Where the broker of a component is, read from its metadata as Dapr documents it. Pure."""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from perdure.blocks.resources import Component
from perdure.blocks.resources.words import flag_of, seconds_of
from perdure.errors import InvalidArgument

OWN = ("pubsub.perdure", "pubsub.in-memory")
"""Types whose messages lie on the server's own store."""
GROUPS = ("consumerID", "durableName", "queueGroupName")
"""Settings that name the consumer group, the first that is there."""


def address_of(component: Component) -> str | None:
    """The address for `open_broker`, None for the server's own store. Raises InvalidArgument."""
    if component.type in OWN:
        return None
    try:
        return _redis(component) if component.type == "pubsub.redis" else _nats(component)
    except ValueError as error:
        raise InvalidArgument(f"{component.place or component.name}: {error}") from error


def group_of(component: Component, app: str) -> str:
    """The consumer group of an app: its own id, unless the component names another."""
    return next((found for name in GROUPS if (found := component.metadata.get(name))), app)


def _redis(component: Component) -> str:
    metadata = component.metadata
    if metadata.get("redisType", "node").lower() == "cluster":
        raise InvalidArgument("a Redis Cluster cannot be a broker here; name a single server")
    scheme = "rediss" if flag_of(metadata.get("enableTLS", "")) else "redis"
    user, password = metadata.get("redisUsername", ""), metadata.get("redisPassword", "")
    account = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    host = metadata["redisHost"].split(",")[0].strip()
    told = _shared(component, "processingTimeout")
    if count := metadata.get("maxLenApprox", ""):
        told["keep_messages"] = count
    if life := metadata.get("streamTTL", ""):
        told["keep"] = seconds_of(life)
    return f"{scheme}://{account}{host}/{metadata.get('redisDB') or '0'}{_query(told)}"


def _nats(component: Component) -> str:
    metadata = component.metadata
    parts = urlsplit(metadata["natsURL"].split(",")[0].strip())
    if not parts.hostname:
        raise InvalidArgument(f"natsURL {metadata['natsURL'][:80]!r} is no address; write nats://HOST:4222")
    token = metadata.get("token", "")
    place = f"{quote(token, safe='')}@{parts.netloc}" if token else parts.netloc
    return f"{parts.scheme}://{place}{_query(_shared(component, 'ackWait'))}"


def _shared(component: Component, patience: str) -> dict[str, str | float]:
    """Options of the address; `patience` is the setting for how long a message may be in a dead reader's hand."""
    told: dict[str, str | float] = {}
    if parts := component.metadata.get("parts", ""):
        told["parts"] = parts
    if seconds := seconds_of(component.metadata.get(patience) or "0"):
        told["lease"] = seconds
    return told


def _query(told: dict[str, str | float]) -> str:
    return f"?{urlencode(told)}" if told else ""
