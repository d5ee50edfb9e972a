"""What is typed and shown with a server that has rooms and a history."""

import re
import time
from typing import Any, cast

import pytest

from chatroom.client.aio import AsyncClient
from chatroom.client.errors import Refused, TimedOut
from chatroom.client.inbox import Gap
from chatroom.client.inbox import Message as News
from chatroom.protocol.messages import (
    ErrorReply,
    Forgotten,
    HistoryReply,
    Incoming,
    IncomingBroadcast,
    Message,
    Presence,
    RoomSize,
)
from chatroom.terminal.rooms import COUNTED, MINE, MOST, REMEMBERED, SEARCHES, Rooms
from chatroom.terminal.screen import Screen
from chatroom.terminal.shown import came_and_went, clock, folded, label, said, was_said
from chatroom.terminal.text import Pieces
from chatroom.terminal.typed import (
    ACCOUNTS_NEED_TERMINAL,
    COMMANDS_FOR_OPERATORS,
    COMMANDS_IN_ROOMS,
    EMPTY,
    HELP,
    HINT,
    NO_ACCOUNTS,
    NO_ROOMS,
    ROOMS_NEED_TERMINAL,
    Act,
    Forget,
    Join,
    Leave,
    ListBans,
    ListRooms,
    Meaning,
    Order,
    Past,
    Register,
    Say,
    Unclear,
    Who,
    can_be_typed,
    for_msg,
    help_rows,
    room_of,
    understand,
)
from conftest import PROJECT

