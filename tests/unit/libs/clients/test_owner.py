"""The owner's streams as gateways use them: order, what was sent when a stream breaks, cancelling fetches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import trio
import trio.testing
from grpclib.server import Stream

from libs.clients.errors import to_proto
from libs.clients.owner import (
    Appended,
    AppendStream,
    FetchCall,
    FetchedPartition,
    FetchPartition,
    FetchStream,
    OffsetQuery,
    OwnerClient,
    PartitionAppend,
    RecordDeletion,
)
from libs.model.errors import Corrupt, Invalid, KafscaleError, Moved, Reason, Unavailable
from libs.model.ids import LeaderEpoch, Partition, TopicId, TopicPartition
from libs.rpc import Channel, Server, memory_channel
from proto.owner import owner_pb2 as wire
from proto.owner.owner_grpc import PartitionOwnerBase

AT = TopicPartition(TopicId(UUID(int=1)), Partition(3))


class Owner(PartitionOwnerBase):
    def __init__(self) -> None:
        self.appends: list[wire.AppendRequest] = []
        self.fetches: list[wire.FetchRequest] = []
        self.stop_after = 1000
        self.short = False

    async def Append(self, stream: "Stream[wire.AppendRequest, wire.AppendReply]") -> None:  # noqa: N802
        async for request in stream:
            self.appends.append(request)
            if len(self.appends) >= self.stop_after:
                raise Unavailable("gone", outcome_unknown=True)
            reply = wire.AppendReply(correlation_id=request.correlation_id)
            for index, part in reversed(list(enumerate(request.partitions))):
                if part.records == b"bad":
                    reply.partitions.add(index=index, error=to_proto(Moved("not mine")))
                else:
                    reply.partitions.add(index=index, base_offset=index * 10, log_append_time_ms=-1)
            await stream.send_message(reply)

    async def Fetch(self, stream: "Stream[wire.FetchRequest, wire.FetchReply]") -> None:  # noqa: N802
        async for request in stream:
            self.fetches.append(request)
            if request.WhichOneof("what") == "start":
                available = wire.FetchReply(correlation_id=request.correlation_id, available_bytes=7)
                await stream.send_message(available)
                continue
            data = wire.FetchedData()
            if not self.short:
                data.partitions.add(high_watermark=5, records=b"r", leader_epoch=2)
                error = Invalid("out", reason=Reason.OFFSET_OUT_OF_RANGE)
                data.partitions.add(error=to_proto(error))
            await stream.send_message(wire.FetchReply(correlation_id=request.correlation_id, data=data))

    async def ListOffsets(  # noqa: N802
        self, stream: "Stream[wire.ListOffsetsRequest, wire.ListOffsetsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        reply = wire.ListOffsetsReply()
        for part in list(request.partitions)[: 1 if self.short else None]:
            reply.partitions.add(offset=part.timestamp, timestamp_ms=1, leader_epoch=2)
        await stream.send_message(reply)

    async def DeleteRecords(  # noqa: N802
        self, stream: "Stream[wire.DeleteRecordsRequest, wire.DeleteRecordsReply]"
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        reply = wire.DeleteRecordsReply()
        for part in list(request.partitions)[: 1 if self.short else None]:
            if part.before_offset < 0:
                reply.partitions.add(error=to_proto(Moved("not mine")), log_start_offset=-1)
            else:
                reply.partitions.add(log_start_offset=part.before_offset)
        await stream.send_message(reply)


@asynccontextmanager
async def channel_to(owner: Owner) -> AsyncIterator[Channel]:
    async with memory_channel(Server([owner])) as channel:
        yield channel


def append(records: bytes, *, resume: bool = False) -> PartitionAppend:
    return PartitionAppend(at=AT, leader_epoch=LeaderEpoch(4), records=records, resume=resume)


async def test_appends_keep_their_order_and_replies_find_their_way() -> None:
    owner, stream = Owner(), AppendStream()
    replies: dict[tuple[int, int], Appended | KafscaleError] = {}
    # Queued before the stream is up.
    keys = stream.append_nowait([append(b"a"), append(b"bad", resume=True)])
    assert stream.sent == 0
    async with channel_to(owner) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(
            stream.run, channel, lambda number, index, result: replies.update({(number, index): result})
        )
        await trio.testing.wait_all_tasks_blocked()
        keys += stream.append_nowait([append(b"c")])
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert set(keys) == set(replies)
    first, second, third = (replies[key] for key in keys)
    assert isinstance(first, Appended)
    assert isinstance(second, Moved)
    assert isinstance(third, Appended)
    assert [each.records for request in owner.appends for each in request.partitions] == [b"a", b"bad", b"c"]
    part = owner.appends[0].partitions[1]
    assert (part.topic_id, part.partition, part.leader_epoch, part.resume) == (AT.topic_id.bytes, 3, 4, True)
    assert stream.sent == 2


def test_a_large_request_becomes_several_messages() -> None:
    stream = AppendStream()
    keys = stream.append_nowait([append(bytes(3 << 20)) for _ in range(5)])
    assert keys == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0)]
    assert stream.append_nowait([append(bytes(20 << 20))]) == [(4, 0)]


async def test_a_broken_stream_says_what_may_have_arrived() -> None:
    owner, stream = Owner(), AppendStream()
    owner.stop_after = 2
    for _ in range(2):
        stream.append_nowait([append(b"a")])
    async with channel_to(owner) as channel:
        with pytest.raises(Unavailable):
            await stream.run(channel, lambda *_: None)
    assert stream.sent == 2
    stream.append_nowait([append(b"late")])
    assert stream.sent == 2


class Heard:
    def __init__(self, size: int = 2) -> None:
        self.available: list[int] = []
        self.done: list[list[FetchedPartition] | KafscaleError] = []
        self.call = FetchCall(size=size, on_available=self.available.append, on_done=self.done.append)


def start(stream: FetchStream, heard: Heard) -> None:
    wanted = [
        FetchPartition(at=AT, current_leader_epoch=-1, fetch_offset=offset, max_bytes=9) for offset in (0, 99)
    ]
    stream.start_nowait(wanted, heard.call, min_bytes=1, max_bytes=2, max_wait_ms=3, report_available=True)


async def test_fetches_are_parked_cancelled_and_forgotten() -> None:
    owner, stream = Owner(), FetchStream()
    heard, forgotten = Heard(), Heard()
    async with channel_to(owner) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(stream.run, channel)
        start(stream, heard)
        start(stream, forgotten)
        await trio.testing.wait_all_tasks_blocked()
        assert (heard.available, heard.done, stream.parked) == ([7], [], 2)
        stream.forget_nowait(forgotten.call)
        stream.cancel_nowait(heard.call)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    (result,) = heard.done
    assert isinstance(result, list)
    assert (result[0].records, result[0].high_watermark, result[0].error) == (b"r", 5, None)
    assert isinstance(result[1].error, Invalid)
    assert forgotten.done == []
    asked = owner.fetches[0].start
    assert (asked.min_bytes, asked.max_bytes, asked.max_wait_ms, asked.report_available) == (1, 2, 3, True)
    assert [each.fetch_offset for each in asked.partitions] == [0, 99]


async def test_a_lost_fetch_stream_ends_every_fetch() -> None:
    stream, heard, late = FetchStream(), Heard(), Heard()
    start(stream, heard)
    error = Unavailable("gone")
    stream.fail(error)
    start(stream, late)
    assert heard.done == late.done == [error]
    stream.cancel_nowait(heard.call)
    assert stream.parked == 0


@pytest.mark.parametrize("call", ["fetch", "list_offsets", "delete_records"])
async def test_an_answer_about_something_else_is_corrupt(call: str) -> None:
    owner = Owner()
    owner.short = True
    async with channel_to(owner) as channel:
        if call == "list_offsets":
            query = OffsetQuery(at=AT, current_leader_epoch=-1, timestamp=5)
            with pytest.raises(Corrupt):
                await OwnerClient(channel).list_offsets([query, query])
            return
        if call == "delete_records":
            deletion = RecordDeletion(at=AT, before_offset=5)
            with pytest.raises(Corrupt):
                await OwnerClient(channel).delete_records([deletion, deletion], timeout_seconds=1.0)
            return
        stream, heard = FetchStream(), Heard()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.run, channel)
            start(stream, heard)
            stream.cancel_nowait(heard.call)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    result: Any = heard.done[0]
    assert isinstance(result, Corrupt)


async def test_list_offsets() -> None:
    query = OffsetQuery(at=AT, current_leader_epoch=-1, timestamp=5)
    async with channel_to(Owner()) as channel:
        (found,) = await OwnerClient(channel).list_offsets([query])
    assert (found.error, found.offset, found.timestamp_ms, found.leader_epoch) == (None, 5, 1, 2)


async def test_delete_records() -> None:
    deletions = [RecordDeletion(at=AT, before_offset=offset) for offset in (0, -1, 7)]
    async with channel_to(Owner()) as channel:
        first, refused, last = await OwnerClient(channel).delete_records(deletions, timeout_seconds=1.0)
    assert (first, last) == (0, 7)
    assert isinstance(refused, Moved)
