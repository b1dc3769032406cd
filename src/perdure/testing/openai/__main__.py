"""Runs the fake model as a process: `python -m perdure.testing.openai --port 8001`."""

from __future__ import annotations

import argparse
import contextlib
import sys

from perdure.testing.openai.server import FakeOpenAI


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m perdure.testing.openai", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--model", action="append", default=[], help="a name that /models lists; may be given again")
    asked = parser.parse_args()
    with (
        FakeOpenAI(host=asked.host, port=asked.port, models=tuple(asked.model) or ("fake",)) as model,
        contextlib.suppress(KeyboardInterrupt),
    ):
        sys.stdout.write(f"{model.url}\n")  # the first line, which whoever started it waits for
        sys.stdout.flush()
        model.join()


if __name__ == "__main__":
    main()
