"""A chain of entries: what is written in it leads to one anchor, and what is changed in it is named."""

import msgspec
import pytest

from perdure.history.audit_log import Anchor, Entry, Principal, Verifier, anchor_of, canonical, chained, digest, read

ADA = Principal(kind="cli", name="ada", place="desk")


def entry(n: int) -> Entry:
    return Entry(number=0, previous="", at=n, app="shop", action="cancel", instance=f"i{n}", actor=ADA)


def rows(count: int) -> tuple[list[tuple[int, str]], Anchor]:
    stored, anchor = chained([entry(n) for n in range(count)], Anchor())
    return [(number, data.decode()) for number, data in enumerate(stored, 1)], anchor


def found(entries: list[tuple[int, str]], head: Anchor, known: Anchor | None = None) -> tuple[int | None, str]:
    verifier = Verifier(known)
    for one in entries:  # as pages of one each, because pages must not matter
        verifier.take([one])
    finding = verifier.end(head)
    return finding.broken, finding.sentence


def test_each_entry_has_the_digest_of_the_one_before() -> None:
    entries, anchor = rows(3)
    digests = [digest(stored.encode()) for _, stored in entries]
    assert [read(stored).previous for _, stored in entries] == ["", *digests[:-1]]  # type: ignore[union-attr]
    assert anchor == Anchor(3, digests[-1])
    assert found(entries, anchor) == (None, "")
    more, last = chained([entry(9)], anchor)
    assert found([*entries, (4, more[0].decode())], last, known=anchor) == (None, "")


def test_bytes_do_not_depend_on_the_order_of_details() -> None:
    one = msgspec.structs.replace(entry(1), details={"b": 1, "a": 2})
    other = msgspec.structs.replace(entry(1), details={"a": 2, "b": 1})
    assert canonical(one) == canonical(other)


def test_what_was_done_to_the_entries_is_found() -> None:
    entries, anchor = rows(4)
    changed = [*entries[:1], (2, entries[1][1].replace("i1", "iX")), *entries[2:]]
    assert found(changed, anchor) == (2, "entry 2 is not what it was when entry 3 followed it")
    assert found(entries[:2] + entries[3:], anchor) == (3, "entry 3 is missing")
    assert found(entries[:2], anchor) == (3, "entries 3 to 4 are missing at the end")
    swapped = [(1, entries[2][1]), entries[1], (3, entries[0][1]), entries[3]]
    assert found(swapped, anchor) == (1, "in the place of entry 1 stands entry 3")
    assert found([*entries[:3], (4, "{}")], anchor)[0] == 4
    assert found(entries, Anchor(4, "0" * 64)) == (4, "entry 4, the last, is not what it was when it was written")
    assert found([], anchor)[0] == 1


def test_an_anchor_from_outside_finds_a_log_that_is_consistent_in_itself() -> None:
    entries, anchor = rows(4)
    short, head = entries[:2], Anchor(2, digest(entries[1][1].encode()))
    assert found(short, head) == (None, "")
    assert found(short, head, known=anchor) == (3, "entries 3 to 4 are missing since the anchor was kept")
    other, last = chained([entry(7) for _ in range(4)], Anchor())
    anew = [(number, data.decode()) for number, data in enumerate(other, 1)]
    assert found(anew, last) == (None, "")
    assert found(anew, last, known=anchor) == (4, "entry 4 is not what it was when the anchor was kept")


@pytest.mark.parametrize("text", ["", "x", "1", "1:abc", "-1:" + "0" * 64])
def test_what_is_no_anchor_is_none(text: str) -> None:
    assert anchor_of(text) is None


def test_an_anchor_is_read_as_it_was_written() -> None:
    _, anchor = rows(2)
    assert anchor_of(str(anchor)) == anchor
    assert anchor_of(str(Anchor())) == Anchor()
