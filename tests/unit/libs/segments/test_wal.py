"""Chain objects and seals: writing, and reading from their end."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, OwnerId, Partition, SessionId, TopicId, TopicPartition
from libs.model.limits import CHAIN_OBJECT_BYTES_MAX
from libs.segments.chain import is_mine
from libs.segments.envelope import NeedMore
from libs.segments.keys import ChainPosition
from libs.segments.layout import CHAIN_TRAILER_BYTES
from libs.segments.seal import Seal, classify_chain_object, encode_seal, parse_chain_object
from libs.segments.wal import PendingRange, ProducerRun, WalFooter, encode_wal, overhead_bytes
from tests.support.segments import (
    NONCE,
    SEALER,
    SESSION,
    sample_probe,
    sample_seal,
    sample_wal,
    stored_batch,
    tp,
)

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def pending_ranges(draw: st.DrawFn) -> PendingRange:
    base_offset = draw(st.integers(0, 2**62))
    count = draw(st.integers(1, 2**32))
    runs = []
    for _ in range(draw(st.integers(0, 3))):
        records = draw(st.integers(1, min(count, 1000)))
        base_sequence = draw(st.integers(0, 2**31 - 1))
        runs.append(
            ProducerRun(
                draw(st.integers(0, 2**63 - 1)),
                draw(st.integers(0, 2**15 - 1)),
                base_sequence,
                (base_sequence + records - 1) % 2**31,
                base_offset + draw(st.integers(0, count - records)),
                draw(INT64),
            )
        )
    topic_id = TopicId(draw(st.uuids()))
    return PendingRange(
        tp=TopicPartition(topic_id, Partition(draw(st.integers(0, 2**31 - 1)))),
        leader_epoch=draw(st.integers(0, 2**31 - 1)),
        base_offset=base_offset,
        record_count=count,
        max_timestamp_ms=draw(INT64),
        buffers=draw(st.lists(st.binary(min_size=61, max_size=70), min_size=1, max_size=3)),
        producer_runs=tuple(runs),
    )


@given(
    st.uuids(), st.integers(0, 2**63), st.binary(min_size=16, max_size=16), INT64, st.lists(pending_ranges())
)
def test_round_trip(
    session: UUID, seq: int, nonce: bytes, created_ms: int, ranges: list[PendingRange]
) -> None:
    encoded = encode_wal(
        session=SessionId(session), seq=ChainSeq(seq), nonce=nonce, created_ms=created_ms, ranges=ranges
    )
    blob = b"".join(encoded.buffers)
    assert len(blob) == encoded.size_bytes
    footer = parse_chain_object(blob, at=ChainPosition(SessionId(session), ChainSeq(seq)))
    assert isinstance(footer, WalFooter)
    assert footer == encoded.footer
    assert (footer.session, footer.seq, footer.nonce, footer.created_ms) == (session, seq, nonce, created_ms)
    runs = sum(len(pending.producer_runs) for pending in ranges)
    assert encoded.size_bytes - footer.data_bytes == overhead_bytes(len(ranges), runs)
    for wal_range, pending in zip(footer.ranges, ranges, strict=True):
        data = blob[wal_range.position : wal_range.position + wal_range.size_bytes]
        assert data == b"".join(pending.buffers)
        assert wal_range.producer_runs == pending.producer_runs
        assert wal_range.end_offset == pending.base_offset + pending.record_count


def test_buffers_are_passed_on() -> None:
    batch = stored_batch(0, 1)
    ranges = [
        PendingRange(
            tp=tp(0), leader_epoch=0, base_offset=0, record_count=1, max_timestamp_ms=0, buffers=[batch]
        )
    ]
    encoded = encode_wal(session=SESSION, seq=ChainSeq(0), nonce=NONCE, created_ms=0, ranges=ranges)
    assert encoded.buffers[1] is batch


@pytest.mark.parametrize(
    "blob",
    [b"".join(sample_wal().buffers), b"".join(sample_probe().buffers), encode_seal(sample_seal())],
    ids=["wal", "probe", "seal"],
)
def test_any_suffix_is_read_or_says_what_it_needs(blob: bytes) -> None:
    whole = parse_chain_object(blob)
    for length in range(len(blob) + 1):
        found = classify_chain_object(blob[len(blob) - length :], len(blob))
        if isinstance(found, NeedMore):
            assert length < found.size_bytes <= len(blob)
            again = classify_chain_object(blob[-found.size_bytes :], len(blob))
            assert again == whole or (
                length < CHAIN_TRAILER_BYTES
                and isinstance(again, NeedMore)
                and classify_chain_object(blob[-again.size_bytes :], len(blob)) == whole
            )
        else:
            assert found == whole


def test_an_empty_object_is_valid() -> None:
    footer = parse_chain_object(b"".join(sample_probe().buffers))
    assert isinstance(footer, WalFooter)
    assert footer.ranges == ()


def test_an_object_confirms_its_place() -> None:
    blob = b"".join(sample_wal(3).buffers)
    parse_chain_object(blob, at=ChainPosition(SESSION, ChainSeq(3)))
    for elsewhere in (ChainPosition(SESSION, ChainSeq(4)), ChainPosition(SEALER, ChainSeq(3))):
        with pytest.raises(Corrupt):
            parse_chain_object(blob, at=elsewhere)


@given(st.text(max_size=60), st.integers(0, 2**63))
def test_seals_round_trip(owner: str, seq: int) -> None:
    seal = replace(sample_seal(), sealer_owner=OwnerId(owner), seq=ChainSeq(seq))
    assert parse_chain_object(encode_seal(seal)) == seal


def test_an_owners_name_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="at most 255"):
        encode_seal(replace(sample_seal(), sealer_owner=OwnerId("é" * 128)))


def test_what_may_not_be_written() -> None:
    good = PendingRange(
        tp=tp(0),
        leader_epoch=0,
        base_offset=10,
        record_count=2,
        max_timestamp_ms=0,
        buffers=[stored_batch(10, 2)],
    )
    run = ProducerRun(1, 0, 5, 6, 10, 0)
    encode_wal(
        session=SESSION,
        seq=ChainSeq(0),
        nonce=NONCE,
        created_ms=0,
        ranges=[replace(good, producer_runs=(run,))],
    )
    for bad in (
        replace(good, buffers=[]),
        replace(good, record_count=0),
        replace(good, base_offset=-1),
        replace(good, leader_epoch=-1),
        replace(good, tp=tp(-1)),
        replace(good, producer_runs=(run._replace(base_offset=11),)),
        replace(good, producer_runs=(run._replace(base_offset=9),)),
        replace(good, producer_runs=(run._replace(producer_id=-1),)),
        replace(good, buffers=[bytes(CHAIN_OBJECT_BYTES_MAX)]),
    ):
        with pytest.raises(ValueError, match=r"range|too large"):
            encode_wal(session=SESSION, seq=ChainSeq(0), nonce=NONCE, created_ms=0, ranges=[bad])
    with pytest.raises(ValueError, match="nonce"):
        encode_wal(session=SESSION, seq=ChainSeq(0), nonce=b"short", created_ms=0, ranges=[good])


def test_whose_object_met_a_taken_key() -> None:
    footer = sample_wal().footer
    assert is_mine(footer, NONCE)
    assert not is_mine(footer, NONCE[::-1])
    assert not is_mine(None, NONCE)
    assert isinstance(sample_seal(), Seal)
    assert not is_mine(sample_seal(), NONCE)
