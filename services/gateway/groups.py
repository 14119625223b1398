"""What the group handlers share: ids checked, partitions named for clients and back.

Owns: the rim between clients' topic names or ids and topic ids. Does not own: the group protocol (metadata).
"""

from typing import Any

from libs.model.errors import Invalid, Reason
from libs.model.ids import GroupId, TopicPartition
from libs.model.limits import GROUP_ID_LENGTH_MAX
from services.gateway.context import Gateway


def check_group_id(group_id: str) -> GroupId:
    """Raises Invalid(INVALID_GROUP_ID)."""
    if not group_id or len(group_id) > GROUP_ID_LENGTH_MAX:
        raise Invalid(
            f"a group id has 1 to {GROUP_ID_LENGTH_MAX} characters, not {len(group_id)}",
            reason=Reason.INVALID_GROUP_ID,
        )
    return GroupId(group_id)


def find_partition(gateway: Gateway, topic: Any, index: int) -> TopicPartition:
    """The partition of a request's topic, named by name or id. Raises NotFound."""
    found = gateway.topics.find(getattr(topic, "name", None), getattr(topic, "topic_id", None))
    return gateway.topics.partition(found, index)
