"""Why something did not work, in words for people."""

import ssl

from chatroom.client.errors import CannotConnect, Refused
from chatroom.terminal.text import visible

_NOT_TLS = "no TLS is spoken there; leave out --tls and --ca, or name the TLS port"


_ENDED = "the server ended the connection: "
_ENDS = {
    "draining": "the server is going down",
    "idle": "the server ended the connection: nothing was said for too long",
    "flood": "the server ended the connection: too much was sent too fast",
    "too_many_errors": "the server ended the connection: too much that it did not understand was sent",
}


def reason(error: Exception, *, tls: bool = False) -> str:
    """Say what went wrong; `tls` if TLS was wanted."""
    if isinstance(error, CannotConnect) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # to be said in words of the command line
    if isinstance(error, Refused):
        return visible(error.message)
    if isinstance(error, UnicodeError):
        return "that is no name of a host"
    if isinstance(error, ssl.SSLError):
        return _reason_of_tls(error)
    if isinstance(error, TimeoutError) and error.errno is None:
        said = str(error).removeprefix("the server ") or "did not answer in time"
        return f"it {visible(said)}" + (f": perhaps {_NOT_TLS}" if tls else "")
    if tls and isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return f"it ended the connection during the TLS handshake: perhaps {_NOT_TLS}"
    return visible((isinstance(error, OSError) and error.strerror) or str(error))


def lost(why: str) -> str:
    """Say why the connection was lost: the server's own word for it in words for people."""
    end = why.removeprefix(_ENDED)
    if end != why and end in _ENDS:
        return _ENDS[end]
    return f"the connection to the server was lost: {visible(why)}"


def _reason_of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message} (--ca names whom to trust)"
    if "ALERT" in (error.reason or ""):
        return f"no TLS that both sides accept: {error.reason}"
    return _NOT_TLS
