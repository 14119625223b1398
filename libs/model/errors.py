"""The seven kinds of error, named by whose fault they are.

Owns: kinds and reasons. Does not own: Kafka codes (the gateway's rim) and gRPC statuses (libs/rpc's rim).
Rules: 1 library errors never leave their adapter; 2 a message says what happened and what to do next;
3 `reason` is for machines, the text is for people.
"""

from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """What exactly went wrong, in the words of Kafka's error codes where Kafka has one."""

    UNSPECIFIED = "UNSPECIFIED"
    # Invalid
    INVALID_REQUEST = "INVALID_REQUEST"
    CORRUPT_MESSAGE = "CORRUPT_MESSAGE"
    UNSUPPORTED_MAGIC = "UNSUPPORTED_MAGIC"
    MESSAGE_TOO_LARGE = "MESSAGE_TOO_LARGE"
    INVALID_RECORD = "INVALID_RECORD"
    INVALID_TIMESTAMP = "INVALID_TIMESTAMP"
    INVALID_TOPIC_NAME = "INVALID_TOPIC_NAME"
    INVALID_PARTITIONS = "INVALID_PARTITIONS"
    INVALID_REPLICATION_FACTOR = "INVALID_REPLICATION_FACTOR"
    INVALID_REPLICA_ASSIGNMENT = "INVALID_REPLICA_ASSIGNMENT"
    INVALID_CONFIG = "INVALID_CONFIG"
    INVALID_GROUP_ID = "INVALID_GROUP_ID"
    NON_EMPTY_GROUP = "NON_EMPTY_GROUP"
    INVALID_SESSION_TIMEOUT = "INVALID_SESSION_TIMEOUT"
    INCONSISTENT_GROUP_PROTOCOL = "INCONSISTENT_GROUP_PROTOCOL"
    TOPIC_ALREADY_EXISTS = "TOPIC_ALREADY_EXISTS"
    OFFSET_OUT_OF_RANGE = "OFFSET_OUT_OF_RANGE"
    OFFSET_METADATA_TOO_LARGE = "OFFSET_METADATA_TOO_LARGE"
    OUT_OF_ORDER_SEQUENCE = "OUT_OF_ORDER_SEQUENCE"
    DUPLICATE_SEQUENCE = "DUPLICATE_SEQUENCE"
    UNKNOWN_PRODUCER_ID = "UNKNOWN_PRODUCER_ID"
    UNSUPPORTED_VERSION = "UNSUPPORTED_VERSION"
    NOBODY_CAN_TAKE_OVER = "NOBODY_CAN_TAKE_OVER"
    POLICY_VIOLATION = "POLICY_VIOLATION"
    WRONG_STORE = "WRONG_STORE"
    # NotFound
    UNKNOWN_TOPIC_OR_PARTITION = "UNKNOWN_TOPIC_OR_PARTITION"
    UNKNOWN_TOPIC_ID = "UNKNOWN_TOPIC_ID"
    GROUP_ID_NOT_FOUND = "GROUP_ID_NOT_FOUND"
    UNKNOWN_MEMBER_ID = "UNKNOWN_MEMBER_ID"
    NO_SUCH_OBJECT = "NO_SUCH_OBJECT"
    # Moved
    NOT_OWNER = "NOT_OWNER"
    NOT_COORDINATOR = "NOT_COORDINATOR"
    NOT_CONTROLLER = "NOT_CONTROLLER"
    COORDINATOR_LOADING = "COORDINATOR_LOADING"
    # Fenced
    INVALID_PRODUCER_EPOCH = "INVALID_PRODUCER_EPOCH"
    FENCED_LEADER_EPOCH = "FENCED_LEADER_EPOCH"
    UNKNOWN_LEADER_EPOCH = "UNKNOWN_LEADER_EPOCH"
    FENCED_INSTANCE_ID = "FENCED_INSTANCE_ID"
    ILLEGAL_GENERATION = "ILLEGAL_GENERATION"
    REBALANCE_IN_PROGRESS = "REBALANCE_IN_PROGRESS"
    MEMBER_ID_REQUIRED = "MEMBER_ID_REQUIRED"
    SESSION_OVER = "SESSION_OVER"
    GUARD_FAILED = "GUARD_FAILED"
    # Overloaded
    THROTTLED = "THROTTLED"
    GROUP_MAX_SIZE_REACHED = "GROUP_MAX_SIZE_REACHED"
    # Unavailable
    TIMED_OUT = "TIMED_OUT"
    STORAGE_ERROR = "STORAGE_ERROR"
    METADATA_UNAVAILABLE = "METADATA_UNAVAILABLE"


class KafscaleError(Exception):
    """The base of the seven kinds; only the kinds are raised."""

    default_reason: ClassVar[Reason] = Reason.UNSPECIFIED

    def __init__(self, message: str, *, reason: Reason | None = None) -> None:
        super().__init__(message)
        self.reason = self.default_reason if reason is None else reason

    @property
    def message(self) -> str:
        return str(self.args[0])


class Invalid(KafscaleError):
    """The caller's request is wrong; the same request will be wrong again."""

    default_reason = Reason.INVALID_REQUEST


class NotFound(KafscaleError):
    """There is no such topic, partition, group, member or object."""

    default_reason = Reason.UNKNOWN_TOPIC_OR_PARTITION


class Moved(KafscaleError):
    """Someone else owns it now; nothing was done, ask again where it went."""

    default_reason = Reason.NOT_OWNER


class Fenced(KafscaleError):
    """The caller's epoch, generation or revision is over; it has to start anew."""

    default_reason = Reason.FENCED_LEADER_EPOCH


class Overloaded(KafscaleError):
    """A bound was hit and nothing was done; try again later."""

    default_reason = Reason.THROTTLED


class Unavailable(KafscaleError):
    """The outside world failed.

    `outcome_unknown` tells whether the operation may have taken effect all the same: then it has to be
    read back before anything else happens.
    """

    default_reason = Reason.STORAGE_ERROR

    def __init__(self, message: str, *, reason: Reason | None = None, outcome_unknown: bool = False) -> None:
        super().__init__(message, reason=reason)
        self.outcome_unknown = outcome_unknown


class Corrupt(KafscaleError):
    """Stored bytes are wrong: stop, alarm, never guess."""

    default_reason = Reason.STORAGE_ERROR


class Fatal(BaseException):
    """The process can't keep its promises any more and has to end now, with a non-zero exit code.

    No Exception, so that no supervisor swallows it: it ends every nursery on its way up. Raised when the disk
    failed to sync: what was written before may be lost although later syncs succeed (PostgreSQL's fsync
    issue of 2018), so that going on would acknowledge what is not durable.
    """
