"""The tools that look: instances, why they are not finished, histories, failures. They change nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from perdure.errors import InvalidArgument
from perdure.remote.mcp import answers
from perdure.sdk.client import Client
from perdure.sdk.options import ID_BYTES_MAX
from perdure.stores.contract import FINISHED

LIST_MAX = 100
"""Instances that one answer lists."""
EVENTS_MAX = 200
"""Events that one answer tells."""
SURVEY_MAX = 1_000
"""Unfinished instances that `explain_all` looks at."""
FAILURES_MAX = 1_000
"""Failed, and stalled, instances that `list_failures` looks at, the newest."""

Id = Annotated[str, Field(min_length=1, max_length=ID_BYTES_MAX, description="The id of an instance.")]
Name = Annotated[str | None, Field(description="Of this workflow alone.")]
StatusWord = Literal["pending", "running", "completed", "failed", "terminated", "cancelled"]


class Looking:
    """Looks through a client; `command` gives the command line of an explanation for where the client is."""

    def __init__(self, client: Client, command: answers.Command) -> None:
        self._client = client
        self._command = command

    async def overview(self) -> answers.Overview:
        """How many workflow instances there are by status, and which process runs the app."""
        counts = await self._client.counts()
        return answers.Overview(
            counts={status.value: count for status, count in counts.items() if count},
            runs_in=await self._client.holder(),
        )

    async def list_instances(
        self,
        workflow: Name = None,
        status: Annotated[list[StatusWord] | None, Field(description="In one of these.")] = None,
        text: Annotated[str | None, Field(description="With this text in the id or the workflow's name.")] = None,
        tags: Annotated[dict[str, str] | None, Field(description="With all of these tags.")] = None,
        parent: Annotated[str | None, Field(description="Children of this instance.")] = None,
        created_after: Annotated[str | None, Field(description="ISO 8601, such as 2030-01-31T12:00:00Z.")] = None,
        suspended: bool | None = None,
        stalled: Annotated[bool | None, Field(description="Those that stand still because something is wrong.")] = None,
        limit: Annotated[int, Field(ge=1, le=LIST_MAX)] = 20,
    ) -> answers.Listing:
        """Workflow instances that meet all conditions, newest first, without their inputs and outputs."""
        found = [
            state
            async for state in self._client.list(
                name=workflow,
                status=status,
                text=text,
                tags=tags,
                parent=parent,
                created_after=_moment("created_after", created_after),
                suspended=suspended,
                stalled=stalled,
                limit=limit + 1,
            )
        ]
        return answers.Listing(instances=[answers.summary(state) for state in found[:limit]], more=len(found) > limit)

    async def show_instance(self, id: Id) -> answers.Instance:
        """One instance: status, input, output, failure with its causes, tags. Long values are cut."""
        return answers.instance(await self._client.get(id).state())

    async def explain_instance(self, id: Id) -> answers.Told:
        """Why an instance is not finished, since when, what happens by itself, and the command that moves it.

        Ask this first of an instance that seems stuck: it follows children, queues and locks to whoever holds it.
        """
        state = await self._client.get(id).state()
        if state.status in FINISHED:
            return answers.Told(
                id=id, cause="finished", sentence=f"It is {state.status.value}.", next="nothing", normal=True
            )
        return answers.told(await self._client.get(id).explain(), self._command)

    async def explain_all(
        self, workflow: Name = None, limit: Annotated[int, Field(ge=1, le=SURVEY_MAX)] = SURVEY_MAX
    ) -> answers.Causes:
        """Why instances are not finished, in groups of the same cause, what is wrong first."""
        filters: dict[str, Any] = {} if workflow is None else {"name": workflow}
        return answers.causes(await self._client.explain_all(limit=limit, **filters), self._command)

    async def get_history(
        self,
        id: Id,
        after: Annotated[int, Field(ge=0, description="Events behind this index; next_after of the last answer.")] = 0,
        limit: Annotated[int, Field(ge=1, le=EVENTS_MAX)] = 50,
    ) -> answers.History:
        """The events of an instance's current run, oldest first. `number` of an event is what rerun_instance takes."""
        events: list[tuple[int, Any]] = []
        index = 0
        async for event in self._client.get(id).history():
            index += 1
            if index > after + limit:
                return answers.history(events, after + limit)
            if index > after:
                events.append((index, event))
        if not index:
            await self._client.get(id).state()  # because an id that does not exist has no events either
        return answers.history(events, None)

    async def list_failures(
        self,
        workflow: Name = None,
        hours: Annotated[float | None, Field(gt=0, le=87_600, description="Of the last so many hours.")] = None,
        limit: Annotated[int, Field(ge=1, le=50, description="Groups that are told.")] = 10,
    ) -> answers.FailureListing:
        """Failed and stalled instances in groups of the same error and line of code, the largest first."""
        since = datetime.now(UTC) - timedelta(hours=hours) if hours is not None else None
        groups = await self._client.failures(name=workflow, since=since, limit=FAILURES_MAX)
        return answers.failures(groups[:limit])


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument(f"{name} {text[:60]!r} is no time; write 2030-01-31T12:00:00Z") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
