"""The keys of a topic in Redis. Those of one topic are in one slot, so that a script may use them together."""

from __future__ import annotations

from perdure.blocks.pubsub import Message


def stream(topic: str, parts: int, part: int) -> str:
    """A topic of one part lies where Dapr's component has it: under its own name."""
    return topic if parts == 1 else f"{{{topic}}}:{part}"


def about(topic: str) -> str:
    """What is kept of the topic itself."""
    return f"perdure:{{{topic}}}:topic"


def seen(message: Message, topic: str) -> str:
    """Remembers that a message was published there."""
    return f"perdure:{{{topic}}}:seen:{len(message.source)}:{message.source}:{message.id}"


def accused(topic: str, group: str, stream: str, id: bytes) -> str:
    """Remembers the readers that were about to handle a message with no other suspect."""
    return f"perdure:{{{topic}}}:accused:{stream}:{id.decode()}:{group}"


def members(topic: str, group: str) -> str:
    return f"perdure:{{{topic}}}:members:{group}"


def lease(topic: str, group: str, part: int) -> str:
    return f"perdure:{{{topic}}}:lease:{part}:{group}"
