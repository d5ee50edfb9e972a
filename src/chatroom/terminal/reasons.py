"""Why something did not work, in words for people."""

import errno
import os
import ssl
from collections.abc import Sequence

from chatroom.client.errors import CannotConnect, Refused
from chatroom.terminal.text import explained, visible

_NOT_TLS = "that port does not speak TLS; leave out --tls and --ca, or name the TLS port"
_OTHER_NAME = "its certificate is for another name: use that one as SERVER_IP"
_MISMATCHES = {62, 64}
"""X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's `x509_vfy.h`."""

_ENDED = "the server ended the connection: "
_ENDS = {
    "draining": "the server is going down",
    "idle": "the server ended the connection: nothing was said for too long",
    "flood": "the server ended the connection: too much was sent too fast",
    "replaced": "the server ended the connection: another one of yours has taken its place",
    "kicked": "an operator ended the connection",
    "banned": "an operator ended the connection: you are banned",
    "too_many_errors": "the server ended the connection: too much that it did not understand was sent",
}
_TOLD = {"replaced": "", "kicked": "", "banned": "you are banned: "}
"""Ends that have several causes: what the server says of this one takes the place of the words above."""
_SAY_NO_MORE = {os.strerror(errno.EPIPE), os.strerror(errno.ECONNRESET)}
"""What the system says of a connection that is no longer there."""


def reason(error: Exception, *, tls: bool = False, names: Sequence[str] = ()) -> str:
    """Say what went wrong.

    `tls`: whether TLS was wanted. `names`: those in the server's certificate, if they are known.
    """
    if isinstance(error, CannotConnect) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # to be said in words of the command line
    if isinstance(error, Refused):
        return explained(error.error)
    if isinstance(error, UnicodeError):
        return "that is no name of a host"
    if isinstance(error, ssl.SSLError):
        return _reason_of_tls(error, names)
    if isinstance(error, TimeoutError) and error.errno is None:
        said = str(error).removeprefix("the server ") or "did not answer in time"
        return f"it {visible(said)}" + (f": perhaps {_NOT_TLS}" if tls else "")
    if tls and isinstance(error, ConnectionResetError | ConnectionAbortedError):
        return f"it ended the connection during the TLS handshake: perhaps {_NOT_TLS}"
    return visible((isinstance(error, OSError) and error.strerror) or str(error))


def is_name_mismatch(error: BaseException | None) -> bool:
    """Whether the certificate can be trusted, but is for another name or address than the one given."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _MISMATCHES


def lost(why: str) -> str:
    """Say why the connection was lost: the server's own word for it in words for people."""
    end, _, said = why.removeprefix(_ENDED).partition(": ")
    if why.startswith(_ENDED) and end in _ENDS:
        if not said:
            return _ENDS[end]
        return f"{_ENDED}{_TOLD[end]}{visible(said)}" if end in _TOLD else f"{_ENDS[end]}: {visible(said)}"
    return f"the connection was lost: {visible(why)}"


def interrupted(why: str) -> str:
    """Say why the connection was lost, to a person who waits for the next: shorter, where that is enough."""
    if why in _SAY_NO_MORE:
        return "the connection was lost"
    if why.startswith("the server ") and not why.startswith(_ENDED):
        return visible(why.replace("does not answer any longer", "no longer answers"))
    return lost(why)


def _reason_of_tls(error: ssl.SSLError, names: Sequence[str]) -> str:
    if is_name_mismatch(error):
        shown = " or ".join(map(visible, names))
        return f"its certificate is for {shown}: use that name as SERVER_IP" if names else _OTHER_NAME
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message.rstrip(".")
        return f"its certificate cannot be trusted: {why}; --ca FILE names the certificate authorities to trust"
    if "ALERT" in (error.reason or ""):
        return f"no TLS that both sides accept: {error.reason}"
    return _NOT_TLS
