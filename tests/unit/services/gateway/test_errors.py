"""Every reason has a Kafka code, and what can be tried again gets one that clients try again."""

import pytest
from kio.schema.errors import ErrorCode

from libs.model.errors import Corrupt, Fenced, Invalid, Moved, NotFound, Overloaded, Reason, Unavailable
from services.gateway.errors import (
    CODES,
    append_code_of,
    code_of,
    group_code_of,
    offset_code_of,
    partition_code_of,
)


@pytest.mark.parametrize("reason", list(Reason))
def test_the_table_is_total(reason: Reason) -> None:
    assert reason in CODES
    assert CODES[reason] is not ErrorCode.none


def test_appends() -> None:
    assert append_code_of(Unavailable("", outcome_unknown=True)) is ErrorCode.not_leader_or_follower
    assert append_code_of(Unavailable("", reason=Reason.TIMED_OUT)) is ErrorCode.request_timed_out
    assert append_code_of(Moved("")) is ErrorCode.not_leader_or_follower
    assert append_code_of(Overloaded("")) is ErrorCode.not_enough_replicas
    assert append_code_of(Corrupt("")) is ErrorCode.kafka_storage_error
    assert append_code_of(Invalid("", reason=Reason.MESSAGE_TOO_LARGE)) is ErrorCode.message_too_large
    assert append_code_of(Fenced("", reason=Reason.SESSION_OVER)) is ErrorCode.not_leader_or_follower


def test_partitions() -> None:
    assert partition_code_of(Unavailable("", reason=Reason.TIMED_OUT)) is ErrorCode.not_leader_or_follower
    assert partition_code_of(Corrupt("")) is ErrorCode.kafka_storage_error
    assert partition_code_of(Invalid("", reason=Reason.OFFSET_OUT_OF_RANGE)) is ErrorCode.offset_out_of_range
    assert partition_code_of(NotFound("")) is ErrorCode.unknown_topic_or_partition


def test_groups() -> None:
    assert group_code_of(Unavailable("")) is ErrorCode.coordinator_not_available
    assert group_code_of(Moved("", reason=Reason.NOT_COORDINATOR)) is ErrorCode.not_coordinator
    assert group_code_of(Moved("", reason=Reason.COORDINATOR_LOADING)).retriable
    full = Overloaded("", reason=Reason.GROUP_MAX_SIZE_REACHED)
    assert group_code_of(full) is ErrorCode.group_max_size_reached
    assert group_code_of(Overloaded("")) is ErrorCode.coordinator_not_available
    rebalance = Fenced("", reason=Reason.REBALANCE_IN_PROGRESS)
    assert group_code_of(rebalance) is ErrorCode.rebalance_in_progress


def test_offsets_that_wait_for_the_store_cost_no_client_its_coordinator() -> None:
    for kind in (Unavailable, Overloaded):
        assert offset_code_of(kind("")) is ErrorCode.coordinator_load_in_progress
    moved = Moved("", reason=Reason.NOT_COORDINATOR)
    assert offset_code_of(moved) is ErrorCode.not_coordinator


@pytest.mark.parametrize("kind", [Unavailable, Moved, Overloaded])
def test_what_can_be_tried_again_is_retriable(kind: type[Moved]) -> None:
    for translate in (append_code_of, partition_code_of, group_code_of, code_of):
        assert translate(kind("")).retriable
