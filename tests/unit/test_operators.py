"""What operators can do: kick, mute, ban, take back; with a fake loop, and a twin house."""

import json
from random import Random
from typing import Any

import pytest

from chatroom.hub import verdicts
from chatroom.hub.entries import NO_KEYS, Kicked
from chatroom.hub.ports import DONE, KnownBan, Order
from chatroom.hub.refusal import Refusal
from chatroom.hub.verdicts import Verdicts
from fakes import FakeChat, FakeClient, FakeStore
from simulation.twin import Twin
from unit.test_cost import steps

HOME = "192.0.2.7"
PASSWORD = "correct horse"
REQUESTS: list[dict[str, Any]] = [
    {"code": code} if code == "bans" else {"code": code, "name": "ann"}
    for code in ("kick", "mute", "unmute", "ban", "unban", "bans")
]


class Chat:
    """A chat with an operator, olga, and, if it is new, a twin house that is told of each entry."""

    def __init__(self, store: FakeStore | None = None, **limits: Any) -> None:
        is_new = store is None or not store.mark
        disk = None if FakeChat.store else store or FakeStore()
        self.fake = FakeChat(store=disk, **limits)
        self.house = self.fake.hub.house
        if disk is not None:
            self.fake.loop.settle = disk.work
            if is_new:
                Twin(self.fake.hub, Random(1))
        if self.house.accounts:
            self.olga = self.join("olga", password=PASSWORD)
        else:
            self.olga = self.account("olga", is_operator=True)

    def join(self, name: str, *features: str, host: str = "127.0.0.1", **extra: object) -> FakeClient:
        client = self.fake.connect(host)
        client.ask(code="hello", name=name, features=features, **extra)
        [self.welcome] = self.came(client)
        assert self.welcome["code"] == "welcome", self.welcome
        return client

    def account(self, name: str, *features: str, is_operator: bool = False, **extra: Any) -> FakeClient:
        """Return somebody who has registered."""
        client = self.join(name, *features, **extra)
        answer = self.ask(client, "register", password=PASSWORD)
        assert answer.pop("code") == "registered"
        self.welcome |= answer  # a new session, perhaps
        if is_operator:
            assert order(self, "operator", name, is_set=True) == ""
        return client

    def came(self, client: FakeClient) -> list[dict[str, Any]]:
        self.fake.loop.turn()
        return client.take()

    def ask(self, client: FakeClient, code: str, **request: Any) -> dict[str, Any]:
        """Ask for something, and return the only thing that comes."""
        client.ask(code=code, **request)
        [answer] = self.came(client)
        return answer

    def error(self, client: FakeClient, code: str, **request: Any) -> str:
        return str(self.ask(client, code, **request).get("error"))

    def do(self, code: str, **request: Any) -> dict[str, Any]:
        """Have the operator do it."""
        answer = self.ask(self.olga, code, **request)
        assert answer["code"] == "done", answer
        return answer

    def hello(self, name: str, host: str = HOME, **extra: object) -> str:
        """Return how a stranger fares: `welcome`, or the error."""
        client = self.fake.connect(host)
        client.ask(code="hello", name=name, **extra)
        [answer] = self.came(client)
        client.transport.vanish(None)
        self.fake.loop.turn()
        return str(answer.get("error", answer["code"]))

    def break_off(self, client: FakeClient) -> None:
        client.transport.vanish(ConnectionResetError())
        self.fake.loop.turn()


def order(chat: Chat, what: str, name: str, minutes: int = 0, *, is_set: bool = False) -> str:
    """Give an order of the command line; return why it was not done."""
    return chat.fake.hub.obey(Order(1, what, name, "", minutes, is_set, ""))


def number(client: FakeClient) -> int:
    return client.connection._client.session.number


# Who may


@pytest.mark.parametrize("request_", REQUESTS)
def test_others_may_not(request_: dict[str, Any]) -> None:
    """Who is no operator, with an account or without, is told so; a stranger says hello first."""
    chat = Chat()
    chat.join("ann")
    eve, dan = chat.join("eve"), chat.account("dan")

    for client in (eve, dan):
        assert chat.error(client, **request_) == "not_allowed"
    assert chat.error(chat.fake.connect(), **request_) == "hello_first"


def test_an_operator_no_longer() -> None:
    """Whether one is an operator is looked up each time; and once more when the entry is done."""
    chat = Chat()
    ann = chat.join("ann")
    order(chat, "operator", "olga")

    assert chat.error(chat.olga, "kick", name="ann") == "not_allowed"
    with pytest.raises(Refusal, match="you are not an operator"):
        chat.fake.hub.append(Kicked(number(ann), number(chat.olga)), None)


@pytest.mark.parametrize("name", ["otto", "OTTO", "olga"])
@pytest.mark.parametrize("code", ["kick", "mute", "ban"])
def test_no_operator_can_touch_another(code: str, name: str) -> None:
    """Nor itself; the command line can ban one, and then only the command line lets it in again."""
    chat = Chat()
    otto = chat.account("otto", is_operator=True)

    answer = chat.ask(chat.olga, code, name=name)
    assert answer["error"] == "not_allowed"
    assert answer["message"].endswith("is an operator: only the command line can ban operators")
    assert order(chat, "ban", "otto") == ""
    assert chat.came(otto) == []
    assert otto.transport.eof_written
    assert chat.error(chat.olga, "unban", name="otto") == "not_allowed"
    assert order(chat, "unban", "Otto") == ""


