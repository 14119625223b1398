"""The rim to Kafka: kinds and reasons of libs/model/errors.py -> Kafka's error codes.

Owns: the table, once. Does not own: which error an answer carries (the handlers).
Rules: 1 the table is total, a test asserts it; 2 what can be tried again gets a code that clients try again;
3 an unknown outcome is never answered with a code that says nothing was done.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from kio.schema.errors import ErrorCode

from libs.model.errors import Corrupt, KafscaleError, Moved, Overloaded, Reason, Unavailable

CODES: Final[Mapping[Reason, ErrorCode]] = MappingProxyType(
    {
        Reason.UNSPECIFIED: ErrorCode.unknown_server_error,
        Reason.INVALID_REQUEST: ErrorCode.invalid_request,
        Reason.CORRUPT_MESSAGE: ErrorCode.corrupt_message,
        Reason.UNSUPPORTED_MAGIC: ErrorCode.unsupported_for_message_format,
        Reason.MESSAGE_TOO_LARGE: ErrorCode.message_too_large,
        Reason.INVALID_RECORD: ErrorCode.invalid_record,
        Reason.INVALID_TIMESTAMP: ErrorCode.invalid_timestamp,
        Reason.INVALID_TOPIC_NAME: ErrorCode.invalid_topic_exception,
        Reason.INVALID_PARTITIONS: ErrorCode.invalid_partitions,
        Reason.INVALID_REPLICATION_FACTOR: ErrorCode.invalid_replication_factor,
        Reason.INVALID_REPLICA_ASSIGNMENT: ErrorCode.invalid_replica_assignment,
        Reason.INVALID_CONFIG: ErrorCode.invalid_config,
        Reason.INVALID_GROUP_ID: ErrorCode.invalid_group_id,
        Reason.INVALID_SESSION_TIMEOUT: ErrorCode.invalid_session_timeout,
        Reason.INCONSISTENT_GROUP_PROTOCOL: ErrorCode.inconsistent_group_protocol,
        Reason.TOPIC_ALREADY_EXISTS: ErrorCode.topic_already_exists,
        Reason.OFFSET_OUT_OF_RANGE: ErrorCode.offset_out_of_range,
        Reason.OFFSET_METADATA_TOO_LARGE: ErrorCode.offset_metadata_too_large,
        Reason.OUT_OF_ORDER_SEQUENCE: ErrorCode.out_of_order_sequence_number,
        Reason.DUPLICATE_SEQUENCE: ErrorCode.duplicate_sequence_number,
        Reason.UNKNOWN_PRODUCER_ID: ErrorCode.unknown_producer_id,
        Reason.UNSUPPORTED_VERSION: ErrorCode.unsupported_version,
        Reason.NON_EMPTY_GROUP: ErrorCode.non_empty_group,
        Reason.NOBODY_CAN_TAKE_OVER: ErrorCode.invalid_request,
        Reason.POLICY_VIOLATION: ErrorCode.policy_violation,
        Reason.WRONG_STORE: ErrorCode.kafka_storage_error,
        Reason.UNKNOWN_TOPIC_OR_PARTITION: ErrorCode.unknown_topic_or_partition,
        Reason.UNKNOWN_TOPIC_ID: ErrorCode.unknown_topic_id,
        Reason.GROUP_ID_NOT_FOUND: ErrorCode.group_id_not_found,
        Reason.UNKNOWN_MEMBER_ID: ErrorCode.unknown_member_id,
        Reason.NO_SUCH_OBJECT: ErrorCode.kafka_storage_error,
        Reason.NOT_OWNER: ErrorCode.not_leader_or_follower,
        Reason.NOT_COORDINATOR: ErrorCode.not_coordinator,
        Reason.NOT_CONTROLLER: ErrorCode.not_controller,
        Reason.COORDINATOR_LOADING: ErrorCode.coordinator_load_in_progress,
        Reason.INVALID_PRODUCER_EPOCH: ErrorCode.invalid_producer_epoch,
        Reason.FENCED_LEADER_EPOCH: ErrorCode.fenced_leader_epoch,
        Reason.UNKNOWN_LEADER_EPOCH: ErrorCode.unknown_leader_epoch,
        Reason.FENCED_INSTANCE_ID: ErrorCode.fenced_instance_id,
        Reason.ILLEGAL_GENERATION: ErrorCode.illegal_generation,
        Reason.REBALANCE_IN_PROGRESS: ErrorCode.rebalance_in_progress,
        Reason.MEMBER_ID_REQUIRED: ErrorCode.member_id_required,
        Reason.SESSION_OVER: ErrorCode.not_leader_or_follower,
        Reason.GUARD_FAILED: ErrorCode.not_controller,
        Reason.THROTTLED: ErrorCode.throttling_quota_exceeded,
        Reason.GROUP_MAX_SIZE_REACHED: ErrorCode.group_max_size_reached,
        Reason.TIMED_OUT: ErrorCode.request_timed_out,
        Reason.STORAGE_ERROR: ErrorCode.kafka_storage_error,
        Reason.METADATA_UNAVAILABLE: ErrorCode.request_timed_out,
    }
)


def code_of(error: KafscaleError) -> ErrorCode:
    """The code for admin and topic requests."""
    return CODES.get(error.reason, ErrorCode.unknown_server_error)


def partition_code_of(error: KafscaleError) -> ErrorCode:
    """The code for a partition's part of a fetch or a look-up: clients look for the leader again.

    Nothing is known to be wrong with the data where a peer merely can't be reached.
    """
    if isinstance(error, Moved | Unavailable | Overloaded):
        return ErrorCode.not_leader_or_follower
    return code_of(error)


def append_code_of(error: KafscaleError) -> ErrorCode:
    """The code for a partition's part of a produce request.

    An unknown outcome reaches the client as NOT_LEADER_OR_FOLLOWER (rule 12): it sends again, and the
    producer's sequence tells whether the first one landed. Overloaded is NOT_ENOUGH_REPLICAS: every client
    takes it for "nothing was appended, try again", which not all do with THROTTLING_QUOTA_EXCEEDED.
    """
    if isinstance(error, Overloaded):
        return ErrorCode.not_enough_replicas
    if isinstance(error, Unavailable) and error.reason is not Reason.TIMED_OUT:
        return ErrorCode.not_leader_or_follower
    return code_of(error)


def group_code_of(error: KafscaleError) -> ErrorCode:
    """The code for group requests: clients look for the coordinator again when it can't be reached."""
    if isinstance(error, Corrupt):
        return ErrorCode.unknown_server_error
    if isinstance(error, Unavailable | Overloaded) and error.reason is not Reason.GROUP_MAX_SIZE_REACHED:
        return ErrorCode.coordinator_not_available
    return code_of(error)


def offset_code_of(error: KafscaleError) -> ErrorCode:
    """The same for offsets: clients keep their coordinator, and with it their heartbeats, and ask again.

    COORDINATOR_NOT_AVAILABLE would make them drop the connection at each commit while etcd is away, until
    their sessions end.
    """
    code = group_code_of(error)
    waits = code is ErrorCode.coordinator_not_available
    return ErrorCode.coordinator_load_in_progress if waits else code
