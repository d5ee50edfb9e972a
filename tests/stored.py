"""Where the tests' messages are kept: real files for chats on fake loops."""

import itertools
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chatroom.hub import past
from chatroom.stores.sqlite import SqliteStore
from chatroom.stores.writer import Barrier
from fakes import FakeChat


class Disk:
    """A folder in which chats keep their messages."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores: list[SqliteStore] = []
        self._numbers = itertools.count()

    def chat(self, file: str = "chat.db", *, now: float = 1000.0, **limits: Any) -> FakeChat:
        """Return a chat that keeps its messages in this file."""
        return FakeChat(now=now, store=partial(self.store, file=file), **limits)

    def store(self, chat: FakeChat, file: str = "") -> SqliteStore:
        """Return a store in this file, or in one of its own; a turn of the loop ends when it is idle."""
        path = self.folder / (file or f"{next(self._numbers)}.db")
        days = chat.limits.history_days
        store = SqliteStore(path, loop=chat.loop, clock=chat.loop.time, note=chat.observer.note, days=days)
        self.stores.append(store)
        chat.loop.settle = partial(self.settle, store)
        return store

    def settle(self, store: SqliteStore) -> None:
        """Wait until the store has done all that it was asked for."""
        done = threading.Event()

        def wait() -> Iterator[None]:
            while store.reader.searches:
                yield
            done.set()

        if store.writing.is_alive():
            store.writer.queue.put(
                Barrier(lambda: store.reader.queue.put(lambda: store.reader.searches.append(wait())))
            )
            assert done.wait(100)

    def sweep(self, store: SqliteStore) -> None:
        """Wait until the store has swept."""
        self.settle(store)
        while store.writer.sweeper.is_due():
            self.settle(store)

    def crash(self, file: str = "chat.db", to: str = "crashed.db") -> str:
        """Copy a file as it would be if the process ended now; return the name."""
        for end in ("", "-wal"):
            shutil.copy(self.folder / (file + end), self.folder / (to + end))
        return to

    def stop(self, store: SqliteStore, last: int = 0) -> None:
        """Close a store; this was the last number given out."""
        self.stores.remove(store)
        store.close(last, 100)


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
