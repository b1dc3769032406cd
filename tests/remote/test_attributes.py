"""What clients attach to a server, and how much of it."""

from __future__ import annotations

import pytest

from perdure.errors import InvalidArgument
from perdure.remote.attributes import ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, Attributes


def test_they_are_kept_and_replaced():
    attributes = Attributes({"a": "1"})
    attributes.put("b", "")
    attributes.put("a", "ü" * (ATTRIBUTE_BYTES_MAX // 2))
    assert attributes.held == {"a": "ü" * (ATTRIBUTE_BYTES_MAX // 2), "b": ""}
    with pytest.raises(TypeError):
        attributes.held["c"] = "3"


def test_there_is_a_bound_to_their_number_their_length_and_their_names():
    attributes = Attributes()
    for n in range(ATTRIBUTES_MAX):
        attributes.put(f"n{n}", "x")
    attributes.put("n0", "y")  # because one that is there takes no room
    for name, value, said in (
        ("one more", "x", "already"),
        ("n1", "ü" * (ATTRIBUTE_BYTES_MAX // 2) + "x", "shorten"),
        ("", "x", "printable"),
        ("a\nb", "x", "printable"),
    ):
        with pytest.raises(InvalidArgument, match=said):
            attributes.put(name, value)
    assert len(attributes.held) == ATTRIBUTES_MAX
