"""Kills a real server again and again while people chat, and compares what they were told with what is there.

    python tests/kills.py [KILLS] [SEED]

Each person sends messages with a `ref` to the lobby, to a room and to one another; whoever loses the connection
comes back, fills the gap, and sends again what was not answered. No answer means unknown, never failed. Where
something may be mounted, the file is on a small disk that is full now and then.
"""

import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from conftest import ServerProcess

PEOPLE = 8
ROOM = "room"
FULL = 0.3
"""How often the disk is full for a while between two kills."""

Message = dict[str, Any]


class Person:
    """Somebody who keeps a record of all that was sent, answered and heard."""

    def __init__(self, name: str, dice: random.Random, everybody: "list[Person]") -> None:
        self.name = name
        self.everybody = everybody
        self.session = ""
        self.sent: dict[str, str] = {}
        """The id of each content that was confirmed."""
        self.open: dict[str, Message] = {}
        """What was sent and not answered, by content."""
        self.unknown: set[str] = set()
        """What was refused as not stored, or not answered in a session that the server has forgotten."""
        self.heard: dict[str, dict[str, str]] = {"lobby": {}, "direct": {}, ROOM: {}}
        """Contents by place and id."""
        self.faults: list[str] = []
        self.is_here = asyncio.Event()
        self.has_all_answers = asyncio.Event()
        self._dice = dice
        self._number = 0
        self._answers: dict[str, asyncio.Future[Message]] = {}

    async def live(self, port: int, *, may_send: asyncio.Event) -> None:
        """Come, or come back, and chat until the connection breaks."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        listening = asyncio.create_task(self._listen(reader))
        try:
            await self._come(writer)
            self.is_here.set()
            await self._chat(writer, may_send)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self.is_here.clear()
            writer.close()
            await listening

    async def ask(self, writer: asyncio.StreamWriter, **request: object) -> Message:
        """Return the answer. Raises `ConnectionError` if none comes."""
        ref = f"ask {len(self._answers)} {self._number}"
        answer = self._answers[ref] = asyncio.get_running_loop().create_future()
        writer.write(json.dumps({**request, "ref": ref}).encode() + b"\n")
        found: Message = await answer
        return found

    async def history(self, writer: asyncio.StreamWriter, after: str, **place: str) -> list[Message]:
        """Return all behind this id."""
        found: list[Message] = []
        while True:
            page = await self.ask(
                writer, code="history", after=found[-1]["id"] if found else after, limit=200, **place
            )
            found += page["messages"]
            if page["complete"]:
                return found

    async def _come(self, writer: asyncio.StreamWriter) -> None:
        last = max([*self.heard["lobby"], *self.heard["direct"], "0" * 16])
        came = {"session": self.session, "after": last} if self.session else {}
        welcome = await self.ask(writer, code="hello", name=self.name, features=["resume"], **came)
        if welcome["code"] != "welcome":
            self.faults.append(f"{self.name} is not let in: {welcome}")
        if welcome["session"] != self.session:
            self.session = welcome["session"]
            self.unknown |= self.open.keys()
            self.open.clear()
        if welcome.get("recovered") is False:
            self._take(await self.history(writer, last), "lobby")
            self._take(await self.history(writer, last, **{"with": "*"}), "direct")
        last = max([*self.heard[ROOM], "0" * 16])
        joined = await self.ask(writer, code="join", room=ROOM, after=last)
        if not joined["recovered"]:
            self._take(await self.history(writer, last, room=ROOM), ROOM)
        for request in self.open.values():  # once more, in the same order
            writer.write(json.dumps(request).encode() + b"\n")

    async def _chat(self, writer: asyncio.StreamWriter, may_send: asyncio.Event) -> None:
        while True:
            await may_send.wait()
            for _ in range(self._dice.choice([1, 1, 3, 20])):
                self._number += 1
                content = f"{self.name} {self._number}"
                request = {"code": "outgoing_broadcast", "content": content, "ref": content}
                if (kind := self._dice.random()) < 0.3:
                    request["room"] = ROOM
                elif kind < 0.5:
                    request |= {"code": "outgoing", "to": self._dice.choice(self.everybody).name}
                self.open[content] = request
                writer.write(json.dumps(request).encode() + b"\n")
            await writer.drain()
            await asyncio.sleep(self._dice.random() / 20)
            for request in self.open.values():
                if request.pop("refused", None):
                    writer.write(json.dumps(request).encode() + b"\n")

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while line := await reader.readuntil():
                self._hear(json.loads(line))
                if self.open:
                    self.has_all_answers.clear()
                else:
                    self.has_all_answers.set()
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            if not answer.done():
                answer.set_exception(ConnectionResetError())

    def _hear(self, reply: Message) -> None:
        ref = reply.get("ref", "")
        if ref in self._answers:
            self._answers.pop(ref).set_result(reply)
        elif reply["code"] == "sent":
            self._confirm(ref, reply["id"])
        elif reply["code"] == "error":
            self._refused(ref, reply)
        elif reply["code"] in {"incoming", "incoming_broadcast"}:
            place = "direct" if reply["code"] == "incoming" else reply.get("room", "lobby")
            self._take([reply], place, is_live=True)

    def _confirm(self, content: str, ident: str) -> None:
        if self.sent.setdefault(content, ident) != ident:
            self.faults.append(f"{content} was confirmed as {self.sent[content]} and as {ident}")
        self.open.pop(content, None)

    def _refused(self, content: str, error: Message) -> None:
        if error["error"] == "not_stored" and content in self.open:
            self.open[content]["refused"] = "true"
            self.unknown.add(content)
        elif error["error"] == "unknown_user":
            self.open.pop(content, None)
        else:
            self.faults.append(f"{content} was refused: {error}")

    def _take(self, messages: list[Message], place: str, *, is_live: bool = False) -> None:
        heard = self.heard[place]
        for message in messages:
            if message["from"] == self.name and not is_live:
                continue
            if message["id"] in heard and is_live:
                self.faults.append(f"{self.name} has got {message} twice")
            heard[message["id"]] = message["content"]


class Trial:
    """A server that is killed, and the people on it."""

    def __init__(self, folder: Path, seed: int, *, is_small: bool) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.folder = folder
        self.is_small = is_small
        self.people: list[Person] = []
        self.people += [Person(f"person{number}", self.dice, self.people) for number in range(PEOPLE)]
        self.was_open: set[str] = set()
        """What was not answered when the server was killed: who heard it may hear it again."""
        self.full = 0

    async def run(self, kills: int) -> list[str]:
        """Return what is wrong."""
        for _ in range(kills):
            async with self._server() as server:
                await asyncio.sleep(self.dice.random())
                if self.is_small and self.dice.random() < FULL:
                    await self._fill()
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()
            for person in self.people:
                self.was_open |= person.open.keys()
            with suppress(FileNotFoundError):
                (self.folder / "filler").unlink()
        async with self._server(may_send=False) as server:
            for person in self.people:
                await asyncio.wait_for(person.has_all_answers.wait(), 60)
            return await self._compare(server.port)

    @asynccontextmanager
    async def _server(self, *, may_send: bool = True) -> AsyncIterator[ServerProcess]:
        """Run a server, with everybody on it."""
        data = str(self.folder / "chat.db")
        server = await asyncio.to_thread(ServerProcess, "--data", data, log=self.folder.parent / "kills.log")
        talk = asyncio.Event()
        lives = [asyncio.create_task(person.live(server.port, may_send=talk)) for person in self.people]
        try:
            for person in self.people:
                await asyncio.wait_for(person.is_here.wait(), 60)
            if may_send:
                talk.set()
            yield server
        finally:
            server.process.kill()
            server.process.wait()
            for life in lives:
                life.cancel()
            await asyncio.gather(*lives, return_exceptions=True)
            log = server.log()
            assert "Traceback" not in log, log
            assert server.process.stdout
            server.process.stdout.close()

    async def _fill(self) -> None:
        """Fill the disk for a while."""
        filler = self.folder / "filler"
        with suppress(OSError), filler.open("wb") as file:
            while file.write(b"x" * 4096):
                file.flush()
        self.full += 1
        await asyncio.sleep(self.dice.random() / 2)
        if self.dice.random() < 0.5:
            filler.unlink()
            await asyncio.sleep(self.dice.random() / 2)

    async def _compare(self, port: int) -> list[str]:
        faults = [fault for person in self.people for fault in person.faults]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        visitor = Person("visitor", self.dice, self.people)
        listening = asyncio.create_task(visitor._listen(reader))
        await visitor.ask(writer, code="hello", name="visitor")
        await visitor.ask(writer, code="join", room=ROOM)
        users = (await visitor.ask(writer, code="who"))["users"]
        if len(users) != len(set(users)):
            faults.append(f"names are not unique: {users}")
        past = {
            "lobby": await visitor.history(writer, "0" * 16),
            ROOM: await visitor.history(writer, "0" * 16, room=ROOM),
        }
        writer.close()
        await listening
        confirmed = {content: ident for person in self.people for content, ident in person.sent.items()}
        excused = self.was_open | {content for person in self.people for content in person.unknown}
        for place, messages in past.items():
            faults += _of_history(messages, confirmed, excused)
            ids = {message["id"]: message["content"] for message in messages}
            for person in self.people:
                faults += _of_reader(person, place, ids, excused)
        found = Counter(message["content"] for messages in past.values() for message in messages)
        direct = {ident: content for person in self.people for ident, content in person.heard["direct"].items()}
        found.update(set(direct.values()))
        faults += [f"{content} was confirmed and is lost" for content in confirmed if not found[content]]
        return faults


def _of_history(messages: list[Message], confirmed: dict[str, str], excused: set[str]) -> list[str]:
    """Return what is wrong with the history of a room."""
    faults = []
    ids = [message["id"] for message in messages]
    if ids != sorted(set(ids)):
        faults.append("the history is not in the order of its ids")
    counts = Counter(message["content"] for message in messages)
    faults += [f"{content} is in the history {count} times" for content, count in counts.items() if count > 1]
    faults += [
        f"{message['content']} was confirmed as {confirmed[message['content']]}, but is {message['id']}"
        for message in messages
        if confirmed.get(message["content"], message["id"]) != message["id"]
    ]
    last: dict[str, int] = {}
    for message in messages:
        sender, number = message["content"].split()
        if sender != message["from"] or (
            int(number) < last.get(sender, 0) and message["content"] not in excused
        ):
            faults.append(f"{message} is out of order, behind {last.get(sender)}")
        last[sender] = max(int(number), last.get(sender, 0))
    return faults


def _of_reader(person: Person, place: str, past: dict[str, str], excused: set[str]) -> list[str]:
    """Return what is wrong with what a reader has, beside the history of a room."""
    heard = person.heard[place]
    lacks = [
        f"{person.name} lacks {content} ({ident})"
        for ident, content in past.items()
        if ident not in heard and not content.startswith(person.name + " ")
    ]
    invented = [
        f"{person.name} has {content} ({ident}), which was confirmed, but is not in the history"
        for ident, content in heard.items()
        if ident not in past and content not in excused
    ]
    return lacks + invented


def trial(kills: int, seed: int) -> tuple[list[str], Trial]:
    """Kill a server so many times; return what is wrong."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "disk"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=96m", "none", str(folder)]
        is_small = not subprocess.run(mount, check=False, capture_output=True).returncode
        try:
            one = Trial(folder, seed, is_small=is_small)
            return asyncio.run(one.run(kills)), one
        finally:
            if is_small:
                subprocess.run(["umount", "--lazy", str(folder)], check=True)


def main(kills: int = 100, seed: int = 0) -> int:
    """Print what happened; return the exit status."""
    faults, one = trial(kills, seed)
    print(*faults[:20], sep="\n")
    confirmed = sum(len(person.sent) for person in one.people)
    heard = sum(len(place) for person in one.people for place in person.heard.values())
    print(
        f"{kills} kills, {one.full} times a full disk, {confirmed} messages confirmed, {heard} received, "
        f"{len(one.was_open)} without an answer when the server was killed; {len(faults)} faults (seed {seed})"
    )
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
