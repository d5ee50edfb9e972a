"""The direction of imports in docs/architecture.md holds."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "chatroom"

# Each part, and the parts of ours that it may import.
MAY_IMPORT = {
    "protocol": set(),
    "hub": {"protocol"},
    "doors": {"hub", "protocol"},
    "stores": {"hub", "protocol"},
    "client": {"protocol"},
    "terminal": {"client", "protocol"},
    "bench": {"client", "protocol", "usage"},
    "observe.py": {"hub", "protocol"},
    "config.py": {"protocol"},
    "announce.py": set(),
    "usage.py": set(),
    "accounts.py": {"config", "hub", "passwords", "protocol", "stores", "terminal", "usage"},
    "passwords.py": {"protocol"},
    "server.py": {"announce", "config", "doors", "hub", "observe", "passwords", "protocol", "stores"},
}
CLIENT = [f"client/{part}.py" for part in ("calls", "core", "errors", "gaps", "inbox", "resume", "session")]
NO_IO = {"asyncio", "socket", "threading", "time", "random", "selectors", "ssl", "os", "uvloop"}
PURE = ["protocol", "hub", *CLIENT, "doors/outbox.py", "doors/pacing.py", "doors/deadlines.py"]


def imports(place: Path) -> set[str]:
    files = [place] if place.suffix else list(place.rglob("*.py"))
    found: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{file} imports relatively"
                found |= {node.module or ""}
    return found


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_direction(part: str) -> None:
    """No part imports what stands above or beside it."""
    own = part.removesuffix(".py")
    ours = {name.split(".")[1] for name in imports(SOURCE / part) if name.startswith("chatroom.")}

    assert ours - {own} <= MAY_IMPORT[part]


@pytest.mark.parametrize("part", PURE)
def test_no_io(part: str) -> None:
    """What is simulated knows no socket, no clock and no randomness."""
    assert not {name.split(".")[0] for name in imports(SOURCE / part)} & NO_IO
