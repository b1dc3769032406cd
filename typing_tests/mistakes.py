"""Mistakes that a checker must find: an ignore that is no longer needed is itself an error."""

from __future__ import annotations

from perdure import App, Retry

app = App("shop")


@app.activity
async def charge(amount: int) -> str:
    return ""


@app.activity(timeout=5)
def weigh(amount: int) -> float:
    return 1.0


@app.workflow
async def checkout(amount: int) -> str:
    await charge("ten")  # type: ignore[arg-type]
    await weigh()  # type: ignore[call-arg]
    await charge(1, 2)  # type: ignore[call-arg]
    total: int = await charge(1)  # type: ignore[assignment]
    return ""


async def outside() -> None:
    await checkout.start("ten")  # type: ignore[arg-type]
    handle = await checkout.start(1)
    number: int = await handle.result()  # type: ignore[assignment]
    checkout.with_options(name="x")  # type: ignore[call-arg]
    charge.with_options(retries=3)  # type: ignore[call-arg]
    await checkout.with_schedule("s", every=5).create("ten")  # type: ignore[arg-type]
    checkout.with_schedule("s", every=5).declare()  # type: ignore[call-arg]
    checkout.with_schedule("s", every=5, overlap="later")  # type: ignore[arg-type]
    Retry(3)  # type: ignore[call-arg]
    Retry(attempts=3)  # type: ignore[call-arg]
