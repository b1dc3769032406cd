"""What the testing kit's names are for a checker. Read by mypy --strict and pyright, never run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import assert_type

from perdure import App, Handle
from perdure.history.events import RunCompleted
from perdure.testing import Call, Environment, OpenApp, assert_history, assert_replays, event, run

app = App("shop")


@app.activity
async def charge(cents: int) -> str:
    return "receipt"


@app.activity
def note(text: str) -> None:
    return None


@app.workflow
async def checkout(cents: int) -> str:
    return await charge(cents)


async def _pay(cents: int) -> str:
    return "paid"


async def test_checkout(perdure_app: OpenApp) -> None:
    env = perdure_app(app, store="sqlite", strict=True, start=datetime(2030, 1, 1, tzinfo=UTC))
    assert_type(env, Environment)
    env.stub(charge, returns="receipt")
    env.stub(charge, raises=ConnectionError("down"))
    env.stub(charge, raises=ConnectionError)
    env.stub(charge, side_effect=lambda cents: f"receipt for {cents}")
    env.stub(charge, side_effect=_pay)
    env.stub(charge, side_effect=[ConnectionError(), TimeoutError, "receipt"])
    env.stub(note)
    env.stub(checkout, returns="receipt")
    env.stub("charge", returns=5)
    env.unstub(charge)
    handle = await checkout.start(5)
    assert_type(handle, Handle[str])
    assert_type(env.calls(charge), list[Call])
    assert_type(env.now(), datetime)
    await env.sleep(days=3, hours=1.5)
    await env.until(lambda: len(env.calls("charge")) == 1)
    await env.idle()
    env.later(lambda: handle.raise_event("confirmed"), days=3)
    await env.golden(handle, "paid")
    await assert_history(handle, ["RunStarted(checkout)", ..., event("ActivityCompleted", name="charge"), RunCompleted])


def test_plain(perdure_app: OpenApp) -> None:
    env = perdure_app(app)
    assert_type(env.run(_pay(5)), str)
    assert_type(run(checkout, 5), str)
    assert_replays(app, "histories/paid-1.json")


def test_mistakes(env: Environment) -> None:
    env.stub(charge, returns=5)  # type: ignore[misc]
    env.stub(charge, raises="down")  # type: ignore[call-overload]
    env.stub(charge, returns="a", raises=KeyError)  # type: ignore[call-overload]
    env.stub(charge)  # type: ignore[arg-type]
    env.run(_pay)  # type: ignore[arg-type]
