"""Passwords: which are legal, what is made of them, and the thread that does it."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from precis_i18n import get_profile

from chatroom import passwords
from chatroom.passwords import NICEST, Hasher, hash_now, is_right
from chatroom.protocol.passwords import MAX_GIVEN, MAX_PASSWORD, MIN_PASSWORD, BadPassword, checked

RIGHT, WRONG = "correct horse", "battery staple"


# Which are legal


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("12345678", "12345678"),
        (" with spaces ", " with spaces "),
        ("x" * MAX_PASSWORD, "x" * MAX_PASSWORD),
        ("Pa\u0308ssword", "P\u00e4ssword"),  # composed
        ("a\u0308" * MAX_PASSWORD, "\u00e4" * MAX_PASSWORD),
        ("\u03b1\u0313\u0300\u0345" * MAX_PASSWORD, "\u1f82" * MAX_PASSWORD),  # of four
        ("\uff30assword", "\uff30assword"),  # its width is kept, as is its case
        ("eight\u3000\u00a0ch", "eight  ch"),  # spaces are one
        ("l\u00b7l l\u00b7l l", "l\u00b7l l\u00b7l l"),
        ("пароль 🔑", "пароль 🔑"),
    ],
)
def test_legal_passwords(given: str, made: str) -> None:
    """A password is composed and has one kind of spaces; all else stays as it is."""
    assert checked(given) == made


@pytest.mark.parametrize(
    "given",
    [
        "",
        "7 chars",
        "x" * (MAX_PASSWORD + 1),
        "a\u0308" * (MIN_PASSWORD - 1),  # seven, when composed
        "\ufb2c" * MAX_PASSWORD,  # three times as many
        "a" + "\u0301" * MAX_GIVEN,
        "heart \u2764\ufe0f heart",
        "x" * 10_000_000,
        "tab\tand more",
        "line\nbreak",
        "\x00\x00\x00\x00\x00\x00\x00\x00",
        "soft\u00adhyphen",
        "unassigned\u0378",
        "l\u00b7l l\u00b7lx\u00b7",
    ],
)
def test_illegal_passwords(given: str) -> None:
    """What is too short or too long, or could not be typed elsewhere, is refused; nothing of it is quoted."""
    with pytest.raises(BadPassword) as refused:
        checked(given)

    assert not given or given[:8] not in str(refused.value)
    assert refused.value.__context__ is None


def test_length_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done with a password that is too long, however it is composed."""
    monkeypatch.setattr("chatroom.protocol.passwords.free_form", None)
    with pytest.raises(BadPassword, match="129 characters"):
        checked("a\u0308" * (MAX_PASSWORD + 1))

    monkeypatch.setattr("chatroom.protocol.passwords.unicodedata", None)
    with pytest.raises(BadPassword, match="513 characters"):
        checked("é" * (MAX_GIVEN + 1))


def test_emoji_of_several_characters() -> None:
    """Phones type characters that cannot be seen with many an emoji; the error says so."""
    for emoji in "\u2764\ufe0f", "\U0001f469\u200d\U0001f680":
        with pytest.raises(BadPassword, match="emoji"):
            checked(f"password {emoji}")


texts = st.text(
    st.one_of(st.characters(), st.sampled_from("l·\u00a0\u3000\u200c\u200d\u094d\u0301٠۰・カ·")), max_size=20
)


@given(texts)
def test_it_is_opaque_string(text: str) -> None:
    """The short way does what PRECIS's profile for passwords does."""
    text = f"longer: {text}"
    try:
        made: str | None = get_profile("OpaqueString").enforce(text)
    except UnicodeEncodeError:
        made = None
    try:
        ours: str | None = checked(text)
    except BadPassword:
        ours = None

    assert ours == made


def test_spaces_are_unicodes() -> None:
    """All characters of the category Zs become a space."""
    spaces = [one for one in map(chr, range(0x110000)) if unicodedata.category(one) == "Zs"]

    assert checked("12345678" + "".join(spaces)) == "12345678" + " " * len(spaces)