def test_operators_are_free_of_the_flood_limits() -> None:
    """What an operator asks for costs nothing; what a user asks for as fast waits."""
    chat = Chat(exempt=("10.0.0.0/8",))
    eve = chat.join("eve", host=HOME)

    for client in (chat.olga, eve):
        client.send(b'{"code":"ping"}\n' * 500)
        chat.fake.loop.turn()

    assert len(chat.olga.take()) == 500
    assert len(eve.take()) < 100


# Kick


def test_kick_a_guest() -> None:
    """Its connection ends, and so does its session; who asked for notices hears why."""
    chat = Chat()
    eve = chat.join("eve", "notices", "resume")
    secret = chat.welcome["session"]

    chat.do("kick", name="Eve", reason="enough")

    closing = {"code": "closing", "reason": "kicked", "reconnect": False, "message": "enough"}
    assert chat.came(eve) == [closing]
    assert eve.transport.eof_written
    assert "left eve kicked" in chat.fake.observer.lines
    chat.join("eve", "resume", session=secret)
    assert chat.welcome["session"] != secret


def test_kick_of_who_asked_for_nothing() -> None:
    """The connection ends behind what was said before, without a word."""
    chat = Chat()
    eve = chat.join("eve")
    chat.olga.ask(code="outgoing_broadcast", content="last")
    chat.olga.ask(code="kick", name="eve")

    assert chat.came(eve) == [{"code": "incoming_broadcast", "from": "olga", "content": "last"}]
    assert eve.transport.eof_written
    assert chat.hello("eve") == "welcome"


def test_kick_a_guest_who_is_away() -> None:
    """Who has just lost the connection does not come back to the session."""
    chat = Chat()
    eve = chat.join("eve", "resume")
    secret = chat.welcome["session"]
    chat.break_off(eve)

    chat.do("kick", name="eve")

    chat.join("eve", "resume", session=secret)
    assert chat.welcome["session"] != secret


def test_kick_an_account() -> None:
    """All its connections end; sessions that can come back stay. One that is away cannot be kicked."""
    chat = Chat()
    dan = chat.account("dan", "resume", "notices")
    secret = chat.welcome["session"]
    phone = chat.join("dan", password=PASSWORD)

    chat.do("kick", name="DAN")

    assert chat.came(dan) == [{"code": "closing", "reason": "kicked", "reconnect": False}]
    assert phone.transport.eof_written
    assert chat.error(chat.olga, "kick", name="dan") == "unknown_user"
    chat.join("dan", "resume", session=secret)
    assert chat.welcome["session"] == secret


@pytest.mark.parametrize("code", ["kick", "mute", "unmute", "unban"])
def test_nobody_of_this_name(code: str) -> None:
    """Looks do not count, and a name that is none finds nobody."""
    chat = Chat()
    chat.join("bob")

    assert chat.error(chat.olga, code, name="b0b") == "unknown_user"
    assert chat.error(chat.olga, code, name="x" * 1000) == "unknown_user"


# Mute


def test_muted() -> None:
    """Who is muted reads on, and writes to nobody: not to one, nor the lobby, nor a room, nor a new one."""
    chat = Chat()
    eve = chat.join("eve")
    chat.ask(eve, "join", room="a")
    chat.ask(chat.olga, "join", room="b")
    chat.do("mute", name="eve", minutes=10, reason="calm down")

    answer = chat.ask(eve, "outgoing", to="olga", content="x")
    assert answer["message"] == "you are muted for 10 more minutes: calm down"
    assert (answer["error"], answer["temporary"]) == ("muted", False)
    assert chat.error(eve, "outgoing_broadcast", content="x") == "muted"
    assert chat.error(eve, "outgoing_broadcast", content="x", room="a", ref="1") == "muted"
    assert chat.error(eve, "join", room="c") == "muted"
    assert chat.ask(eve, "join", room="b") == {"code": "joined", "room": "b"}
    assert chat.ask(eve, "who", room="a")["users"] == ["eve"]
    assert chat.ask(eve, "history")["messages"] == []
    assert chat.came(chat.olga) == []
    chat.olga.ask(code="outgoing_broadcast", content="hear")
    assert [message["content"] for message in chat.came(eve)] == ["hear"]


def test_mute_an_account() -> None:
    """No connection of it can write, nor one that comes later; here or away, it is found by its name."""
    chat = Chat()
    dan, phone = chat.account("dan"), chat.join("dan", password=PASSWORD)

    chat.do("mute", name="Dan")

    for client in (dan, phone):
        assert chat.error(client, "outgoing_broadcast", content="x") == "muted"
    chat.do("unmute", name="DAN")
    for client in (dan, phone):
        client.ask(code="outgoing", to="olga", content="x")
        assert chat.came(client) == []
    assert len(chat.came(chat.olga)) == 2
    for client in (dan, phone):
        client.ask(code="quit")
    chat.do("mute", name="DAN")
    again = chat.join("dan", password=PASSWORD)
    assert chat.error(again, "outgoing_broadcast", content="x") == "muted"


