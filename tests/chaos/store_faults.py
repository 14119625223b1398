"""What becomes of each S3 request on a connection whose store is in trouble. Pure.

Owns: where a request begins and ends in the bytes, its fate, the error answers. Does not own: sockets.
Rule: 1 clients send a request when the one before is answered (urllib3 does not pipeline), so a request line
after an answer begins the next one.
Source of the answers: Amazon S3 API reference, "Error responses".
"""

import enum
import re
from collections.abc import Callable

from tests.chaos.links import StoreTrouble

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_BEGINNING = re.compile(rb"(GET|PUT|POST|HEAD|DELETE) /")
_HEAD_BYTES_MAX = 65536


class Fate(enum.Enum):
    """What becomes of one request."""

    PASS = "pass"
    SLOW_DOWN = "slow down"
    FAILED_THOUGH_DONE = "failed though done"
    LOST_ANSWER = "lost answer"


def fate_of(trouble: StoreTrouble, chance: float) -> Fate:
    """`chance` is in [0, 1)."""
    for fate, share in (
        (Fate.SLOW_DOWN, trouble.slow_down),
        (Fate.FAILED_THOUGH_DONE, trouble.failed_though_done),
        (Fate.LOST_ANSWER, trouble.lost_answer),
    ):
        if chance < share:
            return fate
        chance -= share
    return Fate.PASS


def error_answer(status: str, code: str, *more: str) -> bytes:
    """A whole HTTP answer with S3's XML; `more` are header lines."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>planted</Message></Error>".encode()
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/xml", f"Content-Length: {len(body)}", *more)
    return "\r\n".join((*lines, "", "")).encode() + body


SLOW_DOWN = error_answer("503 Slow Down", "SlowDown")
FAILED = error_answer("500 Internal Server Error", "InternalError", "Connection: close")


class Exchange:
    """The requests of one connection; fed with the client's bytes, told when the store answers."""

    def __init__(self, choose: Callable[[], Fate]) -> None:
        self._choose = choose
        self._is_idle = True
        self._swallowed = b""
        self._left = -1
        self.fate = Fate.PASS
        """Of the request that is on its way."""

    def sent(self, data: bytes) -> tuple[bytes, bytes]:
        """The client sent `data`: what goes to the store, and what is answered in its place."""
        if self._is_idle and _BEGINNING.match(data):  # else the rest of one that was answered early
            self._is_idle = False
            self.fate = self._choose()
            self._swallowed, self._left = b"", -1
        if self.fate is not Fate.SLOW_DOWN:
            return data, b""
        if not self._is_whole(data):
            return b"", b""
        self._is_idle = True
        return b"", SLOW_DOWN

    def answered(self) -> Fate:
        """The store's first bytes are here, or more of them; where not PASS they must not be passed on."""
        self._is_idle = True
        return self.fate

    def _is_whole(self, data: bytes) -> bool:
        """Whether the request that is swallowed ended with `data`."""
        if self._left >= 0:
            self._left -= len(data)
            return self._left <= 0
        self._swallowed += data
        end = self._swallowed.find(b"\r\n\r\n")
        if end < 0:
            return len(self._swallowed) > _HEAD_BYTES_MAX
        length = _LENGTH.search(self._swallowed[:end])
        self._left = (int(length[1]) if length else 0) - (len(self._swallowed) - end - 4)
        return self._left <= 0
