"""The appends of one partition, in order, while the partition moves. Pure.

Owns: which append may be sent where and when, what happens to those behind one that failed.
Does not own: streams, time, which owner has the partition (all handed in).
Rules (design section 3, rule 12):
1 Appends of one source reach the log in the order of arrival, or not at all.
2 While the outcome of an append is open at one owner, nothing is sent to another.
3 A refused append (Moved: nothing was done) goes back to its place and is sent again. The owner refuses all
  later ones of that partition in that stream too, so none is sent until all in flight are answered; the next
  says resume.
4 Where an append is given up (its outcome is unknown, or its time is over), those of the same source that
  wait behind it are given up too: their client sends all again, in order. One whose client was answered
  stays open (rule 2) until the owner has answered.
5 A batch of an idempotent producer that arrives after an earlier one was given up is refused, until that one
  comes again (given_up.py): its client had sent it before it heard.
A source is a producer id, or a connection where there is none. Of a connection nothing is remembered once
its batches are given up: a later one may be appended before the earlier comes again, as in Kafka without
idempotence.
"""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from libs.clients.owner import Appended
from libs.model.errors import KafscaleError, Moved, Reason, Unavailable
from libs.model.ids import LeaderEpoch, OwnerId, SessionId
from services.gateway.routing.given_up import GivenUp, ProducerSequence

_PAUSE_SECONDS_MIN: Final = 0.01
_PAUSE_SECONDS_MAX: Final = 0.5


class Route(NamedTuple):
    """Who has the partition, in which life, under which epoch."""

    owner_id: OwnerId
    session: SessionId
    leader_epoch: LeaderEpoch


@dataclass(slots=True, kw_only=True, eq=False)
class Append:
    """One batch on its way. `answered` is set once its client has its answer."""

    number: int
    """Place in the order of arrival."""
    source: Hashable
    sequence: ProducerSequence | None = None
    """None where the producer has no id."""
    records: bytes
    deadline: float
    """Trio time by which the client wants an answer, seconds."""
    answered: bool = False
    behind_lost: bool = False
    """An earlier one of its source was given up meanwhile: it is not sent again (rule 4)."""


class Settled(NamedTuple):
    """What became of an append. `closed`: nothing of it is open any more, its bytes can be forgotten."""

    append: Append
    result: Appended | KafscaleError | None
    """None where the client was answered before."""
    closed: bool


class Sending(NamedTuple):
    appends: list[Append]
    resume: bool
    """The first of them has to say that the refusal is known."""


