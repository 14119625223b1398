"""Start markers, and the greatest of those listed."""

import pytest

from libs.segments.keys import chain_index_key, chain_object_key, start_marker_key
from libs.segments.marker import StartMarker, encode_start_marker, greatest_start, parse_start_marker
from tests.support.segments import NONCE, SESSION, sample_marker


def test_round_trip() -> None:
    assert parse_start_marker(encode_start_marker(sample_marker())) == sample_marker()


def test_a_short_nonce() -> None:
    with pytest.raises(ValueError, match="nonce"):
        encode_start_marker(
            StartMarker(session=SESSION, seq=sample_marker().seq, nonce=NONCE[:3], created_ms=0)
        )


def test_the_greatest_start() -> None:
    assert greatest_start([]) == 0
    keys = [start_marker_key(SESSION, seq) for seq in (0, 128, 64)]
    keys += [chain_object_key(SESSION, 999), chain_index_key(SESSION, 640), "something/else"]
    assert greatest_start(keys) == 128
