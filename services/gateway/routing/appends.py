"""Appends on their way to partition owners: one lane a partition, one stream an owner.

Owns: the lanes, which reply is about which append, time and changes of the view as the lanes' input.
Does not own: the order's rules (append_lane.py), the streams (owners.py), what clients are told (produce.py).
"""

import itertools
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

import structlog
import trio

from libs.clients.owner import Appended, AppendStream, PartitionAppend
from libs.clients.watcher import ClusterWatcher
from libs.model.errors import KafscaleError, NotFound, Reason
from libs.model.ids import TopicPartition
from services.gateway.routing.append_lane import Append, AppendLane, Settled
from services.gateway.routing.given_up import ProducerSequence
from services.gateway.routing.owners import Owners

_HELD_TICK_SECONDS: Final = 0.01
_IDLE_TICK_SECONDS: Final = 0.1
ABANDON_SECONDS: Final = 2.0
"""How long the old owner of a partition that moved may still answer: it settles all before it lets go."""

log = structlog.get_logger(__name__)

OnSettled = Callable[[Appended | KafscaleError], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAppend:
    """One batch, and what to call with its outcome and when its bytes are free."""

    at: TopicPartition
    source: Hashable
    sequence: ProducerSequence | None
    records: bytes
    deadline: float
    on_settled: OnSettled
    on_closed: Callable[[], None]


@dataclass(slots=True)
class _Pending:
    lanes: dict[tuple[int, int], tuple[TopicPartition, int]] = field(default_factory=dict)
    """(correlation id, index) -> whose reply it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendStatistics:
    lanes: int
    waiting: int
    in_flight: int


class AppendRouter:
    """Takes batches from produce requests, and hears of replies, losses and moves."""

    def __init__(self, *, owners: Owners, watcher: ClusterWatcher) -> None:
        self._owners = owners
        self._watcher = watcher
        self._numbers = itertools.count(1)
        self._lanes: dict[TopicPartition, AppendLane] = {}
        self._callbacks: dict[int, NewAppend] = {}
        self._pending: dict[AppendStream, _Pending] = {}
        self._stray_since: dict[TopicPartition, float] = {}
        self._busy = trio.Event()

    def submit(self, appends: Iterable[NewAppend]) -> None:
        """Takes the batches of one request, in order; sends what may be sent now."""
        now = trio.current_time()
        touched: dict[TopicPartition, None] = {}
        for each in appends:
            append = Append(
                number=next(self._numbers),
                source=each.source,
                sequence=each.sequence,
                records=each.records,
                deadline=each.deadline,
            )
            self._callbacks[append.number] = each
            lane = self._lanes.get(each.at)
            if lane is None:
                lane = self._lanes[each.at] = AppendLane()
            self._settle(lane.submit(append, now))
            touched[each.at] = None
        self._pump(touched)
        self._busy.set()

    def statistics(self) -> AppendStatistics:
        return AppendStatistics(
            lanes=len(self._lanes),
            waiting=sum(lane.waiting for lane in self._lanes.values()),
            in_flight=sum(lane.in_flight for lane in self._lanes.values()),
        )

    async def run(self) -> None:
        """Feeds time and changes of the view to the lanes, for ever. Sleeps while nothing is under way."""
        while True:
            await self._busy.wait()
            version = self._watcher.view.version
            held = any(lane.waiting for lane in self._lanes.values())
            with trio.move_on_after(_HELD_TICK_SECONDS if held else _IDLE_TICK_SECONDS):
                await self._watcher.wait_changed(version)
            self._tick(trio.current_time())

    # AppendEvents

    def on_reply(
        self, stream: AppendStream, correlation_id: int, index: int, result: Appended | KafscaleError
    ) -> None:
        pending = self._pending.get(stream)
        known = None if pending is None else pending.lanes.pop((correlation_id, index), None)
        if known is None:
            return
        at, number = known
        lane = self._lanes.get(at)
        if lane is None:
            return
        if isinstance(result, Appended):
            self._settle(lane.appended(number, result))
        else:
            self._settle(lane.failed(number, result, trio.current_time()))
        if lane.waiting:
            self._pump([at])

    def on_lost(self, stream: AppendStream) -> None:
        pending = self._pending.pop(stream, None)
        if pending is None:
            return
        sent: dict[TopicPartition, list[int]] = {}
        unsent: dict[TopicPartition, list[int]] = {}
        for (correlation_id, _), (at, number) in pending.lanes.items():
            side = sent if correlation_id <= stream.sent else unsent
            side.setdefault(at, []).append(number)
        now = trio.current_time()
        lost = [at for at in {**sent, **unsent} if at in self._lanes]
        for at in lost:
            self._settle(self._lanes[at].lost(sent.get(at, ()), unsent.get(at, ()), now))
        if sent:
            count = sum(map(len, sent.values()))
            log.warning("append_outcomes_unknown", partitions=len(sent), batches=count)
        self._pump(lost)

    # Inside

    def _pump(self, partitions: Iterable[TopicPartition]) -> None:
        now = trio.current_time()
        outgoing: dict[AppendStream, tuple[list[PartitionAppend], list[tuple[TopicPartition, int]]]] = {}
        for at in partitions:
            route = self._owners.append_route(at)
            sending = self._lanes[at].pump(route, now)
            if sending is None or route is None:
                continue
            messages, whose = outgoing.setdefault(self._owners.link(route).appends, ([], []))
            for place, append in enumerate(sending.appends):
                resume = sending.resume and place == 0
                messages.append(
                    PartitionAppend(
                        at=at, leader_epoch=route.leader_epoch, records=append.records, resume=resume
                    )
                )
                whose.append((at, append.number))
        for stream, (messages, whose) in outgoing.items():
            keys = stream.append_nowait(messages)
            self._pending.setdefault(stream, _Pending()).lanes.update(zip(keys, whose, strict=True))

    def _settle(self, settled: list[Settled]) -> None:
        for append, result, closed in settled:
            new = self._callbacks.pop(append.number) if closed else self._callbacks[append.number]
            if result is not None:
                new.on_settled(result)
            if closed:
                new.on_closed()

    def _tick(self, now: float) -> None:
        view = self._watcher.view
        for at, lane in list(self._lanes.items()):
            if lane.droppable:
                del self._lanes[at]
                self._stray_since.pop(at, None)
                continue
            self._settle(lane.expire(now))
            if at.topic_id not in view.topics:
                gone = NotFound("the topic was deleted", reason=Reason.UNKNOWN_TOPIC_OR_PARTITION)
                self._settle(lane.fail_waiting(gone))
            self._abandon_stray(at, lane, now)
        self._pump(list(self._lanes))
        if all(lane.droppable for lane in self._lanes.values()):
            self._busy = trio.Event()

    def _abandon_stray(self, at: TopicPartition, lane: AppendLane, now: float) -> None:
        """Gives up what an owner that has the partition no more does not answer."""
        assignment = self._watcher.view.assignments.get(at)
        route = lane.in_flight_route
        stray = route is not None and (assignment is None or assignment.leader_epoch != route.leader_epoch)
        if not stray:
            self._stray_since.pop(at, None)
        elif now - self._stray_since.setdefault(at, now) >= ABANDON_SECONDS:
            del self._stray_since[at]
            self._settle(lane.abandon(now))
