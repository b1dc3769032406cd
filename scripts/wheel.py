"""Builds the wheel and proves that it works with its declared dependencies alone.

Installs it into an empty directory and imports it there with an interpreter that sees nothing else of this
environment, so that a dependency missing from pyproject.toml, or a file missing from the wheel, shows.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

IMPORT_ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
import perdure, pathlib
home = pathlib.Path(perdure.__file__).parent
assert home.is_relative_to(sys.argv[1]), f"imported {home}, not the wheel"
assert (home / "py.typed").exists(), "the wheel lacks py.typed"
assert (home.parent / "perdure_pytest.py").exists(), "the wheel lacks the pytest plugin"
assert (home / "remote" / "wire" / "messages.binpb").exists(), "the wheel lacks the messages of the wire"
ui = home / "remote" / "dashboard"
assert (ui / "templates" / "base.html").exists(), "the wheel lacks the pages of the dashboard"
assert (ui / "static" / "htmx.min.js").exists(), "the wheel lacks what the dashboard serves"
print("the wheel imports with", sorted(d.name for d in pathlib.Path(sys.argv[1]).glob("*.dist-info")))
"""


def main() -> None:
    """Build, install apart, import alone."""
    with tempfile.TemporaryDirectory(prefix="perdure-wheel-") as place:
        built, installed = Path(place, "built"), Path(place, "installed")
        _pip("wheel", "--no-deps", "--wheel-dir", str(built), str(ROOT))
        (wheel,) = built.glob("perdure-*.whl")
        _pip("install", "--target", str(installed), str(wheel))
        # -I and -S: no PYTHONPATH, no current directory, no site-packages.
        subprocess.run([sys.executable, "-I", "-S", "-c", IMPORT_ALONE, str(installed)], check=True)


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


if __name__ == "__main__":
    main()
