"""What clients ask of instances and are told, as the published SDKs have it."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import Raw

from perdure.codec import JSON, Payload
from perdure.errors import InvalidArgument, MalformedMessage, NotDecodable
from perdure.history.events import Failure, RunCompleted, TurnStarted
from perdure.history.options import Trace
from perdure.remote.requests import (
    AboutInstance,
    InstanceView,
    Pause,
    Purge,
    RaiseEvent,
    Rerun,
    Selection,
    StartInstance,
    Terminate,
    Views,
)
from perdure.remote.wire import instance_answers, instance_requests
from tests.remote.wire.goldens import CODECS, FLAVOURS, SCHEMAS, at, golden

DAPR, MICROSOFT = FLAVOURS
SEVEN = Payload(JSON, None, Raw(b"7"))


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_start_is_read_from_either_flavour(flavour):
    asked = instance_requests.read_start(golden(flavour, "CreateInstanceRequest"))
    assert (asked.instance, asked.name) == ("instanceId", "name")
    assert (asked.version, asked.execution) == ("version.value", "executionId.value")
    assert at(asked, "input") == "input.value"
    assert asked.scheduled_nanos == 999
    assert asked.tags == {"tags.key": "tags.value", "ä": "🚀"}
    assert asked.trace == Trace(
        "parentTraceContext.traceParent", "parentTraceContext.spanID", "parentTraceContext.traceState.value"
    )
    if flavour is DAPR:
        assert (asked.must_be_new, asked.app, asked.replaceable) == (True, "router.targetAppID", None)
    else:
        assert (asked.must_be_new, asked.app, asked.replaceable) == (False, None, frozenset({"completed"}))


def test_a_policy_that_lists_nothing_is_not_none():
    request = SCHEMAS[MICROSOFT].CreateInstanceRequest(name="n")
    assert instance_requests.read_start(request.SerializeToString()).replaceable is None
    request.workflowIdReusePolicy.SetInParent()
    assert instance_requests.read_start(request.SerializeToString()).replaceable == frozenset()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_request_that_can_be_asked_for_is_read_as_it_was(flavour):
    peer = CODECS[flavour].peer
    app = "b" if flavour is DAPR else None
    for write, read, asked in (
        (peer.write_raise, instance_requests.read_raise, RaiseEvent(instance="i", name="n", data=SEVEN, app=app)),
        (
            peer.write_terminate,
            instance_requests.read_terminate,
            Terminate(instance="i", output=SEVEN, recursive=True, app=app),
        ),
        (peer.write_pause, instance_requests.read_pause, Pause(instance="i", reason=SEVEN, app=app)),
        (
            peer.write_start,
            instance_requests.read_start,
            StartInstance(instance="i", name="n", input=SEVEN, version="", scheduled=5, scheduled_nanos=7, app=app),
        ),
        (peer.write_about, instance_requests.read_about, AboutInstance(instance="i", app=app)),
        (peer.write_purge, instance_requests.read_purge, Purge(instances=["i"], recursive=True)),
    ):
        assert read(write(asked)) == asked


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_requests_of_an_sdk_arrive(flavour):
    app = "router.targetAppID" if flavour is DAPR else None
    raised = instance_requests.read_raise(golden(flavour, "RaiseEventRequest"))
    assert (raised.instance, raised.name, at(raised, "data"), raised.app) == ("instanceId", "name", "input.value", app)
    ended = instance_requests.read_terminate(golden(flavour, "TerminateRequest"))
    assert (ended.instance, at(ended, "output"), ended.recursive, ended.app) == (
        "instanceId",
        "output.value",
        True,
        app,
    )
    for name in ("SuspendRequest", "ResumeRequest"):
        paused = instance_requests.read_pause(golden(flavour, name))
        assert (paused.instance, at(paused, "reason"), paused.app) == ("instanceId", "reason.value", app)
    about = instance_requests.read_about(golden(flavour, "GetInstanceRequest"))
    assert (about.instance, about.with_payloads, about.app) == ("instanceId", True, app)


def test_each_call_about_one_instance_finds_its_meaning():
    rewind = instance_requests.read_about(golden(MICROSOFT, "RewindInstanceRequest"))
    assert (rewind.instance, at(rewind, "reason")) == ("instanceId", "reason.value")
    restart = instance_requests.read_about(golden(MICROSOFT, "RestartInstanceRequest"))
    assert (restart.instance, restart.with_new_id) == ("instanceId", True)
    stream = instance_requests.read_about(golden(MICROSOFT, "StreamInstanceHistoryRequest"))
    assert (stream.instance, stream.execution, stream.for_work) == ("instanceId", "executionId.value", True)
    history = instance_requests.read_about(golden(DAPR, "GetInstanceHistoryRequest"))
    assert history == AboutInstance(instance="instanceId")


def test_a_rerun_arrives():
    asked = instance_requests.read_rerun(golden(DAPR, "RerunWorkflowFromEventRequest"))
    assert (asked.source, asked.instance, asked.child) == (
        "sourceInstanceID",
        "newInstanceID",
        "newChildWorkflowInstanceID",
    )
    assert at(asked, "input") == "input.value"
    assert (asked.number > 0, asked.replaces_input) == (True, True)
    assert instance_requests.read_rerun(b"") == Rerun(source="", number=0)


def test_a_purge_of_one_instance_is_read_from_either_flavour():
    dapr = instance_requests.read_purge(golden(DAPR, "PurgeInstancesRequest", "instanceId"))
    assert dapr == Purge(instances=["instanceId"], recursive=True, forced=True, app="router.targetAppID")
    other = instance_requests.read_purge(golden(MICROSOFT, "PurgeInstancesRequest", "instanceId"))
    assert other == Purge(instances=["instanceId"], recursive=True)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_purge_by_selection_arrives(flavour):
    asked = instance_requests.read_purge(golden(flavour, "PurgeInstancesRequest", "purgeInstanceFilter"))
    assert asked.instances == []
    assert asked.selection.statuses == {"completed"}
    assert asked.selection.since % 1_000_000 == 0, "a bound of 999,999,999 nanoseconds is rounded up"
    assert asked.selection.until < asked.selection.since
    assert (asked.seconds_max is None) == (flavour is DAPR)


def test_a_purge_of_many_arrives_and_one_of_nothing_selects_nothing():
    asked = instance_requests.read_purge(golden(MICROSOFT, "PurgeInstancesRequest", "instanceBatch"))
    assert asked.instances == ["instanceBatch.instanceIds.a", "instanceBatch.instanceIds.b"]
    assert not asked.forced, "what is a batch in one flavour is a flag in the other"
    assert instance_requests.read_purge(b"") == Purge(instances=[])


def test_a_peer_purges_one_at_a_time():
    with pytest.raises(InvalidArgument):
        CODECS[DAPR].peer.write_purge(Purge(instances=["a", "b"]))
    assert instance_requests.read_purge(CODECS[DAPR].peer.write_purge(Purge(instances=["a"], forced=True))).forced


def test_a_query_arrives():
    asked = instance_requests.read_query(golden(MICROSOFT, "QueryInstancesRequest"))
    assert asked.statuses == {"completed"}
    assert (asked.prefix, asked.cursor) == ("query.instanceIdPrefix.value", "query.continuationToken.value")
    assert asked.since > asked.until > 0
    assert (asked.limit > 0, asked.with_payloads) == (True, True)
    assert instance_requests.read_query(b"") == Selection()


def test_lists_of_ids_arrive_in_both_spellings():
    every = CODECS[DAPR].read_list(golden(DAPR, "ListInstanceIDsRequest"))
    assert (every.cursor, every.limit > 0, every.statuses) == ("continuationToken", True, frozenset())
    finished = CODECS[MICROSOFT].read_list(golden(MICROSOFT, "ListInstanceIdsRequest"))
    assert (finished.cursor, finished.limit > 0) == ("lastInstanceKey.value", True)
    assert finished.statuses == {"completed"}
    assert finished.finished_since > finished.finished_until > 0
    assert finished.since is None


@pytest.mark.parametrize("cursor", ["", "0"])
def test_a_cursor_that_stands_for_none_is_none(cursor):
    query = SCHEMAS[MICROSOFT].QueryInstancesRequest()
    query.query.continuationToken.value = cursor
    assert instance_requests.read_query(query.SerializeToString()).cursor is None


def test_an_unknown_status_never_widens_a_selection():
    purge = SCHEMAS[MICROSOFT].PurgeInstancesRequest()
    purge.purgeInstanceFilter.runtimeStatus.append(77)
    with pytest.raises(MalformedMessage):
        instance_requests.read_purge(purge.SerializeToString())


def test_a_negative_size_of_a_page_is_none():
    query = SCHEMAS[MICROSOFT].QueryInstancesRequest()
    query.query.maxInstanceCount = -5
    assert instance_requests.read_query(query.SerializeToString()).limit == 0


# -- answers


VIEW = InstanceView(
    instance="i",
    name="n",
    status="failed",
    created=1,
    updated=2,
    version="v",
    scheduled=3,
    started=4,
    finished=5,
    input=SEVEN,
    output=SEVEN,
    custom_status=SEVEN,
    failure=Failure(type="E", message="m", cause=Failure(type="F", message="", non_retryable=True)),
    execution="e",
    parent="p",
    parent_app="a",
    tags={"a": "b"},
)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_instance_is_shown_whole(flavour):
    again = CODECS[flavour].peer.read_view(CODECS[flavour].write_view(VIEW))
    if flavour is MICROSOFT:
        assert again == msgspec.structs.replace(VIEW, started=None, parent_app=None)
    else:
        assert again == VIEW


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_instance_of_an_sdk_is_read(flavour):
    view = CODECS[flavour].peer.read_view(golden(flavour, "GetInstanceResponse"))
    prefix = "workflowState" if flavour is DAPR else "orchestrationState"
    assert view.status == "completed"
    for wire, place in (
        ("instanceId", "instance"),
        ("name", "name"),
        ("version.value", "version"),
        ("input.value", "input"),
        ("output.value", "output"),
        ("customStatus.value", "custom_status"),
        ("failureDetails.errorType", "failure.type"),
        ("executionId.value", "execution"),
        ("parentInstanceId.value", "parent"),
    ):
        assert at(view, place) == f"{prefix}.{wire}"
    assert 0 < view.finished < view.updated < view.created < view.scheduled


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_payloads_are_shown_to_who_asks_for_them(flavour):
    codec = CODECS[flavour]
    assert codec.write_view(VIEW, with_payloads=False) == codec.write_view(
        msgspec.structs.replace(VIEW, input=None, output=None)
    )
    page = SCHEMAS[flavour].parse if flavour is MICROSOFT else SCHEMAS[MICROSOFT].parse
    message = page("QueryInstancesResponse", codec.write_views(Views(views=[VIEW]), with_payloads=False))
    assert not message.workflowState[0].HasField("input")
    assert message.workflowState[0].HasField("customStatus")


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_an_instance_that_does_not_exist_says_so(flavour):
    data = CODECS[flavour].write_view(None)
    assert not SCHEMAS[flavour].parse("GetInstanceResponse", data).exists
    assert CODECS[flavour].peer.read_view(data) is None


@pytest.mark.parametrize(
    "status, suspended, stalled, dapr, microsoft",
    [
        ("pending", False, False, 6, 6),
        ("running", False, False, 0, 0),
        ("running", True, False, 7, 7),
        ("pending", True, False, 7, 7),
        ("running", False, True, 8, 0),
        ("running", True, True, 8, 7),
        ("completed", False, False, 1, 1),
        ("failed", True, True, 3, 3),
        ("canceled", False, False, 4, 4),
        ("terminated", False, False, 5, 5),
    ],
)
def test_one_status_stands_for_all(status, suspended, stalled, dapr, microsoft):
    view = InstanceView(
        instance="i", name="n", status=status, created=1, updated=1, is_suspended=suspended, is_stalled=stalled
    )
    shown = [
        SCHEMAS[flavour].parse("GetInstanceResponse", CODECS[flavour].write_view(view)).workflowState.workflowStatus
        for flavour in FLAVOURS
    ]
    assert shown == [dapr, microsoft]


@pytest.mark.parametrize("status, is_suspended, is_stalled", [(7, True, False), (8, False, True)])
def test_what_holds_an_instance_is_read_beside_its_status(status, is_suspended, is_stalled):
    message = SCHEMAS[DAPR].GetInstanceResponse(exists=True)
    message.workflowState.workflowStatus = status
    view = CODECS[DAPR].peer.read_view(message.SerializeToString())
    assert (view.status, view.is_suspended, view.is_stalled) == ("running", is_suspended, is_stalled)


def test_pages_tell_where_they_go_on():
    microsoft, dapr = SCHEMAS[MICROSOFT], SCHEMAS[DAPR]
    for cursor in (None, "c"):
        page = Views(views=[VIEW, VIEW], ids=["a", "", "b"], cursor=cursor)
        states = microsoft.parse("QueryInstancesResponse", CODECS[MICROSOFT].write_views(page))
        assert len(states.workflowState) == 2
        finished = microsoft.parse("ListInstanceIdsResponse", CODECS[MICROSOFT].write_ids(page))
        every = dapr.parse("ListInstanceIDsResponse", CODECS[DAPR].write_ids(page))
        assert list(finished.instanceIds) == list(every.instanceIds) == ["a", "", "b"]
        assert (
            states.continuationToken.value
            == finished.lastInstanceKey.value
            == every.continuationToken
            == (cursor or "")
        )
        assert states.HasField("continuationToken") == every.HasField("continuationToken") == (cursor is not None)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("count, is_complete", [(0, True), (3, True), (500, False)])
def test_a_purge_tells_its_count(flavour, count, is_complete):
    data = instance_answers.write_purged(count, is_complete)
    message = SCHEMAS[flavour].parse("PurgeInstancesResponse", data)
    assert message.HasField("isComplete")
    assert (message.deletedInstanceCount, message.isComplete.value) == (count, is_complete)
    assert CODECS[flavour].peer.read_purged(data) == count


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_history_is_shown_with_its_end(flavour):
    codec = CODECS[flavour]
    frames = codec.history([TurnStarted(at=1), RunCompleted(status="completed", output=SEVEN)], "i", "e")
    events = [codec.read_event(data) for data in codec.peer.read_history(instance_answers.write_events(frames))]
    assert [type(event) for event in events] == [TurnStarted, RunCompleted]


def test_the_id_of_a_new_instance_is_told():
    data = instance_answers.write_id("i")
    assert CODECS[DAPR].peer.read_started(data) == "i"
    assert SCHEMAS[DAPR].parse("RerunWorkflowFromEventResponse", data).newInstanceID == "i"
    assert SCHEMAS[MICROSOFT].parse("RestartInstanceResponse", data).instanceId == "i"


def test_a_token_that_is_given_back_arrives():
    for name in ("AbandonOrchestrationTaskRequest", "AbandonActivityTaskRequest", "AbandonEntityTaskRequest"):
        assert instance_requests.read_abandon(golden(MICROSOFT, name)) == "completionToken"


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_packed_payload_is_not_shown(flavour):
    packed = msgspec.structs.replace(VIEW, output=Payload("json+zstd", None, Raw(b'"x"')))
    with pytest.raises(NotDecodable):
        CODECS[flavour].write_view(packed)
    assert CODECS[flavour].write_view(packed, with_payloads=False)


def test_flavours_have_a_codec_each():
    assert [CODECS[flavour].flavour for flavour in FLAVOURS] == list(FLAVOURS)
    assert repr(CODECS[DAPR]) == "<Codec of dapr>"