def test_a_burst_of_who_is_muted() -> None:
    """Each message of it is refused."""
    chat = Chat()
    eve = chat.join("eve")
    line = b'{"code":"outgoing_broadcast","content":"x"}\n'
    eve.send(line * 10)
    assert len(chat.came(chat.olga)) == 10
    chat.do("mute", name="eve")

    eve.send(line * 10)

    assert [answer["error"] for answer in chat.came(eve)] == ["muted"] * 10
    assert chat.came(chat.olga) == []


def test_a_retry_of_who_is_muted() -> None:
    """What was said before is confirmed again."""
    chat = Chat()
    eve = chat.join("eve")
    sent = chat.ask(eve, "outgoing_broadcast", content="x", ref="1")
    chat.came(chat.olga)
    chat.do("mute", name="eve")

    assert chat.ask(eve, "outgoing_broadcast", content="x", ref="1") == sent
    assert chat.error(eve, "outgoing_broadcast", content="x", ref="2") == "muted"


def test_a_mute_ends() -> None:
    """After its time, by the log; an hour if nobody says how long; or never, until it is lifted."""
    chat = Chat()
    eve = chat.join("eve")

    chat.do("mute", name="eve")
    chat.fake.loop.pass_time(3599)
    message = chat.ask(eve, "outgoing_broadcast", content="x")["message"]
    chat.fake.loop.pass_time(1)
    eve.ask(code="outgoing_broadcast", content="ended")

    assert message == "you are muted for 1 more minute"
    assert [one["content"] for one in chat.came(chat.olga)] == ["ended"]
    assert chat.came(eve) == []
    chat.do("mute", name="eve", minutes=0)
    chat.fake.loop.pass_time(1_000_000)
    assert chat.ask(eve, "outgoing_broadcast", content="x")["message"] == "you are muted"
    chat.do("unmute", name="eve")
    eve.ask(code="outgoing_broadcast", content="x")
    assert chat.came(eve) == []


def test_a_mute_that_has_ended_does_not_begin_again() -> None:
    """Though the clock goes back."""
    chat = Chat()
    eve = chat.join("eve", "resume")
    secret = chat.welcome["session"]
    chat.do("mute", name="eve", minutes=1)
    chat.fake.loop.pass_time(60)
    eve.ask(code="outgoing_broadcast", content="x")
    chat.fake.loop.turn()

    chat.fake.late = 100.0
    eve = chat.join("eve", "resume", session=secret)
    eve.ask(code="outgoing_broadcast", content="x")

    assert chat.came(eve) == []


def test_a_mute_stays_with_the_session() -> None:
    """Who comes back to it, under another name too, is still muted; with the session, it ends."""
    chat = Chat()
    eve = chat.join("eve", "resume")
    secret = chat.welcome["session"]
    chat.do("mute", name="eve")
    chat.break_off(eve)

    eva = chat.join("eva", "resume", session=secret)

    assert chat.error(eva, "outgoing_broadcast", content="x") == "muted"
    assert chat.error(chat.olga, "unmute", name="adam") == "unknown_user"
    chat.do("unmute", name="Eva")
    chat.do("mute", name="eva")
    chat.do("unmute", name="EVA")
    chat.do("mute", name="eva")
    eva.ask(code="quit")
    chat.fake.loop.turn()
    assert chat.ask(chat.olga, "bans")["bans"] == []


def test_unmute_by_the_name_that_was_muted() -> None:
    """Who has another name by now, or is not here, is found by the one that is listed."""
    chat = Chat()
    eve = chat.join("eve", "resume")
    chat.do("mute", name="eve")
    chat.break_off(eve)
    chat.join("eva", "resume", session=chat.welcome["session"])

    chat.do("unmute", name="EVE")

    assert chat.error(chat.olga, "unmute", name="eva") == "unknown_user"


# Ban


def test_ban_a_guest() -> None:
    """It ends, and neither its name, by its looks, nor a guest from its network comes in."""
    chat = Chat()
    eve = chat.join("eve", "notices", "resume", host=HOME)
    secret = chat.welcome["session"]
    neighbour = chat.join("neighbour", host=HOME)
    chat.join("other", host="192.0.2.8")

    answer = chat.do("ban", name="eve", reason="spam")

    assert answer == {"code": "done", "others": 1}
    closing = {"code": "closing", "reason": "banned", "reconnect": False, "message": "spam"}
    assert chat.came(eve) == [closing]
    assert not neighbour.transport.eof_written
    assert [chat.hello(name, "192.0.2.9") for name in ("eve", "EVE", "\u0435ve", "adam")] == [
        *["banned"] * 3,
        "welcome",
    ]
    assert chat.hello("adam") == "banned"
    assert chat.hello("eve", "127.0.0.1") == "banned"
    assert chat.hello("eve", features=["resume"], session=secret) == "banned"
    chat.fake.loop.pass_time(3600)
    assert chat.hello("eve") == "welcome"


def test_accounts_pass() -> None:
    """From a network that is banned, and with a name that is banned for guests."""
    chat = Chat(exempt=("10.0.0.0/8",))
    chat.account("dan")
    chat.join("eve")
    chat.do("ban", name="eve")
    chat.fake.hub.obey(Order(1, "add", "Eve", chat.fake.hasher.hashed(PASSWORD), 0, False, ""))

    assert chat.hello("adam", "127.0.0.1") == "banned"
    assert chat.hello("dan", "127.0.0.1", password=PASSWORD) == "welcome"
    assert chat.hello("eve", "127.0.0.1", password=PASSWORD) == "welcome"


