"""Headers, answers of any version, and record bytes that are not copied."""

import pytest
from kio.schema.errors import ErrorCode

from libs.model.errors import Invalid, Reason
from services.gateway.codec import NO_THROTTLE, read_header, schema_of
from tests.support.kafka_wire import read_answer, request_frame


def test_header() -> None:
    frame = request_frame(3, 1, correlation_id=-5, client_id="me")
    header, stop = read_header(frame)
    assert (header.api_key, header.version, header.correlation_id, header.client_id) == (3, 1, -5, "me")
    assert stop == 12
    anonymous, stop = read_header(frame[:8] + b"\xff\xff")
    assert (anonymous.client_id, stop) == ("", 10)


def test_a_client_id_that_is_no_utf8_is_still_a_client_id() -> None:
    frame = request_frame(3, 1)[:8] + b"\x00\x02\xff\xfe"
    assert len(read_header(frame)[0].client_id) == 2


@pytest.mark.parametrize("frame", [b"", b"\x00" * 9, b"\x00" * 8 + b"\x00\x01", b"\x00" * 8 + b"\xff\xfe"])
def test_no_header(frame: bytes) -> None:
    with pytest.raises(Invalid):
        read_header(frame)


@pytest.mark.parametrize(("api_key", "version"), [(3, 99), (999, 0), (-1, 0), (3, -1)])
def test_unknown_versions(api_key: int, version: int) -> None:
    with pytest.raises(Invalid) as caught:
        schema_of(api_key, version)
    assert caught.value.reason is Reason.UNSUPPORTED_VERSION


def test_record_bytes_leave_as_they_are() -> None:
    schema = schema_of(1, 12)
    large, small = bytes(100_000), b"small"
    answer = schema.response(
        throttle_time=NO_THROTTLE,
        error_code=ErrorCode.none,
        session_id=0,
        responses=(
            schema.part(
                "FetchableTopicResponse",
                topic="t",
                partitions=tuple(
                    schema.part(
                        "PartitionData",
                        partition_index=index,
                        error_code=ErrorCode.none,
                        high_watermark=1,
                        aborted_transactions=None,
                        records=records,
                    )
                    for index, records in enumerate((large, small, large))
                ),
            ),
        ),
    )
    chunks = schema.write_response(77, answer)
    assert sum(chunk is large for chunk in chunks) == 2
    assert len(chunks) == 5
    whole = b"".join(chunks)
    assert int.from_bytes(whole[:4], "big") == len(whole) - 4
    correlation_id, read = read_answer(1, 12, whole[4:])
    assert correlation_id == 77
    assert [each.records for each in read.responses[0].partitions] == [large, small, large]


def test_fields_that_a_version_lacks_are_left_out() -> None:
    for version in (0, 3):
        answer = schema_of(12, version).response(error_code=ErrorCode.none, throttle_time=NO_THROTTLE)
        assert answer.error_code is ErrorCode.none  # type: ignore[attr-defined]
        assert hasattr(answer, "throttle_time") == (version > 0)
