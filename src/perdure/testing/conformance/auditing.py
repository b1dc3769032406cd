"""The audit log of an app, for stores that keep one."""

from __future__ import annotations

import asyncio

from perdure.stores.contract import Ledger
from perdure.testing.conformance.scene import APP, Scene
from perdure.testing.conformance.stage import Stage, scenario


class Auditing(Stage):
    @scenario
    async def test_the_audit_log_grows_at_its_end_alone(self, scene: Scene) -> None:
        store = scene.store
        if not isinstance(store, Ledger):
            return  # because it keeps none, and its app has no audit log
        assert await store.audit_head(APP) == (0, "")
        assert await store.audited(APP, 0, 10) == []
        assert await store.audit(APP, 0, [b'{"a":1}', '{"b":"ü"}'.encode()], "d2")
        assert not await store.audit(APP, 0, [b"{}"], "other")
        assert not await store.audit(APP, 1, [b"{}"], "other")
        assert not await store.audit(APP, 3, [b"{}"], "other")
        assert await store.audit_head(APP) == (2, "d2")
        assert await store.audit(APP, 2, [b'{"c":3}'], "d3")
        everything = [(1, b'{"a":1}'), (2, '{"b":"ü"}'.encode()), (3, b'{"c":3}')]
        assert await store.audited(APP, 0, 10) == everything
        assert await store.audited(APP, 1, 1) == everything[1:2]
        assert await store.audited(APP, 3, 10) == []
        assert await store.audit_head(APP) == (3, "d3")
        assert await store.audit("bank", 0, [b"{}"], "of another app")
        assert await store.audited(APP, 0, 10) == everything

    @scenario
    async def test_of_two_that_append_to_the_audit_log_at_once_one_has_to_try_again(self, scene: Scene) -> None:
        store = scene.store
        if not isinstance(store, Ledger):
            return
        for after in range(5):
            taken = await asyncio.gather(*(store.audit(APP, after, [b"{}"], f"d{n}") for n in range(4)))
            assert sorted(taken) == [False, False, False, True]
            assert await store.audit_head(APP) == (after + 1, f"d{taken.index(True)}")
