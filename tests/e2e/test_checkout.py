"""The root scripts run from a checkout, with whatever Python is there."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which nothing has been installed."""
    for name in ("checkout.py", "client.py"):
        shutil.copy(PROJECT / name, tmp_path)
    return tmp_path


def run_without_libraries(checkout: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            "import sys; sys.path[0:0] = ['.']; import checkout; checkout.prepare()",
        ],
        capture_output=True,
        text=True,
        cwd=checkout,
        check=False,
    )


def test_nothing_installed(checkout: Path) -> None:
    """Without the libraries, one line says what to do."""
    ended = run_without_libraries(checkout)

    assert ended.returncode == 1
    assert "make install" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_installed_beside(checkout: Path) -> None:
    """The checkout's own Python is used if there is one, with the same arguments and exit status."""
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "its own Python: $*"\nexit 7\n')
    python.chmod(0o755)

    ended = run_without_libraries(checkout)

    assert ended.stdout.startswith("its own Python:")
    assert ended.returncode == 7