def test_why_one_is_banned() -> None:
    """Who has the name is told until when and why; who only shares the network, that accounts are let in."""
    chat = Chat()
    chat.join("eve", host=HOME)
    chat.do("ban", name="eve", minutes=5, reason="spam")
    chat.fake.hub.obey(Order(1, "ban", "198.51.100.0/24", "", 0, False, "a flood"))

    texts = [
        chat.ask(chat.fake.connect(host), "hello", name=name)["message"]
        for name, host in (("Eve", "192.0.2.9"), ("adam", HOME), ("adam", "198.51.100.1"))
    ]
    assert texts == [
        "this name is banned for 5 more minutes: spam",
        "log in with an account's password, as guests from your network are banned for 5 more minutes",
        "log in with an account's password, as guests from your network are banned: a flood",
    ]


def test_who_is_in_stays_and_may_resume() -> None:
    """Though its network is banned; but not under a name that is."""
    chat = Chat()
    chat.join("eve", host=HOME)
    neighbour = chat.join("neighbour", "resume", host=HOME)
    secret = chat.welcome["session"]
    chat.do("ban", name="eve")
    chat.break_off(neighbour)

    for name in ("eve", "neighbour"):
        client = chat.fake.connect(HOME)
        answer = chat.ask(client, "hello", name=name, features=["resume"], session=secret)
        assert answer.get("error") == ("banned" if name == "eve" else None)
    assert answer["session"] == secret


def test_who_is_in_with_a_name_that_looks_like_a_banned_one() -> None:
    """Is turned out as who has it would be, here or away; an account with such a name stays."""
    chat = Chat()
    here, away = chat.join("m0d", "notices"), chat.join("\u0435ve", "resume")
    secret = chat.welcome["session"]
    chat.break_off(away)
    dan = chat.account("dan")

    for name in ("mod", "eve", "d\u0430n"):
        chat.do("ban", name=name)

    assert [one["reason"] for one in chat.came(here)] == ["banned"]
    assert not dan.transport.eof_written
    for name in ("m0d", "\u0435ve", "\u0435v\u0435"):
        assert chat.hello(name, features=["resume"], session=secret) == "banned"
    assert chat.hello("adam", features=["resume"], session=secret) == "welcome"
    assert secret not in chat.house.secrets


def older(chat: Chat, name: str, host: str = HOME) -> str:
    """Return what the session can come back with of who came with this name again, without it."""
    first = chat.join(name, "resume", host=host)
    secret = str(chat.welcome["session"])
    chat.break_off(first)
    chat.join(name, "resume", host=host)
    return secret


@pytest.mark.parametrize("banned", ["guest", "account", "network"])
@pytest.mark.parametrize("lost", ["eve", "zoe"])
def test_an_older_session_of_who_is_banned(banned: str, lost: str) -> None:
    """Has lost its name, and does not come back, with any: neither by name nor by network."""
    chat = Chat(exempt=("10.0.0.0/8",))
    home = "::1" if banned == "account" else HOME
    secret = older(chat, lost, host=home)
    elsewhere = older(chat, "adam", host="192.0.2.9")
    if banned == "account":
        chat.account("dan", host=home)
    elif lost != "eve":
        chat.join("eve", host=HOME)

    if banned == "network":
        assert order(chat, "ban", "192.0.2.0/29") == ""
    else:
        chat.do("ban", name="dan" if banned == "account" else "eve", minutes=0)

    for name in ("mary", "zora", "mia"):
        assert chat.hello(name, home, features=["resume"], session=secret) == "banned"
    chat.join("mia", "resume", host="192.0.2.9", session=elsewhere)
    assert chat.welcome["session"] == elsewhere


def test_an_older_session_over_a_restart() -> None:
    """Whose it was is not known any more: no name finds it, and it does not outlive the ban of a network."""
    store = FakeStore()
    chat = Chat(store)
    secret = older(chat, "eve")
    chat = Chat(store, now=1001.0)
    chat.join("eve", host=HOME)

    assert chat.error(chat.olga, "kick", name="a|b") == "unknown_user"
    chat.do("ban", name="eve", minutes=0)

    for name in ("eve", "mia"):
        assert chat.hello(name, features=["resume"], session=secret) == "banned"


def test_a_session_that_began_after_the_ban() -> None:
    """Does not come back from the banned network; one that was in may move there; also after a restart."""
    store = FakeStore()
    chat = Chat(store)
    chat.join("neighbour", "resume", host="192.0.2.9")
    before = chat.welcome["session"]
    assert order(chat, "ban", HOME) == ""
    chat.join("eve", "resume", host="192.0.2.9")
    after = chat.welcome["session"]

    def come() -> list[str]:
        people = (("eve", after), ("neighbour", before))
        return [chat.hello(name, features=["resume"], session=one) for name, one in people]

    assert come() == ["banned", "welcome"]
    chat = Chat(store, now=1001.0)
    assert come() == ["banned", "welcome"]


