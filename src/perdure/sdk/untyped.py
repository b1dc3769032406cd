"""A workflow by its name alone, for programs that do not have its function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perdure.errors import InvalidArgument
from perdure.history.work import StartOptions
from perdure.sdk.handle import Handle
from perdure.sdk.options import start_options
from perdure.sdk.queues import place
from perdure.sdk.tracing import traced

if TYPE_CHECKING:
    from perdure.sdk.client import Client
    from perdure.sdk.schedules import Scheduling

OPTIONS = (
    *("id", "at", "tags", "app_id", "if_exists", "run_timeout", "queue", "key", "priority"),
    *("dedup_key", "dedup_window", "debounce", "debounce_max"),
)
"""Those of `Workflow.with_options`."""


class UntypedWorkflow:
    """A workflow by its name, for programs that do not have its function."""

    def __init__(self, client: Client, name: str, options: StartOptions) -> None:
        self.name = name
        self._client = client
        self._options = options

    def with_options(self, **options: Any) -> UntypedWorkflow:
        """The same workflow with other options for what is started through it; see `Workflow.with_options`."""
        unknown = sorted(set(options) - set(OPTIONS))
        if unknown:
            raise InvalidArgument(f"unknown option {unknown[0]!r}; there are {', '.join(OPTIONS)}")
        given: dict[str, Any] = dict.fromkeys(OPTIONS) | options
        base = self._options
        where = place(given.pop("queue"), given.pop("key"), given.pop("priority"), base.place)
        return UntypedWorkflow(self._client, self.name, start_options(**given, place=where, base=base))

    def with_schedule(self, id: str, **options: Any) -> Scheduling[...]:
        """The workflow, to be started by a schedule; options as of `Workflow.with_schedule`."""
        from perdure.sdk.schedules import scheduling  # because schedules cost nothing where there are none

        client = self._client
        encoded = client.writer.encode_arguments
        known = self._options
        try:
            return scheduling(id, self.name, known, encoded=encoded, client=lambda: client, declare=None, **options)
        except TypeError as error:
            raise InvalidArgument(f"{error}; see Workflow.with_schedule") from None

    async def start(self, *args: Any, **kwargs: Any) -> Handle[Any]:
        """Begin an instance; its handle once it is durable."""
        payload = self._client.writer.encode_arguments(args, kwargs)
        id, execution = await self._client.gateway.start(self.name, payload, traced(self._options))
        return Handle(self._client, id, execution)
