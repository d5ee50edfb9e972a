"""What outlives the server's process, in a real file: through the TCP door, with a fake loop.

What holds for every store is in `test_history` and `test_sessions`, which run with each.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from errno import EPERM
from pathlib import Path
from typing import Any

import pytest

from chatroom.hub import past, reading
from chatroom.hub.ports import AHEAD
from chatroom.hub.waiting import PATIENCE
from chatroom.stores import file, reader, restore, sqlite, sweeper
from chatroom.stores.file import APPLICATION, StoreError
from chatroom.stores.reader import Reader
from chatroom.stores.sqlite import SqliteStore
from chatroom.stores.sweeper import PAUSE
from chatroom.stores.writer import Barrier
from fakes import FakeChat, FakeClient
from stored import Disk


def come(chat: FakeChat, name: str, **extra: object) -> tuple[FakeClient, dict[str, Any]]:
    """Connect somebody who can come back; return it and its welcome."""
    client = chat.connect()
    client.ask(code="hello", name=name, features=["resume"], **extra)
    chat.loop.turn()
    welcome, *_ = client.take()
    return client, welcome


def ask(client: FakeClient, **request: object) -> dict[str, Any]:
    """Return the answer."""
    client.ask(**request)
    client.loop.turn()
    answer: dict[str, Any] = client.take()[-1]
    return answer


def say(client: FakeClient, content: str, **extra: object) -> dict[str, Any]:
    """Say something with a `ref`; return the answer."""
    code = "outgoing" if "to" in extra else "outgoing_broadcast"
    return ask(client, **{"code": code, "content": content, "ref": content, **extra})


def read(client: FakeClient, **query: object) -> list[str]:
    """Return the contents of the page that answers this."""
    page = ask(client, code="history", **query)
    return [message["content"] for message in page["messages"]]


def go_on(disk: Disk, chat: FakeChat, way: str, **options: Any) -> FakeChat:
    """Return the chat that comes after this one, which was killed, or stopped."""
    disk.settle(disk.stores[-1])
    if way == "killed":
        return disk.chat(disk.crash(), **options)
    disk.stop(disk.stores[-1], chat.hub.house.next - 1)
    return disk.chat(**options)


both = pytest.mark.parametrize("way", ["killed", "stopped"])


@both
def test_all_is_there_again(disk: Disk, way: str) -> None:
    """Messages of the lobby, of a room and to one alone, with their ids and times; bursts; whose they are."""
    chat = disk.chat()
    (ann, welcome), _ = come(chat, "ann"), come(chat, "bob")
    ask(ann, code="join", room="Böse")
    sent = [say(ann, "1"), say(ann, "2 \0 ☃ \U0001f600", room="böse"), say(ann, "3", to="bob")]
    ann.send(b'{"code":"outgoing_broadcast","content":"burst"}\n' * 100)
    chat.loop.turn()
    before = ask(ann, code="history", limit=200), ask(ann, code="history", room="böse")

    chat = go_on(disk, chat, way, now=2000.0)

    ann, back = come(chat, "ann", session=welcome["session"], after=sent[0]["id"])
    assert back["recovered"]
    assert back["rooms"] == ["Böse"]
    ask(ann, code="join", room="böse")
    assert before == (ask(ann, code="history", limit=200), ask(ann, code="history", room="böse"))
    assert len(before[0]["messages"]) == 101
    assert before[1]["messages"][0]["content"] == "2 \0 ☃ \U0001f600"
    assert read(ann, **{"with": "bob"}) == ["3"]
    assert [message["code"] for message in (ask(ann, code="forget", id=one["id"]) for one in sent)] == [
        "forgotten"
    ] * 3


@both
def test_what_was_missed(disk: Disk, way: str) -> None:
    """Who comes back after a restart gets what was said behind the last that it has, as it was sent before."""
    chat = disk.chat()
    (ann, _), (bob, welcome) = come(chat, "ann"), come(chat, "bob")
    first = say(ann, "1")
    ask(ann, code="join", room="a")
    ask(bob, code="join", room="a")
    bob.take()
    for words, place in (("2", {}), ("3", {"to": "bob"}), ("4", {"room": "a"})):
        say(ann, words, **place)
    heard = bob.take()

    chat = go_on(disk, chat, way)

    bob = chat.connect()
    bob.ask(code="hello", name="bob", features=["resume"], session=welcome["session"], after=first["id"])
    bob.ask(code="join", room="a", after=first["id"])
    chat.loop.turn()
    back, *lobby, joined, last = bob.take()
    assert back["recovered"]
    assert joined["recovered"]
    assert [*lobby, last] == heard


@both
def test_nothing_was_said_where_somebody_was(disk: Disk, way: str) -> None:
    """Who comes back after a restart is recovered there, too."""
    chat = disk.chat()
    (ann, _), (bob, welcome) = come(chat, "ann"), come(chat, "bob")
    first = say(ann, "1", to="bob")
    ask(bob, code="join", room="a")
    say(ann, "2", to="bob")

    chat = go_on(disk, chat, way)

    bob = chat.connect()
    bob.ask(code="hello", name="bob", features=["resume"], session=welcome["session"], after=first["id"])
    bob.ask(code="join", room="a", after=first["id"])
    chat.loop.turn()
    back, missed, joined = bob.take()
    assert (back["recovered"], missed["content"], joined["recovered"]) == (True, "2", True)


def test_what_is_missing_of_rooms_that_are_not_in_memory(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a restart, with more rooms than fit: what was said there up to the last. Nobody is told less."""
    monkeypatch.setattr(restore, "ROOMS", 2 * past.LINE)
    chat = disk.chat()
    (ann, _), (_, welcome) = come(chat, "ann"), come(chat, "bob")
    ids = [say(ann, "1")["id"]]
    for room in ("a", "b"):
        ask(ann, code="join", room=room)
        ids.append(say(ann, room, room=room)["id"])

    chat = go_on(disk, chat, "stopped")

    assert chat.hub.house.past.floor == int(ids[1], 16)
    for after, is_recovered in zip(ids, [False, True], strict=False):
        _, back = come(chat, "bob", session=welcome["session"], after=after)
        assert back["recovered"] is is_recovered


