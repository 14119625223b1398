"""The store that the metadata service stands on: revisions, guarded transactions, leases, watches.

Owns: the port and its values. Does not own: what is stored, and the prefix, which each adapter adds.
Rules: 1 every write is a transaction, guarded wherever it depends on what was read; 2 revisions grow by one
with every transaction that writes and are never reused; 3 reads are linearizable; 4 a write that raises
Unavailable(outcome_unknown=True) is read back before anything else happens.
The semantics are those of etcd v3 (https://etcd.io/docs/v3.6/learning/api/), the smallest part of them.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NewType, Protocol

from libs.model.ids import Revision

LeaseId = NewType("LeaseId", int)

ABSENT = Revision(0)
"""The mod revision of a key that does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    key: str
    value: bytes
    create_revision: Revision
    mod_revision: Revision
    lease_id: LeaseId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModRevisionIs:
    """Holds where the key's last change was at `revision`; ABSENT means that there is no such key."""

    key: str
    revision: Revision


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    key: str
    value: bytes
    lease_id: LeaseId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TxnResult:
    succeeded: bool
    """False: a compare did not hold and nothing was written."""
    revision: Revision
    """Of this transaction where it wrote, else the store's current one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeResult:
    items: tuple[KeyValue, ...]
    """In key order (by UTF-8 bytes)."""
    revision: Revision
    """The store's revision that these items are of."""
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchBatch:
    """All changes of one revision, or none: then it is progress, nothing happened up to `revision`."""

    revision: Revision
    events: tuple[KeyValue | Deleted, ...]


class KV(Protocol):
    """Errors: Unavailable (store not reachable, quorum lost, out of space), Invalid (bad credentials,
    transaction over TXN_OPERATIONS_MAX, value over VALUE_BYTES_MAX)."""

    async def get(self, key: str) -> KeyValue | None: ...

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 1000, revision: Revision | None = None
    ) -> RangeResult:
        """Keys with the prefix, after `start_after`; at `revision` where given, so that pages agree.

        Raises Fenced(GUARD_FAILED) where `revision` was compacted."""
        ...

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        """All of `ops` where all of `compares` hold, else none. At most one op a key.

        A Put with a lease that is over raises NotFound."""
        ...

    def watch(
        self, prefix: str, *, after_revision: Revision
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchBatch]]:
        """Every change after `after_revision`, in order, none lost, with progress every few seconds.

        The first batch may be progress to `after_revision`: the watch is up.
        Iterating raises Fenced(GUARD_FAILED) where the revisions asked for were compacted, and Unavailable
        where the stream broke: watch again after the last batch's revision."""
        ...

    async def grant_lease(self, *, ttl_seconds: float) -> LeaseId: ...

    async def keep_alive(self, lease_id: LeaseId) -> None:
        """Raises NotFound where the lease is over."""
        ...

    async def revoke_lease(self, lease_id: LeaseId) -> None:
        """Deletes the lease's keys; a lease that is over already is fine."""
        ...

    async def compact(self, revision: Revision) -> None:
        """Forgets the history up to `revision`: it bounds the store's size, and no key changes."""
        ...
