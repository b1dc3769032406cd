"""A subscription over a program's stream: each message is answered on it, and what is not comes again elsewhere."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import msgspec

from perdure.blocks.pubsub import Message, ReceiverDied, SubscribeOptions, Verdict
from perdure.errors import InvalidArgument, NotOpen
from perdure.remote.pubsub.desk import Channel

IN_HAND_MAX = 100
"""Messages that one program has and has not answered."""
ANSWER_SECONDS = 3_600.0
"""How long it may take to answer one. Long, because a program that is gone is noticed by the end of its stream."""
ATTEMPTS_MAX = 1_000_000
"""How often a message comes again that has nowhere else to go: a program of Dapr expects it until it takes it."""
ATTEMPTS_BEFORE_DEAD = 10
"""How often it comes before it goes to the dead letter topic."""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What a program asks for first. Without a dead letter topic a message comes until it is taken."""

    pubsub: str
    topic: str
    metadata: dict[str, str] = {}
    dead_letter: str | None = None


class Answered(msgspec.Struct, frozen=True):
    """What it says of the message with this id."""

    id: str
    verdict: Verdict


def options_of(dead_letter: str | None) -> SubscribeOptions:
    """How messages come to programs of Dapr."""
    return SubscribeOptions(
        in_hand_max=IN_HAND_MAX,
        attempts_max=ATTEMPTS_BEFORE_DEAD if dead_letter else ATTEMPTS_MAX,
        dead_letter=dead_letter,
        timeout=ANSWER_SECONDS,
    )


class Stream:
    """What is on its way over one stream."""

    def __init__(self) -> None:
        self._outgoing: asyncio.Queue[Message | None] = asyncio.Queue()
        self._waiting: dict[str, deque[asyncio.Future[Verdict]]] = defaultdict(deque)
        self._is_over = False

    async def handle(self, message: Message) -> Verdict:
        """Send one and wait for its answer. Raises ReceiverDied if the stream ends first."""
        if self._is_over:
            return Verdict.RETRY
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiting[message.id].append(answer)
        self._outgoing.put_nowait(message)
        return await answer

    def answer(self, answered: Answered) -> None:
        """The oldest message of that id has its answer; one that nobody waits for is let pass."""
        waiting = self._waiting.get(answered.id)
        while waiting:
            first = waiting.popleft()
            if not first.done():
                first.set_result(answered.verdict)
                break
        if not waiting:
            self._waiting.pop(answered.id, None)

    async def outgoing(self) -> AsyncIterator[Message]:
        """Messages to send, until the end."""
        while (message := await self._outgoing.get()) is not None:
            yield message

    def end(self) -> None:
        """What was not answered comes again."""
        self._is_over = True
        self._outgoing.put_nowait(None)
        for waiting in self._waiting.values():
            for answer in waiting:
                if not answer.done():
                    answer.set_exception(ReceiverDied("the program that had it in hand is gone"))
        self._waiting.clear()


Frame = Opened | Answered


async def streamed(
    frames: AsyncIterator[Frame], channel_of: Callable[[Opened], Awaitable[Channel]]
) -> AsyncGenerator[Message | None]:
    """Serve a stream: None when it is subscribed, then the messages. Raises InvalidArgument, and what opening does;
    NotOpen when the program says that it will answer no more."""
    opened = await anext(frames, None)
    if not isinstance(opened, Opened):
        raise InvalidArgument("a stream of topic events begins with its initial request; send that first")
    if not opened.topic:
        raise InvalidArgument("the initial request names no topic; name one")
    channel = await channel_of(opened)
    stream = Stream()
    reading: asyncio.Task[None] | None = None
    subscription = await channel.broker.subscribe(
        opened.topic, channel.group, stream.handle, options_of(opened.dead_letter), channel.lane
    )
    try:
        yield None
        reading = asyncio.get_running_loop().create_task(_read(frames, stream), name="perdure-topic-stream")
        async for message in stream.outgoing():
            yield message
        await reading  # because it may have ended with what it was sent
        # not in good order, because Dapr's SDK for Python at times ends its half while it begins, and opens another
        # stream only for an error; who ends both halves does not hear it
        raise NotOpen("the program has ended its half of the stream, so it can answer nothing; open another stream")
    finally:
        if reading is not None:
            reading.cancel()
        stream.end()
        await subscription.close()


async def _read(frames: AsyncIterator[Frame], stream: Stream) -> None:
    try:
        async for frame in frames:
            if isinstance(frame, Opened):
                raise InvalidArgument("a stream of topic events has one initial request; open another stream")
            stream.answer(frame)
    finally:
        stream.end()
