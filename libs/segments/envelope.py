"""What data objects and seals of a chain have in common: a head, and a trailer that says whose they are.

Owns: framing a chain object, reading its end. Does not own: the footer of a data object (`wal.py`), the body
of a seal (`seal.py`).
Rules: 1 an object says by itself whose it is, (session, seq, nonce), and what kind it is, in its last bytes:
a suffix GET is enough; 2 one CRC32C covers footer and trailer; the batches have their own CRCs, and what
those leave out (offset, epoch) is compared with the footer by who reads them, so the data is summed only
once; 3 seals compete with data for the same key, so they have the same frame.
"""

from dataclasses import dataclass
from uuid import UUID

from crc32c import crc32c

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, SessionId
from libs.model.limits import CHAIN_OBJECT_BYTES_MAX
from libs.segments.layout import (
    CHAIN_END_MAGIC,
    CHAIN_HEAD,
    CHAIN_HEAD_BYTES,
    CHAIN_KIND_DATA,
    CHAIN_KIND_SEAL,
    CHAIN_MAGIC,
    CHAIN_TRAILER,
    CHAIN_TRAILER_BYTES,
    CHAIN_TRAILER_END,
    CHAIN_VERSION,
    FOOTER_BYTES_MAX,
    NONCE_BYTES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose chain object this is. `nonce`: 16 bytes of the writer's, new for each object; it tells "mine"."""

    session: SessionId
    seq: ChainSeq
    nonce: bytes
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedMore:
    """What was read is too short: read `size_bytes` bytes (of the same end of the object)."""

    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A chain object's end, taken apart: its kind, and the footer that the kind's module reads."""

    kind: int
    identity: Identity
    data_bytes: int
    footer: memoryview


def head_bytes(kind: int) -> bytes:
    """The first bytes of a chain object."""
    return CHAIN_HEAD.pack(CHAIN_MAGIC, CHAIN_VERSION, kind, b"\0\0")


def trailer_bytes(kind: int, identity: Identity, *, data_bytes: int, footer: bytes) -> bytes:
    """The last bytes of a chain object. Raises ValueError beyond a bound of the format."""
    total_bytes = CHAIN_HEAD_BYTES + data_bytes + len(footer) + CHAIN_TRAILER_BYTES
    if len(footer) > FOOTER_BYTES_MAX or total_bytes > CHAIN_OBJECT_BYTES_MAX:
        raise ValueError(f"a chain object of {total_bytes} bytes, {len(footer)} of them footer, is too large")
    if len(identity.nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, not {len(identity.nonce)}")
    fields = CHAIN_TRAILER.pack(
        len(footer),
        data_bytes,
        identity.created_ms,
        identity.session.bytes,
        identity.seq,
        identity.nonce,
        CHAIN_VERSION,
        kind,
        b"\0\0",
    )
    return fields + CHAIN_TRAILER_END.pack(crc32c(fields, crc32c(footer)), CHAIN_END_MAGIC)


def open_envelope(suffix: Buffer, object_bytes: int) -> Envelope | NeedMore:
    """Reads the end of a chain object. `suffix`: its last bytes; `object_bytes`: the size of the whole of it.

    NeedMore only while `suffix` is not the whole object. Raises Corrupt.
    """
    view = memoryview(suffix)
    if not CHAIN_HEAD_BYTES + CHAIN_TRAILER_BYTES <= object_bytes <= CHAIN_OBJECT_BYTES_MAX:
        raise Corrupt(f"a chain object can't have {object_bytes} bytes")
    if view.nbytes > object_bytes:
        raise Corrupt(f"{view.nbytes} bytes are no suffix of an object of {object_bytes}")
    if view.nbytes < CHAIN_TRAILER_BYTES:
        return NeedMore(size_bytes=CHAIN_TRAILER_BYTES)
    trailer_at = view.nbytes - CHAIN_TRAILER_BYTES
    stored_crc, magic = CHAIN_TRAILER_END.unpack_from(view, trailer_at + CHAIN_TRAILER.size)
    fields = CHAIN_TRAILER.unpack_from(view, trailer_at)
    footer_bytes, data_bytes, created_ms, session, seq, nonce, version, kind, zeros = fields
    if magic != CHAIN_END_MAGIC:
        raise Corrupt("an object in a chain's place doesn't end like a chain object")
    if version != CHAIN_VERSION or kind not in (CHAIN_KIND_DATA, CHAIN_KIND_SEAL) or zeros != b"\0\0":
        raise Corrupt(f"a chain object has version {version}, kind {kind}: not known here")
    _check_sizes(footer_bytes, data_bytes, object_bytes)
    if footer_bytes > trailer_at:
        return NeedMore(size_bytes=footer_bytes + CHAIN_TRAILER_BYTES)
    footer = view[trailer_at - footer_bytes : trailer_at]
    if crc32c(view[trailer_at : trailer_at + CHAIN_TRAILER.size], crc32c(footer)) != stored_crc:
        raise Corrupt("the CRC of a chain object's footer is wrong")
    if view.nbytes == object_bytes and view[:CHAIN_HEAD_BYTES] != head_bytes(kind):
        raise Corrupt("a chain object doesn't begin like one")
    identity = Identity(
        session=SessionId(UUID(bytes=session)), seq=ChainSeq(seq), nonce=nonce, created_ms=created_ms
    )
    return Envelope(kind=kind, identity=identity, data_bytes=data_bytes, footer=footer)


def _check_sizes(footer_bytes: int, data_bytes: int, object_bytes: int) -> None:
    if footer_bytes > FOOTER_BYTES_MAX:
        raise Corrupt(f"a chain object announces a footer of {footer_bytes} bytes")
    if CHAIN_HEAD_BYTES + data_bytes + footer_bytes + CHAIN_TRAILER_BYTES != object_bytes:
        raise Corrupt(f"a chain object of {object_bytes} bytes announces {data_bytes} + {footer_bytes}")