@both
def test_a_retry_after_a_restart(disk: Disk, way: str) -> None:
    """The last 256 of a session are known by their `ref`: they are answered as before, and not said twice."""
    chat = disk.chat()
    ann, welcome = come(chat, "ann")
    sent = [say(ann, str(number)) for number in range(300)]

    chat = go_on(disk, chat, way)

    ann, _ = come(chat, "ann", session=welcome["session"])
    assert [say(ann, str(number)) for number in range(44, 300)] == sent[44:]
    assert say(ann, "43")["id"] > sent[-1]["id"]
    assert len(read(ann, limit=200)) == 200
    assert read(ann, find="299") == ["299"]


@both
@pytest.mark.parametrize("now", [100.0, 2000.0])
def test_ids_grow_over_a_restart(disk: Disk, way: str, now: float) -> None:
    """None comes twice, with the clock set back too; a server that was stopped well goes on where it was."""
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    last = int(say(ann, "1")["id"], 16)

    chat = go_on(disk, chat, way, now=now)

    assert mark_of(disk.stores[-1]) > last + AHEAD // 2
    ann, _ = come(chat, "ann2")
    again = int(say(ann, "2")["id"], 16)
    assert again > last
    if way == "stopped":
        assert again - last < 3 or again == int(now * 1_000_000) + 1
    assert read(ann) == ["1", "2"]
    assert mark_of(disk.stores[-1]) > again


def test_the_mark_is_ahead_of_ids(disk: Disk) -> None:
    """It is raised before ids reach it, while the clock goes on, and also if it stands still."""
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    for hours in range(5):
        chat.loop.now = 1000.0 + hours * 3600
        say(ann, f"{hours}")
        assert mark_of(disk.stores[0]) > int(say(ann, f"{hours} again")["id"], 16)

    chat.hub.house.next = mark_of(disk.stores[0]) - 5
    for number in range(10):
        last = say(ann, f"the clock stands still {number}")
    assert mark_of(disk.stores[0]) > int(last["id"], 16)


def mark_of(store: SqliteStore) -> int:
    [(mark,)] = store.writer._connection.execute("SELECT number FROM mark").fetchall()
    return int(mark)


@both
def test_sessions_expire_after_a_restart(disk: Disk, way: str) -> None:
    """They have as long as they always have, from then on; a session that ended is not known any more."""
    chat = disk.chat()
    (_, welcome), (_, other), (eve, third) = come(chat, "ann"), come(chat, "bob"), come(chat, "eve")
    eve.ask(code="quit")
    chat.loop.turn()

    chat = go_on(disk, chat, way)

    assert come(chat, "eve", session=third["session"])[1]["session"] != third["session"]
    chat.loop.pass_time(PATIENCE - 1)
    assert come(chat, "ann", session=welcome["session"])[1]["session"] == welcome["session"]
    chat.loop.pass_time(2)
    assert come(chat, "bob", session=other["session"])[1]["session"] != other["session"]


