"""The garbage collector of a process that serves: what is loaded stays, and what comes is seldom garbage."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (50_000, 20, 20)
"""Objects until the collector looks at young ones, and how many looks until it takes older ones along. Python's own are
700, 10, 10, with which it looks at everything that is in flight again and again."""


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let the collector come seldom, and never to what is there by now."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
