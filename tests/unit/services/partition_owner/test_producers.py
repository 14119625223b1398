"""Producer state against KIP-98's rules, and against a producer that sends everything twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Fenced, Invalid, Reason
from libs.records import BatchView, split_batches
from libs.segments.manifest import ProducerSnapshot
from libs.segments.wal import SEQUENCE_MODULUS, ProducerRun
from services.partition_owner.producers import ProducerStates, trimmed
from tests.support.records import Record, encode_batch

LAST = SEQUENCE_MODULUS - 1


def states(**bounds: int) -> ProducerStates:
    return ProducerStates(
        expiration_seconds=bounds.get("expiration_seconds", 1000), count_max=bounds.get("count_max", 100)
    )


def sent(sequence: int, count: int = 1, *, producer_id: int = 7, epoch: int = 0) -> BatchView:
    data = encode_batch(
        [Record(None, b"v")] * count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence
    )
    return split_batches(data)[0]


def test_next_in_order() -> None:
    producers = states()
    assert producers.check(sent(0, 3)) is None
    producers.add(sent(0, 3), base_offset=10, now=0)
    assert producers.check(sent(3)) is None


def test_duplicate_names_the_original() -> None:
    producers = states()
    for number in range(5):
        producers.add(sent(number * 2, 2), base_offset=100 + number * 2, now=0)
    for number in range(5):
        original = producers.check(sent(number * 2, 2))
        assert original is not None
        assert original.base_offset == 100 + number * 2
        assert original.last_offset == 101 + number * 2


def test_only_five_are_remembered() -> None:
    producers = states()
    for number in range(6):
        producers.add(sent(number), base_offset=number, now=0)
    with pytest.raises(Invalid) as caught:
        producers.check(sent(0))
    assert caught.value.reason is Reason.OUT_OF_ORDER_SEQUENCE
    assert producers.check(sent(1)) is not None


@pytest.mark.parametrize("sequence", [0, 1, 3, 9])
def test_a_gap_or_an_overlap_is_out_of_order(sequence: int) -> None:
    producers = states()
    producers.add(sent(0, 2), base_offset=0, now=0)
    with pytest.raises(Invalid) as caught:
        producers.check(sent(sequence))
    assert caught.value.reason is Reason.OUT_OF_ORDER_SEQUENCE


def test_unknown_producer_may_begin_anywhere() -> None:
    assert states().check(sent(42)) is None


def test_new_epoch_begins_at_zero() -> None:
    producers = states()
    producers.add(sent(5), base_offset=0, now=0)
    with pytest.raises(Invalid):
        producers.check(sent(6, epoch=1))
    assert producers.check(sent(0, epoch=1)) is None
    producers.add(sent(0, epoch=1), base_offset=1, now=0)
    with pytest.raises(Fenced) as caught:
        producers.check(sent(6, epoch=0))
    assert caught.value.reason is Reason.INVALID_PRODUCER_EPOCH
    entry = producers.get(7)
    assert entry is not None
    assert [run.producer_epoch for run in entry.runs] == [1]


def test_sequences_wrap() -> None:
    producers = states()
    producers.add(sent(LAST - 1, 2), base_offset=0, now=0)
    assert producers.check(sent(0)) is None
    producers.add(sent(LAST, 3), base_offset=2, now=0)  # LAST, 0, 1
    assert producers.check(sent(2)) is None
    original = producers.check(sent(LAST, 3))
    assert original is not None
    assert original.last_offset == 4


def test_put_back_undoes() -> None:
    producers = states()
    before = producers.get(7)
    producers.add(sent(0), base_offset=0, now=0)
    producers.put_back(7, before)
    assert len(producers) == 0
    producers.add(sent(0), base_offset=0, now=0)
    kept = producers.get(7)
    producers.add(sent(1), base_offset=1, now=0)
    producers.put_back(7, kept)
    assert producers.check(sent(1)) is None


def test_expiry_by_age_and_by_count() -> None:
    producers = states(expiration_seconds=1000, count_max=2)
    for producer_id in range(3):
        producers.add(sent(0, producer_id=producer_id), base_offset=producer_id, now=producer_id * 100)
    producers.add(sent(1, producer_id=0), base_offset=3, now=300)
    producers.expire(300)
    assert producers.get(1) is None  # the least recently seen of three, where two are allowed
    assert producers.get(0) is not None
    producers.expire(1200)
    assert producers.get(2) is None
    assert producers.get(0) is not None
    producers.expire(1300)
    assert len(producers) == 0


@given(st.lists(st.integers(1, 4), min_size=1, max_size=20), st.integers(0, 6))
def test_restored_state_knows_the_same(counts: list[int], back: int) -> None:
    """What is rebuilt from the footers' runs answers as the state that wrote them."""
    live = states()
    runs: list[ProducerRun] = []
    sequence = offset = 0
    batches: list[BatchView] = []
    for count in counts:
        batch = sent(sequence, count)
        batches.append(batch)
        assert live.check(batch) is None
        runs.append(live.add(batch, base_offset=offset, now=0))
        sequence += count
        offset += count
    restored = states()
    restored.restore(trimmed(runs), now=5)
    assert restored.check(sent(sequence)) is None
    for batch in batches[-5:]:
        assert restored.check(batch) == live.check(batch) is not None


def test_trimmed_keeps_the_last_five_of_each() -> None:
    runs = [ProducerRun(number % 2, 0, number, number, number, 0) for number in range(14)]
    assert trimmed(runs) == tuple(runs[4:])
    assert trimmed(runs[:3]) == tuple(runs[:3])


def test_a_snapshot_is_where_the_state_goes_on() -> None:
    """Seen now, whatever time its clients wrote: else one that sends old records would be forgotten."""
    runs = tuple(ProducerRun(7, 1, sequence, sequence, sequence, 5) for sequence in range(5))
    producers = states(count_max=2)
    snapshots = [
        ProducerSnapshot(producer_id=7, producer_epoch=1, last_timestamp_ms=5, runs=runs),
        ProducerSnapshot(producer_id=8, producer_epoch=3, last_timestamp_ms=9, runs=()),
        ProducerSnapshot(producer_id=9, producer_epoch=0, last_timestamp_ms=-1, runs=()),
    ]
    producers.restore_snapshot(snapshots, now=1_000_000)
    producers.expire(1_000_000)
    assert producers.get(9) is None
    assert producers.check(sent(4, epoch=1)) == runs[4]
    assert producers.check(sent(5, epoch=1)) is None
    with pytest.raises(Invalid) as caught:
        producers.check(sent(7, epoch=1))
    assert caught.value.reason is Reason.OUT_OF_ORDER_SEQUENCE


def test_a_producer_without_batches_begins_at_0() -> None:
    producers = states()
    silent = ProducerSnapshot(producer_id=7, producer_epoch=3, last_timestamp_ms=9, runs=())
    producers.restore_snapshot([silent], now=0)
    assert producers.check(sent(0, epoch=3)) is None
    with pytest.raises(Invalid):
        producers.check(sent(1, epoch=3))
    with pytest.raises(Fenced):
        producers.check(sent(0, epoch=2))
