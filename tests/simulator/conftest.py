"""Worlds drop so many objects that collecting those of all other tests with them would take most of the time."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def collected_apart() -> Iterator[None]:
    """Leave what is there before a module alone until it is over."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
