"""The conversations of an agent, kept by actors: one that counts the chapters, and one for each chapter, written once.

A chapter is what one run has added. So a conversation is appended to and never written again, however long it gets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from perdure import Actor, App
from perdure.errors import InvalidArgument

SESSION_CHARACTERS_MAX = 90
"""Of the name of a conversation; a chapter's key, which is an actor's, has its number behind it."""
CHAPTERS_MAX = 200
"""The newest chapters of a conversation that a run is told; what is older it does not know."""


def checked_session(session: str) -> str:
    """The name of a conversation. Raises InvalidArgument."""
    if not isinstance(session, str) or not 0 < len(session) <= SESSION_CHARACTERS_MAX:
        raise InvalidArgument(
            f"the session {str(session)[:100]!r} is not 1 to {SESSION_CHARACTERS_MAX} characters; name it so"
        )
    return session


class Begun(msgspec.Struct, frozen=True):
    """A run that has found a conversation with so many chapters, of which it sees those from `first` on."""

    run: str
    chapters: int

    @property
    def seen(self) -> range:
        return range(max(self.chapters - CHAPTERS_MAX, 0), self.chapters)


class Book(Protocol):
    """The conversation as a whole."""

    async def begin(self, run: str) -> Begun: ...
    async def turned(self, chapter: int) -> None: ...


class Chapter(Protocol):
    """What one run has added."""

    async def write(self, messages: list[Any]) -> None: ...
    async def read(self) -> list[Any]: ...


class Sessions:
    """The actors of one agent's conversations, registered with `app`."""

    def __init__(self, app: App, agent: str) -> None:
        @app.actor(name=f"agent.{agent}.session")
        class Session(Actor):
            chapters: int = 0

            async def begin(self, run: str) -> Begun:
                return Begun(run, self.chapters)

            async def turned(self, chapter: int) -> None:
                self.chapters = max(self.chapters, chapter + 1)

        @app.actor(name=f"agent.{agent}.chapter")
        class SessionChapter(Actor):
            messages: list[Any] | None = None

            async def write(self, messages: list[Any]) -> None:
                if self.messages is None:  # because a chapter is written once
                    self.messages = messages

            async def read(self) -> list[Any]:
                return self.messages or []

        self._session, self._chapter = Session, SessionChapter

    def book(self, session: str) -> Book:
        """The conversation of that name."""
        return self._session(session)

    def chapter(self, session: str, number: int) -> Chapter:
        """One chapter of it, counted from 0."""
        return self._chapter(f"{session}/{number}")

    async def read(self, session: str, chapters: Sequence[int]) -> list[Any]:
        """The messages of some chapters, in order."""
        found = await asyncio.gather(*(self.chapter(session, number).read() for number in chapters))
        return [message for chapter in found for message in chapter]
