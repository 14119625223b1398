"""Segments and snapshots of batches: what an owner would know had it seen exactly these."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, LeaderEpoch
from libs.records import iter_batches, patched_bytes, split_batches
from libs.segments.manifest import EpochStart, ProducerSnapshot
from libs.segments.segment import parse_segment
from services.partition_owner.compaction.build import Piece, build, epochs_below, merge, segment_ref
from services.partition_owner.log import LogRange
from services.partition_owner.producers import ProducerStates
from tests.support.records import Record, encode_batch
from tests.support.segments import NONCE, SESSION

EPOCH = LeaderEpoch(3)


ALL = range(100)
"""Producers that the owner knows."""


def producers() -> ProducerStates:
    return ProducerStates(expiration_seconds=1, count_max=100)


class Log:
    """Appends batches of one record, and cuts what was appended into ranges."""

    def __init__(self) -> None:
        self.offset = 0
        self.pieces: list[Piece] = []

    def add(self, *appended: tuple[int, int, int], copied: bool = True) -> Piece:
        """A range of these batches: producer id, epoch, sequence."""
        base = self.offset
        parts = []
        for producer_id, epoch, sequence in appended:
            data = encode_batch(
                [Record(None, b"%d" % self.offset)],
                producer_id=producer_id,
                producer_epoch=epoch,
                base_sequence=sequence,
            )
            parts.append(patched_bytes(split_batches(data)[0], base_offset=self.offset, leader_epoch=EPOCH))
            self.offset += 1
        data = b"".join(parts)
        seq = ChainSeq(len(self.pieces))
        found = LogRange(SESSION, seq, EPOCH, base, self.offset, 8, len(data))
        self.pieces.append(Piece(found=found, data=data, copied=copied))
        return self.pieces[-1]


def runs(snapshot: tuple[ProducerSnapshot, ...]) -> dict[int, tuple[int, list[tuple[int, int]]]]:
    """Producer id -> epoch, [(sequence, offset)]."""
    return {
        each.producer_id: (each.producer_epoch, [(run.base_sequence, run.base_offset) for run in each.runs])
        for each in snapshot
    }


def test_a_segment_holds_the_batches_as_they_were() -> None:
    log = Log()
    log.add((1, 0, 0), (2, 0, 0), copied=False)
    log.add((1, 0, 1))
    log.add((-1, -1, -1), (2, 0, 1))
    built = build(log.pieces, before=(), known=ALL, producers=producers(), created_ms=7)
    assert built.segment is not None
    data = b"".join(bytes(each) for each in built.segment.buffers)
    head, footer, batches = parse_segment(data)
    assert (head.base_offset, head.record_count, footer.last_offset) == (2, 3, 4)
    assert bytes(batches) == log.pieces[1].data + log.pieces[2].data
    assert runs(built.producers) == {1: (0, [(0, 0), (1, 2)]), 2: (0, [(0, 1), (1, 4)])}
    ref = segment_ref(built.segment, leader_epoch=EPOCH, nonce=NONCE)
    assert (ref.name.base_offset, ref.last_offset, ref.size_bytes) == (2, 4, len(data))


def test_without_anything_to_copy_there_is_no_segment() -> None:
    log = Log()
    log.add((1, 0, 0), copied=False)
    built = build(log.pieces, before=(), known=ALL, producers=producers(), created_ms=7)
    assert built.segment is None
    assert runs(built.producers) == {1: (0, [(0, 0)])}


def test_segments_are_merged_byte_for_byte() -> None:
    log = Log()
    whole = []
    for number in range(3):
        log.add((1, 0, 2 * number), (1, 0, 2 * number + 1))
        built = build(log.pieces[-1:], before=(), known=ALL, producers=producers(), created_ms=7).segment
        assert built is not None
        ref = segment_ref(built, leader_epoch=EPOCH, nonce=NONCE)
        whole.append((ref, parse_segment(b"".join(bytes(each) for each in built.buffers))[2]))
    merged = merge(whole, created_ms=9)
    data = b"".join(bytes(each) for each in merged.buffers)
    assert bytes(parse_segment(data)[2]) == b"".join(each.data for each in log.pieces)
    wrong = [(whole[0][0], whole[1][1])]
    with pytest.raises(Corrupt):
        merge(wrong, created_ms=9)


@pytest.mark.parametrize("at", [0, 16, 30, 62])
def test_damage_is_never_compacted_away(at: int) -> None:
    log = Log()
    piece = log.add((1, 0, 0), (1, 0, 1))
    damaged = bytearray(piece.data)
    damaged[at] ^= 1
    broken = Piece(found=piece.found, data=bytes(damaged), copied=True)
    with pytest.raises(Corrupt):
        build([broken], before=(), known=ALL, producers=producers(), created_ms=7)


def test_a_range_that_does_not_end_where_it_should_is_corrupt() -> None:
    log = Log()
    piece = log.add((1, 0, 0), (1, 0, 1))
    longer = Piece(found=piece.found._replace(end_offset=5), data=piece.data, copied=True)
    other_epoch = Piece(found=piece.found._replace(leader_epoch=LeaderEpoch(4)), data=piece.data, copied=True)
    for wrong in (longer, other_epoch):
        with pytest.raises(Corrupt):
            build([wrong], before=(), known=ALL, producers=producers(), created_ms=7)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 1)), min_size=1, max_size=12),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 8),
)
def test_a_snapshot_of_a_snapshot_is_that_of_all(ranges: list[list[tuple[int, int]]], cut: int) -> None:
    """However the ranges are cut into compactions, the last snapshot is what one owner would remember."""
    log, sequences = Log(), dict.fromkeys(range(-1, 4), 0)
    epochs = dict.fromkeys(range(-1, 4), 0)
    for appended in ranges:
        batches = []
        for producer_id, bump in appended:
            if producer_id < 0:
                batches.append((-1, -1, -1))
                continue
            if bump:
                epochs[producer_id] += 1
                sequences[producer_id] = 0
            batches.append((producer_id, epochs[producer_id], sequences[producer_id]))
            sequences[producer_id] += 1
        log.add(*batches)
    first = build(log.pieces[:cut], before=(), known=ALL, producers=producers(), created_ms=1).producers
    second = build(log.pieces[cut:], before=first, known=ALL, producers=producers(), created_ms=2).producers
    owner = producers()
    for piece in log.pieces:
        for batch in iter_batches(piece.data):
            if batch.producer_id >= 0:
                owner.add(batch, base_offset=batch.base_offset, now=1)
    expected = {
        producer_id: (entry.producer_epoch, [(run.base_sequence, run.base_offset) for run in entry.runs])
        for producer_id, entry in owner.items()
    }
    assert runs(second) == expected


def test_producers_are_forgotten_with_the_owner_and_not_by_the_time_of_day() -> None:
    log = Log()
    log.add((1, 0, 0), (2, 0, 0))
    first = build(log.pieces, before=(), known=ALL, producers=producers(), created_ms=5000).producers
    log.add((2, 0, 1), (3, 0, 0))
    a_year_on = 5000 + 365 * 86_400_000
    kept = build(
        log.pieces[1:], before=first, known=ALL, producers=producers(), created_ms=a_year_on
    ).producers
    assert sorted(runs(kept)) == [1, 2, 3]
    fewer = build(
        log.pieces[1:], before=first, known={2, 3}, producers=producers(), created_ms=5900
    ).producers
    assert sorted(runs(fewer)) == [2, 3]


def test_epochs_of_what_is_there() -> None:
    def starts(*pairs: tuple[int, int]) -> tuple[EpochStart, ...]:
        return tuple(EpochStart(leader_epoch=epoch, start_offset=start) for epoch, start in pairs)

    all_of = starts((1, 0), (3, 10), (4, 10), (5, 20))
    assert epochs_below(all_of, end_offset=30, log_start=0) == all_of
    assert epochs_below(all_of, end_offset=20, log_start=0) == all_of[:3]
    assert epochs_below(all_of, end_offset=30, log_start=15) == all_of[2:]
    assert epochs_below(all_of, end_offset=30, log_start=20) == all_of[3:]
    assert epochs_below((), end_offset=30, log_start=0) == ()
