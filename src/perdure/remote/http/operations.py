"""The table of all operations, from which the routes are made as well as the document that describes them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

import msgspec
from starlette.responses import Response

from perdure.remote.http import configuration, conversation, endpoints, pubsub, secrets, state
from perdure.remote.http.endpoints import Asked
from perdure.remote.http.faults import BAD_REQUEST


class Version(StrEnum):
    """The versions of Dapr's API that an operation is in: the same operation under each."""

    STABLE = "v1.0"
    BETA = "v1.0-beta1"
    ALPHA = "v1.0-alpha1"
    ALPHA2 = "v1.0-alpha2"


class Body(StrEnum):
    """What a request brings."""

    NONE = "none"
    VALUE = "value"
    TEXT = "text"
    STATES = "states"
    KEYS = "keys"
    TRANSACTION = "transaction"
    BYTES = "bytes"
    ENTRIES = "entries"
    CONVERSATION = "conversation"
    CONVERSATIONS = "conversations"


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `path` follows the version, with parameters in braces; `query` and `headers` are optional parameters.

    `answer` reads a request and answers it. `success` is the status of an answer and `shape` the name of its schema,
    empty for none, in a body of type `media`; `faults` are the statuses of its own errors, beside those that every
    operation has, and `code` is what they are called unless they have names of their own. With `empty` a success may be
    a 204 as well, where nothing is. Without a token only what is `open` is answered. Without a version the path is all
    there is.
    """

    id: str
    summary: str
    method: str
    path: str
    answer: Callable[[Asked], Awaitable[Response]]
    success: int
    shape: str = ""
    media: str = "application/json"
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    empty: bool = False
    body: Body = Body.NONE
    faults: tuple[int, ...] = ()
    code: str = BAD_REQUEST
    open: bool = False
    versions: tuple[Version, ...] = (Version.STABLE,)

    def paths(self) -> dict[str, Version | None]:
        """Where it is, each path with its version."""
        if not self.versions:
            return {f"/{self.path}": None}
        return {f"/{version}/{self.path}": version for version in self.versions}


_EVERY = (Version.STABLE, Version.BETA, Version.ALPHA)
_SINCE_ALPHA = (Version.STABLE, Version.ALPHA)
_INSTANCE = "workflows/{workflowComponent}/{instanceID}"
_STATE = "state/{storeName}"

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="startWorkflow",
        summary="Begin an instance. The body is its input.",
        method="POST",
        path="workflows/{workflowComponent}/{workflowName}/start",
        query=("instanceID", "appID"),
        body=Body.VALUE,
        answer=endpoints.start,
        success=202,
        shape="Started",
        faults=(408, 409, 413, 507),
        code="ERR_START_WORKFLOW",
        versions=_EVERY,
    ),
    Operation(
        id="getWorkflow",
        summary="Show an instance.",
        method="GET",
        path=_INSTANCE,
        query=("appID",),
        answer=endpoints.get,
        success=200,
        shape="Instance",
        faults=(404,),
        code="ERR_GET_WORKFLOW",
        versions=_EVERY,
    ),
    Operation(
        id="raiseEventWorkflow",
        summary="Send an external event. The body is its data. An instance that is finished ignores it.",
        method="POST",
        path=_INSTANCE + "/raiseEvent/{eventName}",
        query=("appID",),
        body=Body.VALUE,
        answer=endpoints.raise_event,
        success=202,
        shape="Empty",
        faults=(404, 408, 413, 429, 507),
        code="ERR_RAISE_EVENT_WORKFLOW",
        versions=_EVERY,
    ),
    Operation(
        id="pauseWorkflow",
        summary="Hold the code of an instance until it is resumed; events and results are kept.",
        method="POST",
        path=_INSTANCE + "/pause",
        query=("appID",),
        answer=endpoints.pause,
        success=202,
        shape="Empty",
        faults=(404, 429, 507),
        code="ERR_PAUSE_WORKFLOW",
        versions=_EVERY,
    ),
    Operation(
        id="resumeWorkflow",
        summary="Let the code of an instance go on.",
        method="POST",
        path=_INSTANCE + "/resume",
        query=("appID",),
        answer=endpoints.resume,
        success=202,
        shape="Empty",
        faults=(404, 429, 507),
        code="ERR_RESUME_WORKFLOW",
        versions=_EVERY,
    ),
    Operation(
        id="terminateWorkflow",
        summary="End an instance and its children at once.",
        method="POST",
        path=_INSTANCE + "/terminate",
        query=("appID",),
        answer=endpoints.terminate,
        success=202,
        shape="Empty",
        faults=(404, 429, 507),
        code="ERR_TERMINATE_WORKFLOW",
        versions=_EVERY,
    ),
    Operation(
        id="purgeWorkflow",
        summary="Delete a finished instance and its finished children.",
        method="POST",
        path=_INSTANCE + "/purge",
        query=("appID",),
        answer=endpoints.purge,
        success=202,
        shape="Empty",
        faults=(404, 409, 507),
        code="ERR_PURGE_WORKFLOW",
        versions=_EVERY,
    ),
    *(
        Operation(
            id=f"{word}State",
            summary="Save values, together where the store can.",
            method=method,
            path=_STATE,
            query=("appID",),
            body=Body.STATES,
            answer=state.save,
            success=204,
            faults=(408, 409, 413, 507),
            code="ERR_STATE_SAVE",
        )
        for word, method in (("save", "POST"), ("put", "PUT"))
    ),
    *(
        Operation(
            id=f"{word}BulkState",
            summary="The values of several keys.",
            method=method,
            path=_STATE + "/bulk",
            query=("appID",),
            body=Body.KEYS,
            answer=state.get_bulk,
            success=200,
            shape="States",
            faults=(408, 413),
            code="ERR_STATE_BULK_GET",
        )
        for word, method in (("get", "POST"), ("read", "PUT"))
    ),
    *(
        Operation(
            id=f"{word}StateTransaction",
            summary="Save and remove values: all of them, or none.",
            method=method,
            path=_STATE + "/transaction",
            query=("appID",),
            body=Body.TRANSACTION,
            answer=state.transact,
            success=204,
            faults=(408, 409, 413, 507),
            code="ERR_STATE_TRANSACTION",
        )
        for word, method in (("execute", "POST"), ("put", "PUT"))
    ),
    Operation(
        id="getState",
        summary="A value, with its ETag.",
        method="GET",
        path=_STATE + "/{stateKey}",
        query=("appID", "consistency"),
        answer=state.get,
        success=200,
        shape="Value",
        empty=True,
        code="ERR_STATE_GET",
    ),
    Operation(
        id="deleteState",
        summary="Remove a value; with If-Match only that of the ETag.",
        method="DELETE",
        path=_STATE + "/{stateKey}",
        query=("appID", "concurrency", "consistency"),
        headers=("If-Match",),
        answer=state.delete,
        success=204,
        faults=(409, 507),
        code="ERR_STATE_DELETE",
    ),
    Operation(
        id="publish",
        summary="Publish an event. The body is its data; queries `metadata.NAME` are its metadata.",
        method="POST",
        path="publish/{pubsubName}/{topic}",
        query=("appID",),
        body=Body.BYTES,
        answer=pubsub.publish,
        success=204,
        faults=(404, 408, 413, 429, 507),
        code=pubsub.NOT_PUBLISHED,
    ),
    Operation(
        id="publishBulk",
        summary="Publish several events. Those that were not are told; the others are published.",
        method="POST",
        path="publish/bulk/{pubsubName}/{topic}",
        query=("appID",),
        body=Body.ENTRIES,
        answer=pubsub.publish_bulk,
        success=204,
        faults=(404, 408, 409, 413, 429, 507),
        code=pubsub.NOT_PUBLISHED,
        versions=_SINCE_ALPHA,
    ),
    Operation(
        id="getBulkSecret",
        summary="Every secret of a store, by its name.",
        method="GET",
        path="secrets/{secretStore}/bulk",
        query=("appID",),
        answer=secrets.get_bulk,
        success=200,
        shape="Secrets",
        code="ERR_SECRET_GET",
    ),
    Operation(
        id="getSecret",
        summary="A secret: its values, by their keys.",
        method="GET",
        path="secrets/{secretStore}/{secretKey}",
        query=("appID",),
        answer=secrets.get,
        success=200,
        shape="Secret",
        empty=True,
        code="ERR_SECRET_GET",
    ),
    Operation(
        id="getConfiguration",
        summary="The items of a configuration store.",
        method="GET",
        path="configuration/{configurationStore}",
        query=("appID", "key"),
        answer=configuration.get,
        success=200,
        shape="Items",
        code="ERR_CONFIGURATION_GET",
        versions=_SINCE_ALPHA,
    ),
    Operation(
        id="subscribeConfiguration",
        summary="Have changes posted to the program's port, at `configuration/STORE/KEY`.",
        method="GET",
        path="configuration/{configurationStore}/subscribe",
        query=("appID", "key"),
        answer=configuration.subscribe,
        success=200,
        shape="Subscribed",
        code="ERR_CONFIGURATION_SUBSCRIBE",
        versions=_SINCE_ALPHA,
    ),
    Operation(
        id="unsubscribeConfiguration",
        summary="End a subscription.",
        method="GET",
        path="configuration/{configurationStore}/{subscriptionId}/unsubscribe",
        query=("appID",),
        answer=configuration.unsubscribe,
        success=200,
        shape="Unsubscribed",
        code="ERR_CONFIGURATION_UNSUBSCRIBE",
        versions=_SINCE_ALPHA,
    ),
    *(
        Operation(
            id="converse",
            summary="Say something to a language model.",
            method="POST",
            path="conversation/{conversationComponent}/converse",
            query=("appID",),
            body=body,
            answer=answer,
            success=200,
            shape="Conversed",
            faults=(408, 413),
            code="ERR_CONVERSATION_INVOKE",
            versions=(version,),
        )
        for version, body, answer in (
            (Version.ALPHA, Body.CONVERSATION, conversation.converse_alpha1),
            (Version.ALPHA2, Body.CONVERSATIONS, conversation.converse_alpha2),
        )
    ),
    Operation(
        id="explainInstance",
        summary="Why an instance is not finished, what happens by itself, and the command that moves it.",
        method="GET",
        path="perdure/v1/instances/{instanceID}/explanation",
        query=("appID",),
        answer=endpoints.explain,
        success=200,
        shape="Explanation",
        faults=(404,),
        versions=(),
    ),
    Operation(
        id="explainAll",
        summary="The unfinished instances by cause, what is wrong first.",
        method="GET",
        path="perdure/v1/explanations",
        query=("appID", "workflowName", "limit", "cursor"),
        answer=endpoints.explain_all,
        success=200,
        shape="Explanations",
        faults=(404,),
        versions=(),
    ),
    Operation(
        id="getHealth",
        summary="Whether the server is ready; with `?appid=`, whether it is that app's too.",
        method="GET",
        path="healthz",
        answer=endpoints.healthz,
        success=204,
        open=True,
    ),
    Operation(
        id="getOutboundHealth",
        summary="Whether programs may begin to use the server.",
        method="GET",
        path="healthz/outbound",
        answer=endpoints.healthz_outbound,
        success=204,
        open=True,
    ),
    Operation(
        id="getLiveness",
        summary="Whether the server answers at all, ready or not: a process that does not should be started again.",
        method="GET",
        path="healthz/live",
        answer=endpoints.healthz_live,
        success=204,
        open=True,
    ),
    Operation(
        id="getScaling",
        summary="How much the app has to do and how much room its nodes have, for what scales them.",
        method="GET",
        path="scaling",
        answer=endpoints.scaling,
        success=200,
        shape="Scaling",
        open=True,
    ),
    Operation(
        id="getMetrics",
        summary="What the server counts of the app, as Prometheus or OpenMetrics text.",
        method="GET",
        path="metrics",
        answer=endpoints.metrics,
        success=200,
        shape="Metrics",
        media="text/plain",
        versions=(),
    ),
    Operation(
        id="getMetadata",
        summary="What the server is, and what clients have attached to it.",
        method="GET",
        path="metadata",
        answer=endpoints.metadata,
        success=200,
        shape="Metadata",
    ),
    Operation(
        id="setMetadata",
        summary="Attach a text to the server. The body is the text.",
        method="PUT",
        path="metadata/{key}",
        body=Body.TEXT,
        answer=endpoints.set_metadata,
        success=204,
        faults=(408, 413),
    ),
    Operation(
        id="shutdown",
        summary="Stop the server, after what is under way.",
        method="POST",
        path="shutdown",
        answer=endpoints.shutdown,
        success=204,
    ),
    Operation(
        id="getOpenAPI",
        summary="This document.",
        method="GET",
        path="openapi.json",
        answer=endpoints.describe,
        success=200,
        shape="Document",
        versions=(),
    ),
)
