"""A chat as one would write it with `websockets`: what one sends goes to all others, `@name text` to one."""

import asyncio
import sys

from websockets.asyncio.server import ServerConnection, broadcast, serve

people: dict[str, ServerConnection] = {}


async def chat(person: ServerConnection) -> None:
    name = person.request.path[1:] if person.request else ""
    people[name] = person
    await person.send("welcome")
    async for text in person:
        if isinstance(text, str) and text.startswith("@"):
            to, _, rest = text[1:].partition(" ")
            await people[to].send(rest)
        else:
            broadcast([other for other in people.values() if other is not person], text)
    del people[name]


async def main() -> None:
    async with serve(
        chat, "127.0.0.1", int(sys.argv[1]), compression=None, ping_interval=None, write_limit=2**24
    ):
        await asyncio.Future()


asyncio.run(main())
