"""What a legal password is, and how it is compared: OpaqueString of PRECIS (RFC 8265, section 4.2).

So a password is the same however a keyboard composes its characters; and it has none that another keyboard may
not be able to give.
"""

import re
import unicodedata

from chatroom.protocol import free_form

MIN_PASSWORD = 8
MAX_PASSWORD = 128
"""Characters (code points) of a password, given or in NFC."""

_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")  # of the category Zs, beside ASCII's


class BadPassword(ValueError):
    """No legal password; the text says why, and quotes nothing of it."""


def checked(password: str) -> str:
    """Return the password as it is hashed: in NFC, other spaces as ASCII's.

    Raises `BadPassword` unless it has 8 to 128 characters, of which PRECIS's free-form class allows each: no
    control characters, none that cannot be seen, and none that Unicode has not assigned.
    """
    _check_length(password, least=0)  # before anything is done with it
    if not (password.isascii() and password.isprintable()):
        password = unicodedata.normalize("NFC", _SPACE.sub(" ", password))
        if free_form.refused(password) is not None:
            raise BadPassword("a password may not contain characters that cannot be seen or typed")
    _check_length(password, least=MIN_PASSWORD)
    return password


def _check_length(password: str, *, least: int) -> None:
    if not least <= len(password) <= MAX_PASSWORD:
        raise BadPassword(
            f"the password has {len(password)} characters; it must have {MIN_PASSWORD} to {MAX_PASSWORD}"
        )
