"""The answers that the group protocol knows, each made in one place.

Owns: kind, reason and text. Does not own: Kafka's codes (the gateway's rim).
"""

from libs.model.errors import Fenced, Invalid, Moved, NotFound, Overloaded, Reason, Unavailable
from libs.model.ids import GroupId, MemberId


def unknown_member(group: GroupId, member_id: str) -> NotFound:
    return NotFound(
        f"group {group!r} has no member {member_id!r}: join again", reason=Reason.UNKNOWN_MEMBER_ID
    )


def no_such_group(group: GroupId) -> NotFound:
    return NotFound(f"there is no group {group!r}", reason=Reason.GROUP_ID_NOT_FOUND)


def illegal_generation(group: GroupId, given: int, current: int) -> Fenced:
    return Fenced(
        f"generation {given} of group {group!r} is not the current one, {current}: join again",
        reason=Reason.ILLEGAL_GENERATION,
    )


def rebalance_in_progress(group: GroupId) -> Fenced:
    return Fenced(f"group {group!r} is rebalancing: join again", reason=Reason.REBALANCE_IN_PROGRESS)


def fenced_instance(group: GroupId, instance_id: str) -> Fenced:
    return Fenced(
        f"static member {instance_id!r} of group {group!r} was taken over by another process",
        reason=Reason.FENCED_INSTANCE_ID,
    )


def member_id_required(group: GroupId, member_id: MemberId) -> Fenced:
    return Fenced(f"join group {group!r} as {member_id!r}", reason=Reason.MEMBER_ID_REQUIRED)


def inconsistent_protocol(group: GroupId) -> Invalid:
    return Invalid(
        f"the other members of group {group!r} do not share this protocol type and any of these protocols",
        reason=Reason.INCONSISTENT_GROUP_PROTOCOL,
    )


def session_timeout_out_of_bounds(timeout_ms: int, low_ms: int, high_ms: int) -> Invalid:
    return Invalid(
        f"a session timeout of {timeout_ms} ms is not between {low_ms} and {high_ms} ms",
        reason=Reason.INVALID_SESSION_TIMEOUT,
    )


def group_is_full(group: GroupId, why: str) -> Overloaded:
    return Overloaded(f"group {group!r} is full: {why}", reason=Reason.GROUP_MAX_SIZE_REACHED)


def non_empty_group(group: GroupId) -> Invalid:
    return Invalid(f"group {group!r} has members", reason=Reason.NON_EMPTY_GROUP)


def not_coordinator(group: GroupId) -> Moved:
    return Moved(f"group {group!r} is coordinated elsewhere: ask again", reason=Reason.NOT_COORDINATOR)


def store_unavailable(what: str, *, outcome_unknown: bool) -> Unavailable:
    return Unavailable(what, reason=Reason.METADATA_UNAVAILABLE, outcome_unknown=outcome_unknown)
