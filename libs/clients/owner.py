"""OwnerClient: a partition owner's Append and Fetch streams and its unary calls, typed.

Owns: correlation ids, matching replies, proto <-> model. Does not own: which owner to ask, connecting again,
what a caller does about an outcome that is unknown.
Rules: 1 what is handed in is sent in that order; 2 when a stream breaks, `sent` tells what certainly was not
sent; 3 queues are bounded by who fills them: the gateway admits requests by bytes.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import grpclib.client
import trio

from libs.clients.errors import from_proto
from libs.model.errors import Corrupt, KafscaleError, Unavailable
from libs.model.ids import LeaderEpoch, Offset, TopicPartition
from libs.model.limits import MIB
from proto.owner import owner_pb2 as wire
from proto.owner.owner_grpc import PartitionOwnerStub

_MESSAGE_BYTES_TARGET: Final = 8 * MIB
"""Larger appends are sent as several messages."""
_LIST_OFFSETS_SECONDS_MAX: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionAppend:
    at: TopicPartition
    leader_epoch: LeaderEpoch
    records: bytes
    resume: bool = False
    """The sender knows that this owner refused an earlier one (Moved) in this stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    base_offset: Offset
    log_append_time_ms: int
    """-1 unless the owner stamped the records."""
    log_start_offset: Offset


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPartition:
    at: TopicPartition
    current_leader_epoch: int
    """What the client believes, -1 where it has none (KIP-320)."""
    fetch_offset: int
    max_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedPartition:
    error: KafscaleError | None
    high_watermark: int
    log_start_offset: int
    records: bytes
    leader_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetQuery:
    at: TopicPartition
    current_leader_epoch: int
    timestamp: int
    """-1 latest, -2 earliest, -3 of the greatest timestamp, -4 earliest local, else ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedOffset:
    error: KafscaleError | None
    offset: int
    timestamp_ms: int
    leader_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDeletion:
    at: TopicPartition
    before_offset: int
    """-1: the high watermark."""


class AppendStream:
    """Takes appends before, while and as long as `run` keeps the stream up; one life, one stream."""

    def __init__(self) -> None:
        self._queue: deque[wire.AppendRequest] = deque()
        self._filled = trio.Event()
        self._last_id = 0
        self.sent = 0
        """Requests up to this correlation id may have reached the owner; later ones certainly did not."""

    def append_nowait(self, partitions: Sequence[PartitionAppend]) -> list[tuple[int, int]]:
        """Queues the appends; for each, in order, the (correlation id, index) of its reply."""
        keys: list[tuple[int, int]] = []
        message: wire.AppendRequest | None = None
        size = 0
        for each in partitions:
            if message is None or size + len(each.records) > _MESSAGE_BYTES_TARGET:
                self._last_id += 1
                message = wire.AppendRequest(correlation_id=self._last_id)
                self._queue.append(message)
                size = 0
            size += len(each.records)
            keys.append((self._last_id, len(message.partitions)))
            message.partitions.add(
                topic_id=each.at.topic_id.bytes,
                partition=each.at.partition,
                leader_epoch=each.leader_epoch,
                records=each.records,
                resume=each.resume,
            )
        self._filled.set()
        return keys

    async def run(
        self, channel: grpclib.client.Channel, on_reply: Callable[[int, int, Appended | KafscaleError], None]
    ) -> None:
        """Serves until the stream breaks. Raises Unavailable or what else the channel says; never returns."""

        async def receive() -> None:
            async for reply in stream:
                for each in reply.partitions:
                    on_reply(reply.correlation_id, each.index, _appended(each))

        async def send() -> None:
            while True:
                while self._queue:
                    message = self._queue.popleft()
                    self.sent = message.correlation_id
                    await stream.send_message(message)
                self._filled = trio.Event()
                await self._filled.wait()

        async with PartitionOwnerStub(channel).Append.open() as stream:
            # Connects: what fails here was certainly not sent.
            await stream.send_request()
            await _until_broken(send, receive)
            raise Unavailable("the owner ended the append stream", outcome_unknown=True)


class FetchCall:
    """One parked fetch; its callbacks run in the stream's task and must not wait."""

    def __init__(
        self,
        *,
        size: int,
        on_available: Callable[[int], None],
        on_done: Callable[[list[FetchedPartition] | KafscaleError], None],
    ) -> None:
        self.size = size
        self.on_available = on_available
        self.on_done = on_done
        self.correlation_id = 0


