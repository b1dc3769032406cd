"""The calls by their names on the wire: how each is read, which handler takes it, how its answer is written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from perdure.remote.attributes import Attributes
from perdure.remote.hosted import Hosted
from perdure.remote.requests import AboutInstance, Flavour, InstanceView
from perdure.remote.rpc.actors import actor_calls
from perdure.remote.rpc.caller import Caller, is_microsoft
from perdure.remote.rpc.calls import Calls, Conversing, Streaming, Unary
from perdure.remote.rpc.configuration import configuration_calls
from perdure.remote.rpc.conversation import conversation_calls
from perdure.remote.rpc.entities import EntityCalls
from perdure.remote.rpc.instances import Instances
from perdure.remote.rpc.listing import Listing
from perdure.remote.rpc.native import native_calls
from perdure.remote.rpc.pubsub import pubsub_calls
from perdure.remote.rpc.receiving import receiving_calls
from perdure.remote.rpc.removal import Removal
from perdure.remote.rpc.repetition import Repetition
from perdure.remote.rpc.scaling import OPEN_CALLS, scaling_calls, scaling_streams
from perdure.remote.rpc.secrets import secret_calls
from perdure.remote.rpc.state import state_calls
from perdure.remote.rpc.workers import Bounds, Workers
from perdure.remote.wire import instance_answers as answers
from perdure.remote.wire import instance_requests as requests
from perdure.remote.wire import runtime
from perdure.remote.wire.codec import DAPR, MICROSOFT, codec_of

SERVICE = "TaskHubSidecarService"
RUNTIME = "dapr.proto.runtime.v1.Dapr"
CHUNK_EVENTS = 100
"""Events of one message of a streamed history."""


class Table(NamedTuple):
    """Handlers by the full name of the call. Whatever is not here is UNIMPLEMENTED; what is `open` needs no token."""

    unary: dict[str, Unary]
    streaming: dict[str, Streaming]
    conversing: dict[str, Conversing]
    open: frozenset[str] = frozenset()


class Runtime(NamedTuple):
    """What the calls about the server itself need of it."""

    version: str
    attributes: Callable[[str], Attributes]
    request_shutdown: Callable[[], None]


BLOCKS: tuple[Callable[[Hosted], Calls], ...] = (
    actor_calls,
    configuration_calls,
    conversation_calls,
    pubsub_calls,
    secret_calls,
    state_calls,
)
"""The modules of calls of Dapr's building blocks, one for each block."""


def table_of(hosted: Hosted, server: Runtime, bounds: Bounds) -> Table:
    """Every call that is answered at one port."""
    instances, removal, workers = Instances(hosted), Removal(hosted), Workers(hosted, bounds)
    task_hub = {**_task_hub(hosted, instances, workers), **_sets(hosted, removal)}
    unary = {f"/{SERVICE}/{name}": handler for name, handler in task_hub.items()}
    unary |= {f"/{RUNTIME}/{name}": handler for name, handler in _runtime(hosted, instances, removal, server).items()}
    unary |= native_calls(hosted, workers, server.version)
    unary |= scaling_calls(hosted)
    streaming: dict[str, Streaming] = {
        f"/{SERVICE}/GetWorkItems": workers.work_items,
        f"/{SERVICE}/StreamInstanceHistory": _streamed_history(Listing(hosted)),
        **scaling_streams(hosted),
    }
    conversing: dict[str, Conversing] = dict(receiving_calls(hosted))
    for block in BLOCKS:
        calls = block(hosted)
        unary |= {f"/{RUNTIME}/{name}": handler for name, handler in calls.unary.items()}
        streaming |= {f"/{RUNTIME}/{name}": handler for name, handler in calls.streaming.items()}
        conversing |= {f"/{RUNTIME}/{name}": handler for name, handler in calls.conversing.items()}
    return Table(unary, streaming, conversing, OPEN_CALLS)


def _task_hub(hosted: Hosted, instances: Instances, workers: Workers) -> dict[str, Unary]:
    entities = EntityCalls(hosted)

    def shown(act: Callable[[AboutInstance, Caller], Awaitable[InstanceView | None]]) -> Unary:
        async def handler(data: bytes, caller: Caller) -> bytes:
            asked = requests.read_about(data)
            view = await act(asked, caller)
            flavour = Flavour.MICROSOFT if is_microsoft(caller) else hosted.flavour_of(asked.app or caller.app)
            return codec_of(flavour).write_view(view, asked.with_payloads)

        return handler

    return {
        "Hello": _nothing,
        "StartInstance": _call(requests.read_start, instances.start, answers.write_id),
        "GetInstance": shown(instances.get),
        "WaitForInstanceStart": shown(instances.wait_for_start),
        "WaitForInstanceCompletion": shown(instances.wait_for_end),
        "RaiseEvent": _call(requests.read_raise, instances.raise_event, _empty),
        "TerminateInstance": _call(requests.read_terminate, instances.terminate, _empty),
        "SuspendInstance": _call(requests.read_pause, instances.suspend, _empty),
        "ResumeInstance": _call(requests.read_pause, instances.resume, _empty),
        "CompleteOrchestratorTask": workers.complete_turn,
        "CompleteWorkflowTask": workers.complete_turn,
        "CompleteActivityTask": workers.complete_activity,
        "CompleteEntityTask": workers.complete_batch,
        "SignalEntity": _call(MICROSOFT.read_signal, entities.signal, _empty),
        "GetEntity": _call(MICROSOFT.read_about_entity, entities.get, MICROSOFT.write_entity),
        "QueryEntities": _call(
            MICROSOFT.read_entity_query, entities.query, lambda page: MICROSOFT.write_entities(page.views, page.cursor)
        ),
        "CleanEntityStorage": _call(MICROSOFT.read_clean, entities.clean, lambda done: MICROSOFT.write_cleaned(*done)),
        "AbandonTaskOrchestratorWorkItem": workers.abandon,
        "AbandonTaskActivityWorkItem": workers.abandon,
        "AbandonTaskEntityWorkItem": workers.abandon,
        "CreateTaskHub": _nothing,
        "DeleteTaskHub": _nothing,
    }


