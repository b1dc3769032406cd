"""Many activities at once and their results together; and the first of several, with the others cancelled.

python examples/fan_out.py
"""

import asyncio

from perdure import App, now

app = App("fan_out")
MIRRORS = {"far": 5.0, "near": 0.05, "farther": 9.0}


@app.activity
async def resize(picture: int) -> int:
    await asyncio.sleep(0.05)
    return picture * 1_000


@app.activity
async def download(mirror: str) -> str:
    await asyncio.sleep(MIRRORS[mirror])
    return mirror


@app.workflow
async def album(pictures: int) -> int:
    """All of them."""
    sizes = await asyncio.gather(*(resize(picture) for picture in range(pictures)))
    return sum(sizes)


@app.workflow
async def gently(pictures: int) -> int:
    """All of them, five at a time."""
    room = asyncio.Semaphore(5)

    async def one(picture: int) -> int:
        async with room:
            return await resize(picture)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(picture)) for picture in range(pictures)]
    return sum(task.result() for task in tasks)


@app.workflow
async def fastest() -> str:
    """The first of them."""
    began = now()
    tasks = [asyncio.create_task(download(mirror)) for mirror in MIRRORS]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()  # reaches the activity, wherever it runs
    assert (now() - began).total_seconds() < 5
    return done.pop().result()


async def main() -> None:
    async with app:
        whole, bounded, first = await album.start(200), await gently.start(20), await fastest.start()
        print(f"200 pictures at once: {await whole.result(timeout=30):,} bytes")
        print(f"20 pictures, five at a time: {await bounded.result(timeout=30):,} bytes")
        print(f"the fastest mirror: {await first.result(timeout=30)}")


if __name__ == "__main__":
    asyncio.run(main())
