"""Actors as their users meet them: calls from everywhere, state, failures, repetition."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import re
from typing import Any

import pytest

import perdure
from perdure import (
    Actor,
    ActorFailed,
    ActorReentered,
    ActorTimedOut,
    App,
    Client,
    Codec,
    Handle,
    KeyRing,
    WorkflowFailed,
    send,
)
from perdure.engine.diagnosis import findings
from perdure.errors import AlreadyRegistered, InvalidArgument, NotInWorkflow, OnlyInWorkflow
from perdure.history.state import Explanation
from perdure.stores.memory import MemoryStore
from tests.blocks.bank import Bank, settled


@pytest.fixture
def bank(url: str) -> Bank:
    return Bank(url)


# -- calls ------------------------------------------------------------------------------------------------------------


def test_a_client_calls_an_actor_which_comes_to_be_and_keeps_its_state(bank, url, run):
    async def scenario():
        async with bank.app:
            assert await bank.Account("1").deposit(100) == 100
            assert await bank.Account("1").deposit(5) == 105
            assert await bank.Account("2").statement() == (0, [])
        again = Bank(url)
        async with again.app:
            assert await again.Account("1").statement() == (105, ["+100", "+5"])

    run(scenario)


def test_a_method_that_raises_changes_nothing_and_its_caller_gets_the_error(bank, run):
    async def scenario():
        async with bank.app:
            await bank.Account("1").deposit(10)
            with pytest.raises(
                ActorFailed, match="withdraw of actor Account '1' failed: ValueError: only 10"
            ) as caught:
                await bank.Account("1").withdraw(50)
            error = caught.value
            assert (error.type, str(error.__cause__).splitlines()[0]) == ("ValueError", "ValueError: only 10 left")
            assert error.__cause__.__cause__.type == "KeyError"
            assert await bank.Account("1").statement() == (10, ["+10"])

    run(scenario)


def test_a_workflow_calls_actors_durably_and_fails_with_their_error(bank, run):
    async def scenario():
        async with bank.app:
            await bank.Account("1").deposit(100)
            handle = await bank.transfer.start("1", "2", 30)
            assert await handle.result() == 30
            assert await bank.Account("1").statement() == (70, ["+100", "-30"])
            with pytest.raises(WorkflowFailed) as caught:
                await (await bank.transfer.start("1", "2", 1_000)).result()
            assert "only 70 left" in str(caught.value)
            assert await bank.Account("2").statement() == (30, ["+30"])

    run(scenario)


def test_messages_of_a_workflow_go_with_its_turn_now_or_later(bank, run):
    async def scenario():
        async with bank.app:
            await (await bank.tip.start("1", 3)).result()
            await settled(bank.Account("1"), 6)

    run(scenario)


def test_an_actor_calls_another_and_sends_to_it_only_if_it_succeeds(bank, run):
    async def scenario():
        async with bank.app:
            await bank.Account("1").deposit(10)
            assert await bank.Account("1").pay("2", 4) == 4
            await bank.Account("1").pay_later("2", 3)
            await settled(bank.Account("2"), 7)
            with pytest.raises(ActorFailed):
                await bank.Account("1").pay_later("2", 1_000)
            await asyncio.sleep(0.1)
            assert await bank.Account("2").statement() == (7, ["+4", "+3"])

    run(scenario)


def test_an_activity_calls_actors_and_what_it_asks_twice_happens_twice(bank, run):
    async def scenario():
        async with bank.app:
            assert await (await bank.at_the_counter.start("1", 5)).result() == 10

    run(scenario)


def test_an_activity_that_is_run_again_asks_the_same_and_gets_the_same_answer(bank, url, run):
    tries = []

    @bank.app.activity(retry=perdure.Retry(max_attempts=3, initial_interval=0.01))
    async def flaky(target: str) -> int:
        found = await bank.Account(target).deposit(5)
        tries.append(found)
        if len(tries) < 3:
            raise OSError("no network")
        return found

    @bank.app.workflow
    async def once(target: str) -> int:
        return await flaky(target)

    async def scenario():
        async with bank.app:
            assert await (await once.start("1")).result() == 5
            assert tries == [5, 5, 5]
            assert await bank.Account("1").statement() == (5, ["+5"])

    run(scenario)


def test_a_request_id_is_done_once_and_answered_alike_also_over_a_restart(bank, url, run):
    async def scenario():
        async with bank.app:
            for _ in range(3):
                assert await bank.Account("1").with_options(request_id="r").deposit(5) == 5
            for _ in range(2):
                with pytest.raises(ActorFailed, match="only 5 left"):
                    await bank.Account("1").with_options(request_id="f").withdraw(50)
            together = bank.Account("1").with_options(request_id="t")
            assert await asyncio.gather(*(together.deposit(1) for _ in range(5))) == [6] * 5
        again = Bank(url)
        async with again.app:
            assert await again.Account("1").with_options(request_id="r").deposit(5) == 5
            assert (await again.Account("1").statement())[0] == 6

    run(scenario)


def test_calls_of_one_actor_run_one_at_a_time_in_order_and_others_do_not_wait(bank, run):
    async def scenario():
        async with bank.app:
            slow = asyncio.create_task(bank.Account("slow").slow())
            found = await asyncio.gather(*(bank.Account("1").deposit(1) for _ in range(300)))
            assert found == list(range(1, 301))
            assert not slow.done()
            bank.free.set()
            await slow

    run(scenario)


def test_another_process_without_the_code_of_the_store_reaches_the_actor_by_mail(bank, url, run):
    async def scenario():
        async with bank.app, Client(url, app_id="bank") as client:
            account = bank.Account("1").with_options(client=client)
            assert await account.deposit(5) == 5
            await send(account.deposit, 2)
            await settled(account, 7)

    run(scenario)


# -- reentry, time ----------------------------------------------------------------------------------------------------


def test_a_call_that_comes_back_to_who_waits_for_it_is_refused_in_words(bank, run):
    async def scenario():
        async with bank.app:
            with pytest.raises(ActorFailed, match=r"@Account@a -> @Account@b -> @Account@a"):
                await bank.Account("a").circle("b")

    run(scenario)
    assert ActorReentered.code == "PERDURE-1015"


def test_an_actor_does_not_wait_for_another_for_ever(bank, run):
    async def scenario():
        async with bank.app:
            with pytest.raises(ActorFailed, match="ActorTimedOut"):
                await bank.Account("a").wait_for("b")
            with pytest.raises(ActorTimedOut, match=r"within 0.05 s"):
                await bank.Account("b").with_options(timeout=0.05).deposit(1)
            bank.free.set()

    run(scenario)


# -- packing ----------------------------------------------------------------------------------------------------------


def test_state_calls_and_answers_are_encrypted_where_the_app_has_a_codec(url, run, tmp_path):
    async def scenario():
        bank = Bank(url, codec=Codec(keys=KeyRing({"k": b"0" * 32}, current="k"), compress=True))
        async with bank.app:
            # so long that no time and no random key of the store has them in it
            assert await bank.Account("1").deposit(7_777_777_777_777) == 7_777_777_777_777
            assert await (await bank.transfer.start("1", "2", 3_333_333_333_333)).result() == 3_333_333_333_333
            with pytest.raises(ActorFailed, match="only 4444444444444 left"):
                await bank.Account("1").withdraw(9_999_999_999_999)
            assert (await bank.Account("1").statement())[0] == 4_444_444_444_444
        assert all(digit * 13 not in (tmp_path / "app.db").read_bytes() for digit in (b"7", b"3", b"4"))

    run(scenario)


# -- what is refused --------------------------------------------------------------------------------------------------


def test_what_cannot_be_an_actor_is_refused_where_it_is_written(url):
    app = App("bank", store=url)
    with pytest.raises(InvalidArgument, match="no class of actors"):

        @app.actor
        class Plain:
            pass

    with pytest.raises(InvalidArgument, match="no value to begin with"):

        @app.actor
        class Bare(Actor):
            balance: int

    with pytest.raises(InvalidArgument, match="__init__ of its own"):

        @app.actor
        class Made(Actor):
            def __init__(self, key: str) -> None:
                super().__init__(key)

    with pytest.raises(InvalidArgument, match=r"'remind' of actor .* is a name of Actor itself"):

        @app.actor
        class Taken(Actor):
            remind: int = 0

    class Free(Actor):
        pass

    with pytest.raises(InvalidArgument, match="no actor of an app yet"):
        Free("1")
    app.actor(Free)
    with pytest.raises(AlreadyRegistered):
        app.actor(name="Free")(type("Other", (Actor,), {}))


def test_a_reference_has_no_state_and_no_clock(bank):
    account = bank.Account("1")
    with pytest.raises(AttributeError, match="write a method"):
        _ = account.balance
    with pytest.raises(AttributeError, match="write a method"):
        account.balance = 3
    with pytest.raises(OnlyInWorkflow, match="for the methods of Account '1' alone"):
        account.remind(account.deposit, due=1)
    for key in ("", "x" * 101):
        with pytest.raises(InvalidArgument, match="1 to 100"):
            bank.Account(key)
    with pytest.raises(InvalidArgument):
        account.deposit()
    for option, told in (({"at": "now"}, "at is"), ({"client": "bank"}, "client is a str")):
        with pytest.raises(InvalidArgument, match=told):
            account.with_options(**option)
    with pytest.raises(InvalidArgument, match="no method of an actor"):
        asyncio.run(send(asyncio.sleep, 1))


def test_a_state_that_does_not_fit_its_annotations_is_not_kept(bank, run):
    @bank.app.actor
    class Loose(Actor):
        number: int = 1

        async def spoil(self) -> None:
            self.number = "one"  # type: ignore[assignment]

        async def read(self) -> int:
            return self.number

    async def scenario():
        async with bank.app:
            with pytest.raises(ActorFailed, match="does not fit its annotations"):
                await Loose("1").spoil()
            assert await Loose("1").read() == 1

    run(scenario)


def test_a_call_whose_result_does_not_fit_its_annotation_has_changed_nothing(bank, run):
    @bank.app.actor
    class Loose(Actor):
        number: int = 1

        async def add(self) -> int:
            self.number += 1
            return f"now {self.number}"  # type: ignore[return-value]

        async def read(self) -> int:
            return self.number

    async def scenario():
        async with bank.app:
            with pytest.raises(ActorFailed, match=r"the result of add does not fit its annotation: .* fit int"):
                await Loose("1").add()
            assert await Loose("1").read() == 1
            await send(Loose("1").add)  # which nobody reads
            while await Loose("1").read() == 1:
                await asyncio.sleep(0.01)

    run(scenario)


def account(app: App, begins_with: int, **more: object) -> type[Actor]:
    """A version of a class: what its balance begins with, and its further fields with their types."""

    async def move(self, amount: int, line: str) -> int:
        self.balance += amount
        self.lines += [line]
        return self.balance

    hints = {"balance": int, "lines": list[str], **{name: type(value) for name, value in more.items()}}
    fields = {"balance": begins_with, "lines": [], "__annotations__": hints, **more}
    return app.actor(type("Account", (Actor,), {"move": move, **fields}))


def test_a_class_changes_under_the_state_of_its_actors(url, run):
    async def scenario():
        first = App("bank", store=url)
        Account = account(first, 0)
        async with first:
            await Account("1").move(5, "in")
            assert await Account("1").move(-5, "out") == 0
        second = App("bank", store=url)
        Account = account(second, 100, currency="EUR")
        async with second:
            assert await Account("1").move(0, "look") == 0  # because that is what it had, whatever a new one has
            assert await Account("2").move(0, "look") == 100
        third = App("bank", store=url)
        Account = account(third, 0, currency=1)
        async with third:
            with pytest.raises(ActorFailed, match="the state does not fit the fields of Account"):
                await Account("1").move(7, "refused")
        again = App("bank", store=url)
        Account = account(again, 0)
        async with again:
            assert await Account("1").move(1, "back") == 1

    run(scenario)


def test_an_actor_whose_state_cannot_be_read_stands_still_and_what_is_sent_to_it_is_done_by_code_that_can(url, run):
    def bank_of(currency: object) -> tuple[App, Any, Any]:
        app = App("bank", store=url)
        Account = account(app, 0, currency=currency)

        @app.workflow
        async def pays(amount: int) -> int:
            return await Account("1").move(amount, "paid")

        return app, Account, pays

    async def scenario():
        app, Account, _ = bank_of("EUR")
        async with app:
            await Account("1").move(5, "in")
        app, Account, pays = bank_of(1)
        async with app:
            await send(Account("1").move, 10, "sent")
            paying = await pays.start(100)
            explained = await _standing(app.client.get("@Account@1"))
            assert explained.sentence.startswith("Account @Account@1 stands still (payload-not-decodable): the state ")
            with pytest.raises(ActorFailed, match="the state does not fit"):
                await Account("1").move(7, "refused")
            await app.client.get("@Account@1").resume()
            await _standing(app.client.get("@Account@1"))
        app, Account, pays = bank_of("EUR")
        async with app:
            assert await app.client.get(paying.id).result() == 115
            assert await Account("1").move(0, "look") == 115
            assert (await app.client.get("@Account@1").explain()).cause != "stalled:payload-not-decodable"

    run(scenario)


def test_an_actor_whose_key_is_not_here_stands_still(url, run):
    def bank_with(**keys: bytes) -> Bank:
        return Bank(url, codec=Codec(keys=KeyRing(keys, current=max(keys))))

    async def scenario():
        first = bank_with(k1=b"1" * 32)
        async with first.app:
            await first.Account("1").deposit(5)
        second = bank_with(k2=b"2" * 32)
        async with second.app:
            await send(second.Account("1").deposit, 1)
            while (await second.app.client.get("@Account@1").explain()).cause != "stalled:key-missing":
                await asyncio.sleep(0.01)
        both = bank_with(k1=b"1" * 32, k2=b"2" * 32)
        async with both.app:
            await settled(both.Account("1"), 6)

    run(scenario)


async def _standing(handle: Handle[Any]) -> Explanation:
    while (told := await handle.explain()).cause != "stalled:payload-not-decodable":
        await asyncio.sleep(0.01)
    return told


def test_options_that_replay_would_not_keep_are_refused_in_a_workflow(bank, run):
    @bank.app.workflow
    async def named() -> None:
        await bank.Account("1").with_options(request_id="r").deposit(1)

    async def scenario():
        async with bank.app:
            with pytest.raises(WorkflowFailed, match="request id already"):
                await (await named.start()).result()

    run(scenario)
    assert NotInWorkflow.code == "PERDURE-1009"


def test_an_app_takes_actors_of_another_and_a_class_that_has_no_app_yet(url, run):
    other = App("other", store="memory:")

    class Counter(Actor):
        count: int = 0

        async def add(self) -> int:
            self.count += 1
            return self.count

    @other.actor
    class Tally(Actor):
        async def of(self, name: str) -> int:
            return await Counter(name).add()

    async def scenario():
        async with App("whole", store=url).include(other).include(Counter):
            assert await Tally("t").of("x") == 1
            assert await Counter("x").add() == 2

    run(scenario)


def test_a_workflow_that_a_method_starts_begins_with_its_turn_or_never(bank, run):
    @bank.app.actor
    class Teller(Actor):
        started: list[str] = []  # noqa: RUF012 because it is where each teller begins

        async def serve(self, source: str, target: str, fails: bool) -> str:
            handle = await bank.transfer.start(source, target, 5)
            again = await bank.transfer.with_options(id=f"named-{self.key}-{fails}").start(source, target, 1)
            self.started += [handle.id, again.id]
            if fails:
                raise ValueError("the counter is closed")
            return handle.id

    async def scenario():
        async with bank.app:
            await bank.Account("1").deposit(100)
            id = await Teller("t").serve("1", "2", False)
            assert await bank.app.client.get(id).result() == 5
            await settled(bank.Account("2"), 6)
            with pytest.raises(ActorFailed, match="the counter is closed"):
                await Teller("t").serve("1", "2", True)
            await asyncio.sleep(0.2)
            assert (await bank.Account("2").statement())[0] == 6
            assert len([state async for state in bank.app.client.list()]) == 2

    run(scenario)


def test_what_a_method_publishes_goes_with_its_turn_or_never(bank, run):
    heard = []

    @bank.app.actor
    class Clerk(Actor):
        async def note(self, text: str, fails: bool) -> None:
            await perdure.publish("notes", text, key=self.key)
            if fails:
                raise ValueError("no")

    @bank.app.subscribe("notes")
    async def read(text: str) -> None:
        heard.append(text)

    async def scenario():
        async with bank.app:
            with pytest.raises(ActorFailed):
                await Clerk("1").note("lost", True)
            await Clerk("1").note("kept", False)
            async with asyncio.timeout(30):
                while not heard:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert heard == ["kept"]

    run(scenario)


def test_a_workflow_calls_an_actor_of_another_app_and_sends_to_it(url, run):
    store = MemoryStore()
    bank, shop = Bank(store), App("shop", store=store)

    @shop.workflow
    async def pay(amount: int) -> int:
        till = bank.Account("till").with_options(app_id="bank")
        await send(till.deposit, 1)
        await till.deposit(amount)
        try:
            await till.withdraw(1_000)
        except ActorFailed as error:
            return await till.deposit(len(error.type))
        return 0

    async def scenario():
        async with bank.app, shop:
            assert await (await pay.start(5)).result() == 1 + 5 + len("ValueError")
            with pytest.raises(InvalidArgument, match="client="):
                await bank.Account("till").with_options(app_id="bank").deposit(1)

    run(scenario)


def test_explain_tells_for_which_method_of_which_actor_a_workflow_waits(bank, run):
    @bank.app.workflow
    async def patient() -> None:
        await bank.Account("1").slow()

    async def scenario():
        async with bank.app:
            await bank.Account("1").deposit(1)
            handle = await patient.start()
            while "slow 1" not in bank.ran:
                await asyncio.sleep(0.01)
            told = await handle.explain()
            assert told.cause == "entity"
            assert "waits for slow of the entity @Account@1 at test_actors.py:" in told.sentence
            assert told.command == "perdure explain @Account@1"
            actor = await bank.app.client.get("@Account@1").explain()
            assert actor.cause == "entity-idle"
            assert actor.sentence == "Account @Account@1 has 1 operation under way, or in its queue."
            bank.free.set()
            await handle.result()

    run(scenario)


def test_a_beginning_that_cannot_be_made_fails_the_call_and_keeps_nobody_waiting(bank, run):
    broken = []

    def stock() -> list[int]:
        if broken:
            raise OSError("no stock")
        return [1]

    @bank.app.actor
    class Shop(Actor):
        goods: list[int] = dataclasses.field(default_factory=stock)

        async def on_activate(self) -> None:
            if self.key == "burnt":
                broken.append(True)
                raise ValueError("fire")

        async def read(self) -> list[int]:
            return self.goods

    async def scenario():
        async with bank.app:
            for key in ("burnt", "new"):
                with pytest.raises(ActorFailed, match="no stock"):
                    await Shop(key).read()
            broken.clear()
            assert await Shop("new").read() == [1]

    run(scenario)


def test_what_steers_workflows_is_refused_for_an_actor_whether_it_has_an_owner_or_not(bank, url, run):
    def refused():
        return pytest.raises(InvalidArgument, match="'@Account@1' is an actor, or another entity, and no workflow")

    async def steer(client: Client) -> None:
        handle = client.get("@Account@1")
        steps = (handle.cancel, handle.suspend, handle.resume, handle.terminate, handle.purge, handle.rerun)
        for step in (*steps, handle.result, functools.partial(handle.raise_event, "go")):
            with refused():
                await step()

    async def scenario():
        async with bank.app:
            await bank.Account("1").deposit(1)
            await steer(bank.app.client)
        async with Client(url, app_id="bank") as client:
            await steer(client)

    run(scenario)


def test_explain_tells_of_an_actor_whose_mail_piles_up_and_of_what_it_is_at(bank, url, run, monkeypatch):
    monkeypatch.setattr(findings, "LATE_SECONDS", 0.0)

    async def scenario():
        has_begun, may_end = asyncio.Event(), asyncio.Event()

        @bank.app.actor
        class Slow(Actor):
            async def wait(self) -> None:
                has_begun.set()
                await may_end.wait()

            async def note(self) -> None: ...

        async def explained(client: Client, key: str) -> str:
            told = await client.get(f"@Slow@{key}").explain()
            assert told.cause == "entity-behind"
            return re.sub(r"[\d.]+ ?m?s\b", "a while", told.sentence)

        async with bank.app, Client(url, app_id="bank") as client:
            slow = asyncio.create_task(Slow("1").wait())
            await has_begun.wait()
            for _ in range(3):
                await send(Slow("1").note)
            head = "Slow @Slow@1 has {} operations under way, or in its queue, the first for a while{}."
            doing = "; under way for a while: wait"
            assert await explained(bank.app.client, "1") == head.format(4, doing)
            assert await explained(client, "1") == head.format(3, "")  # because a call of its owner is in memory
            may_end.set()
            await slow
        async with Client(url, app_id="bank") as client:
            await send(Slow("2").with_options(client=client).note)
        async with App("bank", store=url) as other:
            while (await other.client.get("@Slow@2").explain()).cause != "entity-behind":
                await asyncio.sleep(0.01)
            told = await other.client.get("@Slow@2").explain()
            assert told.sentence.endswith("; no code for Slow is registered here.")

    run(scenario)


def test_what_was_in_flight_calls_actors_as_soon_as_it_runs_again(bank, url, run):
    """An app is not open yet when its engine has begun to take up what the last process left."""

    @bank.app.activity
    async def salary(key: str) -> int:
        return await bank.Account(key).deposit(50)

    @bank.app.workflow
    async def month(key: str) -> int:
        return await salary(key)

    async def scenario():
        async with Client(url, app_id="bank") as client:
            for number in range(20):
                await send(bank.Account(f"from-{number}").with_options(client=client).pay, "to", 0)
                await client.workflow("month").with_options(id=f"month-{number}").start("to")
        async with bank.app:
            results = [await bank.app.client.get(f"month-{number}").result() for number in range(20)]
            assert sorted(results) == [50 * number for number in range(1, 21)]
            while len((await bank.Account("to").statement())[1]) < 40:
                await asyncio.sleep(0.01)

    run(scenario)