@pytest.mark.parametrize("name", ["eve", "EVE"])
def test_ban_again(name: str) -> None:
    """However it is spelled then, it is the same ban, for as long as is said last: its networks stay banned."""
    store = FakeStore()
    chat = Chat(store)
    chat.join("eve", host=HOME)
    chat.do("ban", name="eve", minutes=1)

    chat.do("ban", name=name, minutes=0, reason="for good")

    chat.fake.loop.pass_time(60)
    assert [chat.hello("eve", "192.0.2.9"), chat.hello("zoe")] == ["banned", "banned"]
    assert list(store.bans) == [("ban", "eve")]
    chat = Chat(store, now=2000.0)
    assert chat.hello("zoe") == "banned"
    chat.do("unban", name=name)
    assert [chat.hello("eve"), chat.hello("zoe")] == ["welcome", "welcome"]


def test_ban_again_when_the_first_has_ended() -> None:
    """Its networks are not banned any more, though it is not swept yet."""
    chat = Chat()
    chat.join("eve", host=HOME)
    chat.do("ban", name="eve", minutes=1)
    chat.fake.loop.pass_time(60)

    chat.do("ban", name="eve")

    assert [chat.hello("eve"), chat.hello("zoe")] == ["banned", "welcome"]


@pytest.mark.parametrize("text", [HOME, "192.0.2.0/24"])
def test_a_name_that_reads_like_a_network(text: str) -> None:
    """Is banned beside the network, here and in the store; `unban` undoes both."""
    store = FakeStore()
    chat = Chat(store)
    chat.join(text, host=HOME)
    assert order(chat, "ban", text) == ""
    chat.do("ban", name=text, minutes=1)

    assert len(chat.ask(chat.olga, "bans")["bans"]) == 2
    assert chat.hello("zoe") == "banned"
    chat.fake.loop.pass_time(60)
    assert chat.hello("zoe") == "banned"
    chat.fake.loop.pass_time(3600)
    chat = Chat(store, now=10_000.0)
    assert [chat.hello("zoe"), chat.hello(text, "198.51.100.1")] == ["banned", "welcome"]
    assert [one["kind"] for one in chat.ask(chat.olga, "bans")["bans"]] == ["ban"]
    chat.do("ban", name=text)
    chat.do("unban", name=text)
    assert [chat.hello("zoe"), chat.hello(text)] == ["welcome", "welcome"]
    assert not store.bans


def test_a_name_like_the_network_of_somebody_banned() -> None:
    """To ban it is not to ban that one again."""
    chat = Chat()
    chat.join("eve", host=HOME)
    chat.do("ban", name="eve")

    chat.do("ban", name=HOME)

    assert [one["name"] for one in chat.ask(chat.olga, "bans")["bans"]] == [HOME, "eve"]


def test_a_banned_account_is_not_idle() -> None:
    """It is not removed while it is banned, so that its owner does not come back to a free name."""
    chat = Chat()
    for name in ("dan", "eve"):
        chat.account(name).ask(code="quit")
    chat.do("ban", name="dan", minutes=60 * 24 * 40)
    chat.fake.loop.turn()

    chat.fake.loop.pass_time(31 * 86_400)

    assert chat.hello("dan", "127.0.0.1", password=PASSWORD) == "banned"
    assert chat.hello("eve") == "welcome"
    chat.fake.loop.pass_time(10 * 86_400)
    assert chat.hello("dan") == "welcome"


@pytest.mark.parametrize("is_kept_first", [False, True])
def test_a_banned_account_is_freed(*, is_kept_first: bool) -> None:
    """The ban is of its name from then on: for guests, not for an account that the command line adds."""
    store = FakeStore()
    chat = Chat(store)
    chat.account("dan", host="::1").ask(code="quit")
    chat.do("ban", name="dan", minutes=0)
    if is_kept_first:
        assert order(chat, "remove", "dan") == ""
    assert order(chat, "remove", "dan", is_set=True) == ""

    for _ in range(2):
        assert [one["name"] for one in chat.ask(chat.olga, "bans")["bans"]] == ["dan"]
        assert [chat.hello(name) for name in ("dan", "DAN", "d\u0430n", "eve")] == ["banned"] * 3 + ["welcome"]
        chat = Chat(store, now=2000.0)
    chat.do("unban", name="dan")
    assert chat.hello("dan") == "welcome"
    assert not store.bans


def test_a_banned_account_that_is_not_stored() -> None:
    """What the store knows of a ban holds for the name, if the account is not there."""
    store = FakeStore()
    chat = Chat(store)
    chat.account("dan").ask(code="quit")
    chat.do("ban", name="dan", minutes=0)
    del store.accounts[store.bans["ban", "dan"].account]

    chat = Chat(store, now=2000.0)

    assert chat.hello("dan") == "banned"


def test_ban_an_account() -> None:
    """All its connections end, it is not let in at all, and for guests its networks are banned."""
    chat = Chat(exempt=("10.0.0.0/8",))
    dan = chat.account("dan", "resume", host="::1")
    secret = chat.welcome["session"]

    assert chat.do("ban", name="DAN", minutes=0) == {"code": "done", "others": 0}

    assert dan.transport.eof_written
    assert [chat.hello("adam", host) for host in ("::2", "2001:db8::1")] == ["banned", "welcome"]
    assert chat.hello("dan", "::1", features=["resume"], session=secret) == "banned"
    assert chat.hello("dan", "::1", password=PASSWORD) == "banned"
    chat.do("unban", name="dan")
    assert chat.hello("adam", "::2") == "welcome"
    assert chat.hello("dan", "::1", password=PASSWORD) == "welcome"


