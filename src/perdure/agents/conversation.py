"""What an agent's run knows of the conversation that it belongs to, and what it adds. Workflow code."""

from __future__ import annotations

from typing import Any

from perdure import workflow_context
from perdure.agents.sessions import Begun, Sessions


class Conversation:
    """A conversation as a run has found it; `session` None: the run is all there is of it."""

    def __init__(
        self, messages: list[Any], sessions: Sessions | None = None, session: str = "", begun: Begun | None = None
    ) -> None:
        self.messages = messages
        self._sessions = sessions
        self._session = session
        self._begun = begun

    async def append(self, messages: list[Any]) -> None:
        """Add what the run has said; a fork adds nothing, because what was said was said by the run it came from."""
        begun = self._begun
        if self._sessions is None or begun is None or begun.run != workflow_context().instance_id:
            return
        # counted first, because the chapter of a run that is terminated in between stays empty then, and else it would
        # be the next run's, whose own words were lost
        await self._sessions.book(self._session).turned(begun.chapters)
        await self._sessions.chapter(self._session, begun.chapters).write(messages)


async def found(sessions: Sessions, session: str | None) -> Conversation:
    """The conversation of a run that begins."""
    if session is None:
        return Conversation([])
    begun = await sessions.book(session).begin(workflow_context().instance_id)
    return Conversation(await sessions.read(session, begun.seen), sessions, session, begun)
