"""Lets `client.py` and `server.py` run from a checkout, with any Python on the machine.

The package is taken from `src`, its libraries from wherever they are: installed for this Python, or in the
`.venv` that `make` has set up.
"""

import importlib.util
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def prepare() -> None:
    """Make `chatroom` importable; start anew with another Python if only that has its libraries."""
    sys.path.insert(0, str(HERE / "src"))
    if all(importlib.util.find_spec(library) for library in ("click", "msgspec", "prompt_toolkit")):
        return
    python = HERE / ".venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    if python.exists() and Path(sys.prefix) != HERE / ".venv":
        os.execv(python, [str(python), *sys.argv])  # noqa: S606 - our own interpreter, our own arguments
    sys.exit(f"The libraries of chatroom are missing: run 'make install' in {HERE} once.")