HISTORY_HINT = "type /history, then #ROOM or NAME, then how many: at least 1"
FIND_HINT = "type /find TEXT, /find #ROOM TEXT or /find NAME|TEXT"
ME_HINT = "type /me TEXT, /me #ROOM TEXT or /me NAME|TEXT"
NOON = time.mktime((2026, 11, 25, 12, 0, 0, 0, 0, -1))


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a quarter past noon."""
    local = time.localtime
    monkeypatch.setattr(time, "localtime", lambda at=None: local(NOON + 900 if at is None else at))


def text(pieces: Pieces) -> str:
    return "".join(text for _, text in pieces)


@pytest.mark.parametrize(
    ("typed", "meaning"),
    [
        ("#chess|e4", Say(None, "e4", "chess")),
        ("# chess |e4|e5", Say(None, "e4|e5", "chess")),
        ('#"the den"|hi', Say(None, "hi", "the den")),
        ("#the den|hi", Say(None, "hi", "the den")),
        ("＃chess｜e4", Say(None, "e4", "chess")),
        ("##chess|e4", Say(None, "e4", "#chess")),
        ('"#chess"|e4', Say('"#chess"', "e4")),
        ("bob|#chess", Say("bob", "#chess")),
        ("#chess|", Unclear(EMPTY)),
        ("#|x", Unclear("type #ROOM|text")),
        ("/msg #chess e4", Say(None, "e4", "chess")),
        ('/msg #"the den" hi there', Say(None, "hi there", "the den")),
        ('/msg "#chess" hi', Say("#chess", "hi")),
        ('/msg "Zoë Ann" hi', Say("Zoë Ann", "hi")),
        ("/msg * hi", Say(None, "hi")),
        ("/join chess", Join("chess")),
        ("/join #chess", Join("chess")),
        ('/join "the den"', Join("the den")),
        ('/join  #"the den"', Join("the den")),
        ("/join the den", Join("the den")),
        ("/join", Unclear("type /join ROOM")),
        ("/join #", Unclear("type /join ROOM")),
        ("/leave", Leave(None)),
        ("/leave #chess", Leave("chess")),
        ("/rooms", ListRooms()),
        ("/rooms x", Unclear("/rooms takes no argument; /help lists the commands")),
        ("who", Who()),
        ("/who #chess", Who("chess")),
        ("who #chess", Who("chess")),
        ("/who chess", Who("chess")),
        ("/who the den|", Who("the den")),
        ("who is there", Unclear(HINT)),
        ("/history", Past()),
        ("/history 50", Past(count=50)),
        ("/history #chess", Past(room="chess")),
        ('/history #"the den" 5', Past(room="the den", count=5)),
        ("/history bob 5", Past(to="bob", count=5)),
        ("/history 50 5", Past(to="50", count=5)),
        ('/history "Zoë Ann"', Past(to='"Zoë Ann"')),
        ("/history *", Past()),
        ("/history #the den", Past(room="the den")),
        ("/history #the den 5", Past(room="the den", count=5)),
        ("/history #chess|5", Past(room="chess", count=5)),
        ("/history #the den|", Past(room="the den")),
        ("/history Zoë Ann 5", Past(to="Zoë Ann", count=5)),
        ("/history 0", Unclear(HISTORY_HINT)),
        ("/history -1", Unclear(HISTORY_HINT)),
        ("/history #chess -1", Unclear(HISTORY_HINT)),
        ("/history #", Unclear("the name of the room is missing")),
        ("/find tea or coffee", Past(find="tea or coffee")),
        ("/find #chess|e4", Past(room="chess", find="e4")),
        ("/find bob | tea", Past(to="bob", find="tea")),
        ("/find *|a|b", Past(find="a|b")),
        ("/find #chess e4 e5", Past(room="chess", find="e4 e5")),
        ('/find #"the den" tea', Past(room="the den", find="tea")),
        ("/find #the den|tea", Past(room="the den", find="tea")),
        ("/find *|#42", Past(find="#42")),
        ("/find #|x", Unclear("the name of the room is missing")),
        ("/find", Unclear(FIND_HINT)),
        ("/find #chess", Unclear(FIND_HINT)),
        ("/find " + 257 * "x", Unclear("the text to find has 257 characters, at most 256 allowed")),
        ("/find #chess|", Unclear(FIND_HINT)),
        ("/me waves", Say(None, "/me waves")),
        ("/me #chess|waves", Say(None, "/me waves", "chess")),
        ("/me bob|waves", Say("bob", "/me waves")),
        ("/me #chess waves at bob", Say(None, "/me waves at bob", "chess")),
        ("/me", Unclear(ME_HINT)),
        ("/me #chess", Unclear(ME_HINT)),
        ("/join #chess|", Join("chess")),
        ("/leave chess|", Leave("chess")),
        ("/forget", Forget("")),
        ("/forget the secret", Forget("the secret")),
        ("/register", Register()),
        ("/register pass word", Unclear("/register takes no argument; /help lists the commands")),
        ("/kick bob", Order(Act.KICK, "bob")),
        ("/kick  bob  10 is enough", Order(Act.KICK, "bob", None, "10 is enough")),
        ('/kick "Zoë Ann" spam', Order(Act.KICK, '"Zoë Ann"', None, "spam")),
        ("/kick", Unclear("type /kick NAME")),
        ("/kick|hi", Say("/kick", "hi")),
        ("/mute bob", Order(Act.MUTE, "bob")),
        ("/mute bob 10", Order(Act.MUTE, "bob", 10)),
        ("/mute bob 0 too loud", Order(Act.MUTE, "bob", 0, "too loud")),
        ("/mute bob 10x", Order(Act.MUTE, "bob", None, "10x")),
        ("/ban bob too loud", Order(Act.BAN, "bob", None, "too loud")),
        ("/unban bob", Order(Act.UNBAN, "bob")),
        ("/unmute bob now", Unclear('type /unmute NAME; a NAME with blanks in it stands in "quotation marks"')),
        ("/bans", ListBans()),
        ("/bans x", Unclear("/bans takes no argument; /help lists the commands")),
        ("/shrug", Unclear("unknown command /shrug; /help lists the commands")),
        ("/join|hi", Say("/join", "hi")),
    ],
)
def test_understand(typed: str, meaning: Meaning) -> None:
    """`#room|text` is for a room, and the commands about rooms and the past are understood."""
    assert understand(typed, rooms=True) == meaning


@pytest.mark.parametrize(
    ("typed", "meaning"),
    [
        ("#chess|e4", Say("#chess", "e4")),
        ("/msg #chess e4", Say("#chess", "e4")),
        ("/join a|hi", Say("/join a", "hi")),
        ("/me waves", Unclear(f"unknown command /me: {NO_ROOMS}")),
        ("/rooms", Unclear(f"unknown command /rooms: {NO_ROOMS}")),
        ("/register", Unclear(f"unknown command /register: {NO_ACCOUNTS}")),
        ("/ban bob", Unclear(f"unknown command /ban: {NO_ACCOUNTS}")),
        ("/who #chess", Unclear("/who takes no argument; /help lists the commands")),
    ],
)
def test_understand_without_rooms(typed: str, meaning: Meaning) -> None:
    """With a server that has no rooms, none of this means anything else than before; and it says so."""
    assert understand(typed) == meaning


def test_understand_in_a_pipe() -> None:
    """Where only the terminal is missing, nothing is said of the server."""
    for typed in "/me waves", "/rooms":
        assert understand(typed, terminal=False) == Unclear(
            f"unknown command {typed.split()[0]}: {ROOMS_NEED_TERMINAL}"
        )
    for typed in "/register", "/kick bob":
        assert understand(typed, terminal=False) == Unclear(
            f"unknown command {typed.split()[0]}: {ACCOUNTS_NEED_TERMINAL}"
        )


@pytest.mark.parametrize("room", ["chess", "the den", "#chess", "＃x", 'the "den', "ＣＨＥＳＳ"])
def test_labels_can_be_typed(room: str) -> None:
    """A room can be typed as it is shown, whatever it is called (but for quotation marks within marks)."""
    assert room_of(label(room)) == room.replace('"', "'")


def test_names_that_begin_like_rooms() -> None:
    """A user who is called like a room can be written to, in quotation marks."""
    assert not can_be_typed("#chess", rooms=True)
    assert for_msg("#chess", rooms=True) == '"#chess"'
    assert for_msg("bob", rooms=True) == "bob"


def test_help() -> None:
    """The list has the commands about rooms where there are rooms, and the keys where they do something."""
    assert help_rows(rooms=False, keys=True) == HELP.split("\n")
    assert help_rows(rooms=False, keys=False) == HELP.split("\nTab")[0].split("\n")
    both = help_rows(rooms=True, keys=True, account=True)
    assert all(len(row) < 80 for row in both)
    assert [row for row in both if row in HELP.split("\n")] == HELP.split("\n")
    assert not any("Enter" in row or "Tab" in row for row in help_rows(rooms=True, keys=False))


def test_help_and_readme_have_all_commands() -> None:
    """Each command is explained in `/help`, those of operators to accounts; the README names no other."""
    operators = "\n".join(help_rows(rooms=True, keys=True, account=True))
    others = "\n".join(help_rows(rooms=True, keys=True))
    named = set(re.findall(r"`(/[a-z]+)", (PROJECT / "README.md").read_text()))

    assert [command for command in COMMANDS_IN_ROOMS if command not in others] == []
    assert [command for command in COMMANDS_FOR_OPERATORS if command not in operators] == []
    assert [command for command in COMMANDS_FOR_OPERATORS if command in others] == []
    assert {"/register", "/kick"} <= named <= {*COMMANDS_IN_ROOMS, *COMMANDS_FOR_OPERATORS}


def test_help_has_examples() -> None:
    """What is printed as an example is understood, and does what it says."""
    shown = "\n".join(help_rows(rooms=True, keys=True, account=True))
    for example, meaning in {
        "/history #chess 50": Past(room="chess", count=50),
        "/history bob": Past(to="bob"),
        "/find tea": Past(find="tea"),
        "/find #chess tea": Past(room="chess", find="tea"),
        "/find bob|tea": Past(to="bob", find="tea"),
        "/kick bob spam": Order(Act.KICK, "bob", None, "spam"),
        "/mute bob 10": Order(Act.MUTE, "bob", 10),
        "/forget bob|tea": Forget("bob|tea"),
        "/ban bob 0 spam": Order(Act.BAN, "bob", 0, "spam"),
        "/me waves": Say(None, "/me waves"),
        "/me #chess waves": Say(None, "/me waves", "chess"),
    }.items():
        assert example in shown
        assert understand(example, rooms=True) == meaning


@pytest.mark.parametrize(
    ("at", "shown"),
    [
        (None, "12:15"),
        (NOON, "12:00"),
        (NOON - 86400, "2026-11-24 12:00"),
        (1e300, "12:15"),
        (-1e300, "12:15"),
        (float("inf"), "12:15"),
    ],
)
def test_clock(at: float | None, shown: str) -> None:
    """What was not said today has a date; a time that cannot be is now."""
    assert clock(at) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (Incoming("bob", "hi"), "12:15 bob to you: hi"),
        (Incoming("bob", "hi", id="1", time=NOON), "12:00 bob to you: hi"),
        (IncomingBroadcast("bob", "hi", time=NOON - 86400), "2026-11-24 12:00 bob to all: hi"),
        (IncomingBroadcast("bob", "e4", room="chess"), "12:15 #chess bob: e4"),
        (IncomingBroadcast("bob\n", "hi\x1b", room="the\x1b den"), '12:15 #"the␛ den" bob␊: hi␛'),
        (IncomingBroadcast("bob", "/me waves"), "12:15 * bob waves"),
        (IncomingBroadcast("Zoë Ann", "/me waves", room="chess"), '12:15 #chess * "Zoë Ann" waves'),
        (Incoming("bob", "/me winks"), "12:15 to you: * bob winks"),
        (IncomingBroadcast("bob", "/meow"), "12:15 bob to all: /meow"),
    ],
)
def test_said(message: Incoming | IncomingBroadcast, shown: str) -> None:
    """A line says when, where, who and to whom."""
    assert text(said(message)) == shown


@pytest.mark.parametrize(
    ("name", "room", "shown"),
    [
        ("#chess bob", None, '"#chess bob" to all: '),
        ("＃chess bob", None, '"＃chess bob" to all: '),
        ("* bob waves", None, '"* bob waves" to all: '),
        ("bob to you", "chess", "#chess bob to you: "),
        ("eve", "chess bob: hi", '#"chess bob: hi" eve: '),
        ("den bob", "the", "#the den bob: "),
        ("bob", "the den", '#"the den" bob: '),
        ("bob", 'x" eve', '#"x\' eve" bob: '),
    ],
)
def test_no_line_is_forged(name: str, room: str | None, shown: str) -> None:
    """Neither a room's name nor a user's can make a line look like another's."""
    message = IncomingBroadcast(name, "", room=room)

    assert text(said(message)) == f"12:15 {shown}"


