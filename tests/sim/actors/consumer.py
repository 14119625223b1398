"""Consumers: positions, epochs, and what a client does about errors.

Owns: reading some partitions from where it stands. Does not own: groups (member.py).
Rules: 1 a position changes by what was read, and by a reset after OFFSET_OUT_OF_RANGE only (KIP-320); 2 the
leader epoch that metadata told is sent along, by most; 3 everything that was asked and answered is in the
history.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import trio
from kio.schema.errors import ErrorCode

from libs.model.cluster import Topic
from libs.model.ids import Partition, TopicPartition
from libs.records import iter_batches
from tests.sim.actors.client import Client
from tests.sim.actors.kafka import Gone, request, seconds
from tests.sim.events import FetchAnswered, FetchAsked, ListAnswered, ListAsked, SeenRecord
from tests.sim.world.world import World
from tests.support.records import decode_batch

EARLIEST, LATEST = -2, -1
NO_EPOCH: Final = -1
_STALE = {ErrorCode.not_leader_or_follower, ErrorCode.fenced_leader_epoch, ErrorCode.unknown_leader_epoch}


@dataclass(slots=True, kw_only=True, eq=False)
class Position:
    """Where a consumer stands in a partition."""

    tp: TopicPartition
    topic: str
    offset: int
    leader_epoch: int = NO_EPOCH
    epoch_is_old: bool = True
    """Metadata has to be asked before the next fetch."""
    high_watermark: int = -1
    is_out_of_range: bool = False


class Reader(Client):
    """What consumers and group members share: fetching, and asking for epochs and offsets."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.checks_epochs = self.rand.random() < 0.7

    async def fetch(
        self, positions: list[Position], *, wait_ms: int, min_bytes: int = 1, bytes_max: int = 1 << 20
    ) -> dict[TopicPartition, tuple[SeenRecord, ...]]:
        """One Fetch; positions move behind what is returned. Raises Gone."""
        if self.checks_epochs and any(each.epoch_is_old for each in positions):
            await self.refresh(positions)
        connection = await self.connection()
        history = self.world.history
        calls = {
            each.tp: history.add(
                self.name,
                FetchAsked(tp=each.tp, position=each.offset, leader_epoch=each.leader_epoch),
            )
            for each in positions
        }
        self.world.operation("fetch")
        try:
            answer = await connection.ask(
                "fetch", _fetch_request(positions, wait_ms=wait_ms, min_bytes=min_bytes, bytes_max=bytes_max)
            )
        except Gone as gone:
            for each in positions:
                history.add(self.name, FetchAnswered(call=calls[each.tp], error=str(gone)))
            raise
        told = {
            (topic.topic_id, part.partition_index): part
            for topic in answer.responses
            for part in topic.partitions
        }
        return {
            each.tp: self._take(each, calls[each.tp], told.get((each.tp.topic_id, each.tp.partition)))
            for each in positions
        }

    def _take(self, at: Position, call: int, part: Any) -> tuple[SeenRecord, ...]:
        history = self.world.history
        if part is None:
            history.add(self.name, FetchAnswered(call=call, error="NOT_ANSWERED"))
            return ()
        if part.error_code is not ErrorCode.none:
            history.add(self.name, FetchAnswered(call=call, error=part.error_code.name.upper()))
            at.epoch_is_old |= part.error_code in _STALE
            at.is_out_of_range = part.error_code is ErrorCode.offset_out_of_range
            return ()
        records = tuple(_seen(part.records or b"", at.offset))
        history.add(
            self.name,
            FetchAnswered(
                call=call,
                records=records,
                high_watermark=part.high_watermark,
                log_start=part.log_start_offset,
            ),
        )
        at.high_watermark = part.high_watermark
        if records:
            at.offset = records[-1].offset + 1
        return records

    async def refresh(self, positions: Iterable[Position]) -> None:
        """The leader epochs as some gateway knows them. Raises Gone."""
        connection = await self.connection()
        topic_ids = list(dict.fromkeys(each.tp.topic_id for each in positions))
        asked = request("metadata", topics=[{"topic_id": each, "name": None} for each in topic_ids])
        answer = await connection.ask("metadata", asked)
        self.world.operation("metadata")
        epochs = {
            (topic.topic_id, part.partition_index): part.leader_epoch
            for topic in answer.topics
            for part in topic.partitions
        }
        for each in positions:
            each.epoch_is_old = False
            # A client never goes back to an older epoch (KIP-320).
            each.leader_epoch = max(
                each.leader_epoch, epochs.get((each.tp.topic_id, each.tp.partition), NO_EPOCH)
            )

    async def list_offset(self, at: Position, timestamp: int) -> int | None:
        """None where it was refused. Raises Gone."""
        connection = await self.connection()
        part = {"partition_index": at.tp.partition, "current_leader_epoch": at.leader_epoch}
        part["timestamp"] = timestamp
        asked = request("list_offsets", replica_id=-1, topics=[{"name": at.topic, "partitions": [part]}])
        # By name: in a topic that was made anew meanwhile it is another's answer, and not for the history.
        history = self.world.history
        call = history.add(self.name, ListAsked(tp=at.tp, timestamp=timestamp, leader_epoch=at.leader_epoch))
        self.world.operation("list_offsets")
        try:
            answer = await connection.ask("list_offsets", asked)
        except Gone as gone:
            history.add(self.name, ListAnswered(call=call, error=str(gone)))
            raise
        (told,) = answer.topics[0].partitions
        topic = self.world.topics.get(at.topic)
        if topic is None or topic.topic_id != at.tp.topic_id:
            history.add(self.name, ListAnswered(call=call, error="TOPIC_GONE"))
            return None
        if told.error_code is not ErrorCode.none:
            history.add(self.name, ListAnswered(call=call, error=told.error_code.name.upper()))
            at.epoch_is_old |= told.error_code in _STALE
            return None
        history.add(self.name, ListAnswered(call=call, offset=told.offset, leader_epoch=told.leader_epoch))
        return int(told.offset)


