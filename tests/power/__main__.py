"""Replays one power cut: python -m tests.power TRACE --cut AT --seed N [--keep FOLDER]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.power.cut import DAMAGES, Cut, place, survivors
from tests.power.trace import read
from tests.power.trial import describe, judged


def main() -> int:
    """Exit code 1 if something is lost or damaged."""
    parser = argparse.ArgumentParser(prog="python -m tests.power", description="Replay one power cut.")
    parser.add_argument("trace", type=Path, help="what a failed test has kept")
    parser.add_argument("--cut", type=int, required=True, help="after how many entries of the trace")
    parser.add_argument("--seed", type=int, required=True, help="what becomes of the changes not synced")
    parser.add_argument("--keep", type=Path, help="also put the surviving files, untouched, in this new folder")
    given = parser.parse_args()
    trace, cut = read(given.trace), Cut(given.cut, given.seed)
    if given.keep:
        given.keep.mkdir(parents=True)
        ((_, files),) = survivors(trace, [cut])
        place(files, given.keep)
    ((_, verdict),) = judged(trace, [cut])
    print(f"{cut}, {DAMAGES[cut.seed % len(DAMAGES)].__name__}: {describe(verdict)}")
    return 0 if verdict.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