def test_was_said() -> None:
    """What was said between two has both names; what was said to us rings no bell."""

    def shown(to: str | None, sender: str, room: str | None = None) -> str:
        message = Message("1", NOON, sender, "hi", to)
        pieces = was_said(message, room, {"ann"})
        assert all(kind != "direct" for kind, _ in pieces)
        return text(pieces)

    assert shown(None, "ann") == "12:00 ann to all: hi"
    assert shown(None, "ann", "chess") == "12:00 #chess ann: hi"
    assert shown("ann", "bob") == "12:00 bob to you: hi"
    assert shown("bob", "ann") == "12:00 ann to bob: hi"


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "a0"), (2, "a0 and a1"), (3, "a0, a1 and a2"), (4, "a0, a1 and 2 more"), (14, "a0, a1 and 12 more")],
)
def test_folded(count: int, words: str) -> None:
    """Of many names two are named."""
    assert folded([f"a{number}" for number in range(count)]) == words


def test_came_and_went() -> None:
    """Who came and who went is one line; a name cannot pass for several."""
    assert text(came_and_went(Presence(joined=["ann"]))) == "12:15 ann came"
    presence = Presence(room="chess", joined=["ann", "x, eve"], left=["bob"])
    assert text(came_and_went(presence)) == '12:15 #chess ann and "x, eve" came; bob left'


