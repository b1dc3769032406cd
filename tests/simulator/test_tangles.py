"""Five hundred tangles of tasks: what a live run asked for, fresh code in a fresh process asks for again."""

import os
import subprocess
import sys

import msgspec
import pytest

from perdure.sdk.run import Diverged
from perdure.testing import tangles

TANGLES = 500
REPLAY = """
import sys, msgspec
from perdure.testing import tangles
failed = []
for story in msgspec.json.decode(sys.stdin.buffer.read(), type=list[tangles.Story]):
    try:
        tangles.replay(story)
    except Exception as error:
        failed.append(f"{story.seed}: {error!r}")
print("\\n".join(failed))
"""


@pytest.mark.long
@pytest.mark.timeout(180)
def test_a_cold_replay_elsewhere_asks_for_the_same():
    stories, failed = [], []
    for seed in range(TANGLES):
        story, violations = tangles.live(seed)
        stories.append(story)
        failed += [f"{seed}: {violation}" for violation in violations]
    assert not failed, "\n".join(failed[:10])
    assert sum(len(story.segments) for story in stories) > 5 * TANGLES
    for hashes in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", REPLAY],
            input=msgspec.json.encode(stories),
            env={**os.environ, "PYTHONHASHSEED": hashes},
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode().strip() == ""


def test_a_turn_that_is_missing_from_the_history_is_noticed():
    story, _ = tangles.live(4)
    assert len(story.segments) > 10
    with pytest.raises(Diverged):
        tangles.replay(msgspec.structs.replace(story, segments=[story.segments[0], *story.segments[2:]]))
