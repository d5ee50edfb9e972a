"""chatroom: JSON objects over TCP.

>>> from chatroom import Client
>>> with Client.connect("127.0.0.1", 7777, "ann") as ann, Client.connect("127.0.0.1", 7777, "bob") as bob:
...     sent = ann.broadcast("hello, everybody")
...     message = next(bob)
...     print(message.from_, "said", message.content)
ann said hello, everybody
"""

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import (
    BadArgument,
    BadPassword,
    Banned,
    CannotConnect,
    ChatroomError,
    ConnectionLost,
    InboxFull,
    Muted,
    NameReserved,
    NameTaken,
    NotAChatroom,
    OutcomeUnknown,
    Refused,
    TimedOut,
)
from chatroom.client.inbox import Disconnected, Gap, OwnMessage, Reconnected, Unconfirmed
from chatroom.client.sync import Client
from chatroom.protocol.messages import (
    BanRecord,
    ErrorReply,
    Forgotten,
    HistoryReply,
    Incoming,
    IncomingBroadcast,
    Message,
    Presence,
    RoomSize,
    Sent,
)

__all__ = [
    "AsyncClient",
    "BadArgument",
    "BadPassword",
    "BanRecord",
    "Banned",
    "CannotConnect",
    "ChatroomError",
    "Client",
    "ConnectionLost",
    "Disconnected",
    "ErrorReply",
    "Forgotten",
    "Gap",
    "HistoryReply",
    "InboxFull",
    "Incoming",
    "IncomingBroadcast",
    "Message",
    "Muted",
    "NameReserved",
    "NameTaken",
    "NotAChatroom",
    "OutcomeUnknown",
    "OwnMessage",
    "Presence",
    "Reconnected",
    "Refused",
    "RoomSize",
    "Sent",
    "TimedOut",
    "Unconfirmed",
]

__version__ = "0.1.0"
