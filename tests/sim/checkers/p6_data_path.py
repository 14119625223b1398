"""Promise 6: etcd down is not an outage of the data path.

"With etcd or every metadata replica gone, produce and fetch on owned partitions go on. Only changes wait
(topics, assignment, group membership, offset commits)."

Owns: the judgement of that sentence. Does not own: what counts as undisturbed (the world says it:
DataPathClear).
Clause: while metadata is away and a partition's data path is clear, a produce or fetch of it that was asked
then is answered well within ANSWER_SECONDS_MAX, unless the time ends before that.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from libs.model.ids import TopicPartition
from tests.sim.checkers.violation import Violation
from tests.sim.events import (
    FetchAnswered,
    FetchAsked,
    ListAnswered,
    ListAsked,
    ProduceAcked,
    ProduceFailed,
    ProduceSent,
    ProduceUnknown,
    TopicDeleteAsked,
)
from tests.sim.facts import DataPathClear, MetadataAway, MetadataBack
from tests.sim.history import History

NAME = "p6_data_path"

ANSWER_SECONDS_MAX = 10.0
"""Far longer than a PUT, a slow one too, and than a fetch's wait; far shorter than an outage."""

_CLIENTS_FAULT = frozenset(
    {"OUT_OF_ORDER_SEQUENCE_NUMBER", "INVALID_PRODUCER_EPOCH", "DUPLICATE_SEQUENCE_NUMBER"}
    | {"MESSAGE_TOO_LARGE", "OFFSET_OUT_OF_RANGE"}
    | {"FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "TOPIC_GONE"}
)
"""Answers that are as good as any: about the request, not about the platform. TOPIC_GONE is the client's own
word for an answer that may be another topic's (consumer.py)."""

_NO_TOPIC = frozenset({"UNKNOWN_TOPIC_OR_PARTITION", "UNKNOWN_TOPIC_ID"})
"""Right only where somebody had asked for the topic's end."""


class _Window(NamedTuple):
    """Metadata is away and the partition's data path is clear, between these times and entries."""

    tp: TopicPartition
    began_at: float
    began: int
    ended_at: float
    ended: int


@dataclass(slots=True)
class _Open:
    away: bool = False
    clear: frozenset[TopicPartition] = frozenset()


def check(history: History) -> list[Violation]:
    """What breaks the promise."""
    windows = list(_windows(history))
    if not windows:
        return []
    of_partition: dict[TopicPartition, list[_Window]] = {}
    for window in windows:
        of_partition.setdefault(window.tp, []).append(window)
    answers: dict[int, int] = {
        event.call: entry.number
        for entry, event in history.each(
            ProduceAcked, ProduceFailed, ProduceUnknown, FetchAnswered, ListAnswered
        )
    }
    found: list[Violation] = []
    for entry, event in history.each(ProduceSent, FetchAsked, ListAsked):
        for window in of_partition.get(event.tp, ()):
            if window.began < entry.number < window.ended and not _expects_nothing(event):
                found += _judge(history, window, entry.number, answers.get(entry.number))
    return found


def _expects_nothing(event: object) -> bool:
    return isinstance(event, ProduceSent) and event.acks == 0


def _judge(history: History, window: _Window, asked: int, answered: int | None) -> Iterator[Violation]:
    question = history.entries[asked]
    due_at = question.at + ANSWER_SECONDS_MAX
    what = type(question.event).__name__
    if answered is None or history.entries[answered].at > due_at:
        if due_at < window.ended_at:
            yield Violation(
                checker=NAME,
                what=f"{what} of {window.tp} had no answer in {ANSWER_SECONDS_MAX} s without metadata",
                evidence=(window.began, asked, *(() if answered is None else (answered,))),
            )
        return
    error = getattr(history.event(answered), "error", "")
    is_wrong = answered < window.ended and error and error not in _CLIENTS_FAULT
    if is_wrong and not (error in _NO_TOPIC and _is_deleted(history, window, answered)):
        yield Violation(
            checker=NAME,
            what=f"{what} of {window.tp} was answered with {error} because metadata was away",
            evidence=(window.began, asked, answered),
        )


def _is_deleted(history: History, window: _Window, by: int) -> bool:
    return any(
        event.topic_id == window.tp.topic_id and entry.number < by
        for entry, event in history.each(TopicDeleteAsked)
    )


def _windows(history: History) -> Iterator[_Window]:
    state = _Open()
    open_since: dict[TopicPartition, tuple[float, int]] = {}
    for entry, event in history.each(MetadataAway, MetadataBack, DataPathClear):
        match event:
            case MetadataAway():
                state.away = True
            case MetadataBack():
                state.away = False
            case DataPathClear(partitions=partitions):
                state.clear = partitions
        now_open = state.clear if state.away else frozenset()
        for tp in [tp for tp in open_since if tp not in now_open]:
            yield _Window(tp, *open_since.pop(tp), entry.at, entry.number)
        for tp in now_open:
            open_since.setdefault(tp, (entry.at, entry.number))
    last_at = history.entries[-1].at if history.entries else 0.0
    for tp, since in open_since.items():
        yield _Window(tp, *since, last_at, len(history))
