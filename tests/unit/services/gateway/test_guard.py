"""What the guard lets through kio can parse, and what it cuts out was unknown."""

import random

import pytest
from kio.index import load_request_schema
from kio.serial import entity_reader

from libs.model.errors import Invalid
from services.gateway.codec import Schema, read_body, read_header, schema_of
from services.gateway.guard import ELEMENTS_MAX, check_request, read_varint, write_varint
from services.gateway.handlers.registry import SERVED
from tests.support.kafka_wire import (
    body_bytes,
    entity,
    frame_of,
    golden_requests,
    random_entity,
    request_frame,
)

EVERY = [
    (api_key, version)
    for api_key, versions in SERVED.items()
    for version in range(versions.low, versions.high + 1)
]


def test_every_served_version_passes_whole_and_not_cut() -> None:
    rand = random.Random(7)
    for api_key, version in EVERY:
        cls = load_request_schema(api_key, version)
        for _ in range(10):
            request = random_entity(cls, rand)
            body = body_bytes(request)
            data, start = check_request(cls, body + b"tail", 0)
            assert (data, start) == (body + b"tail", 0)
            assert entity_reader(cls)(data, start) == (request, len(body))
            for end in {0, len(body) // 2, len(body) - 1} if body else ():
                with pytest.raises(Invalid):
                    check_request(cls, body[:end], 0)


@pytest.mark.parametrize("name", sorted(golden_requests()))
def test_requests_of_real_clients(name: str) -> None:
    frame = golden_requests()[name]
    header, stop = read_header(frame)
    assert name == f"{header.client_id} {header.api_key} v{header.version}"
    schema = schema_of(header.api_key, header.version)
    request = read_body(schema, frame, stop)
    # All of it was understood: written again, it is the same.
    again = frame_of(request, correlation_id=header.correlation_id, client_id=header.client_id)
    assert again == frame


def test_five_bytes_that_announce_four_billion_topics_are_refused() -> None:
    # kio ends the process on this one.
    huge = b"\xff\xff\xff\xff\x0f"
    for version in range(9, 14):
        with pytest.raises(Invalid, match="elements announced"):
            check_request(load_request_schema(3, version), huge, 0)
    with pytest.raises(Invalid):
        check_request(load_request_schema(3, 1), b"\x7f\xff\xff\xff", 0)


def test_a_bound_on_elements_of_all_levels_together() -> None:
    def frame(topics: int, partitions: int) -> bytes:
        topic = {"name": "t", "partition_indexes": tuple(range(partitions))}
        return body_bytes(entity(load_request_schema(9, 6), {"topics": [topic] * topics}))

    cls = load_request_schema(9, 6)
    assert check_request(cls, frame(10, ELEMENTS_MAX // 10 - 1), 0)
    with pytest.raises(Invalid, match="more than"):
        check_request(cls, frame(10, ELEMENTS_MAX // 10), 0)


@pytest.mark.parametrize(("value", "size"), [(0, 1), (127, 1), (128, 2), (2**31, 5), (2**32 - 1, 5)])
def test_varints(value: int, size: int) -> None:
    encoded = write_varint(value)
    assert len(encoded) == size
    assert read_varint(encoded + b"\x01", 0, size + 1) == (value, size)


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x80\x01"])
def test_varints_that_are_none(raw: bytes) -> None:
    with pytest.raises(Invalid):
        read_varint(raw, 0, len(raw))


def tagged(*fields: tuple[int, bytes]) -> bytes:
    return write_varint(len(fields)) + b"".join(
        write_varint(tag) + write_varint(len(data)) + data for tag, data in fields
    )


def test_unknown_tagged_fields_of_the_body_are_cut_out() -> None:
    cls = load_request_schema(18, 3)
    plain = body_bytes(entity(cls, {"client_software_name": "x", "client_software_version": "1"}))
    assert plain.endswith(b"\x00")
    body = plain[:-1] + tagged((5, b"later"), (300, bytes(200)))
    data, start = check_request(cls, b"head" + body, 4)
    assert data[start:] == plain


def test_an_unknown_tag_inside_a_known_one_shortens_it() -> None:
    cls = load_request_schema(1, 15)  # replica_state is tag 1 and a struct
    values = {"replica_state": {"replica_id": 5, "replica_epoch": 6}, "max_bytes": 9}
    plain = body_bytes(entity(cls, values))
    state = (5).to_bytes(4, "big") + (6).to_bytes(8, "big")
    assert plain.endswith(tagged((1, state + b"\x00")))
    body = plain[: -len(tagged((1, state + b"\x00")))]
    body += tagged((1, state + tagged((9, bytes(150)))), (70, b"x"))
    data, start = check_request(cls, body, 0)
    assert data[start:] == plain


def test_unknown_tags_deep_inside_arrays() -> None:
    cls = load_request_schema(0, 9)
    part = {"index": 3, "records": b"rr"}
    plain = body_bytes(entity(cls, {"topic_data": [{"name": "t", "partition_data": [part, part]}]}))
    one = (3).to_bytes(4, "big") + b"\x03rr"
    assert plain.count(one + b"\x00") == 2
    data, start = check_request(cls, plain.replace(one + b"\x00", one + tagged((0, b""), (1, b"zz"))), 0)
    assert data[start:] == plain


def test_unknown_tagged_fields_of_the_header_are_skipped() -> None:
    frame = request_frame(3, 12, {"topics": None})
    header, stop = read_header(frame)
    assert frame[stop] == 0
    longer = frame[:stop] + tagged((0, b"abc"), (77, b"")) + frame[stop + 1 :]
    schema = schema_of(3, 12)
    assert read_header(longer) == (header, stop)
    assert read_body(schema, longer, stop) == read_body(schema, frame, stop)


def test_a_known_tag_that_lies_about_its_size_is_refused() -> None:
    cls = load_request_schema(1, 12)  # cluster_id is tag 0
    plain = body_bytes(entity(cls, {}))[:-1]
    assert check_request(cls, plain + tagged((0, b"\x03ab")), 0)
    with pytest.raises(Invalid, match="not as long as it says"):
        check_request(cls, plain + tagged((0, b"\x03abc")), 0)


@pytest.mark.parametrize("length", [-2, -32768, 1000])
def test_legacy_lengths(length: int) -> None:
    body = length.to_bytes(2, "big", signed=True) + b"abc"
    with pytest.raises(Invalid):
        check_request(load_request_schema(10, 0), body, 0)


def test_null_where_a_value_is_required() -> None:
    with pytest.raises(Invalid):
        check_request(load_request_schema(10, 0), b"\xff\xff", 0)  # legacy string
    with pytest.raises(Invalid):
        check_request(load_request_schema(10, 3), b"\x00\x00\x00", 0)  # compact string
    with pytest.raises(Invalid):
        check_request(load_request_schema(3, 0), b"\xff\xff\xff\xff", 0)  # array before null was allowed


def test_a_random_frame_for_every_version_reads_back() -> None:
    rand = random.Random(11)
    for api_key, version in EVERY:
        schema: Schema = schema_of(api_key, version)
        request = random_entity(schema.request_type, rand)
        frame = frame_of(request, correlation_id=rand.randrange(2**31), client_id="ä" * 5)
        header, stop = read_header(frame)
        assert (header.api_key, header.version, header.client_id) == (api_key, version, "ä" * 5)
        assert read_body(schema, frame, stop) == request
