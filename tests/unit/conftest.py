"""Where the tests' messages are kept: each test that uses `kept` runs with every store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chatroom.hub import past
from disk import Disk
from fakes import FakeChat


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A folder for stores."""
    disk = Disk(tmp_path)
    yield disk
    for store in list(disk.stores):
        disk.stop(store)


@pytest.fixture(params=["memory", "file", "file alone"])
def kept(request: pytest.FixtureRequest, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where messages are kept: in memory, in a file too, or in the file alone, from which all is read then."""
    if request.param != "memory":
        monkeypatch.setattr(FakeChat, "store", staticmethod(disk.store))
    if request.param == "file alone":
        monkeypatch.setattr(past, "ROOM", 0)
        monkeypatch.setattr(past, "DIRECT", 0)
    return str(request.param)
