"""The object in which a store says which one it is.

Owns: its bytes. Does not own: its key (`keys.py`), who makes it and who compares it (the partition owner,
metadata).
Rules: 1 it is written once, by the first owner that ever uses the store, and goes wherever the store is
copied.
"""

from uuid import UUID

from crc32c import crc32c

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.model.ids import StoreId
from libs.segments.layout import CRC, STORE_ID, STORE_ID_BYTES, STORE_ID_MAGIC, STORE_ID_VERSION

_ZEROS = b"\0\0\0"


def encode_store_id(store_id: StoreId) -> bytes:
    """STORE_ID_BYTES bytes."""
    body = STORE_ID.pack(STORE_ID_MAGIC, STORE_ID_VERSION, _ZEROS, store_id.bytes)
    return body + CRC.pack(crc32c(body))


def parse_store_id(data: Buffer) -> StoreId:
    """The inverse of `encode_store_id`. Raises Corrupt."""
    view = memoryview(data)
    if view.nbytes != STORE_ID_BYTES:
        raise Corrupt(f"a store's id can't have {view.nbytes} bytes")
    magic, version, zeros, store_id = STORE_ID.unpack_from(view)
    if (magic, version, zeros) != (STORE_ID_MAGIC, STORE_ID_VERSION, _ZEROS):
        raise Corrupt(f"a store's id begins with {magic!r}, version {version}: not known here")
    if CRC.unpack_from(view, STORE_ID.size) != (crc32c(view[: STORE_ID.size]),):
        raise Corrupt("the CRC of a store's id is wrong")
    return StoreId(UUID(bytes=store_id))
