"""Writes pairs of values together, and says of each pair that it is written, until it is killed."""

from __future__ import annotations

import asyncio
import sys

from perdure.stores.values.contract import Put
from perdure.stores.values.opening import open_values

WRITERS = 4


async def main(url: str, first: int) -> None:
    store = open_values(url, "pairs")
    await store.open()

    async def write(writer: int) -> None:
        number = first
        while True:
            value = str(number).encode()
            await store.apply([Put(f"left{writer}", value), Put(f"right{writer}", value)])
            print(writer, number, flush=True)
            number += 1

    await asyncio.gather(*(write(writer) for writer in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
