"""The token bucket: so much at once, and so much a second after that."""

from chatroom.hub.ports import Timing


class Bucket:
    """Tokens, of which some are taken for each thing that is done, and which come back with time."""

    __slots__ = ("_burst", "_rate", "_seen", "_timing", "_tokens")

    def __init__(self, burst: float, rate: float, timing: Timing) -> None:
        """Full, with `burst` tokens; `rate` tokens come back a second."""
        self._burst = burst
        self._rate = rate
        self._timing = timing
        self._tokens = burst
        self._seen = timing.time()

    @property
    def is_full(self) -> bool:
        """Whether all tokens are back."""
        self._refill()
        return self._tokens >= self._burst

    @property
    def is_half_full(self) -> bool:
        """Whether half of the tokens are back."""
        self._refill()
        return 2 * self._tokens >= self._burst

    def wait(self, tokens: float) -> float:
        """Return the seconds until so many can be taken; 0 if they can be now.

        What costs more than a full bucket can be had for a full one.
        """
        self._refill()
        missing = min(tokens, self._burst) - self._tokens
        return max(0.0, missing / self._rate)

    def take(self, tokens: float) -> None:
        """Take them."""
        self._tokens -= min(tokens, self._burst)

    def _refill(self) -> None:
        now = self._timing.time()
        self._tokens = min(self._burst, self._tokens + self._rate * (now - self._seen))
        self._seen = now