@both
@pytest.mark.parametrize("has_gone", [False, True])
def test_a_name_that_another_has_taken(disk: Disk, way: str, *, has_gone: bool) -> None:
    """After a restart it is still not the first one's, and messages to it never reach that one."""
    chat = disk.chat()
    (eve, other), (bob, welcome) = come(chat, "eve"), come(chat, "bob")
    for client in (eve, bob):
        client.transport.vanish(None)
    chat.loop.turn()
    if has_gone:
        chat.join("Bob").ask(code="quit")
        chat.loop.turn()
    else:
        come(chat, "Bob", session=other["session"])

    chat = go_on(disk, chat, way)

    ann, _ = come(chat, "ann")
    assert say(ann, "for the second", to="bob")["code"] == ("error" if has_gone else "sent")
    if not has_gone:
        second, _ = come(chat, "Bob", session=other["session"])
        assert read(second, **{"with": "ann"}) == ["for the second"]
        second.ask(code="quit")
        chat.loop.turn()
    first, back = come(chat, "bob", session=welcome["session"])
    assert back["session"] == welcome["session"]
    assert read(first, **{"with": "*"}) == []
    assert say(ann, "for the first", to="bob")["code"] == "sent"


def test_direct_messages_go_with_their_ends(disk: Disk) -> None:
    """When neither end can come back; those of base clients are never stored."""
    chat = disk.chat()
    (ann, _), (bob, _), (eve, _) = come(chat, "ann"), come(chat, "bob"), come(chat, "eve")
    base, other = chat.join("base"), chat.join("other")
    say(ann, "1", to="bob")
    say(ann, "2", to="eve")
    say(bob, "3", to="eve")
    say(base, "4", to="ann")
    say(base, "5", to="other")
    assert stored(disk) == ["1", "2", "3", "4"]

    for client, rest in ((ann, ["1", "2", "3"]), (bob, ["2", "3"]), (base, ["2", "3"]), (eve, [])):
        client.ask(code="quit")
        chat.loop.turn()
        chat.loop.now += PAUSE
        say(other, f"{len(rest)}")  # behind which it has swept
        chat.loop.turn()
        assert stored(disk, "receiver IS NOT NULL") == rest


def test_what_a_crash_left_of_direct_messages(disk: Disk) -> None:
    """Those whose ends have gone are swept when the file is opened."""
    chat = disk.chat()
    (ann, _), _ = come(chat, "ann"), come(chat, "bob")
    say(ann, "1", to="bob")
    copy = disk.crash()
    with sqlite3.connect(disk.folder / copy) as connection:
        connection.execute("DELETE FROM sessions")

    chat = disk.chat(copy)
    say(chat.join("eve"), "x")
    chat.loop.turn()

    assert stored(disk, "receiver IS NOT NULL", copy) == []


def stored(disk: Disk, where: str = "1", name: str = "chat.db") -> list[str]:
    """Return the contents of what is in the file."""
    with sqlite3.connect(disk.folder / name) as connection:
        rows = connection.execute(f"SELECT content FROM messages WHERE {where} ORDER BY number").fetchall()
    connection.close()
    return [content for (content,) in rows]


@pytest.mark.parametrize("kind", ["lobby", "room", "direct"])
def test_what_is_taken_back_is_erased(disk: Disk, kind: str) -> None:
    """Its text is in none of the files any more; that it was there stays, so that it may be asked again."""
    chat = disk.chat()
    ann, welcome = come(chat, "ann")
    ask(ann, code="join", room="a")
    place: dict[str, str] = {"lobby": {}, "room": {"room": "a"}, "direct": {"to": "ann"}}[kind]
    secrets = [f"secret number {number} " + "x" * 200 * number for number in range(40)]
    sent = [say(ann, secret, ref=f"{number}", **place) for number, secret in enumerate(secrets)]
    for secret in secrets:
        assert found_in(disk.folder, secret[:18].encode())

    for number in range(0, 40, 3):
        assert ask(ann, code="forget", id=sent[number]["id"])["code"] == "forgotten"

    for number, secret in enumerate(secrets):
        assert found_in(disk.folder, secret[:18].encode()) == bool(number % 3)
    chat = go_on(disk, chat, "stopped")
    ann, _ = come(chat, "ann", session=welcome["session"])
    assert ask(ann, code="forget", id=sent[3]["id"])["code"] == "forgotten"
    assert say(ann, "again", ref="3")["id"] == sent[3]["id"]
    rest = [secret for number, secret in enumerate(secrets) if number % 3]
    assert read(ann, limit=200) == (rest if kind == "lobby" else [])


