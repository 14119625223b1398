"""The chain index gives back the ranges of its footers, whole or one partition alone."""

from dataclasses import replace

import pytest

from libs.model.ids import ChainSeq
from libs.segments.envelope import NeedMore
from libs.segments.index import (
    IndexedRange,
    IndexHead,
    encode_index,
    index_start,
    parse_index,
    parse_index_head,
    parse_index_part,
)
from libs.segments.wal import WalFooter
from tests.support.segments import OTHER_TOPIC_ID, SESSION, sample_probe, sample_wal, tp


def footers(first: int) -> list[WalFooter]:
    """Every third object is empty."""
    probe = sample_probe().footer
    return [
        replace(probe, seq=ChainSeq(seq)) if seq % 3 == 0 else sample_wal(seq).footer
        for seq in range(first, first + 64)
    ]


def test_which_index_covers_an_object() -> None:
    assert [index_start(seq) for seq in (0, 63, 64, 127, 128)] == [0, 0, 64, 64, 128]


@pytest.mark.parametrize("first", [0, 64, 640])
def test_grouped_by_partition_in_chain_order(first: int) -> None:
    sources = footers(first)
    index = parse_index(b"".join(encode_index(sources)))
    assert list(index) == [tp(0), tp(1), tp(7, OTHER_TOPIC_ID)]
    for partition, ranges in index.items():
        assert list(ranges) == [
            IndexedRange(footer.seq, wal_range)
            for footer in sources
            for wal_range in footer.ranges
            if wal_range.tp == partition
        ]


def test_one_partition_alone() -> None:
    blob = b"".join(encode_index(footers(64)))
    first = parse_index_head(blob[:10])
    assert isinstance(first, NeedMore)
    second = parse_index_head(blob[: first.size_bytes])
    assert isinstance(second, NeedMore)
    head = parse_index_head(blob[: second.size_bytes])
    assert isinstance(head, IndexHead)
    assert (head.session, head.first_seq, head.end_seq) == (SESSION, 64, 128)
    assert head.size_bytes == second.size_bytes
    part = head.parts[tp(1)]
    data = blob[part.position : part.position + part.size_bytes]
    assert parse_index_part(head, tp(1), data) == parse_index(blob)[tp(1)]
    assert tp(2) not in head.parts


def test_an_index_of_empty_objects() -> None:
    probe = sample_probe().footer
    blob = b"".join(encode_index([replace(probe, seq=ChainSeq(seq)) for seq in range(64)]))
    assert parse_index(blob) == {}


def test_only_consecutive_footers_from_a_multiple() -> None:
    for wrong in ([], footers(0)[:-1], footers(1), footers(0)[::-1], footers(0) + footers(64)):
        with pytest.raises(ValueError, match="consecutive"):
            encode_index(wrong)
