"""An answer that is read while it is written: an activity yields words, and its second attempt goes on after the first.

python examples/streaming.py
"""

import asyncio
from collections.abc import AsyncIterator

from perdure import App, Retry, activity_context

app = App("streaming")
ANSWER = ["it", "goes", "on", "existing", "through", "changes"]


@app.activity(retry=Retry(max_attempts=2, initial_interval=0.05))
async def write(question: str) -> AsyncIterator[str]:
    context = activity_context()
    for number in range(context.stream_offset, len(ANSWER)):
        if number == 3 and context.attempt == 1:
            raise ConnectionError("the line is dead")
        yield ANSWER[number]
        await asyncio.sleep(0.01)


@app.activity
async def letters() -> int:
    """The items are rows of their own; an activity reads them, as any client does."""
    answer = app.client.get(activity_context().instance_id).stream(write)
    return sum([len(word) async for word in answer])


@app.workflow
async def reply(question: str) -> dict[str, int]:
    return {"words": await write(question), "letters": await letters()}


async def main() -> None:
    async with app:
        handle = await reply.start("what does it mean?")
        answer = handle.stream(write)
        async for word in answer:
            print(f"{answer.offset}: {word}")
        print("from 4 on:", " ".join([word async for word in handle.stream(write, after=3)]))
        print(await handle.result(timeout=30))


if __name__ == "__main__":
    asyncio.run(main())
