"""A server that keeps accounts, as far as a client sees that: it answers as told, and keeps what was asked."""

import itertools
import json
from typing import Any

from e2e.brief_server import BriefServer

BANS = [
    {"kind": "ban", "name": "eve", "by": "ann", "time": 0.0, "reason": "spam"},
    {"kind": "mute", "name": "bob", "by": "", "time": 0.0, "until": 60.0},
]


def refusal(error: str, **fields: Any) -> dict[str, Any]:
    return {"code": "error", "error": error, "message": f"no: {error}", "temporary": False} | fields


class AccountServer(BriefServer):
    """Serves one client after the other: names with passwords, and sessions that live on after all but `quit`.

    `instead`: what to answer to the first requests of a code, one after the other; None ends the connection,
    and {} is no answer.
    `requests` holds all that came, and `{"code": "end"}` for the end of each connection.
    """

    def __init__(
        self,
        *,
        accounts: dict[str, str] | None = None,
        operators: tuple[str, ...] = (),
        sessions: dict[str, str] | None = None,
        instead: dict[str, list[dict[str, Any] | None]] | None = None,
    ) -> None:
        self.accounts, self.operators = accounts or {}, operators
        self.sessions = sessions or {}  # and whose they are
        super().__init__(delimiter="\n")
        self.instead = instead or {}
        self._numbers = itertools.count(1)
        self._name = self._session = ""

    def codes(self) -> list[str]:
        """Return the codes of what has come and was not waited for."""
        return [self.requests.get()["code"] for _ in range(self.requests.qsize())]

    def _talk(self) -> None:
        try:
            for line in self._connection.makefile():
                request = json.loads(line)
                self.requests.put(request)
                if request["code"] == "quit":
                    self.sessions.pop(self._session, None)
                    return
                if (answer := self._response(request)) is None:
                    return
                if answer:
                    self.send(answer | ({"ref": request["ref"]} if "ref" in request else {}))
        finally:
            self.requests.put({"code": "end"})

    def _response(self, request: dict[str, Any]) -> dict[str, Any] | None:
        code = request["code"]
        if self.instead.get(code):
            return self.instead[code].pop(0)
        if code in {"hello", "register"}:
            return self._hello(request) if code == "hello" else self._register(request)
        if code in {"outgoing", "outgoing_broadcast"}:
            return {"code": "sent", "id": f"{self.requests.qsize():016x}", "time": 1.5}
        answers: dict[str, dict[str, Any]] = {
            "who": {"code": "users", "users": ["bob", self._name]},
            "history": {"code": "history", "messages": [], "complete": True},
            "bans": {"code": "bans", "bans": BANS},
            "ban": {"code": "done", "others": 2},
        }
        return answers.get(code, {"code": "done"})

    def _hello(self, hello: dict[str, Any]) -> dict[str, Any]:
        name, session = hello["name"], hello.get("session", "")
        if self.sessions.get(session) != name:
            if name in self.accounts and "password" not in hello:
                return refusal("name_reserved", suggestion=f"{name}2")
            if "password" in hello and self.accounts.get(name) != hello["password"]:
                nobodys = {} if name in self.accounts else {"suggestion": f"{name}2"}
                return refusal("bad_password", **nobodys)
            session = f"session {next(self._numbers)}"
            self.sessions[session] = name
        self._name, self._session = name, session
        self._resumes = "resume" in hello.get("features", ())
        welcome: dict[str, Any] = {"code": "welcome"}
        if features := hello.get("features"):
            welcome |= {"name": name, "features": features} | (
                {"session": session} if "resume" in features else {}
            )
        is_account, is_operator = name in self.accounts, name in self.operators
        return welcome | ({"account": True} if is_account else {}) | ({"operator": True} if is_operator else {})

    def _register(self, register: dict[str, Any]) -> dict[str, Any]:
        if self._name in self.accounts:
            if "old" not in register:
                return refusal("not_allowed")
            if register["old"] != self.accounts[self._name]:
                return refusal("bad_password")
        self.accounts[self._name] = register["password"]
        if not self._resumes:
            return {"code": "registered"}
        self.sessions.pop(self._session, None)
        self._session = f"session {next(self._numbers)}"
        self.sessions[self._session] = self._name
        return {"code": "registered", "session": self._session}