class Client:
    """What the server has in its history, page by page; and what was asked."""

    def __init__(self, *pages: HistoryReply | Exception) -> None:
        self.pages = list(pages)
        self.direct = HistoryReply(messages=[], complete=True)  # all that was said to us alone, and by us
        self.asked: list[dict[str, Any]] = []
        self.forgotten: list[str] = []

    async def history(self, **asked: Any) -> HistoryReply:
        if asked.get("with_") == "*":
            return self.direct
        self.asked.append({key: value for key, value in asked.items() if value is not None})
        page = self.pages.pop(0)
        if isinstance(page, Exception):
            raise page
        return page

    async def join(self, room: str) -> str:
        return room

    async def leave(self, room: str) -> None:
        if room == "lost":
            raise Refused(ErrorReply(error="not_in_room", message="you are not in it"))

    async def users(self, room: str) -> list[str]:
        return ["ann", "bob", room]

    async def rooms(self) -> list[RoomSize]:
        return [RoomSize("chess", 2), RoomSize("the den", 1)]

    async def forget(self, ident: str) -> None:
        self.forgotten.append(ident)


class Person:
    """A screen."""

    def __init__(self) -> None:
        self.shown: list[str] = []

    def show(self, pieces: Pieces) -> None:
        self.shown.append(text(pieces))

    def complain(self, words: str) -> None:
        self.shown.append(f"! {words}")