def found_in(folder: Path, text: bytes) -> bool:
    return any(text in each.read_bytes() for each in folder.iterdir())


def test_nothing_secret_is_stored(disk: Disk) -> None:
    """Of what a session comes back with, only a hash."""
    chat = disk.chat()
    _, welcome = come(chat, "ann")
    disk.settle(disk.stores[0])

    assert stored_sessions(disk)
    assert not found_in(disk.folder, welcome["session"].encode())


def stored_sessions(disk: Disk) -> int:
    connection = sqlite3.connect(disk.folder / "chat.db")
    [(count,)] = connection.execute("SELECT count(*) FROM sessions").fetchall()
    connection.close()
    return int(count)


@pytest.mark.parametrize("before", ["empty", "copied"])
def test_only_its_owner_may_read_the_file(disk: Disk, before: str) -> None:
    """The database, and what SQLite has beside it; also if the file was there, and others could read it."""
    if before == "copied":
        say(disk.chat().join("ann"), "x")
        copied = disk.crash()
        disk.stop(disk.stores[0])
        for end in ("", "-wal"):
            (disk.folder / (copied + end)).rename(disk.folder / ("chat.db" + end))
            (disk.folder / ("chat.db" + end)).chmod(0o644)
    else:
        (disk.folder / "chat.db").touch(0o644)
    chat = disk.chat()
    say(chat.join("ann"), "x")

    assert {each.name: each.stat().st_mode & 0o777 for each in disk.folder.iterdir()} == {
        "chat.db": 0o600,
        "chat.db-shm": 0o600,
        "chat.db-wal": 0o600,
    }


