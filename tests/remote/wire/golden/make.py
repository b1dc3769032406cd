"""Made the golden files beside it, once, with the messages of the published SDKs; no test runs it.

    python -m venv sdk && sdk/bin/pip install dapr==1.19.0 && sdk/bin/python make.py dapr > dapr.json
    python -m venv sdk && sdk/bin/pip install 'durabletask==1.12.*' && sdk/bin/python make.py microsoft > microsoft.json

Every field of every message is filled: a text with its own path in the SDK's names, so that a test can tell where it
arrives; numbers and times with values of their own. Each message is there filled, with one member of each oneof after
the other, and empty.
"""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor as F

MODULES = {
    "dapr": "dapr.ext.workflow._durabletask.internal.orchestrator_service_pb2",
    "microsoft": "durabletask.internal.orchestrator_service_pb2",
}
DEPTH_MAX = 2
NOT_WRITTEN = {"PropagatedHistory"}
"""Messages that a server may leave out, and Perdure does."""
END_OF_TIME = 253_402_300_799


def oneofs(descriptor: Any) -> list[list[str]]:
    real = [one for one in descriptor.oneofs if not (len(one.fields) == 1 and one.name.startswith("_"))]
    return [[field.name for field in one.fields] for one in real]


class Filler:
    def __init__(self, classes: Any) -> None:
        self.classes = classes
        self.numbers = itertools.count(3)

    def fill(self, message: Any, path: str, chosen: set[str], depth: int = 0) -> Any:
        """Fill every field that is in no oneof, and of each oneof the chosen member."""
        choices = [name for names in oneofs(message.DESCRIPTOR) for name in names]
        for field in message.DESCRIPTOR.fields:
            if field.name in choices and field.name not in chosen:
                continue
            if field.message_type is not None and field.message_type.name in NOT_WRITTEN:
                continue
            self.fill_field(message, field, f"{path}.{field.name}" if path else field.name, depth)
        return message

    def fill_field(self, message: Any, field: Any, path: str, depth: int) -> None:
        repeated = field.is_repeated
        if repeated and field.message_type is not None and field.message_type.GetOptions().map_entry:
            self.fill_map(getattr(message, field.name), field, path)
        elif field.message_type is not None:
            places = [getattr(message, field.name).add() for _ in "ab"] if repeated else [getattr(message, field.name)]
            for place in places:
                self.fill_message(place, path, depth)
        elif repeated:
            getattr(message, field.name).extend([self.scalar(field, f"{path}.{place}") for place in "ab"])
        else:
            setattr(message, field.name, self.scalar(field, path))

    def fill_map(self, place: Any, field: Any, path: str) -> None:
        values = field.message_type.fields_by_name["value"]
        if values.message_type is None:
            place[f"{path}.key"] = f"{path}.value"
            place["ä"] = "🚀"
            return
        place["text"].string_value = path
        place["number"].number_value = 1.5
        place["flag"].bool_value = True
        place["nothing"].null_value = 0
        place["list"].list_value.values.add().string_value = "deep"
        place["map"].struct_value.fields["in"].number_value = -2.0

    def fill_message(self, place: Any, path: str, depth: int) -> None:
        name = place.DESCRIPTOR.name
        if name == "Timestamp":
            place.seconds, place.nanos = END_OF_TIME - next(self.numbers), 999_999_999
        elif name == "Duration":
            place.seconds, place.nanos = next(self.numbers), 500_000_000
        elif name == "HistoryEvent":
            self.fill(place, path, {"eventRaised"}, depth + 1)
            if "executionRewound" not in place.DESCRIPTOR.fields_by_name:
                place.ClearField("router")
        elif name == place.DESCRIPTOR.name and depth >= DEPTH_MAX and name == "TaskFailureDetails":
            place.errorType = path
        else:
            place.SetInParent()
            first = {names[0] for names in oneofs(place.DESCRIPTOR)}
            self.fill(place, path, first, depth + 1)

    def scalar(self, field: Any, path: str) -> Any:
        if field.type == F.TYPE_STRING:
            return path
        if field.type == F.TYPE_BYTES:
            return path.encode()
        if field.type == F.TYPE_BOOL:
            return True
        if field.type == F.TYPE_ENUM:
            return 1
        return next(self.numbers)


def cases(descriptor: Any) -> list[tuple[str, set[str]]]:
    """A case for each member of the oneofs, or one where there is none."""
    choices = oneofs(descriptor)
    if not choices:
        return [("", set())]
    return [(name, {name}) for names in choices for name in names]


def nested(filler: Filler, cls: Any, member: str) -> list[tuple[str, Any]]:
    """An event or action with its body filled, once for each member of the body's own oneofs."""
    made = []
    for inner, chosen in cases(cls.DESCRIPTOR.fields_by_name[member].message_type):
        message = cls()
        getattr(message, member).SetInParent()
        for field in cls.DESCRIPTOR.fields:
            if field.name not in {name for names in oneofs(cls.DESCRIPTOR) for name in names}:
                filler.fill_field(message, field, field.name, 0)
        filler.fill(getattr(message, member), "", chosen)
        made.append((f"{member}.{inner}" if inner else member, message))
    return made


def main(flavour: str) -> None:
    importlib.import_module(MODULES[flavour])
    pool = descriptor_pool.Default()

    def classes(name: str) -> Any:
        for package in ("", "TaskHubSidecarService."):
            try:
                return message_factory.GetMessageClass(pool.FindMessageTypeByName(package + name))
            except KeyError:
                continue
        raise KeyError(name)

    service = pool.FindServiceByName("TaskHubSidecarService")
    filler = Filler(classes)
    out: dict[str, dict[str, str]] = {}

    def keep(name: str, case: str, message: Any) -> None:
        out.setdefault(name, {})[case] = message.SerializeToString(deterministic=True).hex()

    for name in ("HistoryEvent", "WorkflowAction" if flavour == "dapr" else "OrchestratorAction"):
        cls = classes(name)
        for members in oneofs(cls.DESCRIPTOR):
            for member in members:
                for case, message in nested(filler, cls, member):
                    keep(name, case, message)
                empty = cls()
                getattr(empty, member).SetInParent()
                keep(name, f"{member} empty", empty)
    names = {m.input_type.name for m in service.methods} | {m.output_type.name for m in service.methods}
    for name in sorted(names - {"Empty"}):
        cls = classes(name)
        for case, chosen in cases(cls.DESCRIPTOR):
            message = cls()
            for member in chosen:
                if cls.DESCRIPTOR.fields_by_name[member].message_type is not None:
                    getattr(message, member).SetInParent()
            keep(name, case or "filled", filler.fill(message, "", chosen))
        keep(name, "empty", cls())
    json.dump(out, sys.stdout, indent=1, sort_keys=True)


if __name__ == "__main__":
    main(sys.argv[1])
