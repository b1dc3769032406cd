"""What others have published and Perdure is measured with or beside: the environments that these programs run in."""

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CACHE = HERE.parent.parent / ".ci" / "out" / "bench"
SDK = HERE / "program.py"
SDK_PINS = HERE / "requirements.txt"
DBOS = HERE / "dbos_program.py"
DBOS_PINS = HERE / "dbos.txt"
SETUP_SECONDS = 300.0


def command(role: str, address: str) -> list[str]:
    """How to run the `durabletask` SDK as a `worker` or `client` of the server at an address.

    Its environment is made if needed. Raises CalledProcessError if it cannot be made.
    """
    return [str(_python("durabletask", SDK_PINS)), str(SDK), role, address]


def dbos(address: str, *numbers: int) -> list[str]:
    """How to run workflows on DBOS with its state in the PostgreSQL database at an address; the rest as `command`."""
    return [str(_python("dbos", DBOS_PINS)), str(DBOS), address, *map(str, numbers)]


def _python(name: str, pins: Path) -> Path:
    digest = hashlib.sha256(pins.read_bytes() + repr(sys.version_info[:2]).encode()).hexdigest()[:12]
    folder = CACHE / f"{name}-{digest}"
    python, installed = folder / "bin" / "python", folder / "installed"
    if not installed.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # pip comes from outside, because some systems ship a venv without it
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--requirement", str(pins)]
        for setup in ([sys.executable, "-m", "venv", "--without-pip", str(folder)], pip):
            subprocess.run(setup, check=True, timeout=SETUP_SECONDS, stdout=sys.stderr)
        installed.touch()
    return python