def rooms_of(client: Client) -> tuple[Rooms, list[str]]:
    person = Person()
    return Rooms(cast("AsyncClient", client), cast("Screen", person), "ann"), person.shown


def page(*numbers: int, complete: bool = True, sender: str = "bob", **fields: Any) -> HistoryReply:
    messages = [Message(f"{number:016x}", NOON, sender, f"number {number}") for number in numbers]
    return HistoryReply(messages=messages, complete=complete, **fields)


def broadcast(number: int, room: str | None = None) -> IncomingBroadcast:
    where = room
    return IncomingBroadcast("bob", f"number {number}", id=f"{number:016x}", time=NOON, room=where)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Refused(ErrorReply(error="unknown_code", message="no")), None),
        (Refused(ErrorReply(error="slow_down", message="later")), ["! no history: later"]),
        (TimedOut("the server did not answer in time"), ["! no history: it did not answer in time"]),
    ],
)
async def test_server_without_rooms(error: Exception, said: list[str] | None) -> None:
    """A server that does not know what a history is has no rooms; one that has none to give now has them."""
    person = Person()

    rooms = await Rooms.of(cast("AsyncClient", Client(error)), cast("Screen", person), "ann")

    assert (person.shown if rooms else None) == said


async def test_nothing_is_shown_twice() -> None:
    """What came while the past was asked for is shown once; what is asked for again is shown again."""
    person = Person()
    client = Client(page(1, 2), page(3, 4), page(1, 2))
    rooms = await Rooms.of(cast("AsyncClient", client), cast("Screen", person), "ann")
    assert rooms
    rooms.begin()
    rooms.show(broadcast(2))
    rooms.show(broadcast(4, "chess"))
    await rooms.do(Join("chess"))
    await rooms.do(Past(count=2))

    assert person.shown == [
        "12:00 bob to all: number 1",
        "12:00 bob to all: number 2",
        "12:00 #chess bob: number 4",
        "12:00 #chess bob: number 3",
        "you are in #chess, with bob and chess: type #chess|text",
        "12:00 bob to all: number 1",
        "12:00 bob to all: number 2",
    ]


async def test_pages() -> None:
    """As many pages are asked for as it takes, each before the one that came last."""
    client = Client(page(5, 6, complete=False), page(3, 4, complete=False), page(1, 2, complete=False))
    rooms, shown = rooms_of(client)

    await rooms.do(Past(room="chess", count=5))

    assert [line[-1] for line in shown] == ["2", "3", "4", "5", "6"]
    assert client.asked == [
        {"room": "chess", "limit": 5},
        {"room": "chess", "limit": 3, "before": f"{5:016x}"},
        {"room": "chess", "limit": 1, "before": f"{3:016x}"},
    ]


async def test_pages_are_bounded() -> None:
    """However much is wanted, and however little a server gives: there is an end."""
    client = Client(*[page(complete=False, before="1") for _ in range(2 * SEARCHES)], page())
    rooms, shown = rooms_of(client)

    await rooms.do(Past(find="x", count=10**9))
    await rooms.do(Past(to="bob"))

    assert client.asked[0] == {"find": "x", "limit": 200}
    assert client.asked[1] == {"find": "x", "limit": 200, "before": "1"}
    assert len(client.asked) == 2 * SEARCHES
    assert shown == ["what was said before that was not searched", "no messages with bob"]
    client.pages = [page(*range(number, number + 200), complete=False) for number in range(0, 3000, 200)]
    shown.clear()
    await rooms.do(Past(count=10**9))
    assert len(shown) == MOST + 1
    assert shown[-1] == "no more than 1,000 messages are shown"


