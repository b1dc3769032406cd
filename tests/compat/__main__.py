"""Makes every environment that these tests run programs in, one after another, so that the tests find them there.

    python -m tests.compat

Exit code 1 if one cannot be made. What is there already stays as it is.
"""

from __future__ import annotations

import subprocess
import sys

from tests.compat import test_actors, test_own_worker, test_pubsub
from tests.compat.agents.apps import PACKAGE
from tests.compat.sdk import every, prepare, python_with


def main() -> int:
    for sdk in (*every(), PACKAGE):
        print(sdk.name, flush=True)
        try:
            prepare(sdk)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{error}\n{(sdk.home / 'compat.log').read_text(errors='replace')}")
            return 1
    for module in (test_actors, test_own_worker, test_pubsub):
        print(module.ENVIRONMENT[0], flush=True)
        python_with(*module.ENVIRONMENT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
