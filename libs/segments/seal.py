"""The seal: the object that ends a chain, and telling it from data.

Owns: a seal's bytes, `classify_chain_object`. Does not own: where seals go and what they mean (`chain.py`).
Rules: 1 a seal takes a place in the chain like data does (design section 3, rules 7 and 9); 2 the object's
bytes say which it is, never its key.
"""

from dataclasses import dataclass
from uuid import UUID

from libs.model.buffers import Buffer
from libs.model.errors import Corrupt
from libs.model.ids import ChainSeq, OwnerId, SessionId
from libs.segments.envelope import Identity, NeedMore, head_bytes, open_envelope, trailer_bytes
from libs.segments.keys import ChainPosition
from libs.segments.layout import CHAIN_KIND_SEAL, OWNER_NAME_BYTES_MAX, SEAL_HEAD
from libs.segments.wal import WalFooter, parse_footer


@dataclass(frozen=True, slots=True, kw_only=True)
class Seal:
    """The end of the chain of `session`, at `seq` if everything before it is there; who wrote it, and
    when.
    """

    session: SessionId
    seq: ChainSeq
    nonce: bytes
    created_ms: int
    sealer_session: SessionId
    sealer_owner: OwnerId


def encode_seal(seal: Seal) -> bytes:
    """A seal's bytes. Raises ValueError when the owner's name or the nonce doesn't fit."""
    owner = seal.sealer_owner.encode()
    if len(owner) > OWNER_NAME_BYTES_MAX:
        raise ValueError(f"an owner's name has at most {OWNER_NAME_BYTES_MAX} bytes, not {len(owner)}")
    body = SEAL_HEAD.pack(seal.sealer_session.bytes, len(owner)) + owner
    identity = Identity(session=seal.session, seq=seal.seq, nonce=seal.nonce, created_ms=seal.created_ms)
    trailer = trailer_bytes(CHAIN_KIND_SEAL, identity, data_bytes=0, footer=body)
    return head_bytes(CHAIN_KIND_SEAL) + body + trailer


def classify_chain_object(
    suffix: Buffer, object_bytes: int, *, at: ChainPosition | None = None
) -> WalFooter | Seal | NeedMore:
    """What holds a place in a chain, from the last bytes of the object.

    `object_bytes` is the size of the whole object (a suffix read tells it); `at` the place that was read,
    which the object has to confirm. NeedMore says how long a suffix to ask for; it never comes for the whole
    object. Raises Corrupt.
    """
    envelope = open_envelope(suffix, object_bytes)
    if isinstance(envelope, NeedMore):
        return envelope
    identity = envelope.identity
    if at is not None and (identity.session, identity.seq) != at:
        raise Corrupt(f"the chain object at {at.session}/{at.seq} says {identity.session}/{identity.seq}")
    if envelope.kind == CHAIN_KIND_SEAL:
        return _parse_seal(identity, envelope.data_bytes, envelope.footer)
    return parse_footer(identity, envelope.data_bytes, envelope.footer)


def parse_chain_object(data: Buffer, *, at: ChainPosition | None = None) -> WalFooter | Seal:
    """`classify_chain_object` of a whole object. Raises Corrupt."""
    found = classify_chain_object(data, memoryview(data).nbytes, at=at)
    assert not isinstance(found, NeedMore), "a whole object needs no more"
    return found


def _parse_seal(identity: Identity, data_bytes: int, body: memoryview) -> Seal:
    if data_bytes or body.nbytes < SEAL_HEAD.size:
        raise Corrupt(f"a seal has {data_bytes} bytes of data, {body.nbytes} bytes of its own")
    session, owner_bytes = SEAL_HEAD.unpack_from(body)
    if owner_bytes > OWNER_NAME_BYTES_MAX or SEAL_HEAD.size + owner_bytes != body.nbytes:
        raise Corrupt(f"a seal announces an owner's name of {owner_bytes} bytes")
    try:
        owner = OwnerId(bytes(body[SEAL_HEAD.size :]).decode())
    except UnicodeDecodeError as error:
        raise Corrupt("a seal's owner is no name") from error
    return Seal(
        session=identity.session,
        seq=identity.seq,
        nonce=identity.nonce,
        created_ms=identity.created_ms,
        sealer_session=SessionId(UUID(bytes=session)),
        sealer_owner=owner,
    )
