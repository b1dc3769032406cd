"""A script that may be stopped at any line and started again: it goes on where it was.

python examples/plain_script.py      # press Ctrl-C, or kill -9 it, and run it once more
python examples/plain_script.py
"""

import asyncio
from datetime import datetime

from perdure import App

app = App("plain_script")


@app.activity
def back_up(folder: str) -> int:
    print(f"backing up {folder}", flush=True)
    return len(folder)


@app.workflow
async def backup(folders: list[str], pause: float) -> int:
    total = 0
    for folder in folders:
        total += await back_up(folder)
        await asyncio.sleep(pause)  # durable, too: what is left of it is slept after a restart
    return total


async def main() -> None:
    async with app:
        today = f"backup-{datetime.now().astimezone():%Y-%m-%d}"
        start = backup.with_options(id=today, if_exists="return").start  # "return": go on with the one of today
        handle = await start(["letters", "music", "pictures", "taxes"], pause=0.5)
        print(f"done: {await handle.result()} files")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("\nstopped; run me again")
