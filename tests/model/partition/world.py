"""One moment of a partition, of the sessions that may own it, and of what the metadata store says of it.

Owns: the state, in a form that can be hashed; what follows from it. Does not own: what may happen next
(partition.py).
Records are one to an object: (session, seq) is a record's value.
"""

from functools import cache
from typing import Final, NamedTuple

from tests.model.partition.rules import KEPT, WINDOW, Rules

NAMES: Final = ("a1", "b1", "a2", "c1")
"""Sessions by number: one life of owner a, b, a again. The last one is who a promise is tried on."""
OWNERS: Final = ("owner-a", "owner-b", "owner-a", "owner-c")
FRESH: Final = 3

OPEN_END: Final = -1

# Phases of a session's hold of the partition.
CLOSED: Final = "closed"
OPENING: Final = "opening"
"""A transaction that opens it was sent."""
OPEN: Final = "open"
RELEASING: Final = "releasing"
SENT: Final = "sent"
"""A release was sent."""
SERVED: Final = (OPEN, RELEASING, SENT)


class Position(NamedTuple):
    """Where the records of one epoch are in one session's chain; `end` OPEN_END: not known yet."""

    session: int
    epoch: int
    start: int
    end: int = OPEN_END


class Assigned(NamedTuple):
    """The assignment in the metadata store."""

    session: int = 0
    epoch: int = 0
    releasing: bool = False
    predecessors: tuple[tuple[int, int], ...] = ()
    """(session, epoch) of each."""
    target: str = ""


class State(NamedTuple):
    """The partition's state in the metadata store."""

    positions: tuple[Position, ...] = ()
    released: int = -1


class Txn(NamedTuple):
    """A guarded transaction: what it compares with what was read before, and what it writes."""

    compares: frozenset[str]
    assigned: Assigned | None
    state: State | None
    reads: frozenset[str]
    """What its values depend on."""


class Release(NamedTuple):
    """What an owner tells the metadata service when it gives an epoch up."""

    epoch: int
    opened: bool
    to_seq: int
    offset: int


class Session(NamedTuple):
    """One life of an owner, with its chain and its hold of the partition."""

    records: tuple[tuple[int, int], ...] = ()
    """(epoch, offset) of the record in each object of the chain, on its way or there."""
    landed: int = 0
    """Objects that are in the store, as bits. Who wrote them hears of it at once."""
    sealed: bool = False
    """The chain ends where it is durable now, for ever."""
    over: bool = False
    """It takes no step any more; its requests may still land."""
    stuck: bool = False
    """It gave an offset to something beyond the end: the chain never gets durable up to that."""
    phase: str = CLOSED
    epoch: int = -1
    """The highest epoch that it held."""
    first_seq: int = 0
    opened_at: int = 0
    """The next offset when it opened."""
    asked: frozenset[Release] = frozenset()
    """Releases on their way, each may land at any later time, or never. They are sent again for ever."""

    @property
    def durable(self) -> int:
        """Objects below it are in the store."""
        return first_free(self.landed)

    @property
    def all_durable(self) -> bool:
        return not self.stuck and self.durable == len(self.records)

    @property
    def has_room(self) -> bool:
        return len(self.records) < self.durable + WINDOW

    @property
    def next_offset(self) -> int:
        """What the partition's next record gets, of what this session has open."""
        found = [offset for epoch, offset in self.records if epoch == self.epoch]
        return found[-1] + 1 if found else self.opened_at

    @property
    def last_seq(self) -> int:
        """The last object with a record of the epoch that it holds; -1: none."""
        found = [seq for seq, (epoch, _) in enumerate(self.records) if epoch == self.epoch]
        return found[-1] if found else -1


class World(NamedTuple):
    """One moment."""

    assigned: Assigned = Assigned()
    state: State | None = None
    sessions: tuple[Session, ...] = (Session(), Session())
    pending: frozenset[Txn] = frozenset()
    """Transactions on their way: each may land at any later time, or never."""
    released: frozenset[tuple[int, int]] = frozenset()
    """(session, epoch) of releases that landed, as long as that session goes on."""
    newest: tuple[int, int] = (0, 0)
    """The highest epoch that was ever given, and to whom."""
    moves_left: int = 0
    """How often the controller may move the partition, or ask for that."""
    records_left: int = 0
    """How many records producers send."""
    sessions_left: int = 0
    """How often an owner may come back with a new session."""
    hidden_left: int = 0
    """How often a session may lose its partition from sight and see it again, under the same epoch."""

    def with_session(self, index: int, session: Session) -> "World":
        sessions = self.sessions
        return self._replace(sessions=(*sessions[:index], session, *sessions[index + 1 :]))

    def newest_of(self, owner: str) -> int:
        """The session that the owner is registered with."""
        return max(index for index in range(len(self.sessions)) if OWNERS[index] == owner)


def acknowledged(session: Session, rules: Rules = KEPT) -> tuple[tuple[int, int], ...]:
    """(epoch, offset) of each record in the chain that was acknowledged, in its order."""
    return session.records[: session.durable] if rules.acknowledged_is_durable else session.records


def durable_records(world: World) -> tuple[tuple[tuple[int, int], ...], ...]:
    """What may be read of each chain."""
    return tuple([each.records[: first_free(each.landed)] for each in world.sessions])


@cache
def first_free(landed: int) -> int:
    return next(seq for seq in range(64) if not landed >> seq & 1)
