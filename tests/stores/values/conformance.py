"""What every store of values has to do, told by stories; the suite of a store says how to open one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from perdure.errors import EtagMismatch, InvalidArgument, NotOpen
from perdure.stores.values import contract
from perdure.stores.values.contract import Delete, Item, Put, StateStore

SHORT = 0.08
"""Seconds that a value of these stories lives."""
LATER = 0.2
"""Seconds after which it is gone, with what clocks of servers may round."""
Story = Callable[[StateStore], Awaitable[None]]
_spaces = count(1)


async def got(store: StateStore, key: str) -> Item | None:
    (found,) = await store.get([key])
    return found


async def value_of(store: StateStore, key: str) -> bytes | None:
    found = await got(store, key)
    return None if found is None else found.value


async def etag_of(store: StateStore, key: str) -> str:
    found = await got(store, key)
    assert found is not None
    return found.etag


class ValuesConformance:
    """A suite has a fixture `opener` that gives an unopened store of a space, the same place for all spaces."""

    survives = True
    """Whether another store at the same place sees what this one has written."""

    @pytest.fixture
    def opener(self) -> Callable[[str], StateStore]:
        raise NotImplementedError

    @pytest.fixture
    def told(self, opener: Callable[[str], StateStore]) -> Callable[[Story], None]:
        """Play a story with an open store of a space of its own."""

        async def play(story: Story) -> None:
            store = opener(f"space{next(_spaces)}")
            await store.open()
            try:
                async with asyncio.timeout(30):
                    await story(store)
            finally:
                await store.close()

        return lambda story: asyncio.run(play(story))

    def test_what_was_put_is_got(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            await store.apply([Put("a", b"\x00\xff", content_type="image/png")])
            await store.apply([Put("ü/§", b"")])
            found = await store.get(["ü/§", "nothing", "a"])
            assert [None if one is None else (one.key, one.value, one.content_type) for one in found] == [
                ("ü/§", b"", None),
                None,
                ("a", b"\x00\xff", "image/png"),
            ]
            assert await store.get([]) == []
            assert all(one is None or (one.etag and one.expires is None) for one in found)

        told(story)

    def test_each_write_has_its_own_etag_also_after_a_delete(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            etags = set()
            for _ in range(3):
                await store.apply([Put("a", b"same")])
                etags.add(await etag_of(store, "a"))
            await store.apply([Delete("a")])
            await store.apply([Put("a", b"same")])
            assert len({*etags, await etag_of(store, "a")}) == 4

        told(story)

    def test_an_etag_lets_one_of_two_write(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            await store.apply([Put("a", b"1")])
            etag = await etag_of(store, "a")
            await store.apply([Put("a", b"2", etag=etag)])
            with pytest.raises(EtagMismatch, match="key 'a' has no value of etag"):
                await store.apply([Put("a", b"3", etag=etag)])
            assert await value_of(store, "a") == b"2"
            with pytest.raises(EtagMismatch):
                await store.apply([Put("none", b"3", etag=etag)])
            assert await value_of(store, "none") is None
            await store.apply([Put("a", b"last write wins")])
            assert await value_of(store, "a") == b"last write wins"

        told(story)

    def test_of_many_first_writers_one_wins(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            puts = [store.apply([Put("a", str(n).encode(), first_write=True)]) for n in range(20)]
            ends = await asyncio.gather(*puts, return_exceptions=True)
            assert [type(end) for end in ends].count(EtagMismatch) == 19
            assert await value_of(store, "a") == str(ends.index(None)).encode()
            with pytest.raises(EtagMismatch, match="has a value already"):
                await store.apply([Put("a", b"x", first_write=True)])
            await store.apply([Delete("a")])
            await store.apply([Put("a", b"again", first_write=True)])

        told(story)

    def test_of_many_writers_with_one_etag_one_wins(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            await store.apply([Put("a", b"0")])
            etag = await etag_of(store, "a")
            puts = [store.apply([Put("a", str(n).encode(), etag=etag)]) for n in range(20)]
            ends = await asyncio.gather(*puts, return_exceptions=True)
            assert [type(end) for end in ends].count(EtagMismatch) == 19
            assert await value_of(store, "a") == str(ends.index(None)).encode()

        told(story)

    def test_a_delete(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            await store.apply([Delete("nothing")])
            with pytest.raises(EtagMismatch):
                await store.apply([Delete("nothing", etag="abc")])
            await store.apply([Put("a", b"1")])
            with pytest.raises(EtagMismatch):
                await store.apply([Delete("a", etag="abc")])
            assert await value_of(store, "a") == b"1"
            await store.apply([Delete("a", etag=await etag_of(store, "a"))])
            assert await value_of(store, "a") is None

        told(story)

    def test_operations_are_applied_together_or_not_at_all(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            if not store.is_transactional:
                with pytest.raises(InvalidArgument, match="one operation at a time"):
                    await store.apply([Put("a", b"1"), Put("b", b"2")])
                assert await store.get(["a", "b"]) == [None, None]
                return
            await store.apply([Put("b", b"1"), Put("a", b"1"), Delete("c")])
            etag = await etag_of(store, "a")
            with pytest.raises(EtagMismatch):
                await store.apply([Put("a", b"2", etag=etag), Delete("b"), Put("c", b"2", etag="wrong")])
            assert [await value_of(store, key) for key in "abc"] == [b"1", b"1", None]
            assert await etag_of(store, "a") == etag
            await store.apply([Put("a", b"2", etag=etag), Delete("b"), Put("c", b"2", first_write=True)])
            assert [await value_of(store, key) for key in "abc"] == [b"2", None, b"2"]
            await store.apply([Put("d", b"1", first_write=True), Delete("d"), Put("d", b"2", first_write=True)])
            assert await value_of(store, "d") == b"2"

        told(story)

    def test_a_total_is_kept_by_transactions_that_cross(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            if not store.is_transactional:
                return
            await store.apply([Put("x", b"50"), Put("y", b"50")])

            async def move(source: str, target: str) -> int:
                retries = 0
                while True:
                    one, other = await store.get([source, target])
                    assert one is not None
                    assert other is not None
                    less, more = str(int(one.value) - 1).encode(), str(int(other.value) + 1).encode()
                    try:
                        await store.apply([Put(source, less, etag=one.etag), Put(target, more, etag=other.etag)])
                    except EtagMismatch:
                        retries += 1
                        assert retries < 1_000
                        await asyncio.sleep(0)
                        continue
                    return retries

            await asyncio.gather(*(move(*("xy" if n % 3 else "yx")) for n in range(12)))
            found = [await value_of(store, key) for key in "xy"]
            assert found == [b"46", b"54"]

        told(story)

    def test_what_has_expired_is_not_there(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            await store.apply([Put("stays", b"1", ttl=1_000)])
            for key in ("got", "first", "over", "deleted"):
                await store.apply([Put(key, b"1", ttl=SHORT)])
            found = await got(store, "stays")
            assert found is not None
            assert found.expires is not None
            etags = {
                key: (one.etag if one else "gone") for key in ("over", "deleted") for one in [await got(store, key)]
            }
            await asyncio.sleep(LATER)
            assert await value_of(store, "got") is None
            with pytest.raises(EtagMismatch):
                await store.apply([Put("over", b"2", etag=etags["over"])])
            with pytest.raises(EtagMismatch):
                await store.apply([Delete("deleted", etag=etags["deleted"])])
            await store.apply([Put("first", b"2", first_write=True)])
            assert await value_of(store, "first") == b"2"
            assert await value_of(store, "stays") == b"1"

        told(story)

    def test_a_write_without_a_time_to_live_ends_it(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            await store.apply([Put("a", b"1", ttl=SHORT)])
            await store.apply([Put("a", b"2")])
            await asyncio.sleep(LATER)
            assert await value_of(store, "a") == b"2"

        told(story)

    def test_a_sweep_removes_what_has_expired_in_bounded_batches(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            while await store.sweep():
                pass  # because stories before this one have left expired values
            for n in range(3):
                await store.apply([Put(f"short{n}", b"1", ttl=SHORT)])
            await store.apply([Put("stays", b"1")])
            await asyncio.sleep(LATER)
            assert await store.sweep() in (3, 0)  # none where the server does it by itself
            assert await store.sweep() == 0
            assert await value_of(store, "stays") == b"1"

        told(story)

    def test_spaces_know_nothing_of_each_other_and_another_store_sees_what_was_written(
        self, opener: Callable[[str], StateStore]
    ) -> None:
        async def play() -> None:
            first, other, same = opener("first.space"), opener("other-space"), opener("first.space")
            for store in (first, other, same):
                await store.open()
            try:
                await first.apply([Put("a", b"1")])
                assert await value_of(other, "a") is None
                if self.survives:
                    assert await value_of(same, "a") == b"1"
                    with pytest.raises(EtagMismatch):
                        await same.apply([Put("a", b"2", first_write=True)])
            finally:
                for store in (first, other, same):
                    await store.close()

        asyncio.run(play())

    @pytest.mark.parametrize(
        "operation",
        [
            Put("", b""),
            Put("a\0b", b""),
            Put("k" * (contract.KEY_BYTES_MAX + 1), b""),
            Put("half \ud800", b""),
            Put("a", b"", ttl=0),
            Put("a", b"", ttl=-1),
            Put("a", b"", ttl=float("nan")),
            Put("a", bytes(contract.VALUE_BYTES_MAX + 1)),
            Put("a", b"", content_type="c" * 256),
        ],
        ids=["empty", "zero", "long", "unicode", "ttl0", "negative", "nan", "large", "type"],
    )
    def test_what_no_store_can_hold_is_refused(self, told: Callable[[Story], None], operation: Put) -> None:
        async def story(store: StateStore) -> None:
            with pytest.raises(InvalidArgument):
                await store.apply([operation])

        told(story)

    def test_the_longest_key_and_a_large_value(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            key, value = "ü" * (contract.KEY_BYTES_MAX // 2), bytes(range(256)) * 4_096
            await store.apply([Put(key, value)])
            assert await value_of(store, key) == value

        told(story)

    def test_bounds_of_a_call(self, told: Callable[[Story], None]) -> None:
        async def story(store: StateStore) -> None:
            with pytest.raises(InvalidArgument, match="ask in several calls"):
                await store.get(["a"] * (contract.KEYS_MAX + 1))
            with pytest.raises(InvalidArgument, match="apply them in parts"):
                await store.apply([Delete("a")] * (contract.OPERATIONS_MAX + 1))
            with pytest.raises(InvalidArgument, match="apply them in parts"):
                await store.apply([Put(str(n), bytes(6_000_000)) for n in range(3)])

        told(story)

    def test_a_store_that_is_not_open(self, opener: Callable[[str], StateStore]) -> None:
        async def play() -> None:
            store = opener("closed")
            for _ in range(2):
                with pytest.raises(NotOpen):
                    await store.get(["a"])
                with pytest.raises(NotOpen):
                    await store.apply([Put("a", b"")])
                await store.open()
                await store.close()

        asyncio.run(play())
