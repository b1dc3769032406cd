"""The messages of the protocol as far as this program needs them, made by hand from field names, numbers and types."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2, wrappers_pb2

PACKAGE = "recorded"
_SCALARS = {"str": 9, "bytes": 12, "int": 5, "uint": 13, "bool": 8}
_FILES = {"Text": "google.protobuf.StringValue", "Time": "google.protobuf.Timestamp"}
_MESSAGES = {
    "Empty": "",
    "Instance": "id:1:str execution:2:Text",
    "Failure": "type:1:str message:2:str stack:3:Text inner:4:Failure",
    # What a worker gets.
    "Open": "turns:1:int activities:2:int entities:3:int dapr_capabilities:4:int* capabilities:10:int*",
    "Item": "turn:1:Turn activity:2:Activity token:10:str",
    "Turn": "instance:1:str execution:2:Text past:3:Event* new:4:Event* streamed:6:bool",
    "Activity": "name:1:str version:2:Text input:3:Text instance:4:Instance number:5:int",
    # Events.
    "Event": (
        "id:1:int at:2:Time started:3:Started ended:4:Ended terminated:5:Terminated scheduled:6:Named"
        " completed:7:Result failed:8:Failed child_created:9:ChildCreated child_completed:10:Result"
        " child_failed:11:Failed timer_created:12:Timer timer_fired:13:Fired turn_started:14:Empty"
        " sent:16:Empty raised:17:Raised suspended:21:Empty resumed:22:Empty"
    ),
    "Started": "name:1:str input:3:Text",
    "Ended": "status:1:int result:2:Text failure:3:Failure",
    "Terminated": "input:1:Text",
    "Named": "name:1:str",
    "Result": "number:1:int result:2:Text",
    "Failed": "number:1:int failure:2:Failure",
    "ChildCreated": "instance:1:str name:2:str",
    "Timer": "fires:1:Time name:2:str",
    "Fired": "fires:1:Time number:2:int",
    "Raised": "name:1:str input:2:Text",
    # What a worker answers.
    "TurnDone": "instance:1:str actions:2:Action* status:3:Text token:4:str",
    "Action": "id:1:int call:2:Call child:3:Child timer:4:StartTimer complete:6:Complete",
    "Call": "name:1:str version:2:Text input:3:Text key:5:str",
    "Child": "instance:1:str name:2:str version:3:Text input:4:Text",
    "StartTimer": "fires:1:Time name:2:Text origin_timer:3:Empty origin_event:4:Named",
    "Complete": "status:1:int result:2:Text carried:5:Event* failure:6:Failure",
    "ActivityDone": "instance:1:str number:2:int result:3:Text failure:4:Failure token:5:str",
    "HistoryOf": "instance:1:str execution:2:Text for_item:3:bool",
    "Events": "events:1:Event*",
    # What a client asks.
    "Create": "instance:1:str name:2:str version:3:Text input:4:Text",
    "Created": "instance:1:str",
    "Get": "instance:1:str payloads:2:bool",
    "Got": "exists:1:bool state:2:State",
    "State": "instance:1:str name:2:str status:4:int input:8:Text output:9:Text custom:10:Text failure:11:Failure",
    "Raise": "instance:1:str name:2:str input:3:Text",
    "Terminate": "instance:1:str output:2:Text recursive:3:bool",
    "Steer": "instance:1:str reason:2:Text",
    "Purge": "instance:1:str recursive:3:bool",
    "Purged": "count:1:int",
    "Query": "query:1:Filter",
    "Filter": "page:5:int token:6:Text prefix:7:Text payloads:8:bool",
    "Queried": "states:1:State* token:2:Text",
    "ListIds": "token:1:str page:2:uint",
    "Ids": "ids:1:str* token:2:str",
}
"""Every message: `name:number:type`, a star for repeated ones. Text and Time are protobuf's own wrappers."""


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="recorded.proto", package=PACKAGE, syntax="proto3")
    file.dependency.extend([wrappers_pb2.DESCRIPTOR.name, timestamp_pb2.DESCRIPTOR.name])
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            _add(message, *field.split(":"))
    pool = descriptor_pool.Default()  # because Timestamp and StringValue are there
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _MESSAGES
    }


def _add(message: Any, name: str, number: str, kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=3 if kind.endswith("*") else 1)
    kind = kind.rstrip("*")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = 11
        field.type_name = "." + _FILES.get(kind, f"{PACKAGE}.{kind}")


MESSAGES = _build()


def make(message: str, /, **fields: Any) -> Any:
    """A message; a str or None for a Text is wrapped, None left out."""
    made = MESSAGES[message]()
    for name, value in fields.items():
        if value is None:
            continue
        field = made.DESCRIPTOR.fields_by_name[name]
        if isinstance(value, str) and field.message_type is not None:
            getattr(made, name).value = value
            getattr(made, name).SetInParent()
        elif field.message_type is not None and not isinstance(value, list):
            getattr(made, name).CopyFrom(value)
            getattr(made, name).SetInParent()
        elif isinstance(value, list):
            getattr(made, name).extend(value)
        else:
            setattr(made, name, value)
    return made


def text_of(message: Any, name: str) -> str | None:
    """The value of a Text, None if it is absent."""
    return getattr(message, name).value if message.HasField(name) else None
