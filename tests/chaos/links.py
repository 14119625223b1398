"""What the connections from one process to another suffer: a link for each directed pair.

Owns: the trouble of each direction, and waking who waits for its end. Does not own: sockets (proxies.py).
Rules: 1 a cut loses nothing of an established connection: as on a real network the bytes come late, when it
heals; 2 trouble counts for connections that are open already.
"""

from dataclasses import dataclass

import trio


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Of one direction."""

    cut: bool = False
    """Nothing arrives, not even an end of the connection; the sender is told nothing."""
    delay_seconds: float = 0.0
    bytes_per_second: float = 0.0
    """0: as fast as it goes."""


CLEAR = Trouble()
CUT = Trouble(cut=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTrouble:
    """How an S3 store answers, as probabilities of a request; the rest is answered as it should be."""

    slow_down: float = 0.0
    """503 SlowDown, and nothing was done."""
    failed_though_done: float = 0.0
    """500 InternalError, and it was done."""
    lost_answer: float = 0.0
    """It was done, and the connection is reset instead of an answer."""


STORE_CLEAR = StoreTrouble()


class Way:
    """One direction of a link."""

    def __init__(self) -> None:
        self._trouble = CLEAR
        self._changed = trio.Event()

    @property
    def trouble(self) -> Trouble:
        return self._trouble

    def suffer(self, trouble: Trouble) -> None:
        """From now on, instead of whatever was before."""
        self._trouble = trouble
        self._changed.set()
        self._changed = trio.Event()

    async def wait_open(self) -> None:
        """Until it is not cut."""
        while self._trouble.cut:
            await self._changed.wait()


class Link:
    """From `source`, which connects, to `target`, which listens; `forth` and `back` are its directions."""

    def __init__(self, source: str, target: str) -> None:
        self.source = source
        self.target = target
        self.forth = Way()
        self.back = Way()
        self.store = STORE_CLEAR
        self.connections: set[trio.CancelScope] = set()
        """Those that are open; cancelling one resets it."""
        self._is_refusing = False

    @property
    def is_refusing(self) -> bool:
        return self._is_refusing

    def suffer(self, trouble: Trouble) -> None:
        """Both directions."""
        self.forth.suffer(trouble)
        self.back.suffer(trouble)

    def refuse(self) -> None:
        """Open connections are reset, and new ones at once, until `heal`."""
        self._is_refusing = True
        self.reset()

    def reset(self) -> None:
        """Open connections are reset."""
        for scope in list(self.connections):
            scope.cancel()

    def heal(self) -> None:
        self._is_refusing = False
        self.store = STORE_CLEAR
        self.suffer(CLEAR)
