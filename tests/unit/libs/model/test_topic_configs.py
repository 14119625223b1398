"""Topic configs: what Kafka 4 knows, with its defaults, and what each may be."""

import pytest

from libs.model.errors import Invalid, Reason
from libs.model.topic_configs import TOPIC_CONFIGS, check_topic_configs


def test_every_default_is_right() -> None:
    for config in TOPIC_CONFIGS.values():
        config.check(config.default)


def test_the_table_has_kafkas_defaults() -> None:
    assert TOPIC_CONFIGS["retention.ms"].default == "604800000"
    assert TOPIC_CONFIGS["max.message.bytes"].default == "1048588"
    assert TOPIC_CONFIGS["cleanup.policy"].default == "delete"
    assert TOPIC_CONFIGS["segment.bytes"].default == "1073741824"
    assert TOPIC_CONFIGS["message.timestamp.type"].default == "CreateTime"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cleanup.policy", "compact"),
        ("cleanup.policy", "compact,delete"),
        ("cleanup.policy", "delete, compact"),
        ("retention.ms", "-1"),
        ("retention.bytes", "9223372036854775807"),
        ("min.cleanable.dirty.ratio", "0.05"),
        ("preallocate", "TRUE"),
        ("max.message.bytes", "33554432"),
        ("leader.replication.throttled.replicas", "0:1,1:2"),
    ],
)
def test_right_values(name: str, value: str) -> None:
    check_topic_configs({name: value})


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("cleanup.policy", "shrink", "compact, delete"),
        ("cleanup.policy", "", "compact, delete"),
        ("compression.type", "brotli", "zstd"),
        ("retention.ms", "-2", "at least -1"),
        ("retention.ms", "1.5", "whole number"),
        ("retention.ms", "", "whole number"),
        ("retention.bytes", "9223372036854775808", "at most"),
        ("min.cleanable.dirty.ratio", "2", "at most 1"),
        ("min.cleanable.dirty.ratio", "nan", "at least 0"),
        ("min.cleanable.dirty.ratio", "half", "number"),
        ("preallocate", "yes", "true or false"),
        ("segment.bytes", "13", "at least 14"),
        ("max.message.bytes", "33554433", "at most 33554432"),
        ("no.such.config", "1", "no topic config"),
    ],
)
def test_wrong_values_are_told_what_would_be_right(name: str, value: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        check_topic_configs({"retention.ms": "1000", name: value})
    assert caught.value.reason is Reason.INVALID_CONFIG
