"""What somebody may do at a target: read, operate, administer."""

from __future__ import annotations

from enum import IntEnum

from perdure.errors import InvalidArgument


class Role(IntEnum):
    """Each includes those before: `READ` looks, `OPERATE` steers what can be taken back, `ADMIN` ends and deletes."""

    READ = 1
    OPERATE = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        return self.name.lower()


def role_named(word: str) -> Role:
    """Raises InvalidArgument."""
    found = Role.__members__.get(word.upper())
    if found is None:
        raise InvalidArgument(f"role {word[:60]!r} is none of {', '.join(role.word for role in Role)}")
    return found
