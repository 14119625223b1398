"""What watchers are sent: a snapshot in parts, then the changes from a bounded ring of recent ones.

Owns: the ring, and what a watcher that stands at some revision gets next. Does not own: the state.
Rules: 1 watchers have no queues: each stands at a place in the one ring, so a slow one costs nothing and,
once the ring has passed it by, is dropped and resumes with a snapshot; 2 the changes of one revision go
together.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import trio

from libs.clients import convert
from libs.model.cluster import Assignment, Gateway, Owner, Replica, Topic
from libs.model.errors import Overloaded, Unavailable
from libs.model.ids import Revision
from proto.metadata_api.metadata_api_pb2 import AssignmentEntry, Change, WatchEvent
from services.metadata.cluster_state import Changed, ClusterState, Watchable

SNAPSHOT_PART_CHANGES_MAX = 1000
RING_EVENTS_MAX = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchStatistics:
    watchers: int
    ring_events: int
    ring_events_max: int
    snapshots_sent: int
    dropped: int


class Feed:
    """The changes as they come, and those who follow them."""

    def __init__(self, state: Callable[[], ClusterState], *, ring_events_max: int = RING_EVENTS_MAX) -> None:
        self._state = state
        self._ring: deque[WatchEvent] = deque()
        self._ring_events_max = ring_events_max
        self._first = 0
        """The number of the ring's oldest event; they are numbered from 0 as they come."""
        self._floor: Revision | None = None
        """Every change above it is in the ring; None until the first state is there."""
        self._news = trio.Event()
        self._closed = False
        self._watchers = 0
        self._snapshots_sent = 0
        self._dropped = 0

    def restart(self) -> None:
        """A new state was read whole: what lies between it and the last one is not known."""
        self._first += len(self._ring) + 1  # one more, so that who stands at the end has missed something
        self._ring.clear()
        self._floor = self._state().revision
        self._wake()

    def publish(self, changes: Sequence[Changed]) -> None:
        """The changes of the state's revision, which was just reached."""
        state = self._state()
        messages = [_message(change.value, removed=change.removed) for change in changes]
        self._ring.append(WatchEvent(revision=state.revision, changes=messages, cluster_id=state.cluster_id))
        while len(self._ring) > self._ring_events_max:
            self._floor = Revision(self._ring.popleft().revision)
            self._first += 1
        self._wake()

    def close(self) -> None:
        """Ends every watch, so that watchers go to another replica."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def statistics(self) -> WatchStatistics:
        return WatchStatistics(
            watchers=self._watchers,
            ring_events=len(self._ring),
            ring_events_max=self._ring_events_max,
            snapshots_sent=self._snapshots_sent,
            dropped=self._dropped,
        )

    async def follow(self, after_revision: Revision) -> AsyncGenerator[WatchEvent, None]:
        """The events for a watcher that knows everything up to `after_revision` (0: nothing), without end.

        Raises Overloaded where the watcher was too slow and Unavailable where this replica stops: watch
        again.
        """
        self._watchers += 1
        try:
            while self._floor is None:
                await self._wait_news()
            if after_revision < max(self._floor, 1):
                place = self._first + len(self._ring)
                self._snapshots_sent += 1
                for part in self._snapshot():
                    yield part
            else:
                place = self._place_after(after_revision)
            while True:
                if place < self._first:
                    self._dropped += 1
                    raise Overloaded(
                        "the watcher was too slow or the changes are no longer known: watch again"
                    )
                if place < self._first + len(self._ring):
                    event = self._ring[place - self._first]
                    place += 1
                    # A watcher that comes from a replica that was ahead of this one knows it already.
                    if event.revision > after_revision:
                        yield event
                else:
                    await self._wait_news()
        finally:
            self._watchers -= 1

    async def _wait_news(self) -> None:
        if self._closed:
            raise Unavailable("this metadata replica stops: watch another")
        await self._news.wait()
        if self._closed:
            raise Unavailable("this metadata replica stops: watch another")

    def _place_after(self, revision: Revision) -> int:
        after = len(self._ring)
        while after and self._ring[after - 1].revision > revision:
            after -= 1
        return self._first + after

    def _snapshot(self) -> Iterator[WatchEvent]:
        # Built at once: the state changes while the parts are sent.
        state = self._state()
        changes = (_message(value) for value in state.watchables())
        parts = [list(islice(changes, SNAPSHOT_PART_CHANGES_MAX))]
        while part := list(islice(changes, SNAPSHOT_PART_CHANGES_MAX)):
            parts.append(part)
        last = len(parts) - 1
        revision, cluster_id = state.revision, state.cluster_id
        for index, part in enumerate(parts):
            yield WatchEvent(
                revision=revision, snapshot=True, more=index < last, changes=part, cluster_id=cluster_id
            )


def _message(value: Watchable, *, removed: bool = False) -> Change:
    match value:
        case Topic():
            return Change(removed=removed, topic=convert.topic_message(value))
        case Owner():
            return Change(removed=removed, owner=convert.owner_message(value))
        case Gateway():
            return Change(removed=removed, gateway=convert.gateway_message(value))
        case Replica():
            return Change(removed=removed, replica=convert.replica_message(value))
        case Assignment():
            entry = AssignmentEntry(
                topic_id=value.topic_id.bytes,
                partition=value.partition,
                assignment=convert.assignment_message(value),
            )
            return Change(removed=removed, assignment=entry)