class AppendLane:
    """See the module's rules. Every method that can end an append returns what became of which."""

    def __init__(self) -> None:
        self._waiting: deque[Append] = deque()
        self._in_flight: dict[int, Append] = {}
        self._in_flight_route: Route | None = None
        self._refused_by: Route | None = None
        self._retry_at = 0.0
        self._pause = _PAUSE_SECONDS_MIN
        self._given_up = GivenUp()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def in_flight_route(self) -> Route | None:
        """Where what is in flight was sent."""
        return self._in_flight_route if self._in_flight else None

    @property
    def droppable(self) -> bool:
        """Nothing is held here. A refusal that is forgotten with the lane is merely met again."""
        return not self._waiting and not self._in_flight and not self._given_up

    def submit(self, append: Append, now: float) -> list[Settled]:
        """Takes an append; `pump` says when to send it. Rule 5: or refuses it."""
        if self._given_up and self._given_up.holds_back(append.source, append.sequence, now):
            return [_closed(append, _given_up())]
        self._waiting.append(append)
        return []

    def pump(self, route: Route | None, now: float) -> Sending | None:
        """What to send to `route` now; it counts as in flight from here on."""
        if not self._waiting or route is None:
            return None
        if self._in_flight and (self._in_flight_route != route or self._refused_by is not None):
            return None
        if self._refused_by == route and now < self._retry_at:
            return None
        resume = self._refused_by is not None
        self._refused_by = None
        sending = list(self._waiting)
        self._waiting.clear()
        self._in_flight.update((append.number, append) for append in sending)
        self._in_flight_route = route
        return Sending(sending, resume)

    def appended(self, number: int, result: Appended) -> list[Settled]:
        """The owner appended it. Unknown numbers (given up before) are ignored, here and below."""
        append = self._in_flight.pop(number, None)
        if append is None:
            return []
        self._pause = _PAUSE_SECONDS_MIN
        return [_closed(append, result)]

    def failed(self, number: int, error: KafscaleError, now: float) -> list[Settled]:
        """The owner answered with an error."""
        append = self._in_flight.pop(number, None)
        if append is None:
            return []
        if isinstance(error, Moved):
            return self._give_back([append], now)
        settled = [_closed(append, error)]
        if isinstance(error, Unavailable) and error.outcome_unknown:
            settled += self._give_up_behind([append], now)
        return settled

    def lost(self, sent: Iterable[int], unsent: Iterable[int], now: float) -> list[Settled]:
        """The stream broke: the outcome of `sent` is unknown, `unsent` certainly never left."""
        unknown = [self._in_flight.pop(number) for number in sent if number in self._in_flight]
        kept = [self._in_flight.pop(number) for number in unsent if number in self._in_flight]
        settled = self._give_back(kept, now)
        return settled + self._give_up(unknown, now)

    def abandon(self, now: float) -> list[Settled]:
        """Whoever has the partition now, it is not who was asked, and an answer won't come."""
        unknown = list(self._in_flight.values())
        self._in_flight.clear()
        return self._give_up(unknown, now)

    def expire(self, now: float) -> list[Settled]:
        """Answers those whose time is over; those in flight stay open."""
        self._given_up.expire(now)
        settled: list[Settled] = []
        for append in self._in_flight.values():
            if append.deadline <= now and not append.answered:
                append.answered = True
                settled.append(Settled(append, _timed_out(), closed=False))
        late = [append for append in self._waiting if append.deadline <= now]
        if late:
            self._waiting = deque(append for append in self._waiting if append.deadline > now)
            settled += [_closed(append, _timed_out()) for append in late]
            settled += self._give_up_behind(late, now)
        return settled

    def fail_waiting(self, error: KafscaleError) -> list[Settled]:
        """Answers all that wait with `error`: the topic is gone, or the gateway stops."""
        settled = [_closed(append, error) for append in self._waiting]
        self._waiting.clear()
        return settled

    def _give_back(self, appends: list[Append], now: float) -> list[Settled]:
        """Nothing was done about them: back to their place in the order."""
        if not appends:
            return []
        self._refused_by = self._in_flight_route
        self._retry_at = now + self._pause
        self._pause = min(2 * self._pause, _PAUSE_SECONDS_MAX)
        wanted = [append for append in appends if not append.answered and not append.behind_lost]
        dropped = [append for append in appends if append.answered or append.behind_lost]
        self._waiting = deque(sorted([*wanted, *self._waiting], key=lambda append: append.number))
        return [_closed(append, _given_up()) for append in dropped] + self._give_up_behind(dropped, now)

    def _give_up(self, unknown: list[Append], now: float) -> list[Settled]:
        error = Unavailable("the owner went away with this batch", outcome_unknown=True)
        return [_closed(append, error) for append in unknown] + self._give_up_behind(unknown, now)

    def _give_up_behind(self, given_up: list[Append], now: float) -> list[Settled]:
        """Rule 4. What is in flight is answered by its owner; where it is refused, it is given up."""
        for append in given_up:
            self._given_up.note(append.source, append.sequence, now)
        if not given_up or not (self._waiting or self._in_flight):
            return []
        first: dict[Hashable, int] = {}
        for append in given_up:
            first[append.source] = min(append.number, first.get(append.source, append.number))
        for append in self._in_flight.values():
            if append.number > first.get(append.source, append.number):
                append.behind_lost = True
        kept: deque[Append] = deque()
        settled: list[Settled] = []
        for append in self._waiting:
            if append.number > first.get(append.source, append.number):
                self._given_up.note(append.source, append.sequence, now)
                settled.append(_closed(append, _given_up()))
            else:
                kept.append(append)
        self._waiting = kept
        return settled


def _closed(append: Append, result: Appended | KafscaleError | None) -> Settled:
    answer = None if append.answered else result
    append.answered = True
    return Settled(append, answer, closed=True)


def _given_up() -> Moved:
    return Moved("an earlier batch of this producer was given up, send both again")


def _timed_out() -> Unavailable:
    return Unavailable(
        "not durable within the producer's timeout", reason=Reason.TIMED_OUT, outcome_unknown=True
    )