def _sets(hosted: Hosted, removal: Removal) -> dict[str, Unary]:
    """Calls about many instances, or about all that happened to one."""
    listing, repetition = Listing(hosted), Repetition(hosted)

    async def query(data: bytes, caller: Caller) -> bytes:
        asked = requests.read_query(data)
        return MICROSOFT.write_views(await listing.query(asked, caller), asked.with_payloads)

    async def history(data: bytes, caller: Caller) -> bytes:
        asked = requests.read_about(data)
        return answers.write_events([e async for page in listing.history(asked, caller, DAPR) for e in page])

    return {
        "QueryInstances": query,
        "ListInstanceIDs": _call(DAPR.read_list, listing.ids, DAPR.write_ids),
        "ListInstanceIds": _call(MICROSOFT.read_list, listing.finished_ids, MICROSOFT.write_ids),
        "GetInstanceHistory": history,
        "PurgeInstances": _call(requests.read_purge, removal.purge, lambda done: answers.write_purged(*done)),
        "SkipGracefulOrchestrationTerminations": _call(
            requests.read_terminate_batch, removal.terminate_batch, answers.write_unterminated
        ),
        "RerunWorkflowFromEvent": _call(requests.read_rerun, repetition.rerun, answers.write_id),
        "RewindInstance": _call(requests.read_about, repetition.rewind, _empty),
        "RestartInstance": _call(requests.read_about, repetition.restart, answers.write_id),
    }


def _runtime(hosted: Hosted, instances: Instances, removal: Removal, server: Runtime) -> dict[str, Unary]:
    async def get(asked: AboutInstance, caller: Caller) -> InstanceView:
        return await instances.existing(asked, caller)

    async def metadata(data: bytes, caller: Caller) -> bytes:
        held = server.attributes(caller.app).held
        return runtime.write_metadata(hosted.metadata(caller.app, server.version, held))

    async def set_metadata(data: bytes, caller: Caller) -> bytes:
        asked = runtime.read_set_metadata(data)
        server.attributes(caller.app).put(asked.key, asked.value)
        return b""

    async def shutdown(data: bytes, caller: Caller) -> bytes:
        server.request_shutdown()
        return b""

    versioned: dict[str, Unary] = {
        "StartWorkflow": _call(runtime.read_start, instances.start, runtime.write_started),
        "GetWorkflow": _call(runtime.read_about, get, runtime.write_view),
        "PurgeWorkflow": _call(runtime.read_purge, removal.purge, _empty),
        "TerminateWorkflow": _call(runtime.read_terminate, instances.terminate, _empty),
        "PauseWorkflow": _call(runtime.read_pause, instances.suspend, _empty),
        "ResumeWorkflow": _call(runtime.read_pause, instances.resume, _empty),
        "RaiseEventWorkflow": _call(runtime.read_raise, instances.raise_event, _empty),
    }
    calls = {f"{name}{version}": handler for name, handler in versioned.items() for version in ("Alpha1", "Beta1")}
    return {**calls, "GetMetadata": metadata, "SetMetadata": set_metadata, "Shutdown": shutdown}


def _streamed_history(listing: Listing) -> Streaming:
    async def stream(data: bytes, caller: Caller) -> AsyncIterator[bytes]:
        asked = requests.read_about(data)
        async for events in listing.history(asked, caller, MICROSOFT):
            for first in range(0, len(events), CHUNK_EVENTS):
                yield answers.write_events(events[first : first + CHUNK_EVENTS])

    return stream


def _call(
    read: Callable[[bytes], Any], act: Callable[[Any, Caller], Awaitable[Any]], write: Callable[[Any], bytes]
) -> Unary:
    async def handler(data: bytes, caller: Caller) -> bytes:
        return write(await act(read(data), caller))

    return handler


def _empty(_: object) -> bytes:
    return b""


async def _nothing(data: bytes, caller: Caller) -> bytes:
    return b""
