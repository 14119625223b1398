"""Checks a request's structure against the bytes that are there, before kio parses it.

Owns: every announced length and count, the bound on elements, and tagged fields that kio doesn't know.
Does not own: what the values mean (the handlers), or decoding (kio).
Rules: 1 kio sees only bytes that this module has walked to their end: it aborts the whole process when a
request announces more array elements than memory holds, which nothing can catch; 2 an unknown tagged field
is cut out (KIP-482 says skip it; kio raises KeyError); 3 checkers are compiled once per class, from kio's
own classes.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

from kio.serial._introspect import (
    EntityField,
    EntityTupleField,
    classify_field,
    get_field_tag,
    get_schema_field_type,
    is_optional,
)
from kio.static.protocol import Entity

from libs.model.errors import Invalid

ELEMENTS_MAX: Final = 200_000
"""Array elements in one request, all levels together: as an object, each may cost some hundred bytes."""

_FIXED_BYTES: Final[Mapping[str, int]] = {
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
    "float64": 8,
    "bool": 1,
    "uuid": 16,
    "error_code": 2,
    "timedelta_i32": 4,
    "timedelta_i64": 8,
    "datetime_i64": 8,
}
_VARINT_BYTES_MAX: Final = 5
_LENGTH_MAX: Final = 2**31 - 1
_NULL_STRUCT: Final = 0xFF
_SOME_STRUCT: Final = 0x01

Edit = tuple[int, int, bytes]
"""What to replace: [start, stop) by bytes."""


@dataclass(slots=True)
class _Walk:
    end: int
    elements_left: int = ELEMENTS_MAX
    edits: list[Edit] = field(default_factory=list)


_Step = Callable[[bytes, int, _Walk], int]
"""Walks one value that begins at a position; returns where it ends."""


@dataclass(frozen=True, slots=True)
class _Shape:
    step: _Step
    bytes_min: int
    fixed: bool
    """True when every value has exactly `bytes_min` bytes."""


def check_request(cls: type[Entity], frame: bytes, start: int) -> tuple[bytes, int]:
    """Checks the message of type `cls` that begins at `start`; returns the bytes to parse and where to start.

    These are the given ones unless unknown tagged fields had to be cut out. Bytes after the message are let
    be, as Kafka does. Raises Invalid with the reason for people.
    """
    walk = _Walk(end=len(frame))
    end = _shape_of(cls).step(frame, start, walk)
    if not walk.edits:
        return frame, start
    return _apply(frame[:end], walk.edits, start), 0


def skip_tagged_fields(frame: bytes, start: int) -> int:
    """Where the tagged fields that begin at `start` end, whatever they are: a request header's."""
    walk = _Walk(end=len(frame))
    return _tagged_step({})(frame, start, walk)


def read_varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """An unsigned varint of at most 32 bits and where it ends (KIP-482)."""
    value = shift = 0
    for position in range(start, min(start + _VARINT_BYTES_MAX, end)):
        byte = data[position]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > 0xFFFF_FFFF:
                break
            return value, position + 1
        shift += 7
    raise Invalid(f"at byte {start}: not a varint of 32 bits")