async def test_forget() -> None:
    """One's last message is taken back, or the last with a text in it; one by one, the last first."""
    client = Client(
        HistoryReply(
            messages=[
                Message("1", NOON, "añn", "one"),
                Message("2", NOON, "bob", "one"),
                Message("3", NOON, "ann", "one more"),
            ],
            complete=True,
        ),
        HistoryReply(messages=[Message("4", NOON, "ann", "two")], complete=True),
        HistoryReply(messages=[], complete=True),
    )
    rooms, shown = rooms_of(client)
    for ref, message in enumerate((Say("bob", "zero"), Say(None, "one", "chess"), Say("bob", "two"))):
        rooms.said(message, str(ref))
    rooms.said(Say("nobody", "three"), "3")
    assert rooms.place_of("1") == "#chess"
    assert rooms.place_of("9") is None
    rooms.refused("3")
    rooms.call_me("an\u0303n")
    for wanted in ("ONE", "", "", "", "x"):
        await rooms.do(Forget(wanted))

    assert client.forgotten == ["1", "4"]
    assert client.asked[0] == {"room": "chess", "find": "one", "limit": 200}
    assert shown == [
        "taken back: #chess|one",
        "taken back: bob|two",
        "! not taken back, since it is not in the history: bob|zero",
        "! you have said nothing since you connected",
        "! you have said nothing like that since you connected",
    ]


def test_what_is_remembered_is_bounded() -> None:
    """Of what was shown, said and not read only so much is remembered."""
    rooms, _ = rooms_of(Client())
    for number in range(2 * REMEMBERED):
        rooms.show(broadcast(number, f"room{number}"))
        rooms.said(Say(None, "x"), str(number))
    rooms.show(IncomingBroadcast("bob", "x", id="x" * 1000, time=NOON))

    assert len(rooms._shown) == REMEMBERED
    assert len(rooms._unread) == COUNTED
    assert len(rooms._mine) == MINE


def test_taken_back_by_others() -> None:
    """If a message that was shown is taken back, it is said which; of others nothing is."""
    rooms, shown = rooms_of(Client())
    news: list[News] = [broadcast(1), Forgotten(id=f"{1:016x}"), Forgotten(id="2")]
    for message in news:
        rooms.show(message)

    assert shown[1:] == ["taken back: 12:00 bob to all: number 1"]


def test_long_message_taken_back() -> None:
    """Of a long message the beginning is repeated."""
    rooms, shown = rooms_of(Client())
    news: list[News] = [IncomingBroadcast("bob", "x" * 1000, id="1", time=NOON), Forgotten(id="1")]
    for message in news:
        rooms.show(message)

    assert shown[1] == f"taken back: {shown[0][:80]}…"


async def test_taken_back_unread() -> None:
    """What is taken back before it was read is not unread any longer; what was read does not count twice."""
    rooms, _ = rooms_of(Client(page(1)))
    for number in range(3):
        rooms.show(broadcast(number, "chess"))
    rooms.show(Forgotten(id=f"{0:016x}"))
    assert rooms.unread("") == "unread: #chess (2)"
    await rooms.do(Past(room="chess", find="number 1"))
    rooms.show(Forgotten(id=f"{1:016x}"))
    assert rooms.unread("") == "unread: #chess (1)"
    assert rooms.unread("#chess|") == ""
    rooms.show(broadcast(3, "chess"))
    rooms.show(Forgotten(id=f"{2:016x}"))
    assert rooms.unread("") == "unread: #chess (1)"
    rooms.read_all()
    rooms.show(broadcast(4, "chess"))
    rooms.show(Forgotten(id=f"{3:016x}"))
    assert rooms.unread("") == "unread: #chess (1)"
    rooms.show(Forgotten(id=f"{4:016x}"))
    assert rooms.unread("") == ""


async def test_past_of_the_lobby_and_of_what_was_for_us() -> None:
    """Without a room or a name, the past is what one would have seen: the lobby, and one's direct messages."""
    client = Client(page(1, 3, 5), page(1, 3))
    client.direct = HistoryReply(messages=[Message(f"{4:016x}", NOON, "bob", "psst", "ann")], complete=True)
    rooms, shown = rooms_of(client)
    await rooms.do(Past(count=3))

    assert shown == ["12:00 bob to all: number 3", "12:00 bob to you: psst", "12:00 bob to all: number 5"]


