"""A partition owner that keeps its logs in memory, for gateways under test.

Owns: the contract of owner.proto about refusing, resuming and parking, and levers for tests.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import trio
from grpclib.server import Stream

from libs.clients import convert
from libs.clients.errors import to_proto
from libs.model.cluster import Assignment
from libs.model.errors import Invalid, KafscaleError, Moved, Reason, Unavailable
from libs.model.ids import OwnerId, TopicPartition
from libs.records import patched_bytes, split_batches
from proto.owner import owner_pb2 as wire
from proto.owner.owner_grpc import PartitionOwnerBase


class FakeOwner(PartitionOwnerBase):
    """Logs in memory. Follows the contract of owner.proto about refusing and resuming."""

    def __init__(self, assignments: Mapping[TopicPartition, Assignment], owner_id: OwnerId) -> None:
        self.assignments = assignments
        self.owner_id = owner_id
        self.logs: defaultdict[TopicPartition, list[bytes]] = defaultdict(list)
        self.refusing: set[TopicPartition] = set()
        self.errors: dict[TopicPartition, KafscaleError] = {}
        self.hold: trio.Event | None = None
        """While set, appends are taken but answered only when the event is."""
        self.appended = trio.Event()
        self.received = 0
        self.streams = 0
        self.fetches = 0
        self.cancelled_fetches = 0
        self.deletions = 0
        self.lost_streams = trio.Event()
        self._heard = trio.lowlevel.ParkingLot()

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds; looked at whenever this owner hears something."""
        while not condition():
            await self._heard.park()

    def end(self, at: TopicPartition) -> int:
        log = self.logs[at]
        return split_batches(log[-1])[0].next_offset if log else 0

    def owns(self, at: TopicPartition) -> bool:
        assignment = self.assignments.get(at)
        return at not in self.refusing and assignment is not None and assignment.owner_id == self.owner_id

    async def wait_streams_gone(self) -> None:
        """Until no gateway has an append stream to this owner."""
        while self.streams:
            await self._heard.park()

    def break_streams(self) -> None:
        self.lost_streams.set()
        self.lost_streams = trio.Event()

    async def Append(  # noqa: N802
        self, stream: "Stream[wire.AppendRequest, wire.AppendReply]"
    ) -> None:
        refused: set[TopicPartition] = set()

        lost = self.lost_streams

        async def watch_loss() -> None:
            await lost.wait()
            nursery.cancel_scope.cancel()

        self.streams += 1
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch_loss)
                async for request in stream:
                    reply = wire.AppendReply(correlation_id=request.correlation_id)
                    for index, part in enumerate(request.partitions):
                        self._append(refused, index, part, reply)
                    self.received += 1
                    self._heard.unpark_all()
                    self.appended.set()
                    self.appended = trio.Event()
                    nursery.start_soon(self._reply, stream, reply)
                nursery.cancel_scope.cancel()
        finally:
            self.streams -= 1
            self._heard.unpark_all()
        raise Unavailable("the stream was lost", outcome_unknown=True)

    async def _reply(self, stream: Any, reply: wire.AppendReply) -> None:
        if self.hold is not None:
            await self.hold.wait()
        await stream.send_message(reply)

    def _append(
        self, refused: set[TopicPartition], index: int, part: wire.PartitionAppend, reply: wire.AppendReply
    ) -> None:
        at = convert.topic_partition(part.topic_id, part.partition)
        if part.resume:
            refused.discard(at)
        if not self.owns(at) or at in refused:
            refused.add(at)
            reply.partitions.add(index=index, error=to_proto(Moved("not mine")))
            return
        if at in self.errors:
            reply.partitions.add(index=index, error=to_proto(self.errors[at]))
            return
        base = self.end(at)
        self.logs[at].append(patched_bytes(split_batches(part.records)[0], base_offset=base, leader_epoch=0))
        reply.partitions.add(index=index, base_offset=base, log_append_time_ms=-1)

    async def Fetch(self, stream: "Stream[wire.FetchRequest, wire.FetchReply]") -> None:  # noqa: N802
        parked: dict[int, trio.Event] = {}

        async def serve(request: wire.FetchRequest, cancelled: trio.Event) -> None:
            start = request.start
            with trio.move_on_after(start.max_wait_ms / 1000):
                told = -1
                while not cancelled.is_set():
                    appended = self.appended
                    available = sum(len(part.records) for part in self._read(start).partitions)
                    if available >= start.min_bytes or any(
                        part.HasField("error") for part in self._read(start).partitions
                    ):
                        break
                    if start.report_available and available > told:
                        told = available
                        await stream.send_message(
                            wire.FetchReply(correlation_id=request.correlation_id, available_bytes=available)
                        )
                    async with trio.open_nursery() as waiting:
                        for event in (appended, cancelled):
                            waiting.start_soon(_wake, event, waiting.cancel_scope)
            await stream.send_message(
                wire.FetchReply(correlation_id=request.correlation_id, data=self._read(start))
            )

        async with trio.open_nursery() as nursery:
            async for request in stream:
                if request.WhichOneof("what") == "cancel":
                    self.cancelled_fetches += 1
                    self._heard.unpark_all()
                    parked[request.correlation_id].set()
                    continue
                self.fetches += 1
                self._heard.unpark_all()
                parked[request.correlation_id] = trio.Event()
                nursery.start_soon(serve, request, parked[request.correlation_id])
            nursery.cancel_scope.cancel()

    def _read(self, start: wire.FetchStart) -> wire.FetchedData:
        data = wire.FetchedData()
        left = start.max_bytes
        for part in start.partitions:
            at = convert.topic_partition(part.topic_id, part.partition)
            if not self.owns(at):
                data.partitions.add(error=to_proto(Moved("not mine")))
                continue
            end = self.end(at)
            if not 0 <= part.fetch_offset <= end:
                error = Invalid("out of range", reason=Reason.OFFSET_OUT_OF_RANGE)
                data.partitions.add(error=to_proto(error), high_watermark=end)
                continue
            records = b""
            for batch in self.logs[at]:
                if split_batches(batch)[0].next_offset <= part.fetch_offset:
                    continue
                if records and len(records) + len(batch) > min(part.max_bytes, left):
                    break
                records += batch
            left -= len(records)
            data.partitions.add(high_watermark=end, records=records)
        return data

    async def ListOffsets(  # noqa: N802
        self, stream: "Stream[wire.ListOffsetsRequest, wire.ListOffsetsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        reply = wire.ListOffsetsReply()
        for part in request.partitions:
            at = convert.topic_partition(part.topic_id, part.partition)
            if not self.owns(at):
                reply.partitions.add(error=to_proto(Moved("not mine")))
            elif part.timestamp == -1:
                reply.partitions.add(offset=self.end(at), timestamp_ms=-1)
            else:
                reply.partitions.add(offset=0, timestamp_ms=-1)
        await stream.send_message(reply)

    async def DeleteRecords(  # noqa: N802
        self, stream: "Stream[wire.DeleteRecordsRequest, wire.DeleteRecordsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        self.deletions += 1
        self._heard.unpark_all()
        if self.hold is not None:
            await self.hold.wait()
        reply = wire.DeleteRecordsReply()
        for part in request.partitions:
            at = convert.topic_partition(part.topic_id, part.partition)
            offset = self.end(at) if part.before_offset == -1 else part.before_offset
            if not self.owns(at):
                reply.partitions.add(error=to_proto(Moved("not mine")), log_start_offset=-1)
            elif at in self.errors:
                reply.partitions.add(error=to_proto(self.errors[at]), log_start_offset=-1)
            elif offset > self.end(at):
                error = Invalid("above the high watermark", reason=Reason.OFFSET_OUT_OF_RANGE)
                reply.partitions.add(error=to_proto(error), log_start_offset=-1)
            else:
                reply.partitions.add(log_start_offset=offset)
        await stream.send_message(reply)


async def _wake(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
