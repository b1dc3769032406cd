"""A workflow that waits for a person, days if need be, and goes another way when nobody answers in time.

    python examples/human_approval.py

A waiting workflow costs a row on disk: no thread, no connection; and the program may be restarted meanwhile.
"""

import asyncio
from dataclasses import dataclass

from perdure import App, set_status, wait_for_event

app = App("human_approval")


@dataclass
class Expense:
    who: str
    amount: int
    patience: float
    """Seconds to wait for an answer; days work just as well."""


@dataclass
class Answer:
    approved: bool
    by: str


@app.activity
async def tell(who: str, text: str) -> None:
    print(f"mail to {who}: {text}")


@app.workflow
async def reimburse(expense: Expense) -> str:
    set_status("waiting for the boss")
    await tell("boss", f"may {expense.who} have {expense.amount}?")
    try:
        async with asyncio.timeout(expense.patience):
            answer = await wait_for_event("answer", Answer)
    except TimeoutError:
        set_status("escalated")
        await tell("director", f"nobody decides about {expense.who}'s {expense.amount}")
        return "escalated"
    set_status("answered")
    verdict = "approved" if answer.approved else "declined"
    await tell(expense.who, f"{verdict} by {answer.by}")
    return verdict


async def main() -> None:
    async with app:
        ada = await reimburse.with_options(tags={"who": "ada"}).start(Expense("ada", 80, patience=60))
        bob = await reimburse.with_options(tags={"who": "bob"}).start(Expense("bob", 900, patience=0.3))
        # Any other process could do this: `perdure raise ID answer '{"approved": true, "by": "carol"}'`
        await ada.raise_event("answer", Answer(approved=True, by="carol"))
        print(f"ada: {await ada.result(timeout=30)}")
        print(f"bob: {await bob.result(timeout=30)}")


if __name__ == "__main__":
    asyncio.run(main())
