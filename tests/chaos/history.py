"""What clients saw, in order, as plain data: acknowledgements and polls.

Owns: the shapes, collecting them from several threads. Does not own: the judgement (checker.py), the clients.
"""

from typing import NamedTuple

from tests.support.ledger import Place, Stamp


class Ack(NamedTuple):
    """A producer was told that a record is durable. `at` is monotonic; a latency below 0 is not known."""

    at: float
    stamp: Stamp
    place: Place
    latency_seconds: float = -1.0


class Poll(NamedTuple):
    """A reader was given a record. `life` counts its assignments: within one it reads on where it was."""

    at: float
    reader: str
    life: int
    place: Place
    stamp: Stamp


class History:
    """Appending to a list is atomic in CPython: every client's thread appends, nobody removes."""

    def __init__(self) -> None:
        self.acks: list[Ack] = []
        self.polls: list[Poll] = []
        self.sent: dict[tuple[str, int], int] = {}
        """(producer, partition) -> the highest number that it has tried to send, where that is known."""
        self.producers: set[str] = set()
        """All that ever sent something."""