def test_a_file_that_others_can_read(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """If that cannot be changed, the file is refused; and the rights of one that is not ours stay."""

    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(EPERM, "Operation not permitted")

    notes = disk.folder / "notes"
    notes.write_text("x" * 4096)
    notes.chmod(0o644)
    with pytest.raises(StoreError, match="no database of chatroom"):
        disk.chat("notes")
    assert notes.stat().st_mode & 0o777 == 0o644

    (disk.folder / "chat.db").touch(0o644)
    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(
        StoreError, match=r"chat.db: others can read it, which cannot be changed: Operation not"
    ):
        disk.chat()


def test_one_server_at_a_time(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another waits a while for it, as it may be about to end; then it is refused."""
    chat = disk.chat()
    waits: list[float] = []
    monkeypatch.setattr(file, "pause", waits.append)
    with pytest.raises(StoreError, match=r"^\S*chat\.db: another server uses this file$"):
        disk.chat()
    assert sum(waits) == pytest.approx(file.PATIENCE)

    def end(_: float) -> None:
        disk.stop(disk.stores[0])

    monkeypatch.setattr(file, "pause", end)
    say(chat.join("ann"), "x")
    assert read(disk.chat().join("bob")) == ["x"]


def nothing_of_ours(path: Path) -> None:
    path.write_bytes(b"Dear diary,\n" * 1000)


def somebody_elses(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")


def of_a_newer_chatroom(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute("PRAGMA user_version = 3")


def damaged(path: Path) -> None:
    file.opened(path).close()
    with path.open("r+b") as database:
        for page in range(1, 12):
            database.seek(4096 * page)
            database.write(b"\xff" * 100)


def cut_off(path: Path) -> None:
    file.opened(path).close()
    with path.open("r+b") as database:
        database.truncate(4096 * 3 + 10)


def a_folder(path: Path) -> None:
    path.mkdir()


def a_pipe(path: Path) -> None:
    os.mkfifo(path, 0o644)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (nothing_of_ours, "this file is no database of chatroom"),
        (somebody_elses, "this file is no database of chatroom"),
        (of_a_newer_chatroom, "a newer chatroom has written this file: version 3; 2 is known"),
        (damaged, "damaged|malformed"),
        (cut_off, "damaged|malformed"),
        (a_folder, "this is no regular file"),
        (a_pipe, "this is no regular file"),
    ],
)
def test_files_that_are_refused(disk: Disk, make: Callable[[Path], None], why: str) -> None:
    """In one line that says why; they are left as they are."""
    path = disk.folder / "chat.db"
    make(path)
    before, mode = path.is_file() and path.read_bytes(), path.stat().st_mode

    with pytest.raises(StoreError, match=rf"^\S*chat\.db: .*({why})") as refused:
        disk.chat()

    assert "\n" not in str(refused.value)
    assert (before, mode) == (path.is_file() and path.read_bytes(), path.stat().st_mode)
    assert not (disk.folder / "chat.db-wal").exists()


def test_a_full_disk(disk: Disk) -> None:
    """What cannot be stored is delivered, and refused for the time being; a retry stores it, under its id.

    The log says when it begins and when it ends, once each. Nothing else stops.
    """
    chat = disk.chat()
    (ann, welcome), (bob, _) = come(chat, "ann"), come(chat, "bob")
    [store] = disk.stores
    writer = store.writer._connection
    [(pages,)] = writer.execute("PRAGMA page_count").fetchall()
    writer.execute(f"PRAGMA max_page_count = {pages}")
    words = [f"{number} " + "x" * 5000 for number in range(3)]

    refused = [say(ann, word, ref=word[:1]) for word in words]

    assert {(one["code"], one["error"], one["temporary"]) for one in refused} == {("error", "not_stored", True)}
    heard = bob.take()
    assert [message["content"] for message in heard] == words
    assert read(bob) == words
    [line] = [line for line in chat.observer.lines if "messages" in line]
    assert line.startswith(f"{disk.folder}/chat.db: messages cannot be stored (database or disk is full)")
    writer.execute("PRAGMA max_page_count = 1000000")
    again = [say(ann, word, ref=word[:1]) for word in [*words, *words]]
    assert [one["id"] for one in again] == [message["id"] for message in heard] * 2
    [_, line] = [line for line in chat.observer.lines if "messages" in line]
    assert line == f"{disk.folder}/chat.db: messages are stored again"
    assert bob.take() == []
    assert stored(disk) == words

    chat = go_on(disk, chat, "killed")
    ann, _ = come(chat, "ann", session=welcome["session"])
    assert [say(ann, word, ref=word[:1])["id"] for word in words] == [message["id"] for message in heard]


def test_sessions_on_a_full_disk(disk: Disk) -> None:
    """What is to be known of them is stored as soon as it can be."""
    chat = disk.chat()
    ann, welcome = come(chat, "ann")
    [store] = disk.stores
    disk.settle(store)
    store.writer._connection.execute("PRAGMA query_only = 1")
    bob, other = come(chat, "bob")
    ask(ann, code="join", room="a")
    store.writer._connection.execute("PRAGMA query_only = 0")
    say(bob, "x")

    chat = go_on(disk, chat, "killed")
    assert come(chat, "ann", session=welcome["session"])[1]["rooms"] == ["a"]
    assert come(chat, "bob", session=other["session"])[1]["session"] == other["session"]


def test_a_second_try_while_the_first_is_under_way(disk: Disk) -> None:
    """It is answered by the same commit."""
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    for _ in range(3):
        ann.ask(code="outgoing_broadcast", content="x", ref="1")
    chat.loop.turn()

    answers = ann.take()
    assert [answer["code"] for answer in answers] == ["sent"] * 3
    assert len({answer["id"] for answer in answers}) == 1
    assert stored(disk) == ["x"]


def test_who_leaves_gets_the_answer_first(disk: Disk) -> None:
    """Its name is free at once; its connection ends when all that it sent is stored."""
    chat = disk.chat()
    ann = chat.join("ann")
    ann.ask(code="outgoing_broadcast", content="x", ref="1")
    ann.ask(code="quit")
    chat.loop.settle = lambda: None
    chat.loop.turn()
    chat.join("ann")
    assert not ann.transport.eof_written

    disk.settle(disk.stores[0])
    chat.loop.turn()

    assert [answer["code"] for answer in ann.take()] == ["sent"]
    assert ann.transport.eof_written


def test_more_than_the_disk_takes(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much may wait to be stored, and no more: what comes then is refused."""
    monkeypatch.setattr(sqlite, "WAITING", 20_000)
    chat = disk.chat()
    ann = chat.join("ann")
    chat.loop.settle = lambda: None
    for number in range(10):
        ann.ask(code="outgoing_broadcast", content="x" * 5000, ref=f"{number}")
    chat.loop.turn()
    disk.settle(disk.stores[0])
    chat.loop.turn()

    answers = ann.take()
    assert sorted(answer["code"] for answer in answers) == ["error"] * 7 + ["sent"] * 3
    assert any("the disk is too slow" in line for line in chat.observer.lines)


def test_pages_from_the_file(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through memory and file, in both directions, each message is there once, whatever the page's size.

    So are those that are under way to the file when they are asked for.
    """
    monkeypatch.setattr(past, "ROOM", 10)
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    for number in range(20):
        say(ann, str(number))
    is_held, may_go_on = threading.Event(), threading.Event()

    def hold() -> None:
        is_held.set()
        assert may_go_on.wait(100)

    disk.stores[0].writer.queue.put(Barrier(hold))
    assert is_held.wait(100)
    for number in range(20, 50):
        ann.ask(code="outgoing_broadcast", content=str(number))
    ann.ask(code="history", limit=200)  # 20 to 39 are neither in memory nor stored yet
    may_go_on.set()
    chat.loop.turn()
    everything = [str(number) for number in range(50)]
    assert [message["content"] for message in ann.take()[-1]["messages"]] == everything

    for size in (1, 7, 10, 49, 50, 51):
        for way in ("before", "after"):
            words: list[str] = []
            query: dict[str, object] = {} if way == "before" else {"after": "0" * 16}
            while True:
                page = ask(ann, code="history", limit=size, **query)
                contents = [message["content"] for message in page["messages"]]
                words = [*contents, *words] if way == "before" else [*words, *contents]
                if page["complete"]:
                    break
                query = {way: page["messages"][0 if way == "before" else -1]["id"]}
            assert words == everything


def test_a_large_page_from_the_file(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends where it is full: what is small enough, but comes later, is not in it."""
    monkeypatch.setattr(past, "ROOM", 5)
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    words = [*(f"{number} " + "x" * 15_000 for number in range(20)), *map(str, range(5))]
    for number, content in enumerate(words):
        say(ann, content, ref=f"{number}")

    page = ask(ann, code="history", after="0" * 16, limit=200)

    assert not page["complete"]
    assert [message["content"] for message in page["messages"]] == words[: 256 * 1024 // 15_150]


@pytest.mark.parametrize("query", [{}, {"find": "nothing"}])
def test_the_cost_of_a_page(disk: Disk, monkeypatch: pytest.MonkeyPatch, query: dict[str, str]) -> None:
    """In steps of SQLite: the same, however much the room holds."""
    monkeypatch.setattr(reading, "SEARCHED", 100)
    chat = disk.chat()
    ann = chat.join("ann")
    say(ann, "first")
    [store] = disk.stores
    chat.hub.house.past.rooms[""].floor = 10_000  # there may be something behind that
    steps = [0]

    def count() -> int:
        steps[-1] += 1
        return 0

    store.reader._connection.set_progress_handler(count, 1)
    for some in range(3):
        store.writer._connection.execute(
            """
            WITH RECURSIVE each(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM each WHERE n < 500)
            INSERT INTO messages (number, time, session, sender, room, addressee, content)
            SELECT ? + n, 0, 1, 'ann', '', '', 'x' FROM each
            """,
            (some * 500,),
        )
        steps.append(0)
        ask(ann, code="history", **query)
    assert steps[2] == steps[3]  # the first has SQLite read the schema, too


def test_a_page_of_what_is_long_in_json(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many messages it may have, what is read for it at a time is bounded."""
    monkeypatch.setattr(past, "ROOM", 5)
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    for _ in range(210):
        ann.ask(code="outgoing_broadcast", content="\x01" * 10_000)
        chat.loop.turn()
    disk.stores[0].reader._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 3_000_000)

    for query in ({"after": "0" * 16}, {"find": "\x01"}):
        page = ask(ann, code="history", limit=200, **query)
        assert len(page["messages"]) == 4
        assert not page["complete"]


def test_a_search_waits_for_all_else(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """What else is read comes between its steps, which keep nobody from cutting off the log."""
    monkeypatch.setattr(reader, "STEP", 10)
    chat = disk.chat()
    ann = chat.join("ann")
    for number in range(100):
        say(ann, str(number))
    one = Reader(file.connect(disk.folder / "chat.db"), pytest.fail)
    search = reading.Query("", 1, None, None, None, 50, b"9")
    found = reading.Page(search)
    done: list[str] = []
    is_busy: list[int] = []

    def ended() -> None:
        done.append("search")
        one.queue.put(None)

    def cut_off() -> Iterator[None]:
        writing = file.connect(disk.folder / "chat.db")
        writing.execute("PRAGMA busy_timeout = 0")
        while one.searches:
            say(ann, "more")
            is_busy.append(writing.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0])
            yield
        writing.close()

    one.queue.put(lambda: one.fill(found, search, ended))
    one.queue.put(lambda: one.searches.append(cut_off()))
    page = search._replace(find=None)
    for _ in range(3):
        one.queue.put(lambda: one.fill(reading.Page(page), page, lambda: done.append("page")))
    one.run()

    assert done == ["page", "page", "page", "search"]
    assert [message.content for message in found.oldest_first()] == [
        n for n in map(str, range(100)) if "9" in n
    ]
    assert is_busy
    assert not any(is_busy)


def test_many_rooms_are_not_all_read_at_start(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rooms with little in them, as many as memory holds are read, the rooms themselves counted."""
    monkeypatch.setattr("chatroom.stores.restore.ROOMS", 4 * (past.LINE + past.POST + 100))
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    for number in range(10):
        ask(ann, code="join", room=f"{number}")
        say(ann, "x", room=f"{number}", ref=f"{number}")
        ask(ann, code="leave", room=f"{number}")

    chat = go_on(disk, chat, "stopped")

    assert list(chat.hub.house.past.rooms) == ["", "9", "8", "7", "6"]
    ann = chat.join("eve")
    ask(ann, code="join", room="0")
    assert read(ann, room="0") == ["x"]


def test_nobody_reads_while_the_log_is_cut_off(disk: Disk) -> None:
    """Who takes back a message does not wait until there is, by chance, no search under way."""
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    say(ann, "1")
    [store] = disk.stores
    is_reading, is_over = threading.Event(), threading.Event()
    seen: list[bool] = []

    def search() -> Iterator[None]:
        while not is_over.is_set():
            is_reading.set()
            for _ in range(100):
                store.reader._connection.execute("SELECT number FROM messages").fetchall()
            is_reading.clear()
            yield

    def trace(statement: str) -> None:
        if "checkpoint" in statement:
            seen.append(is_reading.is_set())

    store.writer._connection.set_trace_callback(trace)
    store.reader.queue.put(lambda: store.reader.searches.append(search()))
    assert is_reading.wait(100)
    for _ in range(20):
        assert store.writer._cut_off() is None
    is_over.set()

    assert seen == [False] * 20


def test_a_file_that_cannot_be_read(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has what is in memory; what is not there is refused for the time being, and the log says why."""
    monkeypatch.setattr(past, "ROOM", 5)
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    first = say(ann, "0")["id"]
    for number in range(1, 10):
        say(ann, str(number))
    disk.stores[0].reader._connection.close()

    page = ask(ann, code="history")

    assert [message["content"] for message in page["messages"]] == ["5", "6", "7", "8", "9"]
    assert not page["complete"]
    for request in ({"code": "history", "after": first}, {"code": "forget", "id": first}):
        error = ask(ann, **request)
        assert (error["error"], error["temporary"]) == ("unavailable", True)
    assert any("the history cannot be read" in line for line in chat.observer.lines)
    assert say(ann, "10")["code"] == "sent"


@pytest.mark.parametrize("request_", [{"code": "history"}, {"code": "forget", "id": "0" * 15 + "1"}])
def test_a_bug_in_reading(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, request_: dict[str, str]
) -> None:
    """It is logged with its traceback, and refuses that one request; what comes then is read."""
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    with monkeypatch.context() as patch:
        patch.setattr(Reader, "_read", lambda *_: 1 / 0)
        assert ask(ann, **request_)["error"] == "unavailable"
    assert "ZeroDivisionError" in caplog.text

    assert ask(ann, **request_).get("error") in {None, "not_allowed"}


@pytest.mark.parametrize("kind", ["room", "direct"])
def test_a_search_in_steps(disk: Disk, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """It looks through so many, and says where to go on."""
    monkeypatch.setattr(reading, "SEARCHED", 20)
    monkeypatch.setattr(past, "ROOM", 5)
    monkeypatch.setattr(past, "DIRECT", 5)
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    for number in range(50):
        say(
            ann,
            f"{number} \0 here" if number in {3, 4, 30} else f"{number}",
            **({} if kind == "room" else {"to": "ann"}),
        )
    place = {} if kind == "room" else {"with": "ann"}

    steps: list[list[str]] = []
    query: dict[str, object] = {}
    while True:
        page = ask(ann, code="history", find="HERE", **place, **query)
        steps.append([message["content"][:2] for message in page["messages"]])
        if page["complete"]:
            break
        query = {"before": page["before"]}
    assert steps == [["30"], [], ["3 ", "4 "]]
    assert read(ann, find="here", limit=1, **place) == ["30 \0 here"]


def test_a_crowded_room_is_swept(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many of a room are kept; the oldest go, a few at a time."""
    monkeypatch.setattr(sweeper, "ROOM", 100)
    monkeypatch.setattr(sweeper, "SLACK", 20)
    monkeypatch.setattr(sweeper, "STEP", 7)
    chat = disk.chat()
    ann = chat.join("ann")
    ask(ann, code="join", room="quiet")
    say(ann, "first", room="quiet")
    for number in range(160):
        say(ann, str(number))
    disk.sweep(disk.stores[0])

    kept = stored(disk, "room = ''")
    assert kept == [str(number) for number in range(160 - len(kept), 160)]
    assert 100 <= len(kept) < 120
    assert stored(disk, "room = 'quiet'") == ["first"]


def test_old_messages_are_swept(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 90 days, a few at a time; whatever the room."""
    monkeypatch.setattr(sweeper, "STEP", 3)
    chat = disk.chat()
    (ann, _) = come(chat, "ann")
    ask(ann, code="join", room="a")
    for number in range(10):
        say(ann, f"{number}")
        say(ann, f"{number} to ann", to="ann")
        say(ann, f"{number} in a", room="a")
    chat.loop.now += 89 * 86_400
    say(ann, "later")
    assert len(stored(disk)) == 31
    chat.loop.now += 2 * 86_400
    say(ann, "now")
    disk.sweep(disk.stores[0])

    assert stored(disk) == ["later", "now"]


def test_nothing_is_kept(disk: Disk) -> None:
    """With 0 days: neither in the file nor in memory. What was sent is confirmed all the same."""
    chat = disk.chat(history_days=0)
    ann, welcome = come(chat, "ann")
    ask(ann, code="join", room="a")
    for place in ({}, {"to": "ann"}, {"room": "a"}):
        assert say(ann, "x", **place)["code"] == "sent"
    assert (read(ann), read(ann, **{"with": "*"}), read(ann, room="a")) == ([], [], [])
    assert chat.hub.house.past.size <= past.LINE
    assert stored(disk) == []

    chat = go_on(disk, chat, "killed", history_days=0)
    assert come(chat, "ann", session=welcome["session"])[1]["session"] == welcome["session"]


def test_sessions_while_the_disk_stalls(disk: Disk) -> None:
    """Of what changes of a session, one change waits, and the last state: nobody fills the memory with them."""
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    [store] = disk.stores
    stalled, go_on = threading.Event(), threading.Event()
    store.writer.queue.put(Barrier(lambda: (stalled.set(), go_on.wait(100))))  # type: ignore[arg-type, func-returns-value]
    assert stalled.wait(100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat.loop, "settle", lambda: None)
        for number in range(100):
            ask(ann, code="join", room=f"{number}")
            ask(ann, code="leave", room=f"{number}")
        ask(ann, code="join", room="last")
        waiting = store.writer.queue.qsize()
    go_on.set()
    chat.loop.turn()

    assert waiting == 1
    assert rooms_of(store) == ['["last"]']


def test_sessions_that_could_not_be_stored(disk: Disk) -> None:
    """Of what is tried again, each session has one change."""
    chat = disk.chat()
    ann, _ = come(chat, "ann")
    [store] = disk.stores
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.writer, "_commit", lambda _: 1 / 0)
        for number in range(10):
            ask(ann, code="join", room=f"{number}")
            ask(ann, code="leave", room=f"{number}")
        ask(ann, code="join", room="last")
        assert len(store.writer._owed) == 1

    ask(ann, code="join", room="other")
    assert rooms_of(store) == ['["last","other"]']


def rooms_of(store: SqliteStore) -> list[str]:
    found = store.reader._connection.execute("SELECT rooms FROM sessions").fetchall()
    return [rooms for (rooms,) in found]


@pytest.mark.parametrize(
    "request_", [{"code": "forget", "id": "f" * 16}, {"code": "history", "before": "8" + "0" * 15}]
)
def test_ids_that_sqlite_does_not_know(
    disk: Disk, caplog: pytest.LogCaptureFixture, request_: dict[str, str]
) -> None:
    """An id of 64 bits is none of ours, which have 63: it is refused, and is no bug."""
    chat = disk.chat()
    ann, _ = come(chat, "ann")

    assert ask(ann, **request_)["error"] in {"not_allowed", "bad_request"}
    assert not caplog.records
