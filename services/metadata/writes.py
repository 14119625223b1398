"""Guarded writes whose unknown outcomes are read back (design rule 14).

Owns: what an unknown outcome turns into. Does not own: what is written.
Rules: 1 a transaction is atomic, so one of its own values found in the store proves all of it; 2 where it is
not found it may still land: the caller is told that nothing is known, and its guards protect it.
"""

from collections.abc import Sequence

from libs.model.errors import Fenced, Reason, Unavailable
from libs.model.ids import Revision
from services.metadata.kv.port import ABSENT, KV, Delete, KeyValue, ModRevisionIs, Put

ATTEMPTS_MAX = 8
"""How often a read-decide-write is tried again when its guard fails; then too many write the same key."""


async def write(kv: KV, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> Revision | None:
    """The transaction's revision, None where a guard failed and nothing was written.

    Raises Unavailable(outcome_unknown=True) only where reading back could not tell.
    """
    try:
        result = await kv.txn(compares, ops)
    except Unavailable as error:
        revision = await _read_back(error, kv, compares, ops)
        if revision is None:
            raise
        return revision
    return result.revision if result.succeeded else None


async def read_after(unknown: Unavailable, kv: KV, key: str) -> KeyValue | None:
    """What the key has after a write with an unknown outcome, which it stays where reading fails too."""
    if not unknown.outcome_unknown:
        raise unknown
    try:
        return await kv.get(key)
    except Unavailable:
        raise unknown from None


async def _read_back(
    unknown: Unavailable, kv: KV, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]
) -> Revision | None:
    guards = {compare.key: compare.revision for compare in compares}
    for op in ops:
        if isinstance(op, Put):
            item = await read_after(unknown, kv, op.key)
            same = item is not None and (item.value, item.lease_id) == (op.value, op.lease_id)
            if item is not None and same and item.mod_revision != guards.get(op.key):
                return item.mod_revision
            return None
    return None


def unchanged(key: str, item: KeyValue | None) -> ModRevisionIs:
    """The guard of who read `item` and writes on that."""
    return ModRevisionIs(key=key, revision=ABSENT if item is None else item.mod_revision)


def contended(what: str) -> Fenced:
    """For callers whose every attempt met a failing guard."""
    return Fenced(f"{what} is changed by others all the time: try again", reason=Reason.GUARD_FAILED)
