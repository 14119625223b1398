"""The owner's gRPC door: streams of messages <-> plain values. The only proto besides control.py.

Owns: PartitionOwner's calls. Does not own: anything that they do.
Rules: 1 an Append stream is read and answered by two tasks; 2 a Fetch stream has a task a parked fetch, a
bounded number of them; 3 ids are turned into values once a stream.
"""

from collections.abc import Sequence
from functools import partial

import grpclib.server
import trio

from libs.clients.convert import topic_partition
from libs.clients.errors import to_proto
from libs.concurrency.byte_budget import ByteBudget
from libs.concurrency.clock import Clock
from libs.model.errors import KafscaleError
from libs.model.ids import TopicPartition
from proto.owner import owner_pb2 as wire
from proto.owner.owner_grpc import PartitionOwnerBase
from services.partition_owner.appending import Answer, AppendPart, AppendStream
from services.partition_owner.compaction.delete_records import RecordDeleter
from services.partition_owner.fetching import Fetch, FetchedPart, Fetcher, FetchPart, FetchWait
from services.partition_owner.list_offsets import OffsetFinder
from services.partition_owner.recorder import Recorder
from services.partition_owner.registry import Registry

FETCHES_PER_STREAM_MAX = 4096
REPLY_BYTES_MAX = 55 * 1024 * 1024
"""Records of one fetch reply: below the message limit of libs/rpc."""
_IDS_MAX = 16 * 1024

AppendServerStream = grpclib.server.Stream[wire.AppendRequest, wire.AppendReply]
FetchServerStream = grpclib.server.Stream[wire.FetchRequest, wire.FetchReply]
DeleteServerStream = grpclib.server.Stream[wire.DeleteRecordsRequest, wire.DeleteRecordsReply]
ListServerStream = grpclib.server.Stream[wire.ListOffsetsRequest, wire.ListOffsetsReply]


class PartitionOwnerRpc(PartitionOwnerBase):
    """kafscale.owner.PartitionOwner."""

    def __init__(
        self,
        *,
        registry: Registry,
        budget: ByteBudget,
        fetcher: Fetcher,
        offsets: OffsetFinder,
        deleter: RecordDeleter,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self._registry = registry
        self._budget = budget
        self._fetcher = fetcher
        self._offsets = offsets
        self._deleter = deleter
        self._clock = clock
        self._recorder = recorder

    async def Append(self, stream: AppendServerStream) -> None:  # noqa: N802 - the proto's name
        appends = AppendStream(
            registry=self._registry, budget=self._budget, clock=self._clock, recorder=self._recorder
        )
        ids = _Ids()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send_answers, appends, stream)
                while (request := await stream.recv_message()) is not None:
                    parts = [
                        AppendPart(
                            ids.find(each.topic_id, each.partition),
                            each.leader_epoch,
                            each.records,
                            each.resume,
                        )
                        for each in request.partitions
                    ]
                    await appends.take(request.correlation_id, parts)
                await appends.wait_finished()
                nursery.cancel_scope.cancel()
        finally:
            appends.close()

    async def Fetch(self, stream: FetchServerStream) -> None:  # noqa: N802 - the proto's name
        fetches = _FetchStream(self._fetcher, stream)
        async with trio.open_nursery() as nursery:
            while (request := await stream.recv_message()) is not None:
                await fetches.take(request, nursery)

    async def ListOffsets(self, stream: ListServerStream) -> None:  # noqa: N802 - the proto's name
        request = await stream.recv_message()
        assert request is not None
        listed: dict[int, wire.ListedOffset] = {}
        async with trio.open_nursery() as nursery:
            for index, part in enumerate(request.partitions):
                nursery.start_soon(self._list_one, index, part, listed)
        await stream.send_message(
            wire.ListOffsetsReply(partitions=[listed[index] for index in range(len(request.partitions))])
        )

    async def DeleteRecords(self, stream: DeleteServerStream) -> None:  # noqa: N802 - the proto's name
        request = await stream.recv_message()
        assert request is not None
        deleted: dict[int, wire.DeletedRecords] = {}
        async with trio.open_nursery() as nursery:
            for index, part in enumerate(request.partitions):
                nursery.start_soon(self._delete_one, index, part, deleted)
        await stream.send_message(
            wire.DeleteRecordsReply(partitions=[deleted[index] for index in range(len(request.partitions))])
        )

    async def _delete_one(
        self, index: int, part: wire.DeleteRecordsPartition, deleted: dict[int, wire.DeletedRecords]
    ) -> None:
        try:
            tp = topic_partition(part.topic_id, part.partition)
            log_start = await self._deleter.delete(tp, part.before_offset)
        except KafscaleError as error:
            deleted[index] = wire.DeletedRecords(error=to_proto(error), log_start_offset=-1)
        else:
            deleted[index] = wire.DeletedRecords(log_start_offset=log_start)

    async def _list_one(
        self, index: int, part: wire.ListOffsetsPartition, listed: dict[int, wire.ListedOffset]
    ) -> None:
        try:
            tp = topic_partition(part.topic_id, part.partition)
            found = await self._offsets.find(tp, part.current_leader_epoch, part.timestamp)
        except KafscaleError as error:
            listed[index] = wire.ListedOffset(
                error=to_proto(error), offset=-1, timestamp_ms=-1, leader_epoch=-1
            )
        else:
            listed[index] = wire.ListedOffset(
                offset=found.offset, timestamp_ms=found.timestamp_ms, leader_epoch=found.leader_epoch
            )


