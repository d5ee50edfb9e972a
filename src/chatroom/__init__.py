"""chatroom: JSON objects over TCP.

>>> from chatroom import Client
>>> with Client.connect("127.0.0.1", 7777, "ann") as ann, Client.connect("127.0.0.1", 7777, "bob") as bob:
...     sent = ann.broadcast("hello, everybody")
...     message = next(bob)
...     print(message.from_, "said", message.content)
ann said hello, everybody
"""

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import ConnectionLost, InboxFull, NameTaken, NotAChatroom, OutcomeUnknown, Refused
from chatroom.client.inbox import Disconnected, Reconnected, Unconfirmed
from chatroom.client.sync import Client
from chatroom.protocol.messages import Error, Incoming, IncomingBroadcast, Sent

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "ConnectionLost",
    "Disconnected",
    "Error",
    "InboxFull",
    "Incoming",
    "IncomingBroadcast",
    "NameTaken",
    "NotAChatroom",
    "OutcomeUnknown",
    "Reconnected",
    "Refused",
    "Sent",
    "Unconfirmed",
]
