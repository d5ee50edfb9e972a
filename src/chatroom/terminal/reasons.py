"""Why something did not work, in words for people."""

import ssl

from chatroom.client.errors import Refused
from chatroom.terminal.text import visible

_NOT_TLS = "no TLS is spoken there; leave out --tls and --ca, or name the TLS port"


def reason(error: Exception, *, tls: bool = False) -> str:
    """Say what went wrong; `tls` if TLS was wanted."""
    if isinstance(error, Refused):
        return visible(error.message)
    if isinstance(error, UnicodeError):
        return "that is no name of a host"
    if isinstance(error, ssl.SSLError):
        return _reason_of_tls(error)
    if isinstance(error, TimeoutError) and error.errno is None:
        return "it did not answer in time" + (f": perhaps {_NOT_TLS}" if tls else "")
    if tls and isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return f"it ended the connection during the TLS handshake: perhaps {_NOT_TLS}"
    return visible((isinstance(error, OSError) and error.strerror) or str(error))


def _reason_of_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message} (--ca names whom to trust)"
    if "ALERT" in (error.reason or ""):
        return f"no TLS that both sides accept: {error.reason}"
    return _NOT_TLS