class _Ids:
    """Partitions by the bytes that name them: a dict look-up instead of a UUID a part."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], TopicPartition] = {}

    def find(self, raw_topic_id: bytes, index: int) -> TopicPartition:
        tp = self._known.get((raw_topic_id, index))
        if tp is None:
            if len(self._known) >= _IDS_MAX:
                self._known.clear()
            tp = self._known[(raw_topic_id, index)] = topic_partition(raw_topic_id, index)
        return tp


async def _send_answers(appends: AppendStream, stream: AppendServerStream) -> None:
    while True:
        replies: dict[int, wire.AppendReply] = {}
        for answer in await appends.wait_answers():
            reply = replies.get(answer.correlation_id)
            if reply is None:
                reply = replies[answer.correlation_id] = wire.AppendReply(
                    correlation_id=answer.correlation_id
                )
            _add_answer(reply, answer)
        for reply in replies.values():
            await stream.send_message(reply)


def _add_answer(reply: wire.AppendReply, answer: Answer) -> None:
    if answer.error is None:
        reply.partitions.add(
            index=answer.part,
            base_offset=answer.base_offset,
            log_append_time_ms=answer.log_append_time_ms,
            log_start_offset=answer.log_start_offset,
        )
    else:
        reply.partitions.add(
            index=answer.part,
            error=to_proto(answer.error),
            base_offset=-1,
            log_append_time_ms=-1,
            log_start_offset=-1,
        )


class _FetchStream:
    """The parked fetches of one stream."""

    def __init__(self, fetcher: Fetcher, stream: FetchServerStream) -> None:
        self._fetcher = fetcher
        self._stream = stream
        self._waits: dict[int, FetchWait] = {}
        self._places = trio.Semaphore(FETCHES_PER_STREAM_MAX)
        self._sending = trio.Lock()  # two tasks must not send on one stream at once
        self._ids = _Ids()

    async def take(self, request: wire.FetchRequest, nursery: trio.Nursery) -> None:
        if request.WhichOneof("what") == "cancel":
            wait = self._waits.get(request.correlation_id)
            if wait is not None:
                wait.cancel()
            return
        await self._places.acquire()
        wait = self._waits[request.correlation_id] = FetchWait()
        nursery.start_soon(self._serve, request.correlation_id, request.start, wait)

    async def _serve(self, correlation_id: int, start: wire.FetchStart, wait: FetchWait) -> None:
        try:
            await self._fetcher.fetch(
                self._plain(start),
                wait,
                report=partial(self._report, correlation_id) if start.report_available else None,
                reply=partial(self._reply, correlation_id),
            )
        finally:
            if self._waits.get(correlation_id) is wait:
                del self._waits[correlation_id]
            self._places.release()

    def _plain(self, start: wire.FetchStart) -> Fetch:
        return Fetch(
            parts=[
                FetchPart(
                    tp=self._ids.find(each.topic_id, each.partition),
                    current_leader_epoch=each.current_leader_epoch,
                    fetch_offset=each.fetch_offset,
                    max_bytes=each.max_bytes,
                )
                for each in start.partitions
            ],
            min_bytes=start.min_bytes,
            max_bytes=min(start.max_bytes, REPLY_BYTES_MAX),
            max_wait_seconds=start.max_wait_ms / 1000,
        )

    async def _report(self, correlation_id: int, available_bytes: int) -> None:
        await self._send(wire.FetchReply(correlation_id=correlation_id, available_bytes=available_bytes))

    async def _reply(self, correlation_id: int, answers: Sequence[FetchedPart]) -> None:
        data = wire.FetchedData(partitions=[_fetched(answer) for answer in answers])
        await self._send(wire.FetchReply(correlation_id=correlation_id, data=data))

    async def _send(self, reply: wire.FetchReply) -> None:
        async with self._sending:
            await self._stream.send_message(reply)


def _fetched(answer: FetchedPart) -> wire.FetchedPartition:
    return wire.FetchedPartition(
        error=None if answer.error is None else to_proto(answer.error),
        high_watermark=answer.high_watermark,
        log_start_offset=answer.log_start_offset,
        records=b"".join(answer.records),
        leader_epoch=answer.leader_epoch,
    )
