"""Fuzzes whatever reads bytes of others, with atheris, which looks for inputs that take new ways through the code.

    make fuzz                          for FUZZ_SECONDS, in an environment that has atheris
    .venv-fuzz/bin/python -m tests.fuzz.codecs --seconds 600

It begins with the messages that the published SDKs have made and with the kept seeds. An input that a reader neither
reads nor refuses with MalformedMessage is left in .ci/out/fuzz; keep it among the seeds, because test_codecs.py offers
those in every run of the tests. Exit code 0: nothing is wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

SEEDS = Path(__file__).parent / "seeds" / "codecs"
FOUND = Path(__file__).parents[2] / ".ci" / "out" / "fuzz"
BYTES_MAX = 4096
"""Length of an input: what is wrong with long messages is wrong with short ones, but for their size."""
INPUT_SECONDS = 10
MEMORY_MB = 2048


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.codecs", description="Fuzzes the codecs.")
    parser.add_argument("--seconds", type=int, default=300)
    given = parser.parse_args(arguments)
    try:
        import atheris
    except ModuleNotFoundError:
        print("atheris is not installed here; run `make fuzz`", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["perdure.remote", "perdure.codec", "perdure.history"]):
        from tests.remote.wire.readers import SAMPLES, offer

    FOUND.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, sample in enumerate(SAMPLES):
            (Path(corpus) / f"sample-{number}").write_bytes(sample)
        bounds = [f"-max_total_time={given.seconds}", f"-max_len={BYTES_MAX}", f"-timeout={INPUT_SECONDS}"]
        bounds += [f"-rss_limit_mb={MEMORY_MB}", f"-artifact_prefix={FOUND}/", "-print_final_stats=1", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *bounds, corpus, str(SEEDS)], offer)
        atheris.Fuzz()  # leaves the process, with another code than 0 if it has found something
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
