"""Guesses passwords while a room chats: `make guesses`. The room must not notice, and the owner must get in.

A hundred wrong passwords a second come from ten addresses, each on a connection of its own, for as many names
as use up what an address may guess in a minute. Each round is on a new server, which remembers no guesses, and
measures how late messages are without guesses and with them.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from chatroom.bench.modes import latency
from chatroom.bench.target import Target
from chatroom.bench.wire import ChatroomWire
from conftest import ServerProcess

ADDRESSES = [f"127.0.0.{number}" for number in range(2, 12)]
OWNERS = [f"owner{number}" for number in range(4)]
RATE = 100.0
"""Wrong passwords a second."""
RIGHT, WRONG = "correct horse", "battery staple"
READERS, MESSAGES, SECONDS = 50, 100.0, 6.0
"""Of the room: how many hear it, messages a second, and how long each measurement takes."""
MORE = 1.1
"""By how much later the latest hundredth of messages may be."""
PATIENCE = 60.0
"""Seconds in which the owner must get in."""


async def ask(port: int, host: str, *requests: dict[str, Any]) -> dict[str, Any]:
    """Connect from this address, ask for this, one after the other; return the last answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
    answer: dict[str, Any] = {}
    try:
        for request in requests:
            writer.write(json.dumps(request).encode() + b"\n")
            answer = json.loads(await reader.readline())
    finally:
        writer.close()
    return answer


def hello(name: str, **more: str) -> dict[str, str]:
    return {"code": "hello", "name": name, **more}


async def own(port: int) -> None:
    """Register all names."""
    for name in OWNERS:
        answer = await ask(port, "127.0.0.1", hello(name), {"code": "register", "password": RIGHT})
        assert answer == {"code": "registered"}, answer


async def guess(port: int, seconds: float) -> dict[str, Any]:
    """Guess so long, while the owner comes; return how often what was answered, and how long the owner took."""
    answers: Counter[str] = Counter()

    async def try_one(number: int) -> None:
        host = ADDRESSES[number % len(ADDRESSES)]
        name = OWNERS[number // len(ADDRESSES) % len(OWNERS)]
        answer = await ask(port, host, hello(name, password=WRONG))
        answers[answer.get("error", answer["code"])] += 1

    guesses = []
    start = time.monotonic()
    owner = asyncio.create_task(come(port))
    for number in range(int(seconds * RATE)):
        await asyncio.sleep(start + number / RATE - time.monotonic())
        guesses.append(asyncio.create_task(try_one(number)))
    await asyncio.gather(*guesses)
    return {"answers": answers, "owner": await owner}


async def come(port: int) -> float:
    """Come as an owner, when guesses have begun to wait; return how many seconds that took."""
    await asyncio.sleep(1)
    start = time.monotonic()
    while (answer := await ask(port, "127.0.0.1", hello(OWNERS[0], password=RIGHT)))["code"] != "welcome":
        assert answer["error"] == "slow_down", answer
        assert time.monotonic() - start < PATIENCE, "the owner is locked out"
        await asyncio.sleep(answer["retry_after"])
    return time.monotonic() - start


def measure(server: ServerProcess) -> float:
    """Return how many milliseconds late one message in a hundred is."""
    target = Target(wire=ChatroomWire(), address=(server.host, server.port), process=server.process.pid)
    found = latency(
        target, readers=READERS, rate=MESSAGES, size=100, seconds=SECONDS, progress=lambda part: None
    )
    return found.p99


def round_(folder: Path) -> tuple[float, float, dict[str, Any]]:
    """Return the lateness without guesses and with them, and what the guesses were answered."""
    server = ServerProcess("--data", str(folder / "chat.db"), log=folder / "server.log")
    try:
        asyncio.run(own(server.port))
        usual = measure(server)
        words = [sys.executable, __file__, "guess", str(server.port), str(SECONDS * 1.2)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as guesses:
            guessed = measure(server)
            report, _ = guesses.communicate()
        return usual, guessed, json.loads(report)
    finally:
        assert server.stop() == 0
        for password in (RIGHT, WRONG):
            kept = b"".join(file.read_bytes() for file in folder.iterdir())
            assert password.encode() not in kept, "a password was kept"


def main(rounds: int = 5) -> int:
    """Print what was measured; return the exit status."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as name:
            found.append(round_(Path(name)))
        usual, guessed, report = found[-1]
        print(
            f"p99 {usual:.2f} ms, with guesses {guessed:.2f}; {report['answers']}; the owner was in after "
            f"{report['owner']:.1f} s",
            flush=True,
        )
    usual, guessed = (median(column) for column in zip(*(one[:2] for one in found), strict=True))
    print(f"medians: p99 {usual:.2f} ms, with guesses {guessed:.2f}: {guessed / usual - 1:+.0%}")
    return int(guessed > MORE * usual)


if __name__ == "__main__":
    if sys.argv[1:2] == ["guess"]:
        print(json.dumps(asyncio.run(guess(int(sys.argv[2]), float(sys.argv[3])))))
    else:
        sys.exit(main(*map(int, sys.argv[1:])))
