"""Chaos for as long as one likes: python -m tests.chaos [--store postgres] [--first SEED] [--seeds N] [--seconds S]"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.chaos.nemesis import ALL
from tests.chaos.stores import STORES
from tests.chaos.trial import LEASE_SECONDS, trial


def main() -> int:
    """Exit code 1 at the first seed that finds something; its ledgers and logs are kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Nodes on a store, under a nemesis.")
    parser.add_argument("--store", choices=sorted(STORES), action="append", help="all of them, if none is named")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--seconds", type=float, default=60.0, help="of one seed on one store")
    parser.add_argument("--harm", action="append", choices=ALL, help="only these, as often as it is given")
    parser.add_argument("--harm-seconds", type=float, default=1.5, help="between two of them")
    parser.add_argument("--work-seconds", type=float, default=0.15, help="between two new workflows")
    parser.add_argument("--lease", type=float, default=LEASE_SECONDS, help="the time of a lease, in seconds")
    given = parser.parse_args()
    for seed in range(given.first, given.first + given.seeds):
        for name in given.store or STORES:
            folder = Path(tempfile.mkdtemp(prefix=f"perdure-chaos-{name}-{seed}-"))
            with STORES[name]() as store:
                verdict = asyncio.run(
                    trial(
                        store,
                        folder,
                        seed,
                        seconds=given.seconds,
                        kinds=given.harm or ALL,
                        harm_seconds=given.harm_seconds,
                        work_seconds=given.work_seconds,
                        lease_seconds=given.lease,
                    )
                )
            print(f"{name}, {verdict}", flush=True)
            if verdict.found:
                print(f"ledgers and logs: {folder}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
