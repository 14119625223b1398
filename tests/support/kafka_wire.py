"""Kafka requests built and answers read, for tests: any API in any version that kio knows.

Owns: entities from a few values, or from chance; frames around them. Does not own: sockets.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer
from kio.serial._introspect import (
    EntityField,
    EntityTupleField,
    classify_field,
    get_field_tag,
    get_schema_field_type,
    is_optional,
)

_GOLDEN = Path(__file__).parents[1] / "golden" / "gateway" / "requests.json"

Values = Mapping[str, Any]

_PLAIN: Mapping[str, Any] = {
    "string": "",
    "bytes": b"",
    "records": b"",
    "bool": False,
    "uuid": None,
    "timedelta_i32": timedelta(0),
    "timedelta_i64": timedelta(0),
    "float64": 0.0,
}
_BITS = {"int8": 8, "int16": 16, "int32": 32, "int64": 64}


def entity(cls: type[Any], values: Values) -> Any:
    """An entity of `cls`: structs are mappings, what is not given is empty, what it lacks is ignored."""
    known: dict[str, Any] = {}
    for each in fields(cls):
        kind = classify_field(each)
        if each.name in values:
            given = values[each.name]
            if isinstance(kind, EntityTupleField) and given is not None:
                given = tuple(entity(kind.type_, item) for item in given)
            elif isinstance(kind, EntityField) and isinstance(given, Mapping):
                given = entity(kind.type_, given)
            known[each.name] = given
        elif each.default is MISSING:
            known[each.name] = _empty(each, kind)
    return cls(**known)


def random_entity(cls: type[Any], rand: Random, *, depth: int = 0) -> Any:
    """An entity of `cls` with values by chance, some of them absent."""
    known = {}
    for each in fields(cls):
        if get_field_tag(each) is not None and rand.random() < 0.5:
            continue
        known[each.name] = _random_value(each, rand, depth)
    return cls(**known)


def _empty(each: Field[Any], kind: Any) -> Any:
    if is_optional(each):
        return None
    if kind.is_array:
        return ()
    if isinstance(kind, EntityField):
        return entity(kind.type_, {})
    return _PLAIN.get(get_schema_field_type(each), 0)


def _random_value(each: Field[Any], rand: Random, depth: int) -> Any:
    kind = classify_field(each)
    if is_optional(each) and get_field_tag(each) is None and rand.random() < 0.2:
        return None
    count = rand.choice((0, 1, 1, 2, 3)) if depth < 3 else 0
    if isinstance(kind, EntityTupleField):
        return tuple(random_entity(kind.type_, rand, depth=depth + 1) for _ in range(count))
    if isinstance(kind, EntityField):
        return random_entity(kind.type_, rand, depth=depth + 1)
    kafka_type = get_schema_field_type(each)
    if kind.is_array:
        return tuple(_random_primitive(kafka_type, rand) for _ in range(count))
    return _random_primitive(kafka_type, rand)


def _random_primitive(kafka_type: str, rand: Random) -> Any:
    if kafka_type in _BITS:
        bits = rand.randrange(_BITS[kafka_type])
        return rand.randrange(-(1 << bits), 1 << bits)
    match kafka_type:
        case "string":
            value: Any = "".join(rand.choice("abcäΩ-._") for _ in range(rand.choice((0, 1, 5, 200))))
        case "bytes" | "records":
            value = rand.randbytes(rand.choice((0, 1, 70, 300)))
        case "bool":
            value = rand.random() < 0.5
        case "uuid":
            value = UUID(bytes=rand.randbytes(16))
        case "timedelta_i32" | "timedelta_i64":
            value = timedelta(milliseconds=rand.randrange(-1, 100_000))
        case _:
            value = _PLAIN[kafka_type]
    return value


def golden_requests() -> dict[str, bytes]:
    """Frames of real clients, without their length: "client-id api v-version" -> frame.

    confluent-kafka 2.16, kafka-python 3.0, aiokafka 0.14 and Kafka 4.3's Java tools, at their defaults.
    """
    found: dict[str, str] = json.loads(_GOLDEN.read_text())
    return {name: bytes.fromhex(frame) for name, frame in found.items()}


def body_bytes(request: Any) -> bytes:
    """A request's body as kio writes it."""
    out = io.BytesIO()
    entity_writer(type(request))(out, request)
    return out.getvalue()


def request_frame(
    api_key: int,
    version: int,
    values: Values | None = None,
    *,
    correlation_id: int = 1,
    client_id: str = "test",
) -> bytes:
    """A whole frame without its length."""
    return frame_of(
        entity(load_request_schema(api_key, version), values or {}),
        correlation_id=correlation_id,
        client_id=client_id,
    )


def frame_of(request: Any, *, correlation_id: int = 1, client_id: str = "test") -> bytes:
    """The frame of a request, without its length."""
    name = client_id.encode()
    head: bytes = (
        request.__api_key__.to_bytes(2, "big", signed=True)
        + request.__version__.to_bytes(2, "big", signed=True)
        + correlation_id.to_bytes(4, "big", signed=True)
        + len(name).to_bytes(2, "big", signed=True)
        + name
    )
    return head + (b"\x00" if request.__flexible__ else b"") + body_bytes(request)


def with_length(frame: bytes) -> bytes:
    return len(frame).to_bytes(4, "big") + frame


def read_answer(api_key: int, version: int, frame: bytes) -> tuple[int, Any]:
    """Correlation id and entity of an answer's frame; all of its bytes must belong to it."""
    cls = load_response_schema(api_key, version)
    correlation_id = int.from_bytes(frame[:4], "big", signed=True)
    start = 4
    if cls.__header_schema__.__version__ >= 1:
        assert frame[4] == 0, "no tagged fields in answer headers"
        start = 5
    answer, size = entity_reader(cls)(frame, start)
    assert start + size == len(frame), f"{len(frame) - start - size} bytes too many"
    return correlation_id, answer
