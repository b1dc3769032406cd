"""Management actions are entered before they are carried out, once each, by whichever process."""

import asyncio
from typing import Any

import pytest

from perdure import App, Client
from perdure.engine import auditing
from perdure.errors import InstanceNotFinished, StoreUnavailable
from perdure.history.audit_log import Entry, Principal, Verifier, read
from perdure.stores.memory import MemoryStore


async def entries(client: Client) -> list[Entry]:
    page = await client.audited()
    verifier = Verifier()
    assert verifier.take(page.entries)
    assert verifier.end(page.anchor).broken is None
    found = [read(stored) for _, stored in page.entries]
    return [entry for entry in found if entry is not None]


def shop(**options: Any) -> App:
    app = App("shop", **options)

    @app.workflow
    async def sleeper() -> None:
        await asyncio.sleep(1_000_000)

    return app


def test_actions_of_several_processes_are_one_unbroken_chain(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"

    async def play() -> None:
        async with shop(store=url) as app:
            for n in range(10):
                await app.client.workflow("sleeper").with_options(id=f"i{n}").start()
            async with Client(url, app_id="shop") as one, Client(url, app_id="shop") as two:
                steps = [client.get(f"i{n}").suspend(f"{n}") for n in range(10) for client in (one, two, app.client)]
                await asyncio.gather(*steps)
            log = await entries(app.client)
            actions = [entry for entry in log if entry.of is None]
            assert sorted((entry.instance, entry.details["reason"]) for entry in actions) == [
                (f"i{n}", f"{n}") for n in range(10) for _ in range(3)
            ]
            ended = {entry.of for entry in log if entry.outcome == "done"}
            # those of the app itself are entered soon
            assert len(ended) >= 20

        async with Client(url, app_id="shop") as client:
            log = await entries(client)
            assert {entry.of for entry in log if entry.outcome == "done"} == {e.number for e in log if e.of is None}
            assert all(entry.after is not None for entry in log if entry.of is not None)

    asyncio.run(play())


class Silent(MemoryStore):
    """A store that does not answer when it should enter an action, or what comes after it."""

    loses = ""

    async def audit(self, *given: Any) -> bool:
        if self.loses == "audit":
            raise StoreUnavailable("away")
        return await super().audit(*given)

    async def purge(self, *given: Any) -> list[str]:
        if self.loses == "purge":
            raise StoreUnavailable("away")
        return await super().purge(*given)


def test_nothing_is_done_that_cannot_be_entered_and_what_failed_was_entered_before() -> None:
    async def play() -> None:
        store = Silent()
        async with shop(store=store) as app:
            handle = await app.client.workflow("sleeper").with_options(id="a").start()
            store.loses = "audit"
            with pytest.raises(StoreUnavailable):
                await handle.terminate()
            assert (await handle.state()).status == "running"
            store.loses = ""
            with pytest.raises(InstanceNotFinished):
                await handle.purge()
            await handle.terminate()
            store.loses = "purge"
            with pytest.raises(StoreUnavailable):
                await handle.purge()
            log = [entry for entry in await entries(app.client) if entry.of is None]
            assert [(entry.action, entry.before and entry.before.status) for entry in log] == [
                ("purge", "running"),
                ("terminate", "running"),
                ("purge", "terminated"),
            ]
        page = await app_log(store)
        assert [entry.outcome for entry in page if entry.of] == ["PERDURE-1203", "done", "PERDURE-1401"]

    async def app_log(store: MemoryStore) -> list[Entry]:
        async with Client(store, app_id="shop") as client:
            return await entries(client)

    asyncio.run(play())


def test_an_action_costs_one_commit_because_outcomes_go_together() -> None:
    appended: list[int] = []

    class Counting(MemoryStore):
        async def audit(self, app: str, after: int, entries: Any, digest: str) -> bool:
            appended.append(len(entries))
            return await super().audit(app, after, entries, digest)

    async def play() -> None:
        store = Counting()
        async with shop(store=store) as app:
            handle = await app.client.workflow("sleeper").start()
            for _ in range(20):
                await handle.suspend()
        assert appended == [1] * 20 + [20]

    asyncio.run(play())


def test_events_of_programs_are_no_actions_and_those_sent_by_hand_are() -> None:
    async def play() -> None:
        async with shop(store=MemoryStore()) as app:
            handle = await app.client.workflow("sleeper").with_options(id="a").start()
            await handle.raise_event("go", {"card": "4111"})
            assert await entries(app.client) == []
            auditing.acting.set(Principal(kind="cli", name="ada", place="desk"))
            await handle.raise_event("go", {"card": "4111"})
            (entry,) = (one for one in await entries(app.client) if one.of is None)
            assert (entry.action, entry.details, entry.actor.name) == ("raise", {"event": "go"}, "ada")

    asyncio.run(play())


def test_changes_of_schedules_are_actions_of_their_own() -> None:
    async def play() -> None:
        async with shop(store=MemoryStore()) as app:
            schedule = await app.client.workflow("sleeper").with_schedule("nightly", every=3_600.0).create()
            await schedule.pause("stock-taking")
            await schedule.delete()
            log = [entry for entry in await entries(app.client) if entry.of is None]
            assert [entry.action for entry in log] == [
                "schedule.create",
                "schedule.pause",
                "schedule.delete",
                "schedule.purge",
            ]

    asyncio.run(play())


def test_without_it_nothing_is_entered() -> None:
    async def play() -> None:
        async with shop(store=MemoryStore(), audit=False) as app:
            handle = await app.client.workflow("sleeper").start()
            await handle.terminate()
            assert await entries(app.client) == []

    asyncio.run(play())
