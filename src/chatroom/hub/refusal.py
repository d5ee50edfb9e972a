"""Why a request is not done."""

from chatroom.protocol.messages import TEMPORARY, ErrorCode, ErrorReply


class Refusal(Exception):
    """The request cannot be done; `error` is the answer."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        suggestion: str | None = None,
        retry_after: float | None = None,
        is_final: bool = False,
    ) -> None:
        """`is_final`: the session ends with it."""
        super().__init__(message)
        self.is_final = is_final
        self.error = ErrorReply(
            error=code,
            message=message,
            temporary=code in TEMPORARY,
            suggestion=suggestion,
            retry_after=retry_after,
        )
