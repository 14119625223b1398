"""Kafka messages: frames to kio entities and back, for one API in one version.

Owns: request and response headers, kio's readers and writers, building entities whose fields differ by
version.
Does not own: checking announced lengths (guard.py), framing, what the messages mean.
Rules: 1 only this package knows kio; 2 record bytes are never copied on their way out.
"""

import functools
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from datetime import timedelta
from typing import Any, Final, cast

from kio.index import UnknownAPIKey, UnknownEntity, load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer
from kio.serial.errors import SerialError
from kio.static.primitive import i32Timedelta
from kio.static.protocol import Entity

from libs.model.errors import Invalid, Reason
from services.gateway.framing import frame_prefix
from services.gateway.guard import check_request, skip_tagged_fields

API_VERSIONS_KEY: Final = 18
NO_THROTTLE: Final = i32Timedelta.parse(timedelta(0))

_PREFIX = struct.Struct(">hhi")
_CLIENT_ID_LENGTH = struct.Struct(">h")
_OWN_CHUNK_BYTES_MIN: Final = 16 * 1024
"""Smaller pieces are joined: a copy is cheaper than a system call."""

Chunk = bytes | bytearray | memoryview
"""Bytes to be sent one after the other."""


def milliseconds_of(duration: timedelta) -> int:
    """A request's duration in milliseconds."""
    return round(duration.total_seconds() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeader:
    api_key: int
    version: int
    correlation_id: int
    client_id: str


class Schema:
    """One API in one version: how to read its request and how to build and write its response."""

    def __init__(self, api_key: int, version: int) -> None:
        """Raises Invalid(UNSUPPORTED_VERSION) for what kio doesn't know."""
        try:
            self.request_type = load_request_schema(api_key, version)
            self.response_type = load_response_schema(api_key, version)
        except (UnknownAPIKey, UnknownEntity) as error:
            raise Invalid(
                f"API {api_key} has no version {version} here", reason=Reason.UNSUPPORTED_VERSION
            ) from error
        self.api_key = api_key
        self.version = version
        self.flexible = bool(self.request_type.__flexible__)
        self._read = entity_reader(self.request_type)
        self._write = entity_writer(self.response_type)
        # ApiVersions is answered with header 0 in every version, so that any client can read it (KIP-511).
        self._tagged_header = self.response_type.__header_schema__.__version__ >= 1
        self._parts = _parts_of(self.response_type)

    def read_request(self, frame: bytes, start: int) -> Any:
        """The request whose body begins at `start`. Raises Invalid when it is not one."""
        data, position = check_request(self.request_type, frame, start)
        try:
            return self._read(data, position)[0]
        except (SerialError, ValueError) as error:
            raise Invalid(f"{self.request_type.__name__} {self.version}: {error}") from error

    def response(self, **values: Any) -> Entity:
        """The response, of those `values` that this version has."""
        response: Entity = self.part(self.response_type.__name__, **values)
        return response

    def part(self, struct: str, /, **values: Any) -> Any:
        """A struct of the response by Kafka's name for it, of those `values` that this version has."""
        build, known = self._parts[struct]
        if not known.issuperset(values):
            values = {key: value for key, value in values.items() if key in known}
        return build(**values)

    def write_response(self, correlation_id: int, response: Entity) -> list[Chunk]:
        """The whole frame, in chunks; record bytes are chunks of their own."""
        out = _Chunks()
        out.write(struct.pack(">i", correlation_id))
        if self._tagged_header:
            out.write(b"\x00")
        self._write(out, response)  # type: ignore[arg-type]  # only write() is called
        return out.finish()


@functools.cache
def schema_of(api_key: int, version: int) -> Schema:
    """Raises Invalid(UNSUPPORTED_VERSION) for what kio doesn't know."""
    return Schema(api_key, version)


def read_header(frame: bytes) -> tuple[RequestHeader, int]:
    """The header's fixed part and where it ends: before the tagged fields, which only flexible versions have.

    Raises Invalid.
    """
    start = _PREFIX.size + _CLIENT_ID_LENGTH.size
    if len(frame) < start:
        raise Invalid(f"a request of {len(frame)} bytes is shorter than its header")
    api_key, version, correlation_id = _PREFIX.unpack_from(frame)
    (length,) = _CLIENT_ID_LENGTH.unpack_from(frame, _PREFIX.size)
    stop = start + max(0, length)
    if length < -1 or stop > len(frame):
        raise Invalid(f"a client id of {length} bytes in a request of {len(frame)}")
    client_id = frame[start:stop].decode("utf-8", errors="replace")
    header = RequestHeader(
        api_key=api_key, version=version, correlation_id=correlation_id, client_id=client_id
    )
    return header, stop


def read_body(schema: Schema, frame: bytes, header_stop: int) -> Any:
    """The request after a header that ended at `header_stop`. Raises Invalid."""
    start = skip_tagged_fields(frame, header_stop) if schema.flexible else header_stop
    return schema.read_request(frame, start)


class _Chunks:
    """What kio writes into: joins small pieces, keeps large ones as they are."""

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._small = bytearray()
        self._length = 0

    def write(self, data: Chunk) -> int:
        size = len(data)
        self._length += size
        if size < _OWN_CHUNK_BYTES_MIN:
            self._small += data
        else:
            self._flush()
            self._chunks.append(data)
        return size

    def finish(self) -> list[Chunk]:
        self._flush()
        prefix = frame_prefix(self._length)
        first = self._chunks[0]
        # The first piece is the header, always small.
        self._chunks[0] = prefix + bytes(first)
        return self._chunks

    def _flush(self) -> None:
        if self._small:
            self._chunks.append(self._small)
            self._small = bytearray()


def _parts_of(root: type[Entity]) -> Mapping[str, tuple[type[Entity], frozenset[str]]]:
    found: dict[str, tuple[type[Entity], frozenset[str]]] = {}
    todo: list[type[Entity]] = [root]
    while todo:
        each = todo.pop()
        if each.__name__ in found:
            continue
        own = fields(each)
        found[each.__name__] = (each, frozenset(field.name for field in own))
        for field in own:
            todo += _entities_in(field.type)
    return found


def _entities_in(annotation: Any) -> list[type[Entity]]:
    if isinstance(annotation, type) and is_dataclass(annotation):
        return [cast("type[Entity]", annotation)]
    return [entity for inner in getattr(annotation, "__args__", ()) for entity in _entities_in(inner)]
