"""Where groups and their offsets are in the metadata store.

Owns: the keys `groups/{group}` and `offsets/{group}/{topic id}/{partition}`. Does not own: the values
(stored.py).
Rules: 1 a group's name may hold any character, so it is percent-encoded: "a/b" is no child of "a".
"""

from urllib.parse import quote, unquote
from uuid import UUID

from libs.model.errors import Corrupt
from libs.model.ids import GroupId, Partition, TopicId, TopicPartition

GROUPS_PREFIX = "groups/"
_OFFSETS_PREFIX = "offsets/"


def group_key(group: GroupId) -> str:
    return GROUPS_PREFIX + quote(group, safe="")


def group_of_key(key: str) -> GroupId:
    return GroupId(unquote(key.removeprefix(GROUPS_PREFIX)))


def offsets_prefix(group: GroupId) -> str:
    return f"{_OFFSETS_PREFIX}{quote(group, safe='')}/"


def offset_key(group: GroupId, at: TopicPartition) -> str:
    return f"{offsets_prefix(group)}{at.topic_id}/{at.partition}"


def partition_of_key(key: str) -> TopicPartition:
    """Raises Corrupt where this is no key of an offset."""
    try:
        _, _, topic_id, partition = key.split("/")
        return TopicPartition(TopicId(UUID(topic_id)), Partition(int(partition)))
    except ValueError as error:
        raise Corrupt(f"{key!r} is no key of a committed offset") from error