# What is made of them


def test_hashes() -> None:
    """A hash is Argon2id's with 19 MiB, two passes and one lane; its salt is new each time."""
    first, second = hash_now(RIGHT), hash_now(RIGHT)

    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert is_right(first, RIGHT)
    assert not is_right(first, WRONG)
    assert not is_right(first, RIGHT + " ")


# The thread


class Loop:
    """What a hasher needs of an event loop: `told` waits for what is called back."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []
        self._has_some = threading.Condition()

    def call_soon_threadsafe(self, callback: Callable[[], None], *arguments: Any) -> None:
        assert not arguments, "what asyncio logs, if the callback raises"
        with self._has_some:
            self._soon.append(callback)
            self._has_some.notify()

    def turn(self) -> None:
        """Wait until something is called back, and call it."""
        with self._has_some:
            self._has_some.wait_for(lambda: self._soon)
            soon, self._soon = self._soon, []
        for callback in soon:
            callback()


async def test_hasher() -> None:
    """Passwords are hashed and verified in the order in which they come; the loop's thread is told."""
    hasher = Hasher(asyncio.get_running_loop())
    told: list[object] = []
    done = asyncio.Event()

    def tell(result: object) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(result)
        if len(told) == 3:
            done.set()

    hashed = hash_now(RIGHT)
    hasher.verify(hashed, WRONG, tell)
    hasher.verify(hashed, RIGHT, tell)
    hasher.hash(WRONG, tell)
    assert not told
    await done.wait()
    hasher.close()

    assert told[:2] == [False, True]
    assert is_right(str(told[2]), WRONG)


class Gate:
    """Stands in for a hash: the thread waits in it until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = threading.Event()
        self.entered = threading.Event()
        monkeypatch.setattr(passwords, "hash_now", self)

    def __call__(self, password: str) -> str:
        self.entered.set()
        self.is_open.wait()
        return f"hash of {len(password)}"


def test_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends behind the hash that it makes; nothing is called back, and nothing more is hashed."""
    gate, loop, told = Gate(monkeypatch), Loop(), list[str | None]()
    hasher = Hasher(loop)  # type: ignore[arg-type]
    for _ in range(3):
        hasher.hash(RIGHT, told.append)
    gate.entered.wait()
    gate.entered.clear()

    threading.Timer(0.01, gate.is_open.set).start()
    hasher.close()
    loop.turn()
    hasher.hash(RIGHT, told.append)

    assert not gate.entered.is_set()
    assert not hasher._thread.is_alive()
    assert told == []


def test_bugs_are_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What fails is logged with its traceback, without a password; who asked is told, the next is served."""
    loop, told = Loop(), list[object]()
    hasher = Hasher(loop)  # type: ignore[arg-type]
    hashed = hash_now(RIGHT)

    with caplog.at_level(logging.ERROR):
        hasher.verify("no hash", RIGHT, told.append)
        hasher.verify(hashed, RIGHT, told.append)
        while len(told) < 2:
            loop.turn()
    hasher.close()

    assert told == [None, True]
    assert "Traceback" in caplog.text
    assert "InvalidHash" in caplog.text
    assert RIGHT not in caplog.text


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, priorities are of processes")
def test_it_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread has the lowest priority, and interrupts no other; the rest of the process is as it was."""
    gate = Gate(monkeypatch)
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    hasher = Hasher(Loop())  # type: ignore[arg-type]
    hasher.hash(RIGHT, lambda hashed: None)
    gate.entered.wait()
    thread = hasher._thread.native_id or 0

    assert os.getpriority(os.PRIO_PROCESS, thread) == NICEST
    assert os.sched_getscheduler(thread) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    gate.is_open.set()
    hasher.close()


@pytest.mark.slow
def test_a_process_ends_without_close() -> None:
    """A hasher that nobody has closed does not keep its process."""
    program = (
        "import asyncio; from chatroom.passwords import Hasher\n"
        "async def main(): Hasher(asyncio.get_running_loop())\n"
        "asyncio.run(main())"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
