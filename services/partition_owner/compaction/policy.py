"""What a topic's settings say about the life of its records. Pure.

Owns: which configs count, and their values as numbers. Does not own: the table of configs
(libs/model/topic_configs.py), what is done with them (retention.py, plan.py).
Rules: 1 -1 is "no limit", as in Kafka; 2 without "delete" in cleanup.policy nothing goes by time, by size or
by DeleteRecords: records of a topic that is only compacted by key are state. Compaction by key itself is not
done: every record stays, which such a topic's readers must always expect; 3 segment.bytes makes segments
smaller, not larger, than this platform would.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from libs.model.limits import KIB
from libs.model.topic_configs import TOPIC_CONFIGS

SEGMENT_BYTES_MIN = 64 * KIB
"""Below it segments would be many and tiny: each costs PUTs, and space in every manifest."""
_UNLIMITED = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPolicy:
    """`retention_ms` and `retention_bytes` are None where there is no limit."""

    deletes: bool
    retention_ms: int | None
    retention_bytes: int | None
    segment_bytes: int | None
    """None where the topic does not say."""


def topic_policy(configs: Mapping[str, str]) -> TopicPolicy:
    """The policy of a topic with these configs, which metadata has checked."""
    deletes = "delete" in {each.strip() for each in _config(configs, "cleanup.policy").split(",")}
    return TopicPolicy(
        deletes=deletes,
        retention_ms=_limit(configs, "retention.ms") if deletes else None,
        retention_bytes=_limit(configs, "retention.bytes") if deletes else None,
        segment_bytes=(
            max(SEGMENT_BYTES_MIN, int(configs["segment.bytes"])) if "segment.bytes" in configs else None
        ),
    )


def _config(configs: Mapping[str, str], name: str) -> str:
    return configs.get(name, TOPIC_CONFIGS[name].default)


def _limit(configs: Mapping[str, str], name: str) -> int | None:
    value = int(_config(configs, name))
    return None if value == _UNLIMITED else value