def write_varint(value: int) -> bytes:
    """`value` as an unsigned varint."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(0x80 | value & 0x7F)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _apply(frame: bytes, edits: list[Edit], start: int) -> bytes:
    view = memoryview(frame)
    pieces: list[bytes | memoryview] = []
    position = start
    for edit_start, edit_stop, replacement in edits:
        pieces += (view[position:edit_start], replacement)
        position = edit_stop
    pieces.append(view[position:])
    return b"".join(pieces)


@functools.cache
def _shape_of(cls: type[Entity]) -> _Shape:
    flexible = bool(cls.__flexible__)
    plain: list[_Shape] = []
    tagged: dict[int, _Step] = {}
    for each in fields(cls):
        tag = get_field_tag(each)
        if tag is None:
            plain.append(_field_shape(each, flexible=flexible))
        else:
            tagged[int(tag)] = _field_shape(each, flexible=flexible, tagged=True).step
    if flexible:
        plain.append(_Shape(_tagged_step(tagged), 1, fixed=False))
    return _sequence_shape(plain)


def _field_shape(each: Field[Any], *, flexible: bool, tagged: bool = False) -> _Shape:
    nullable = is_optional(each) and not tagged
    kind = classify_field(each)
    if isinstance(kind, EntityField):
        shape = _shape_of(kind.type_)
        return _nullable_struct_shape(shape.step) if nullable else shape
    if isinstance(kind, EntityTupleField):
        return _array_shape(_shape_of(kind.type_), flexible=flexible, nullable=nullable)
    type_name = get_schema_field_type(each)
    if kind.is_array:
        return _array_shape(
            _primitive_shape(type_name, flexible=flexible, nullable=False),
            flexible=flexible,
            nullable=nullable,
        )
    return _primitive_shape(type_name, flexible=flexible, nullable=nullable)


def _primitive_shape(type_name: str, *, flexible: bool, nullable: bool) -> _Shape:
    size = _FIXED_BYTES.get(type_name)
    if size is not None:
        return _Shape(_skip_step(size), size, fixed=True)
    if flexible:
        return _Shape(_compact_bytes_step(nullable=nullable), 1, fixed=False)
    prefix = 2 if type_name == "string" else 4
    return _Shape(_legacy_bytes_step(prefix, nullable=nullable), prefix, fixed=False)


def _sequence_shape(shapes: list[_Shape]) -> _Shape:
    steps: list[_Step] = []
    run = 0
    for shape in shapes:
        if shape.fixed:
            run += shape.bytes_min
            continue
        if run:
            steps.append(_skip_step(run))
            run = 0
        steps.append(shape.step)
    if run:
        steps.append(_skip_step(run))
    bytes_min = sum(shape.bytes_min for shape in shapes)

    def step(data: bytes, position: int, walk: _Walk) -> int:
        for each in steps:
            position = each(data, position, walk)
        return position

    return _Shape(
        steps[0] if len(steps) == 1 else step, bytes_min, fixed=all(shape.fixed for shape in shapes)
    )


def _skip_step(size: int) -> _Step:
    def step(_data: bytes, position: int, walk: _Walk) -> int:
        position += size
        if position > walk.end:
            raise Invalid(f"at byte {position - size}: {size} bytes expected, the request ends at {walk.end}")
        return position

    return step


def _compact_bytes_step(*, nullable: bool) -> _Step:
    def step(data: bytes, position: int, walk: _Walk) -> int:
        length, stop = read_varint(data, position, walk.end)
        if length == 0:
            if not nullable:
                raise Invalid(f"at byte {position}: null where a value is required")
            return stop
        stop += length - 1
        if stop > walk.end:
            raise Invalid(f"at byte {position}: {length - 1} bytes announced, the request ends at {walk.end}")
        return stop

    return step


def _legacy_bytes_step(prefix: int, *, nullable: bool) -> _Step:
    def step(data: bytes, position: int, walk: _Walk) -> int:
        stop = position + prefix
        if stop > walk.end:
            raise Invalid(f"at byte {position}: a length expected, the request ends at {walk.end}")
        length = int.from_bytes(data[position:stop], "big", signed=True)
        if length < 0:
            if length < -1 or not nullable:
                raise Invalid(f"at byte {position}: a length of {length}")
            return stop
        stop += length
        if stop > walk.end:
            raise Invalid(f"at byte {position}: {length} bytes announced, the request ends at {walk.end}")
        return stop

    return step


def _nullable_struct_shape(inner: _Step) -> _Shape:
    def step(data: bytes, position: int, walk: _Walk) -> int:
        marker = data[position] if position < walk.end else None
        if marker == _NULL_STRUCT:
            return position + 1
        if marker != _SOME_STRUCT:
            raise Invalid(f"at byte {position}: neither a struct nor null (KIP-893)")
        return inner(data, position + 1, walk)

    return _Shape(step, 1, fixed=False)


def _array_shape(item: _Shape, *, flexible: bool, nullable: bool) -> _Shape:
    item_step, item_bytes_min, item_fixed = item.step, item.bytes_min, item.fixed

    def step(data: bytes, position: int, walk: _Walk) -> int:
        if flexible:
            count, start = read_varint(data, position, walk.end)
            count -= 1
        else:
            start = position + 4
            if start > walk.end:
                raise Invalid(f"at byte {position}: a count expected, the request ends at {walk.end}")
            count = int.from_bytes(data[position:start], "big", signed=True)
        if count < 0:
            if count < -1 or not nullable:
                raise Invalid(f"at byte {position}: an array of {count} elements")
            return start
        _take_elements(count, count * item_bytes_min, position, start, walk)
        if item_fixed:
            return start + count * item_bytes_min
        for _ in range(count):
            start = item_step(data, start, walk)
        return start

    return _Shape(step, 1 if flexible else 4, fixed=False)


def _take_elements(count: int, bytes_min: int, position: int, start: int, walk: _Walk) -> None:
    if start + bytes_min > walk.end:
        raise Invalid(
            f"at byte {position}: {count} elements announced, {walk.end - start} bytes remain for them"
        )
    walk.elements_left -= count
    if walk.elements_left < 0:
        raise Invalid(f"at byte {position}: more than {ELEMENTS_MAX} array elements in one request")


def _tagged_step(known: Mapping[int, _Step]) -> _Step:
    def step(data: bytes, position: int, walk: _Walk) -> int:
        if position < walk.end and data[position] == 0:
            return position + 1
        count, start = read_varint(data, position, walk.end)
        _take_elements(count, 2 * count, position, start, walk)
        mark = len(walk.edits)
        cut = 0
        first, count_stop = position, start
        for _ in range(count):
            position = start
            tag, start = read_varint(data, position, walk.end)
            inner = known.get(tag)
            start = _one_tag(data, start, walk, inner)
            if inner is None:
                cut += 1
                walk.edits.append((position, start, b""))
        if cut:
            walk.edits.insert(mark, (first, count_stop, write_varint(count - cut)))
        return start

    return step


def _one_tag(data: bytes, position: int, walk: _Walk, inner: _Step | None) -> int:
    size, start = read_varint(data, position, walk.end)
    stop = start + size
    if size > _LENGTH_MAX or stop > walk.end:
        raise Invalid(f"at byte {position}: a tagged field of {size} bytes, the request ends at {walk.end}")
    if inner is None:
        return stop
    mark = len(walk.edits)
    if inner(data, start, walk) != stop:
        raise Invalid(f"at byte {position}: a tagged field that is not as long as it says ({size} bytes)")
    grown = sum(
        len(replacement) - (edit_stop - edit_start)
        for edit_start, edit_stop, replacement in walk.edits[mark:]
    )
    if grown:
        walk.edits.insert(mark, (position, start, write_varint(size + grown)))
    return stop