def test_ban_a_name_that_nobody_has() -> None:
    """Who is banned need not be here; a text that is no name cannot be."""
    chat = Chat()

    assert chat.do("ban", name="eve") == {"code": "done", "others": 0}

    assert chat.hello("eve") == "banned"
    assert chat.error(chat.olga, "ban", name="a|b") == "bad_name"


def test_unban() -> None:
    """By name, as it is spelled or else as it folds, with its networks; by network, of that alone."""
    chat = Chat()
    chat.join("eve", host=HOME)
    chat.do("ban", name="eve")
    chat.join("adam", host="192.0.2.8")
    chat.do("ban", name="adam")

    assert chat.error(chat.olga, "unban", name="192.0.2.9") == "unknown_user"
    assert chat.error(chat.olga, "unban", name="3ve") == "unknown_user"
    chat.do("unban", name=HOME)
    assert [chat.hello("x"), chat.hello("eve")] == ["welcome", "banned"]
    chat.do("unban", name="EVE")
    chat.do("unban", name="adam")
    assert [chat.hello("eve"), chat.hello("adam", "192.0.2.8")] == ["welcome", "welcome"]
    assert chat.error(chat.olga, "unban", name="eve") == "unknown_user"


def test_two_bans_of_one_network() -> None:
    """It is banned until both are lifted."""
    chat = Chat()
    for name in ("eve", "adam"):
        chat.join(name, host=HOME)
    for name in ("eve", "adam"):
        chat.do("ban", name=name)

    chat.do("unban", name="eve")
    assert [chat.hello("eve"), chat.hello("eve", "192.0.2.9")] == ["banned", "welcome"]
    chat.do("unban", name="adam")
    assert chat.hello("eve") == "welcome"


# The list


def test_bans() -> None:
    """Who, by whom, when, until and why, oldest first; what has ended is not listed, nor is any address."""
    chat = Chat()
    chat.join("eve", host=HOME)
    chat.account("dan")
    chat.do("ban", name="eve", minutes=1)
    chat.fake.loop.pass_time(30)
    chat.do("mute", name="dan", minutes=0, reason="calm down")
    chat.fake.loop.pass_time(1)
    order(chat, "ban", "adam", 60)

    answer = chat.ask(chat.olga, "bans")

    assert answer["bans"] == [
        {"kind": "ban", "name": "eve", "by": "olga", "time": 1000.0, "until": 1060.0},
        {"kind": "mute", "name": "dan", "by": "olga", "time": 1030.0, "reason": "calm down"},
        {"kind": "ban", "name": "adam", "by": "", "time": 1031.0, "until": 4631.0},
    ]
    assert HOME not in json.dumps(answer)
    chat.fake.loop.pass_time(30)
    assert [one["name"] for one in chat.ask(chat.olga, "bans")["bans"]] == ["dan", "adam"]


def test_a_long_list() -> None:
    """Of more than fits into an answer, the newest are listed."""
    chat = Chat()
    for number in range(300):
        chat.fake.loop.now += 1
        chat.do("ban", name=f"n{number}", reason="\U0001f600" * 256)

    chat.olga.ask(code="bans")
    chat.fake.loop.turn()

    assert len(b"".join(chat.olga.transport.segments)) < 300_000
    [answer] = chat.olga.take()
    listed = [one["name"] for one in answer["bans"]]
    assert 50 < len(listed) < 100
    assert listed == [f"n{number}" for number in range(300)][-len(listed) :]


