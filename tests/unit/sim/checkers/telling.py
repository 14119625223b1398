"""Histories told by hand, for tests of the judges.

Owns: short words for what happens in a run; chain objects and manifests with real bytes. Does not own: what
is right.
Rules: 1 each method adds what its name says and nothing else: a test breaks a promise by leaving out, or by
adding, one line.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from libs.model.cluster import Assignment, AssignmentState, ChainPosition, PartitionState, Topic
from libs.model.ids import (
    ChainSeq,
    GroupId,
    LeaderEpoch,
    MemberId,
    Offset,
    OwnerId,
    Partition,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)
from libs.segments.keys import (
    ManifestName,
    PartitionFolder,
    SegmentName,
    chain_object_key,
    manifest_key,
    segment_index_key,
    segment_key,
    start_marker_key,
)
from libs.segments.manifest import Manifest, SegmentRef, encode_manifest
from libs.segments.seal import Seal, encode_seal
from libs.segments.wal import PendingRange, encode_wal
from tests.sim import events, facts
from tests.sim.history import EndState, FinalRead, History
from tests.support.records import Record, encode_batch

TOPIC = TopicId(UUID(int=1))
OTHER = TopicId(UUID(int=2))
TP = TopicPartition(TOPIC, Partition(0))
A, B = SessionId(UUID(int=10)), SessionId(UUID(int=11))
GROUP = GroupId("g")
FOLDER = PartitionFolder(TopicName("t"), TOPIC, Partition(0))


class Telling:
    """A history under a clock that `wait` moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.history = History(lambda: self.now)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def add(self, event: object, actor: str = "x") -> int:
        return self.history.add(actor, event)

    # Clients.

    def sent(
        self,
        *values: str,
        tp: TopicPartition = TP,
        topic: str = "t",
        producer: tuple[int, int, int] = (-1, -1, -1),
        acks: int = -1,
        timestamp_ms: int = 0,
        size_bytes: int = 100,
    ) -> int:
        return self.add(
            events.ProduceSent(
                tp=tp,
                topic=topic,
                values=values,
                timestamp_ms=timestamp_ms,
                size_bytes=size_bytes,
                producer_id=producer[0],
                producer_epoch=producer[1],
                base_sequence=producer[2],
                acks=acks,
            )
        )

    def acked(self, call: int, base_offset: int) -> int:
        return self.add(events.ProduceAcked(call=call, base_offset=base_offset))

    def produced(
        self, *values: str, at: int, tp: TopicPartition = TP, topic: str = "t", **sent: object
    ) -> None:
        """Sent and acknowledged."""
        self.acked(self.sent(*values, tp=tp, topic=topic, **sent), at)  # type: ignore[arg-type]

    def fetched(
        self,
        position: int,
        *values: str,
        tp: TopicPartition = TP,
        epoch: int = -1,
        record_epoch: int = -1,
        high_watermark: int = 100,
        log_start: int = 0,
        error: str = "",
    ) -> int:
        """A fetch and its answer: the values from `position` on."""
        call = self.add(events.FetchAsked(tp=tp, position=position, leader_epoch=epoch))
        return self.answered(
            call,
            position,
            *values,
            record_epoch=record_epoch,
            high_watermark=high_watermark,
            log_start=log_start,
            error=error,
        )

    def answered(
        self,
        call: int,
        position: int,
        *values: str,
        record_epoch: int = -1,
        high_watermark: int = 100,
        log_start: int = 0,
        error: str = "",
    ) -> int:
        records = seen(position, *values, epoch=record_epoch)
        return self.add(
            events.FetchAnswered(
                call=call, records=records, high_watermark=high_watermark, log_start=log_start, error=error
            )
        )

    def listed(self, timestamp: int, offset: int, *, epoch: int) -> None:
        call = self.add(events.ListAsked(tp=TP, timestamp=timestamp, leader_epoch=epoch))
        self.add(events.ListAnswered(call=call, offset=offset, leader_epoch=epoch))

    def created(self, topic_id: TopicId = TOPIC, *, configs: Mapping[str, str] | None = None) -> None:
        call = self.add(events.TopicCreateAsked(topic="t", partitions=1, configs=configs or {}))
        self.add(events.TopicCreated(topic="t", topic_id=topic_id, partitions=1, call=call))

    def committed_topic(self, name: str, topic_id: TopicId) -> None:
        """The metadata store has it."""
        topic = Topic(name=TopicName(name), topic_id=topic_id, partitions=1, configs={})
        self.add(facts.TopicCommitted(name=name, topic=topic))

    def deleted(self, topic_id: TopicId = TOPIC) -> None:
        self.add(events.TopicDeleted(call=self.add(events.TopicDeleteAsked(topic="t", topic_id=topic_id))))

    def deleted_records(self, before: int, *, log_start: int | None = None) -> None:
        call = self.add(events.DeleteRecordsAsked(tp=TP, before=before))
        self.add(events.DeleteRecordsAcked(call=call, log_start=before if log_start is None else log_start))

    def assigned(
        self,
        member: str,
        generation: int,
        *partitions: int,
        given: Sequence[int] | None = None,
    ) -> None:
        self.add(
            events.GroupAssigned(
                group=GROUP,
                member=MemberId(member),
                generation=generation,
                partitions=frozenset(_tp(each) for each in partitions),
                given=None if given is None else frozenset(_tp(each) for each in given),
            )
        )

    def commit(self, offset: int, *, generation: int = 1, tp: TopicPartition = TP) -> int:
        """Asked only."""
        return self.add(
            events.CommitAsked(group=GROUP, member=MemberId("m"), generation=generation, offsets={tp: offset})
        )

    def committed(self, offset: int, *, generation: int = 1, tp: TopicPartition = TP) -> None:
        self.add(events.CommitAcked(call=self.commit(offset, generation=generation, tp=tp)))

    def offset_fetched(self, offset: int, *, tp: TopicPartition = TP) -> None:
        call = self.add(events.OffsetsAsked(group=GROUP, partitions=(tp,)))
        self.add(events.OffsetsFetched(call=call, offsets={tp: offset}))

    # The cluster.

    def owns(self, session: SessionId, epoch: int, *, tp: TopicPartition = TP) -> None:
        self.add(
            facts.AssignmentCommitted(
                tp=tp,
                assignment=Assignment(
                    topic_id=tp.topic_id,
                    partition=tp.partition,
                    owner_id=OwnerId("o"),
                    session=session,
                    leader_epoch=LeaderEpoch(epoch),
                    state=AssignmentState.ASSIGNED,
                ),
            )
        )

    def state(
        self,
        *positions: tuple[SessionId, int, int, int | None],
        log_start: int = 0,
        manifest: str = "",
        tp: TopicPartition = TP,
    ) -> None:
        """Committed. Positions: session, epoch, from, to."""
        self.add(
            facts.StateCommitted(
                tp=tp, state=partition_state(*positions, log_start=log_start, manifest=manifest)
            )
        )

    def wal(
        self,
        session: SessionId,
        seq: int,
        *values: str,
        base: int = 0,
        epoch: int = 1,
        tp: TopicPartition = TP,
    ) -> None:
        """A chain object with one batch, or none."""
        self.history.stored(
            "store",
            chain_object_key(session, seq),
            wal_bytes(session, seq, *values, base=base, epoch=epoch, tp=tp),
        )

    def seal(self, session: SessionId, seq: int) -> None:
        body = encode_seal(
            Seal(
                session=session,
                seq=ChainSeq(seq),
                nonce=bytes(16),
                created_ms=0,
                sealer_session=B,
                sealer_owner=OwnerId("o"),
            )
        )
        self.history.stored("store", chain_object_key(session, seq), body)

    def marker(self, session: SessionId, seq: int) -> None:
        self.history.stored("store", start_marker_key(session, seq), b"marker")

    def gone(self, key: str) -> None:
        self.add(facts.ObjectDeleted(key=key, by="o"))

    def manifest(self, n: int, *bases: int, end: int, epoch: int = 1) -> str:
        """A manifest with these segments, all stored; returns its key."""
        names = [SegmentName(Offset(base), LeaderEpoch(epoch), bytes(16)) for base in bases]
        for name in names:
            self.history.stored("store", segment_key(FOLDER, name), b"segment")
            self.history.stored("store", segment_index_key(FOLDER, name), b"index")
        ends = [*bases[1:], end]
        manifest = Manifest(
            tp=TP,
            leader_epoch=epoch,
            n=n,
            created_ms=0,
            log_start=0,
            end_offset=end,
            segments=tuple(
                SegmentRef(
                    name=name,
                    last_offset=last - 1,
                    record_count=last - name.base_offset,
                    size_bytes=1000,
                    index_bytes=10,
                    max_timestamp_ms=0,
                )
                for name, last in zip(names, ends, strict=True)
            ),
        )
        key = manifest_key(FOLDER, ManifestName(LeaderEpoch(epoch), n))
        self.history.stored("store", key, encode_manifest(manifest))
        return key

    def bucket(self) -> dict[str, bytes]:
        """What is there after all that was told."""
        there: dict[str, bytes] = {}
        for _, event in self.history.each(facts.ObjectWritten, facts.ObjectDeleted):
            if isinstance(event, facts.ObjectWritten):
                there[event.key] = event.body
            else:
                there.pop(event.key, None)
        return there

    def end(
        self,
        *values: str,
        log_start: int = 0,
        epoch: int = -1,
        high_watermark: int | None = None,
        error: str = "",
        states: Mapping[TopicPartition, PartitionState] | None = None,
        assignments: Mapping[TopicPartition, Assignment] | None = None,
        live: Sequence[SessionId] = (),
        topics: Sequence[TopicId] = (TOPIC,),
        reads: Mapping[TopicPartition, FinalRead] | None = None,
        committed: Mapping[tuple[str, TopicPartition], int] | None = None,
        collected: bool = True,
        configs: Mapping[str, str] | None = None,
    ) -> History:
        """The end: TP holds these values from `log_start` on. Returns the history."""
        last = log_start + len(values) if high_watermark is None else high_watermark
        read = FinalRead(
            records=seen(log_start, *values, epoch=epoch),
            log_start=log_start,
            high_watermark=last,
            error=error,
        )
        self.history.end = EndState(
            reads={TP: read} if reads is None else reads,
            topics=[
                Topic(name=TopicName("t"), topic_id=each, partitions=1, configs=configs or {})
                for each in topics
            ],
            assignments=assignments or {},
            states=states or {},
            live_sessions=frozenset(live),
            sessions=frozenset(live),
            bucket=self.bucket(),
            committed=committed or {},
            collected=collected,
        )
        return self.history


