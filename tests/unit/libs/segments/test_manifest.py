"""Manifests: round trip, and the rules that a reader may rely on."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.model.ids import LeaderEpoch, Offset
from libs.segments.keys import SegmentName
from libs.segments.manifest import (
    EpochStart,
    Manifest,
    ProducerSnapshot,
    SegmentRef,
    encode_manifest,
    parse_manifest,
)
from libs.segments.wal import ProducerRun
from tests.support.segments import sample_manifest, tp

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    offset = draw(st.integers(0, 1000))
    segments, epochs = [], []
    for index in range(draw(st.integers(0, 5))):
        base = offset + draw(st.integers(0, 9))
        last = base + draw(st.integers(0, 99))
        name = SegmentName(Offset(base), LeaderEpoch(index), draw(st.binary(min_size=16, max_size=16)))
        segments.append(
            SegmentRef(
                name=name,
                last_offset=last,
                record_count=draw(st.integers(1, last - base + 1)),
                size_bytes=draw(st.integers(109, 2**30)),
                index_bytes=draw(st.integers(0, 2**32 - 1)),
                max_timestamp_ms=draw(INT64),
            )
        )
        epochs.append(EpochStart(leader_epoch=index, start_offset=base))
        offset = last + 1
    producers = []
    for producer_id in sorted(draw(st.sets(st.integers(0, 2**63 - 1), max_size=4))):
        epoch = draw(st.integers(0, 2**15 - 1))
        runs = draw(st.integers(0, 5)) if offset else 0
        producers.append(
            ProducerSnapshot(
                producer_id=producer_id,
                producer_epoch=epoch,
                last_timestamp_ms=draw(INT64),
                runs=tuple(
                    ProducerRun(producer_id, epoch, 3, 3, offset - 1, draw(INT64)) for _ in range(runs)
                ),
            )
        )
    return Manifest(
        tp=tp(draw(st.integers(0, 2**31 - 1))),
        leader_epoch=draw(st.integers(0, 2**31 - 1)),
        n=draw(st.integers(0, 2**64 - 1)),
        created_ms=draw(INT64),
        log_start=draw(st.integers(0, offset)),
        end_offset=offset,
        segments=tuple(segments),
        epochs=tuple(epochs),
        producers=tuple(producers),
    )


@given(manifests())
def test_round_trip(manifest: Manifest) -> None:
    assert parse_manifest(encode_manifest(manifest)) == manifest


SAMPLE = sample_manifest()


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, log_start=401),
        lambda m: replace(m, log_start=-1),
        lambda m: replace(m, leader_epoch=-1),
        lambda m: replace(m, tp=tp(-1)),
        lambda m: replace(m, end_offset=399),  # a segment reaches beyond it
        lambda m: replace(m, segments=m.segments[::-1]),
        lambda m: replace(m, segments=(replace(m.segments[0], last_offset=120), m.segments[1])),
        lambda m: replace(m, segments=(replace(m.segments[0], record_count=101),)),
        lambda m: replace(m, segments=(replace(m.segments[0], size_bytes=1),)),
        lambda m: replace(m, epochs=m.epochs[::-1]),
        lambda m: replace(m, producers=m.producers[::-1]),
        lambda m: replace(m, producers=(replace(m.producers[0], producer_id=-1),)),
        lambda m: replace(m, producers=(replace(m.producers[1], runs=m.producers[1].runs * 3),)),
        lambda m: replace(m, producers=(replace(m.producers[1], producer_id=1),)),
    ],
)
def test_what_may_not_be_written(change: Callable[[Manifest], Manifest]) -> None:
    encode_manifest(SAMPLE)
    with pytest.raises(ValueError, match="a manifest"):
        encode_manifest(change(SAMPLE))
