"""Topic objects and tombstones: what comes back, and what they refuse."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.segments.topic_object import (
    encode_tombstone,
    encode_topic_object,
    parse_tombstone,
    parse_topic_object,
)
from tests.support.segments import sample_tombstone, sample_topic_object

TEXT = st.text(max_size=40)


@given(configs=st.dictionaries(TEXT, TEXT, max_size=8), n=st.integers(0, 2**32 - 1))
def test_what_was_written_comes_back(configs: dict[str, str], n: int) -> None:
    topic = replace(sample_topic_object(), configs=configs, n=n)
    assert parse_topic_object(encode_topic_object(topic)) == topic


def test_a_tombstone_comes_back() -> None:
    assert parse_tombstone(encode_tombstone(sample_tombstone())) == sample_tombstone()


def test_number_and_time_say_nothing_about_the_topic() -> None:
    topic = sample_topic_object()
    assert topic.says_the_same_as(replace(topic, n=9, written_ms=1))
    assert not topic.says_the_same_as(replace(topic, partitions=13))
    assert not topic.says_the_same_as(replace(topic, configs={}))


def test_configs_beyond_the_bound_are_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        encode_topic_object(replace(sample_topic_object(), configs={"a": "v" * 3_000_000}))