def seen(position: int, *values: str, epoch: int = -1) -> tuple[events.SeenRecord, ...]:
    return tuple(events.SeenRecord(offset, value, epoch) for offset, value in enumerate(values, position))


def partition_state(
    *positions: tuple[SessionId, int, int, int | None], log_start: int = 0, manifest: str = ""
) -> PartitionState:
    return PartitionState(
        log_start_offset=Offset(log_start),
        manifest_key=manifest,
        positions=tuple(
            ChainPosition(
                session=session,
                leader_epoch=LeaderEpoch(epoch),
                from_seq=ChainSeq(first),
                to_seq=None if to is None else ChainSeq(to),
            )
            for session, epoch, first, to in positions
        ),
    )


def wal_bytes(
    session: SessionId, seq: int, *values: str, base: int = 0, epoch: int = 1, tp: TopicPartition = TP
) -> bytes:
    ranges = []
    if values:
        data = encode_batch(
            [Record(None, value.encode()) for value in values], base_offset=base, leader_epoch=epoch
        )
        ranges.append(
            PendingRange(
                tp=tp,
                leader_epoch=epoch,
                base_offset=base,
                record_count=len(values),
                max_timestamp_ms=0,
                buffers=[data],
            )
        )
    encoded = encode_wal(session=session, seq=ChainSeq(seq), nonce=bytes(16), created_ms=0, ranges=ranges)
    return b"".join(bytes(each) for each in encoded.buffers)


def _tp(partition: int) -> TopicPartition:
    return TopicPartition(TOPIC, Partition(partition))