async def test_where_nothing_was_said() -> None:
    """It is said where nothing was found; who names a room without its `#` is told how it is named."""
    rooms, shown = rooms_of(Client(*[page()] * 5))
    await rooms.do(Join("chess"))
    shown.clear()
    for past in (Past(find="x"), Past(room="chess"), Past(to="bob"), Past(to="Chess")):
        await rooms.do(past)

    assert shown == [
        "no such messages in the lobby, or to you",
        "no messages in #chess",
        "no messages with bob",
        "no messages with Chess; the room is #Chess",
    ]


def test_unread() -> None:
    """What comes from rooms and to us alone is counted, until one writes there or has read all."""
    rooms, _ = rooms_of(Client())
    for room in ("chess", "the den", "chess", None):
        rooms.show(IncomingBroadcast("eve", "x", room=room))
    rooms.show(Incoming("Bob", "x"))

    assert rooms.unread("") == 'unread: #chess (2), #"the den" (1), Bob (1)'
    assert rooms.unread("#the den|") == "unread: #chess (2), Bob (1)"
    rooms.said(Say(None, "x", "Chess"), "1")
    assert rooms.unread("bo") == "unread: Bob (1)"
    rooms.said(Say("bob", "x"), "2")
    assert rooms.unread("") == ""
    for number in range(8):
        rooms.show(Incoming(f"b{number}", "x"))
    assert rooms.unread("") == "unread: b0 (1), b1 (1), b2 (1), b3 (1), b4 (1), and 3 more"
    rooms.read_all()
    assert rooms.unread("") == ""
    for name in ("Zoë Ann", "#chess", "x|y"):
        rooms.show(Incoming(name, "x"))
    rooms.show(IncomingBroadcast("eve", "x", room="chess"))
    assert rooms.unread("") == 'unread: "Zoë Ann" (1), "#chess" (1), x|y (1), #chess (1)'
    assert rooms.unread("zoë ann|") == 'unread: "#chess" (1), x|y (1), #chess (1)'
    assert rooms.unread('"#chess"|') == "unread: x|y (1), #chess (1)"


async def test_reading_of_the_past() -> None:
    """Whoever looks at what was last said in a room has read it; a search reads nothing."""
    rooms, _ = rooms_of(Client(page(1), page(1)))
    rooms.show(IncomingBroadcast("bob", "x", room="chess"))
    await rooms.do(Past(room="chess", find="x"))
    assert rooms.unread("") == "unread: #chess (1)"
    await rooms.do(Past(room="chess"))
    assert rooms.unread("") == ""


async def test_leave() -> None:
    """Without a name, the only room is left; if there are several, they are named."""
    rooms, shown = rooms_of(Client(page(), page()))
    await rooms.do(Leave(None))
    await rooms.do(Join("chess"))
    await rooms.do(Join("the den"))
    await rooms.do(ListRooms())
    await rooms.do(Leave(None))
    await rooms.do(Leave("CHESS"))
    await rooms.do(Leave(None))

    assert rooms.joined == []
    assert shown[0] == "! you are in no room"
    assert shown[3:] == [
        "rooms:",
        "  #chess (2 users, with you)",
        '  #"the den" (1 user, with you)',
        '! you are in #chess and #"the den": type /leave ROOM',
        "you have left #chess",
        'you have left #"the den"',
    ]


async def test_leave_a_room_that_was_lost() -> None:
    """A room that could not be joined again after an outage is not one's own any longer once one leaves it."""
    rooms, _ = rooms_of(Client(page()))
    await rooms.do(Join("lost"))
    with pytest.raises(Refused):
        await rooms.do(Leave(None))

    assert rooms.joined == []


def test_gap() -> None:
    """Where something is missing, it is said where, and how one can look."""
    rooms, shown = rooms_of(Client())
    rooms.show(Gap(None))
    rooms.show(Gap("the den"))

    assert shown == [
        "! messages may be missing here, in the lobby, and to you: /history shows what the server has",
        '! messages may be missing here, in #"the den": /history #"the den" shows what the server has',
    ]


async def test_crowd() -> None:
    """Of a crowd, and where there is nothing to say, nothing is said."""
    rooms, shown = rooms_of(Client())
    for presence in (Presence(users=600), Presence(), Presence(joined=[], left=[])):
        rooms.show(presence)

    assert shown == []
