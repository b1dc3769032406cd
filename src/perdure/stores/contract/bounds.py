"""What a store is bounded by, and the number of its layout."""

from __future__ import annotations

FORMAT = 3
"""Number of the layout that this version writes. It goes up with each migration."""
OLDEST = 3
"""The oldest format whose programs may go on with a store of FORMAT; others refuse it with `StoreVersion`.

It goes up only with a migration that they could not live with.
"""
MAILBOX_MESSAGES_MAX = 10_000
"""Bound of unconsumed mail of one instance; `deliver` refuses more with `FULL`. Replies, which name an
execution, are always taken, because the run's open calls bound them and a lost one would never come again."""
ABOUT_BYTES_MAX = 4_096
"""Bound of what a node tells of itself."""
SEEN_MAX = 1_024
"""How many message ids of commands and events an instance remembers; the oldest is forgotten first."""
STREAM_ITEMS_MAX = 1_000_000
"""Bound of the items of one stream; an attempt that yields more fails."""
ANSWERS_MAX = 1_024
"""How many answers to updates an instance keeps; the oldest is forgotten first."""
