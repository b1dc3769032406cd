"""Compiles the messages of the wire, so that nobody needs protoc to use or to test Perdure.

python scripts/protos.py            write src/perdure/remote/wire/messages.binpb
python scripts/protos.py --check    write nothing; exit code 1 if the file is not what the .proto files say
"""

import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc  # type: ignore[import-untyped]

PLACE = Path(__file__).resolve().parent.parent / "src" / "perdure" / "remote" / "wire"
COMPILED = PLACE / "messages.binpb"
SOURCES = (
    "actors.proto",
    "configuration.proto",
    "conversation.proto",
    "dapr.proto",
    "microsoft.proto",
    "pubsub.proto",
    "runtime.proto",
    "scaler.proto",
    "secrets.proto",
    "state.proto",
)


def compiled() -> bytes:
    """The serialized FileDescriptorSet of the sources, without what they import. Raises SystemExit if one is wrong."""
    imports = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory(prefix="perdure-protos-") as folder:
        out = Path(folder, "set")
        if protoc.main(["protoc", f"-I{PLACE}", f"-I{imports}", f"--descriptor_set_out={out}", *SOURCES]) != 0:
            raise SystemExit("protoc refuses the sources; its messages are above")
        return out.read_bytes()


def is_current() -> bool:
    """Whether the committed set says what the sources say; compared as messages, because compilers order bytes."""
    return FileDescriptorSet.FromString(COMPILED.read_bytes()) == FileDescriptorSet.FromString(compiled())


def main() -> None:
    """Write the set, or check it."""
    if sys.argv[1:] != ["--check"]:
        COMPILED.write_bytes(compiled())
        print(f"{COMPILED} written")
    elif not is_current():
        raise SystemExit(f"{COMPILED} is not what the .proto files say; run python scripts/protos.py")


if __name__ == "__main__":
    main()
