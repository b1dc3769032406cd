"""Fuzzes the HTTP API from its own document with schemathesis, against a real engine on a file.

    python -m tests.fuzz.http_api                   the kept seeds, which are those of CI
    python -m tests.fuzz.http_api --fresh 100       and as many that nobody has tried: `make soak` does
    python -m tests.fuzz.http_api --seed 7 --examples 1000

CI tries the same seeds each time, because a change is to be judged by what it changes and not by the luck of a draw.
A seed that fails is printed; add it to seeds/http_api.txt, so that it is run ever after. Exit code 0: nothing is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tests.remote.http.desk import served

SEEDS = Path(__file__).parent / "seeds" / "http_api.txt"
EXAMPLES = 50
"""Requests that are tried for each operation, in each phase."""
PROCESSES = 2
"""Seeds at once: schemathesis keeps one core busy, and the server that it asks hardly a fifth of another."""
TOKEN = "secret"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,allow_header_conformance,ignored_auth,positive_data_acceptance"
)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.http_api", description="Fuzzes the HTTP API.")
    parser.add_argument("--seed", type=int, action="append", help="this one alone (may be given again)")
    parser.add_argument("--fresh", type=int, default=0, help="how many new ones after the kept ones")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="requests for each operation and phase")
    given = parser.parse_args(arguments)
    seeds = given.seed or [*kept_seeds(), *(secrets.randbelow(2**32) for _ in range(given.fresh))]
    print("seeds", *seeds, flush=True)
    one = partial(fuzz, examples=given.examples)
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        for seed, (code, told) in zip(seeds, pool.map(one, seeds), strict=True):
            if code:
                print(told)
                print(f"seed {seed} found something; add it to {SEEDS.name} once it is mended")
                return code
            print(f"seed {seed} found nothing", flush=True)
    return 0


def kept_seeds() -> list[int]:
    """Those that have found something, and a few to begin with."""
    lines = SEEDS.read_text(encoding="utf-8").splitlines()
    return [int(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]


def fuzz(seed: int, examples: int, around: Callable[[Any], Any] = lambda gateway: gateway) -> tuple[int, str]:
    """Run one seed against a server of its own; the exit code of schemathesis, and what it has printed.

    `around` makes the server's gateway from the engine's, to put a fault in.
    """
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_fuzz(Path(folder), seed, examples, around))


async def _fuzz(folder: Path, seed: int, examples: int, around: Callable[[Any], Any]) -> tuple[int, str]:
    logging.getLogger("perdure").setLevel(logging.ERROR)  # because it starts workflows that no worker has, by thousands
    async with served(f"sqlite:///{folder}/fuzz.db", token=TOKEN, around=around) as (browser, desk):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "schemathesis.cli", "run", f"{browser.base_url}/openapi.json"),
            *(f"--seed={seed}", f"--max-examples={examples}", f"--checks={CHECKS}"),
            *("--phases=examples,coverage,fuzzing,stateful", "--generation-database=none"),
            *(f"--header=dapr-api-token:{TOKEN}", "--no-color", "--warnings=off"),
            cwd=folder,  # because it keeps notes where it runs
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        told, _ = await process.communicate()
        await desk.client.workflow("echo").with_options(id="after").start("all")
        assert await desk.client.get("after").result(30) == "all"
        return process.returncode or 0, told.decode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
