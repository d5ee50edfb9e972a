"""Hashes of passwords: Argon2id (RFC 9106), in a thread that only works when nothing else does.

A hash takes some 50 ms and 19 MiB, so that whoever steals the file cannot try many passwords.
"""

import logging
import os
import queue
import sys
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from chatroom.protocol.passwords import BadPassword, checked

__all__ = ["BadPassword", "Hasher", "checked", "hash_now"]

log = logging.getLogger("chatroom")

NICEST = 19
"""The lowest priority of a thread; others are given a processor first."""

# OWASP's second choice (Password Storage Cheat Sheet): the first takes 46 MiB.
_ARGON2 = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

T = TypeVar("T")


def hash_now(password: str) -> str:
    """Return the hash of a password that was `checked`, with a new salt (PHC string format); takes 50 ms."""
    return _ARGON2.hash(password)


def is_right(hashed: str, password: str) -> bool:
    """Whether this is the password of the hash, with whatever parameters that was made; takes as long.

    Raises what `argon2` does if it is no hash.
    """
    try:
        return _ARGON2.verify(hashed, password)
    except VerifyMismatchError:
        return False


class Hasher:
    """The hub's `Hasher`: one thread, which hashes in the order in which it was asked.

    A second one would hash twice as many, but make the event loop ten times as late.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="passwords", daemon=True)
        self._thread.start()

    def hash(self, password: str, then: Callable[[str | None], None]) -> None:
        """Make a hash and tell `then`, later and in the loop's thread."""
        self._ask(lambda: hash_now(password), then)

    def verify(self, hashed: str, password: str, then: Callable[[bool | None], None]) -> None:
        """Tell `then` whether this is the password, in the same way."""
        self._ask(lambda: is_right(hashed, password), then)

    def close(self) -> None:
        """End the thread, behind the hash that it makes; nothing is called back any more."""
        self._is_closed = True
        self._jobs.put(None)
        self._thread.join()

    def _ask(self, work: Callable[[], T], then: Callable[[T | None], None]) -> None:
        self._jobs.put(lambda: self._do(work, then))

    def _run(self) -> None:
        """Do what is asked, until told to stop."""
        _give_way()
        while self._do_next():
            pass

    def _do_next(self) -> bool:
        """Do what comes next; return False if that is the end. No password is kept while there is nothing."""
        job = self._jobs.get()
        if job is not None and not self._is_closed:
            job()
        return job is not None

    def _do(self, work: Callable[[], T], then: Callable[[T | None], None]) -> None:
        """Work, in the thread."""
        result = None
        try:
            result = work()
        except Exception:
            log.exception("internal error, a password could not be hashed")
        # Arguments of what is called may be logged, with its exception; what a function knows besides is not.
        self._loop.call_soon_threadsafe(lambda: self._tell(result, then))

    def _tell(self, result: T | None, then: Callable[[T | None], None]) -> None:
        if not self._is_closed:
            then(result)


def _give_way() -> None:
    """Let this thread run when no other wants to, and interrupt none: on Linux, where each has a priority."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, thread, NICEST)
            os.sched_setscheduler(thread, os.SCHED_BATCH, os.sched_param(0))
