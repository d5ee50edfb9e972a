"""What a legal password is, and how it is compared: OpaqueString of PRECIS (RFC 8265, section 4.2).

So a password is the same however a keyboard composes its characters; and it has none that another keyboard may
not be able to give.
"""

import re
import unicodedata

from chatroom.protocol import free_form

MIN_PASSWORD = 8
MAX_PASSWORD = 128
"""Characters (code points) of a password in NFC."""
MAX_GIVEN = 4 * MAX_PASSWORD
"""Code points of one that may be given: no character of NFC stands for more than four."""

_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")  # of the category Zs, beside ASCII's


class BadPassword(ValueError):
    """No legal password; the text says why, and quotes nothing of it."""


def checked(password: str) -> str:
    """Return the password as it is hashed: in NFC, other spaces as ASCII's.

    Raises `BadPassword` unless it has 8 to 128 characters, of which PRECIS's free-form class allows each: no
    control characters, none that cannot be seen, and none that Unicode has not assigned.
    """
    if len(password) <= MAX_GIVEN and not password.isascii():  # bounded before anything is done with it
        password = unicodedata.normalize("NFC", _SPACE.sub(" ", password))
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise BadPassword(
            f"the password has {len(password)} characters; it must have {MIN_PASSWORD} to {MAX_PASSWORD}"
        )
    if not (password.isascii() and password.isprintable()) and free_form.refused(password) is not None:
        raise BadPassword(
            "a password may not contain control characters, or any that cannot be seen, as many emoji do"
        )
    return password
