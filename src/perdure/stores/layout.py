"""Which layouts of a store this version goes on with, and which it may bring up to date while others live."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from perdure.errors import StoreOwned, StoreVersion
from perdure.stores.contract import FORMAT, OLDEST


class Layout(msgspec.Struct, frozen=True):
    """What a store says of its layout: its format, 0 for none yet, and the oldest whose programs may go on with it."""

    format: int = 0
    oldest: int = 0

    @property
    def is_current(self) -> bool:
        """Whether there is nothing to bring up to date, because it is as this version writes it, or later."""
        return self.format >= FORMAT


def recognised(place: object, format: str | bytes | int, oldest: str | bytes | int | None) -> Layout:
    """What was read at the place. Raises StoreVersion for a later one that this version would harm.

    A store that does not say which programs it suffers suffers those of its own format alone.
    """
    found = Layout(int(format), int(format if oldest is None else oldest))
    if found.format > FORMAT < found.oldest:
        raise StoreVersion(
            f"{place} has format {found.format}, with which programs from format {found.oldest} on can go on, and this "
            f"version has {FORMAT}; install a later perdure"
        )
    return found


def check_alone(place: object, found: Layout, living: Sequence[str]) -> None:
    """Raises StoreOwned if the store is to be brought to a format with which those who live could not go on."""
    if living and found.format < OLDEST:
        raise StoreOwned(
            f"{place} has format {found.format} and programs of that time are at work ({', '.join(living)}), which "
            f"cannot go on with format {FORMAT}; end them all, and start again"
        )
