"""Every node computes the same shares from the same members, and together they are all shards."""

import pytest

from perdure.actors.placement import share
from perdure.stores.contract import Member


def members(text: str) -> list[Member]:
    """Those with code in capitals."""
    return [Member(name, has_code=name.isupper()) for name in text]


@pytest.mark.parametrize(
    "living, shares",
    [
        ("A", {"A": 8}),
        ("AB", {"A": 4, "B": 4}),
        ("BCA", {"A": 3, "B": 3, "C": 2}),
        ("Ab", {"A": 8, "b": 0}),
        ("ab", {"a": 4, "b": 4}),
        ("A", {"Z": 0}),
        ("ABCDEFGHIJ", {"A": 1, "H": 1, "I": 0, "J": 0}),
    ],
)
def test_a_share_is_fair(living: str, shares: dict[str, int]) -> None:
    assert {name: share(members(living), name, 8) for name in shares} == shares


@pytest.mark.parametrize("living", ["A", "AB", "ABC", "abc", "ABcd", "ABCDEFGHIJK"])
@pytest.mark.parametrize("shards", [1, 8, 64])
def test_all_shares_together_are_all_shards(living: str, shards: int) -> None:
    assert sum(share(members(living), name, shards) for name in living) == shards
