"""The compiled messages are what the .proto files say, and clash with nobody's."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from perdure.errors import MalformedMessage
from perdure.remote.wire import schema
from perdure.remote.wire.schema import DAPR_SCHEMA, MICROSOFT_SCHEMA, RUNTIME_SCHEMA, SCALER_SCHEMA
from scripts import protos


def test_the_compiled_messages_are_what_the_sources_say():
    assert protos.is_current(), "run python scripts/protos.py"


def test_a_change_of_a_source_is_noticed(tmp_path, monkeypatch):
    for name in protos.SOURCES:
        text = (protos.PLACE / name).read_text()
        (tmp_path / name).write_text(text + ("\nmessage New { string a = 1; }\n" if name == "dapr.proto" else ""))
    monkeypatch.setattr(protos, "PLACE", tmp_path)
    assert not protos.is_current()


CLASHES = """
    from google.protobuf import descriptor_pool, descriptor_pb2

    def add(pool, name, package, message, field):
        file = descriptor_pb2.FileDescriptorProto(name=name, package=package, syntax="proto3")
        file.message_type.add(name=message).field.add(
            name=field, number=1, type=descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
            label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL)
        file.service.add(name="TaskHubSidecarService")
        pool.AddSerializedFile(file.SerializeToString())

    pool = descriptor_pool.Default()
    add(pool, "orchestrator_service.proto", "", "HistoryEvent", "theirs")
    add(pool, "dapr.proto", "perdure.wire.dapr", "HistoryEvent", "theirs")
    add(pool, "microsoft.proto", "perdure.wire.microsoft", "HistoryEvent", "theirs")
    add(pool, "dapr/proto/runtime/v1/dapr.proto", "dapr.proto.runtime.v1", "Dapr", "theirs")
    add(pool, "runtime.proto", "perdure.wire.runtime", "GetWorkflowRequest", "theirs")

    from perdure.history.events import TurnStarted
    from perdure.remote.wire import DAPR, MICROSOFT, runtime
    from perdure.remote.wire.schema import DAPR_SCHEMA

    for codec in (DAPR, MICROSOFT):
        data = codec.event(TurnStarted(at=5), "i", "e")
        assert codec.read_event(data[1:]) == TurnStarted(at=5)
    assert [f.name for f in pool.FindMessageTypeByName("perdure.wire.dapr.HistoryEvent").fields] == ["theirs"]
    assert DAPR_SCHEMA.HistoryEvent.DESCRIPTOR.file.pool is not pool
    print("side by side")
"""


def test_messages_of_the_same_names_in_the_process_do_not_clash():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CLASHES)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "side by side\n"), done.stderr


@pytest.mark.parametrize("one", [DAPR_SCHEMA, MICROSOFT_SCHEMA, RUNTIME_SCHEMA, SCALER_SCHEMA])
def test_a_message_that_is_not_there_is_an_error(one):
    assert not one.has("Nothing")
    with pytest.raises(AttributeError, match="no message Nothing"):
        one.Nothing()


def test_a_message_beyond_the_bound_is_refused(monkeypatch):
    monkeypatch.setattr(schema, "MESSAGE_BYTES_MAX", 10)
    with pytest.raises(MalformedMessage, match="at most 10"):
        DAPR_SCHEMA.parse("HistoryEvent", b"\x00" * 11)