class FetchStream:
    """Takes fetches before, while and as long as `run` keeps the stream up; one life, one stream."""

    def __init__(self) -> None:
        self._queue: deque[wire.FetchRequest] = deque()
        self._filled = trio.Event()
        self._last_id = 0
        self._calls: dict[int, FetchCall] = {}
        self._broken: KafscaleError | None = None

    @property
    def parked(self) -> int:
        """How many fetches wait for an answer."""
        return len(self._calls)

    def start_nowait(
        self,
        partitions: Sequence[FetchPartition],
        call: FetchCall,
        *,
        min_bytes: int,
        max_bytes: int,
        max_wait_ms: int,
        report_available: bool,
    ) -> None:
        """Queues a fetch; the call's `on_done` is called once, with an error when the stream breaks."""
        if self._broken is not None:
            call.on_done(self._broken)
            return
        self._last_id += 1
        call.correlation_id = self._last_id
        self._calls[self._last_id] = call
        start = wire.FetchStart(
            partitions=[
                wire.FetchPartition(
                    topic_id=each.at.topic_id.bytes,
                    partition=each.at.partition,
                    current_leader_epoch=each.current_leader_epoch,
                    fetch_offset=each.fetch_offset,
                    max_bytes=each.max_bytes,
                )
                for each in partitions
            ],
            min_bytes=min_bytes,
            max_bytes=max_bytes,
            max_wait_ms=max_wait_ms,
            report_available=report_available,
        )
        self._put(wire.FetchRequest(correlation_id=self._last_id, start=start))

    def cancel_nowait(self, call: FetchCall) -> None:
        """Ends the wait: the owner answers at once with what there is."""
        if call.correlation_id in self._calls:
            cancel = wire.FetchRequest(correlation_id=call.correlation_id, cancel=wire.FetchCancel())
            self._put(cancel)

    def forget_nowait(self, call: FetchCall) -> None:
        """Ends the wait; nobody wants the answer any more."""
        self.cancel_nowait(call)
        self._calls.pop(call.correlation_id, None)

    async def run(self, channel: grpclib.client.Channel) -> None:
        """Serves until the stream breaks. Raises Unavailable or what else the channel says; never returns."""

        async def receive() -> None:
            async for reply in stream:
                self._take(reply)

        async def send() -> None:
            while True:
                while self._queue:
                    await stream.send_message(self._queue.popleft())
                self._filled = trio.Event()
                await self._filled.wait()

        async with PartitionOwnerStub(channel).Fetch.open() as stream:
            await _until_broken(send, receive)
            raise Unavailable("the owner ended the fetch stream")

    def fail(self, error: KafscaleError) -> None:
        """Ends every fetch with `error`, also those that come later."""
        self._broken = error
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.on_done(error)

    def _take(self, reply: wire.FetchReply) -> None:
        call = self._calls.get(reply.correlation_id)
        if call is None:
            return
        if reply.WhichOneof("what") == "available_bytes":
            call.on_available(reply.available_bytes)
            return
        del self._calls[reply.correlation_id]
        partitions = reply.data.partitions
        if len(partitions) != call.size:
            call.on_done(Corrupt(f"{len(partitions)} partitions in an answer about {call.size}"))
            return
        call.on_done([_fetched(each) for each in partitions])

    def _put(self, message: wire.FetchRequest) -> None:
        self._queue.append(message)
        self._filled.set()


class OwnerClient:
    """The unary calls of one owner."""

    def __init__(self, channel: grpclib.client.Channel) -> None:
        self._stub = PartitionOwnerStub(channel)

    async def list_offsets(self, queries: Sequence[OffsetQuery]) -> list[ListedOffset]:
        """One answer a query, in order. Raises Unavailable where the owner can't be reached."""
        request = wire.ListOffsetsRequest(
            partitions=[
                wire.ListOffsetsPartition(
                    topic_id=each.at.topic_id.bytes,
                    partition=each.at.partition,
                    current_leader_epoch=each.current_leader_epoch,
                    timestamp=each.timestamp,
                )
                for each in queries
            ]
        )
        reply = await self._stub.ListOffsets(request, timeout=_LIST_OFFSETS_SECONDS_MAX)
        if len(reply.partitions) != len(queries):
            raise Corrupt(f"{len(reply.partitions)} offsets in an answer about {len(queries)}")
        return [
            ListedOffset(
                error=from_proto(each.error),
                offset=each.offset,
                timestamp_ms=each.timestamp_ms,
                leader_epoch=each.leader_epoch,
            )
            for each in reply.partitions
        ]

    async def delete_records(
        self, deletions: Sequence[RecordDeletion], *, timeout_seconds: float
    ) -> list[Offset | KafscaleError]:
        """The log start of each afterwards, in order. Raises Unavailable; the call may be sent again."""
        request = wire.DeleteRecordsRequest(
            partitions=[
                wire.DeleteRecordsPartition(
                    topic_id=each.at.topic_id.bytes,
                    partition=each.at.partition,
                    before_offset=each.before_offset,
                )
                for each in deletions
            ]
        )
        reply = await self._stub.DeleteRecords(request, timeout=timeout_seconds)
        if len(reply.partitions) != len(deletions):
            raise Corrupt(f"{len(reply.partitions)} log starts in an answer about {len(deletions)}")
        return [from_proto(each.error) or Offset(each.log_start_offset) for each in reply.partitions]


async def _until_broken(send: Callable[[], Awaitable[None]], receive: Callable[[], Awaitable[None]]) -> None:
    """Runs both sides of a stream until one ends or fails; raises the first failure, bare."""
    failures: list[KafscaleError] = []

    async def side(run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except KafscaleError as error:
            failures.append(error)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(side, send)
        nursery.start_soon(side, receive)
    if failures:
        raise failures[0]


def _appended(message: wire.PartitionAppended) -> Appended | KafscaleError:
    if message.HasField("error"):
        error = from_proto(message.error)
        if error is not None:
            return error
    return Appended(
        base_offset=Offset(message.base_offset),
        log_append_time_ms=message.log_append_time_ms,
        log_start_offset=Offset(message.log_start_offset),
    )


def _fetched(message: wire.FetchedPartition) -> FetchedPartition:
    return FetchedPartition(
        error=from_proto(message.error) if message.HasField("error") else None,
        high_watermark=message.high_watermark,
        log_start_offset=message.log_start_offset,
        records=message.records,
        leader_epoch=message.leader_epoch,
    )
