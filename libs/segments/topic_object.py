"""What the bucket says about a topic: its object (id, name, partitions, configs), and its tombstone.

Owns: the values and bytes of both. Does not own: their keys (`keys.py`), when they are written (the owner's
archive).
Rules: 1 a topic's first object is there before its first record can be appended, so data of an unknown topic
is never a topic's; 2 a change is a new object with the next number, the greatest number counts; 3 a tombstone
stays for ever: a late PUT of somebody who was paused must not bring the topic back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from crc32c import crc32c

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt, Invalid
from libs.model.ids import TopicId, TopicName
from libs.segments.keys import check_topic_name
from libs.segments.layout import (
    CRC,
    TOMBSTONE_HEAD,
    TOMBSTONE_HEAD_BYTES,
    TOMBSTONE_MAGIC,
    TOMBSTONE_VERSION,
    TOPIC_BYTES_MAX,
    TOPIC_CONFIG,
    TOPIC_HEAD,
    TOPIC_HEAD_BYTES,
    TOPIC_MAGIC,
    TOPIC_VERSION,
)

_ZEROS = b"\0\0\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicObject:
    """The n-th object about a topic. `created_ms`: the topic's; `written_ms`: the object's."""

    topic_id: TopicId
    n: int
    name: TopicName
    partitions: int
    created_ms: int
    written_ms: int
    configs: Mapping[str, str] = field(default_factory=dict)

    def says_the_same_as(self, other: "TopicObject") -> bool:
        """Whether both describe the same topic, whichever number they have and whenever they were written."""
        return (self.topic_id, self.name, self.partitions, dict(self.configs)) == (
            other.topic_id,
            other.name,
            other.partitions,
            dict(other.configs),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """The topic was deleted at `deleted_ms`."""

    topic_id: TopicId
    name: TopicName
    deleted_ms: int


def encode_topic_object(topic: TopicObject) -> bytes:
    """A topic object's bytes. Raises ValueError beyond the bound of the format."""
    name = topic.name.encode()
    parts = [
        TOPIC_HEAD.pack(
            TOPIC_MAGIC,
            TOPIC_VERSION,
            _ZEROS,
            topic.topic_id.bytes,
            topic.n,
            topic.partitions,
            topic.created_ms,
            topic.written_ms,
            len(name),
            len(topic.configs),
        ),
        name,
    ]
    for key, value in sorted(topic.configs.items()):
        encoded_key, encoded_value = key.encode(), value.encode()
        parts += [TOPIC_CONFIG.pack(len(encoded_key), len(encoded_value)), encoded_key, encoded_value]
    body = b"".join(parts)
    if len(body) > TOPIC_BYTES_MAX:
        raise ValueError(f"a topic object of {len(body)} bytes is too large")
    return body + CRC.pack(crc32c(body))


def parse_topic_object(data: Buffer) -> TopicObject:
    """The inverse of `encode_topic_object`. Raises Corrupt."""
    view = memoryview(data)
    if not TOPIC_HEAD_BYTES + CRC.size <= view.nbytes <= TOPIC_BYTES_MAX + CRC.size:
        raise Corrupt(f"a topic object can't have {view.nbytes} bytes")
    end = view.nbytes - CRC.size
    fields = TOPIC_HEAD.unpack_from(view)
    if fields[:3] != (TOPIC_MAGIC, TOPIC_VERSION, _ZEROS):
        raise Corrupt(f"a topic object begins with {fields[0]!r}, version {fields[1]}: not known here")
    if CRC.unpack_from(view, end) != (crc32c(view[:end]),):
        raise Corrupt("the CRC of a topic object is wrong")
    topic_id, n, partitions, created_ms, written_ms, name_bytes, count = fields[3:]
    name, position = _text(view, TOPIC_HEAD_BYTES, name_bytes, end)
    configs: dict[str, str] = {}
    for _ in range(count):
        if position + TOPIC_CONFIG.size > end:
            raise Corrupt("the configs of a topic object are cut off")
        key_bytes, value_bytes = TOPIC_CONFIG.unpack_from(view, position)
        key, position = _text(view, position + TOPIC_CONFIG.size, key_bytes, end)
        configs[key], position = _text(view, position, value_bytes, end)
    if position != end or len(configs) != count or list(configs) != sorted(configs) or not partitions:
        raise Corrupt("a topic object has bytes, configs or partitions that can't be")
    return TopicObject(
        topic_id=TopicId(UUID(bytes=topic_id)),
        n=n,
        name=_name(name),
        partitions=partitions,
        created_ms=created_ms,
        written_ms=written_ms,
        configs=configs,
    )


def encode_tombstone(tombstone: Tombstone) -> bytes:
    """A tombstone's bytes."""
    name = tombstone.name.encode()
    body = (
        TOMBSTONE_HEAD.pack(
            TOMBSTONE_MAGIC,
            TOMBSTONE_VERSION,
            _ZEROS,
            tombstone.topic_id.bytes,
            tombstone.deleted_ms,
            len(name),
        )
        + name
    )
    return body + CRC.pack(crc32c(body))


def parse_tombstone(data: Buffer) -> Tombstone:
    """The inverse of `encode_tombstone`. Raises Corrupt."""
    view = memoryview(data)
    end = view.nbytes - CRC.size
    if end < TOMBSTONE_HEAD_BYTES:
        raise Corrupt(f"a tombstone can't have {view.nbytes} bytes")
    magic, version, zeros, topic_id, deleted_ms, name_bytes = TOMBSTONE_HEAD.unpack_from(view)
    if (magic, version, zeros) != (TOMBSTONE_MAGIC, TOMBSTONE_VERSION, _ZEROS):
        raise Corrupt(f"a tombstone begins with {magic!r}, version {version}: not known here")
    if CRC.unpack_from(view, end) != (crc32c(view[:end]),):
        raise Corrupt("the CRC of a tombstone is wrong")
    name, position = _text(view, TOMBSTONE_HEAD_BYTES, name_bytes, end)
    if position != end:
        raise Corrupt("a tombstone has bytes after its name")
    return Tombstone(topic_id=TopicId(UUID(bytes=topic_id)), name=_name(name), deleted_ms=deleted_ms)


def _text(view: memoryview, position: int, size_bytes: int, end: int) -> tuple[str, int]:
    """The text of `size_bytes` at `position`, and where it ends."""
    after = position + size_bytes
    if after > end:
        raise Corrupt("a text in an object about a topic is cut off")
    try:
        return bytes(view[position:after]).decode(), after
    except UnicodeDecodeError as error:
        raise Corrupt("a text in an object about a topic is none") from error


def _name(name: str) -> TopicName:
    try:
        return check_topic_name(name)
    except Invalid as error:
        raise Corrupt(error.message) from error