class Consumer(Reader):
    """Reads partitions from their beginning, again and again from somewhere else."""

    def __init__(self, world: World, name: str, topic: Topic, partitions: list[int]) -> None:
        super().__init__(world, name)
        self._positions = [
            Position(tp=TopicPartition(topic.topic_id, Partition(index)), topic=topic.name, offset=0)
            for index in partitions
        ]
        self.retired = False

    async def run(self) -> None:
        """Until the world is done."""
        wait_ms = self.rand.choice((0, 100, 500))
        bytes_max = self.rand.choice((200, 1 << 20))
        while not self.world.done and not self.retired:
            try:
                await self.world.breathe(self.rand)
                await self._step(wait_ms, bytes_max)
            except Gone:
                self.disconnect()
                await self.pause()
        self.disconnect()

    async def _step(self, wait_ms: int, bytes_max: int) -> None:
        for each in self._positions:
            if each.is_out_of_range:
                await self._reset(each)
        found = await self.fetch(self._positions, wait_ms=wait_ms, bytes_max=bytes_max)
        if not any(found.values()):
            await trio.sleep(self.rand.uniform(0.02, 0.4))
        if self.rand.random() < 0.05:
            self.disconnect()  # another gateway may know less than the one before
        if self.rand.random() < 0.03:
            at = self.rand.choice(self._positions)
            await self._seek(at)

    async def _reset(self, at: Position) -> None:
        offset = await self.list_offset(at, EARLIEST)
        if offset is not None:
            at.offset = offset
            at.is_out_of_range = False
        else:
            await self.pause()

    async def _seek(self, at: Position) -> None:
        """Somewhere else: the beginning, the end, or back a little."""
        where = self.rand.choice((EARLIEST, LATEST, 0))
        if where:
            offset = await self.list_offset(at, where)
            if offset is not None:
                at.offset = offset
        else:
            at.offset = max(0, at.offset - self.rand.integer(1, 20))


def _seen(records: bytes, position: int) -> Iterable[SeenRecord]:
    for batch in iter_batches(bytes(records)):
        leader_epoch = int.from_bytes(batch.data[12:16], "big", signed=True)
        for offset, record in decode_batch(batch.data):
            if offset >= position:
                yield SeenRecord(offset, (record.value or b"").decode(), leader_epoch)


def _fetch_request(positions: list[Position], *, wait_ms: int, min_bytes: int, bytes_max: int) -> Any:
    topics: dict[Any, list[dict[str, Any]]] = {}
    for each in positions:
        topics.setdefault(each.tp.topic_id, []).append(
            {
                "partition": each.tp.partition,
                "current_leader_epoch": each.leader_epoch,
                "fetch_offset": each.offset,
                "last_fetched_epoch": -1,
                "log_start_offset": -1,
                "partition_max_bytes": bytes_max,
            }
        )
    return request(
        "fetch",
        max_wait=seconds(wait_ms / 1000),
        min_bytes=min_bytes,
        max_bytes=bytes_max,
        topics=[{"topic_id": topic_id, "partitions": each} for topic_id, each in topics.items()],
    )
