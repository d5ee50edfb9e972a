"""Peers that mean another kind of server.

A web page can have a browser send anything behind the head of an HTTP request, and put much into a TLS
handshake: none of it may be understood as JSON.
"""

_OTHERS = {
    # RFC 9110, 9.3; RFC 5789; RFC 9113, 3.4
    **dict.fromkeys(
        (
            b"GET ",
            b"HEAD ",
            b"POST ",
            b"PUT ",
            b"DELETE ",
            b"CONNECT ",
            b"OPTIONS ",
            b"TRACE ",
            b"PATCH ",
            b"PRI ",
        ),
        "HTTP",
    ),
    b"\x16\x03": "TLS",  # RFC 8446, 5.1
}
_STARTS = frozenset(beginning[0] for beginning in _OTHERS)


def other_protocol(first: bytes) -> str | None:
    """Return which protocol a connection's first bytes begin, if it is not ours; "" if a few more will tell."""
    if first and first[0] not in _STARTS:  # as is whatever begins with `{`, at a tenth of the cost
        return None
    for beginning, name in _OTHERS.items():
        if first.startswith(beginning):
            return name
    return "" if any(beginning.startswith(first) for beginning in _OTHERS) else None
