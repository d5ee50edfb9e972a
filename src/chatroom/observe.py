"""What the operator sees: one line for each join, leave and refused message; never what people wrote."""

import logging
import sys

from chatroom.protocol.messages import Error

log = logging.getLogger("chatroom")


class LogObserver:
    """Writes the hub's events to the log.

    Names that are welcome have no control characters in them. What was refused might have: of an error only
    its word is logged, not its text, which may quote the request.
    """

    def joined(self, name: str, peer: str) -> None:
        """Somebody is welcome."""
        log.info("joined: %s from %s", name, peer)

    def left(self, name: str, peer: str, reason: str) -> None:
        """Somebody has gone."""
        log.info("left: %s from %s (%s)", name, peer, reason)

    def refused(self, name: str | None, peer: str, error: Error) -> None:
        """A request was answered with an error."""
        log.info("refused: %s to %s from %s", error.error, name or "a stranger", peer)


def log_to_stderr() -> None:
    """Send the log to the standard error, a line an event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
