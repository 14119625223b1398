"""The start marker: everything below its seq may be gone.

Owns: a marker's bytes, the greatest of those listed. Does not own: its key (`keys.py`), who may move a start
(design section 3, rule 8).
Rules: 1 the key alone has the meaning, so that a LIST is enough; the bytes say who wrote it, for people and
for telling "mine" after a lost reply.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from crc32c import crc32c

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, SessionId
from libs.segments.keys import parse_start_marker_key
from libs.segments.layout import CRC, MARKER, MARKER_BYTES, MARKER_MAGIC, MARKER_VERSION, NONCE_BYTES

_ZEROS = b"\0\0\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMarker:
    """The chain of `session` starts at `seq`."""

    session: SessionId
    seq: ChainSeq
    nonce: bytes
    created_ms: int


def encode_start_marker(marker: StartMarker) -> bytes:
    """A marker's bytes. Raises ValueError for a nonce of another length."""
    if len(marker.nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, not {len(marker.nonce)}")
    fields = MARKER.pack(
        MARKER_MAGIC,
        MARKER_VERSION,
        _ZEROS,
        marker.session.bytes,
        marker.seq,
        marker.nonce,
        marker.created_ms,
    )
    return fields + CRC.pack(crc32c(fields))


def parse_start_marker(data: Buffer) -> StartMarker:
    """The inverse of `encode_start_marker`. Raises Corrupt."""
    view = memoryview(data)
    if view.nbytes != MARKER_BYTES:
        raise Corrupt(f"a start marker has {MARKER_BYTES} bytes, not {view.nbytes}")
    magic, version, zeros, session, seq, nonce, created_ms = MARKER.unpack_from(view)
    if (magic, version, zeros) != (MARKER_MAGIC, MARKER_VERSION, _ZEROS):
        raise Corrupt(f"a start marker begins with {magic!r}, version {version}: not known here")
    if CRC.unpack_from(view, MARKER.size) != (crc32c(view[: MARKER.size]),):
        raise Corrupt("the CRC of a start marker is wrong")
    return StartMarker(
        session=SessionId(UUID(bytes=session)), seq=ChainSeq(seq), nonce=nonce, created_ms=created_ms
    )


def greatest_start(keys: Iterable[str]) -> ChainSeq:
    """Where a chain starts, from the keys of its markers; 0 without any. Other keys are passed over."""
    positions = (parse_start_marker_key(key) for key in keys)
    return max((position.seq for position in positions if position is not None), default=ChainSeq(0))
