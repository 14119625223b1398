"""Which bytes answer a fetch, and where whole batches begin and end in them. Pure.

Owns: limits of a fetch (KIP-74), walking batch headers. Does not own: reading, waiting.
Rules: 1 only whole batches are returned, the first one holds the wanted offset and may begin before it;
2 the first partition with data gets at least one batch, however large; 3 what is read must be where its range
says, else it is Corrupt.
"""

from collections.abc import Sequence
from struct import Struct

from libs.model.errors import Corrupt
from libs.records.layout import HEADER_BYTES, LENGTH_PREFIX_BYTES
from services.partition_owner.log import LogRange, PartitionLog
from services.partition_owner.segment_windows import SegmentWindow

Place = LogRange | SegmentWindow
"""Whole batches of a partition, in a chain object or in a segment."""

RANGES_MAX = 1024
"""Of one partition in one fetch: where objects are tiny, a fetch ends before its bytes do."""

_START = Struct(">qi")  # base offset, batch length
_LAST_DELTA = Struct(">i")
_LAST_DELTA_AT = 23


def ranges_to_read(log: PartitionLog, offset: int, max_bytes: int) -> list[LogRange]:
    """The durable ranges from the one that holds `offset`, until they have `max_bytes`; at least one.

    Empty where `offset` is the end of what is durable. Raises ValueError outside of the log's ranges.
    """
    ranges: list[LogRange] = []
    total_bytes = 0
    first = log.index_of(offset)
    for index in range(first, min(log.durable_ranges, first + RANGES_MAX)):
        found = log.range_at(index)
        ranges.append(found)
        total_bytes += found.size_bytes
        if total_bytes >= max_bytes:
            break
    return ranges


def cut(
    places: Sequence[Place],
    chunks: Sequence[memoryview],
    *,
    offset: int,
    max_bytes: int,
    at_least_one: bool,
) -> list[memoryview]:
    """The whole batches of `chunks` (the bytes of `places`) from `offset` on, within `max_bytes`.

    `at_least_one`: the first batch is returned even where it alone is larger. Raises Corrupt.
    """
    pieces: list[memoryview] = []
    left_bytes = max_bytes
    for found, chunk in zip(places, chunks, strict=True):
        check_place(found, chunk)
        begin = 0 if found.base_offset >= offset else _position_of(offset, found, chunk)
        size_bytes = chunk.nbytes - begin
        if size_bytes <= left_bytes:
            pieces.append(chunk[begin:] if begin else chunk)
            left_bytes -= size_bytes
            continue
        end = _end_within(chunk, begin, left_bytes, at_least_one=at_least_one and not pieces)
        if end > begin:
            pieces.append(chunk[begin:end])
        break
    return pieces


def check_place(found: Place, chunk: memoryview) -> None:
    """Raises Corrupt where these bytes are not what the place says."""
    if chunk.nbytes != found.size_bytes or chunk.nbytes < HEADER_BYTES:
        raise Corrupt(f"{found} has only {chunk.nbytes} of {found.size_bytes} bytes")
    base_offset, _ = _START.unpack_from(chunk, 0)
    if base_offset != found.base_offset:
        raise Corrupt(f"{found} begins with offset {base_offset}, not {found.base_offset}")


def _position_of(offset: int, found: Place, chunk: memoryview) -> int:
    """Where the batch that holds `offset` begins."""
    position = 0
    while position + HEADER_BYTES <= chunk.nbytes:
        base_offset, batch_length = _START.unpack_from(chunk, position)
        (last_delta,) = _LAST_DELTA.unpack_from(chunk, position + _LAST_DELTA_AT)
        if base_offset + last_delta >= offset:
            return position
        if batch_length < HEADER_BYTES - LENGTH_PREFIX_BYTES:
            break
        position += LENGTH_PREFIX_BYTES + batch_length
    raise Corrupt(f"{found} has no batch with offset {offset}")


def _end_within(chunk: memoryview, begin: int, max_bytes: int, *, at_least_one: bool) -> int:
    """The end of the last whole batch within `max_bytes` from `begin`."""
    end = begin
    while end + LENGTH_PREFIX_BYTES <= chunk.nbytes:
        _, batch_length = _START.unpack_from(chunk, end)
        next_end = end + LENGTH_PREFIX_BYTES + batch_length
        if batch_length <= 0 or next_end > chunk.nbytes:
            raise Corrupt(f"a stored batch at position {end} announces {batch_length} bytes")
        if next_end - begin > max_bytes and not (at_least_one and end == begin):
            break
        end = next_end
        if end - begin >= max_bytes:
            break
    return end
