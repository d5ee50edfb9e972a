"""Sessions that are kept until the next start: one file for each server and name, for nobody else to read."""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import msgspec

from chatroom.protocol.messages import MAX_REF


class Kept(msgspec.Struct):
    """What stands in the file; all but the session is for people who look into it."""

    host: str
    port: int
    name: str
    session: str


class Sessions:
    """Those with one server."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._last: Kept | None = None

    def find(self, name: str) -> str | None:
        """Return the session that was kept under this name, if there is one that can be read."""
        with suppress(OSError, RuntimeError, ValueError):
            kept = msgspec.json.decode(self._file(name).read_bytes(), type=Kept)
            if len(kept.session) <= MAX_REF:
                return kept.session
        return None

    def keep(self, name: str, session: str) -> None:
        """Keep a session, in the place of the one before. Raises `OSError`."""
        kept = Kept(self._host, self._port, name, session)
        if kept == self._last:
            return
        file = self._file(name)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, new = tempfile.mkstemp(dir=file.parent)  # which nobody else can read
        try:
            with os.fdopen(descriptor, "wb") as output:
                output.write(msgspec.json.encode(kept))
            Path(new).replace(file)
        except BaseException:
            Path(new).unlink()
            raise
        self._last = kept

    def _file(self, name: str) -> Path:
        what = msgspec.json.encode([self._host, self._port, name])
        return _folder() / f"{hashlib.sha256(what).hexdigest()[:32]}.json"


def _folder() -> Path:
    """Return where programs keep what is theirs, as the XDG base directory specification has it."""
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".local" / "state") / "chatroom"
    except RuntimeError as error:
        raise OSError(None, str(error)) from None