def test_there_may_be_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bans and mutes together; who is banned again takes no more room; what has ended makes some."""
    monkeypatch.setattr(verdicts, "MOST", 3)
    store = FakeStore()
    chat = Chat(store)
    chat.join("eve")
    chat.do("mute", name="eve")
    chat.do("ban", name="a", minutes=1)
    chat.do("ban", name="b")

    assert chat.error(chat.olga, "ban", name="c") == "not_allowed"
    chat.do("ban", name="b", minutes=0)
    chat.do("mute", name="eve", minutes=0)
    chat.fake.loop.pass_time(60)
    chat.do("ban", name="c")
    store.work()
    assert sorted(store.bans) == [("ban", "b"), ("ban", "c"), ("mute", "eve")]


def test_many_requests_of_an_operator() -> None:
    """Each may look at all verdicts: where there are many, one is done in a turn."""
    chat = Chat()
    for number in range(3000):
        chat.house.verdicts.ban(KnownBan("ban", 0, f"n{number}", "", 1.0, 2.0, (), ""), NO_KEYS, 1.0)

    chat.olga.send(b'{"code":"bans"}\n' * 100)
    loop, answers = chat.fake.loop, []
    for _ in range(10):
        soon, loop._soon = loop._soon, []
        for callback in soon:
            callback()
        answers.append(len(chat.olga.take()))

    assert max(answers) == 1
    assert sum(answers) + len(chat.came(chat.olga)) == 100


def test_what_sweeping_costs() -> None:
    """Twice as many that have ended cost twice as much."""

    def cost(count: int) -> int:
        found = Verdicts(FakeStore())
        for number in range(count):
            found.mute(KnownBan("mute", number, f"n{number}", "", 1.0, 2.0, (), ""), NO_KEYS, 1.0)
            found.ban(KnownBan("ban", 0, f"n{number}", "", 1.0, 2.0, (), ""), NO_KEYS, 1.0)
        return steps(lambda: found.sweep(3.0))

    assert cost(400) < 2.1 * cost(200)


def test_what_has_ended_is_swept() -> None:
    """Within the hour, from memory and from the store."""
    store = FakeStore()
    chat = Chat(store)
    chat.join("eve", host=HOME)
    chat.do("mute", name="eve", minutes=1)
    chat.do("ban", name="adam", minutes=1)

    chat.fake.loop.pass_time(3700)
    store.work()

    assert len(chat.house.verdicts) == 0
    assert chat.house.verdicts._marked == {}
    assert not store.bans


# The store


REMEMBERED = [
    {"code": "mute", "name": "dan"},
    {"code": "ban", "name": "eve"},
    {"code": "unban", "name": "adam"},
    {"code": "unmute", "name": "bob"},
]


@pytest.mark.parametrize("request_", REMEMBERED)
def test_done_means_stored(request_: dict[str, Any]) -> None:
    """It has its effect at once, and is confirmed when it is stored; or the operator hears that it is not."""
    store = FakeStore()
    chat = Chat(store)
    for name in ("dan", "bob"):
        chat.join(name)
    chat.do("mute", name="bob")
    chat.do("ban", name="adam")

    def ask(*, is_full: bool) -> list[dict[str, Any]]:
        chat.fake.loop.settle = lambda: None
        chat.olga.ask(**request_)
        assert chat.came(chat.olga) == []
        store.work(is_full=is_full)
        chat.fake.loop.settle = store.work
        return chat.came(chat.olga)

    if request_["code"] in {"mute", "ban"}:
        assert [answer["error"] for answer in ask(is_full=True)] == ["not_stored"]
    assert [answer["code"] for answer in ask(is_full=False)] == ["done"]


def test_over_a_restart() -> None:
    """Bans stand, and the mutes of those whose session does; of who has gone for good, they are forgotten."""
    store = FakeStore()
    chat = Chat(store)
    chat.join("eve", host=HOME)
    chat.join("dan", "resume")
    secret = chat.welcome["session"]
    chat.join("gone")
    chat.do("ban", name="eve", minutes=0, reason="spam")
    chat.do("mute", name="dan", minutes=0)
    chat.do("mute", name="gone", minutes=0)
    store.work()
    assert len(store.bans) == 3

    chat = Chat(store, now=2000.0)
    store.work()

    assert sorted(store.bans) == [("ban", "eve"), ("mute", "dan")]
    assert [chat.hello("EVE", "192.0.2.9"), chat.hello("adam")] == ["banned", "banned"]
    dan = chat.join("dan", "resume", session=secret)
    assert chat.error(dan, "outgoing_broadcast", content="x") == "muted"
    [ban, _] = chat.ask(chat.olga, "bans")["bans"]
    assert ban == {"kind": "ban", "name": "eve", "by": "olga", "time": 1000.0, "reason": "spam"}
    chat.do("unban", name="eve")
    chat.do("unmute", name="dan")
    store.work()
    assert not store.bans


def test_accounts_over_a_restart() -> None:
    """A mute and a ban of an account stand, however it comes; a mute ends when the account is removed."""
    store = FakeStore()
    chat = Chat(store)
    chat.account("dan")
    chat.account("eve")
    chat.do("mute", name="dan", minutes=0)
    chat.do("ban", name="eve", minutes=0)

    chat = Chat(store, now=2000.0)

    dan = chat.join("dan", password=PASSWORD)
    assert chat.error(dan, "outgoing_broadcast", content="x") == "muted"
    assert chat.hello("eve", "127.0.0.1", password=PASSWORD) == "banned"
    assert chat.hello("dan") == "name_reserved"
    order(chat, "remove", "dan")
    assert [one["name"] for one in chat.ask(chat.olga, "bans")["bans"]] == ["eve"]


def test_who_registers_is_still_muted() -> None:
    """The account has the number of the session, and the mute."""
    store = FakeStore()
    chat = Chat(store)
    eve = chat.join("eve")
    chat.do("mute", name="eve")
    chat.ask(eve, "register", password=PASSWORD)
    eve.ask(code="quit")

    chat = Chat(store, now=2000.0)

    eve = chat.join("eve", password=PASSWORD)
    assert chat.error(eve, "outgoing_broadcast", content="x") == "muted"


def test_two_mutes_of_one_name() -> None:
    """The store has one of a name; when the mute of a guest ends with its session, that of another stays."""
    store = FakeStore()
    chat = Chat(store)
    eve = chat.join("eve", "resume")
    chat.do("mute", name="eve")
    chat.break_off(eve)
    chat.join("eve")
    chat.do("mute", name="eve", minutes=0)

    chat.fake.loop.pass_time(100)  # the first has not come back
    store.work()

    assert store.bans["mute", "eve"].until == 0


# The command line


def test_orders() -> None:
    """The command line bans a name or a network, and says why it does not."""
    chat = Chat()
    chat.join("ban network", host=HOME)

    assert order(chat, "ban", "eve").startswith(f"{DONE}nobody of this name is here")
    assert order(chat, "ban", "192.0.2.0/24") == ""
    assert order(chat, "ban", "2001:db8::1") == ""
    assert [chat.hello(*who) for who in (("eve", "198.51.100.1"), ("x", HOME), ("x", "2001:db8::2"))] == [
        "banned"
    ] * 3
    assert chat.hello("x", "2001:db8:0:1::1") == "welcome"
    assert order(chat, "ban", "127.0.0.1") == "127.0.0.1 is exempt"
    assert order(chat, "ban", "a|b").startswith("a name may not contain")
    assert order(chat, "unban", "adam") == 'nobody called "adam" is banned'
    assert "ban network" in chat.house.spelled
    for name in ("eve", "192.0.2.9/24", "2001:db8::/64"):
        assert order(chat, "unban", name) == ""
    assert [chat.hello(*who) for who in (("eve", "198.51.100.1"), ("x", HOME), ("x", "2001:db8::2"))] == [
        "welcome"
    ] * 3


def test_mistyped_orders() -> None:
    """What would be without effect is refused, or says so: exempt addresses, and what is none."""
    chat = Chat()
    for name in ("1.2.3.4.5", "guest"):
        chat.join(name)
    chat.break_off(chat.account("dan"))

    for exempt in ("127.0.0.1", "127.0.0.0/16", "::1", "::ffff:127.0.0.1"):
        assert order(chat, "ban", exempt).endswith(" is exempt")
    for wrong in ("192.0.2.300", "192.0.2.0/33", "192.0.2/24", "192.0.2.*", "2001:db8::/129", "2001:db8:::1"):
        assert "is no address, no network, and nobody's name" in order(chat, "ban", wrong)
    for known in ("1.2.3.4.5", "GUEST", "Dan", "::ffff:192.0.2.9", "192.0.2.0/24", "192.0.2.0/28"):
        assert order(chat, "ban", known) == ""
    assert chat.hello("x", "192.0.2.9") == "banned"
    for inside in ("192.0.2.7", "192.0.2.0/26"):
        assert order(chat, "unban", inside).startswith(f"{inside} is banned as a part of 192.0.2.0/2")
    assert order(chat, "unban", "::ffff:192.0.2.9") == ""
    assert order(chat, "unban", "198.51.100.7") == 'nobody called "198.51.100.7" is banned'


def test_what_is_decided_is_logged() -> None:
    """With who did it, if it was done; never why."""
    chat = Chat()
    chat.join("eve")
    chat.do("mute", name="eve", reason="secret")
    chat.do("unmute", name="eve")
    chat.do("kick", name="eve", reason="secret")
    chat.error(chat.olga, "kick", name="eve")
    chat.do("ban", name="eve", reason="secret")
    chat.do("unban", name="eve")
    order(chat, "ban", "adam", minutes=5)
    order(chat, "unban", "nobody")
    lines = chat.fake.observer.lines

    assert [line for line in lines if line.startswith("decided") and "olga None" not in line] == [
        *(f"decided {what} eve olga" for what in ("mute", "unmute", "kick", "ban", "unban")),
        "decided ban adam None",
    ]
    assert "secret" not in "".join(lines)


def test_a_long_time() -> None:
    """Its end is told as a date."""
    chat = Chat()
    eve = chat.join("eve")
    chat.do("mute", name="eve", minutes=100_000)

    message = chat.ask(eve, "outgoing_broadcast", content="x")["message"]
    assert message == "you are muted until 1970-03-11 10:56 UTC"


# Messages of others


@pytest.mark.parametrize("kept", ["file", "file alone"], indirect=True)
@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("room", ["", "a", None])
def test_forget_what_others_wrote(room: str | None) -> None:
    """An operator takes back what anybody wrote, wherever; those who got it are told, and nobody else can."""
    chat = Chat()
    eve, bob = chat.join("eve"), chat.join("bob", "resume")
    place = {"code": "outgoing", "to": "bob"} if room is None else {"code": "outgoing_broadcast"}
    if room:
        place["room"] = room
        for client in (eve, bob):
            chat.ask(client, "join", room=room)
    ident = chat.ask(eve, content="spam", ref="1", **place)["id"]
    chat.ask(eve, "outgoing_broadcast", content="elsewhere", ref="2")
    for client in (bob, chat.olga):
        chat.came(client)

    if room is not None:
        assert chat.error(bob, "forget", id=ident) == "not_allowed"
    assert chat.ask(chat.olga, "forget", id=ident) == {"code": "forgotten", "id": ident}

    assert {"code": "forgotten", "id": ident} in chat.came(bob)
    query = {"with": "eve"} if room is None else {"room": room} if room else {}
    found = chat.ask(bob, "history", **query)["messages"]
    assert "spam" not in [message["content"] for message in found]


def test_forget_what_an_operator_wrote() -> None:
    """No operator takes back what another wrote; each its own."""
    chat = Chat()
    otto = chat.account("otto", is_operator=True)
    ident = chat.ask(otto, "outgoing_broadcast", content="x", ref="1")["id"]
    chat.came(chat.olga)

    assert chat.error(chat.olga, "forget", id=ident) == "not_allowed"
    answer = chat.ask(chat.olga, "forget", id="0" * 16)
    assert (answer["error"], answer["message"]) == ("not_allowed", "there is no message with this id")
    assert chat.ask(otto, "forget", id=ident)["code"] == "forgotten"
