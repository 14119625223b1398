"""The semantics of the store, without time and without I/O: keys, revisions, leases, bounded history.

Owns: what a transaction, a lease's end and a compaction do to the keys. Does not own: when leases end and how
changes become durable (the adapters say so), who watches.
Rules: 1 history holds every revision above `compacted`, each with the values it replaced, so that an older
revision can be read; 2 it is bounded in revisions and in bytes, the oldest go first; 3 a change is planned
first and applied after, so that an adapter can make it durable in between.
"""

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from libs.model.errors import Fenced, Invalid, NotFound, Reason
from libs.model.ids import Revision
from libs.model.limits import TXN_OPERATIONS_MAX, VALUE_BYTES_MAX
from services.metadata.kv.port import (
    ABSENT,
    Delete,
    Deleted,
    KeyValue,
    LeaseId,
    ModRevisionIs,
    Put,
    RangeResult,
    WatchBatch,
)

HISTORY_REVISIONS_MAX = 10_000
HISTORY_BYTES_MAX = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class _Past:
    batch: WatchBatch
    replaced: tuple[KeyValue | None, ...]
    """What each of the batch's events replaced, in the same order."""
    size_bytes: int


def check_txn(compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> None:
    """Raises Invalid for what no adapter takes: too many operations, a value too large, a key twice."""
    if len(compares) > TXN_OPERATIONS_MAX or len(ops) > TXN_OPERATIONS_MAX:
        raise Invalid(
            f"a transaction of {len(compares)} compares and {len(ops)} operations is over the limit of "
            f"{TXN_OPERATIONS_MAX}: split it"
        )
    if len({op.key for op in ops}) != len(ops):
        raise Invalid("a transaction writes a key twice: keep one operation a key")
    for op in ops:
        if isinstance(op, Put) and len(op.value) > VALUE_BYTES_MAX:
            raise Invalid(
                f"the value of {op.key} has {len(op.value)} bytes, over the limit of {VALUE_BYTES_MAX}"
            )


class KeyState:
    """The keys as they are, and a bounded past."""

    def __init__(
        self,
        *,
        revision: Revision = Revision(1),  # noqa: B008 - a NewType of a constant
        items: Iterable[KeyValue] = (),
        history_revisions_max: int = HISTORY_REVISIONS_MAX,
        history_bytes_max: int = HISTORY_BYTES_MAX,
    ) -> None:
        self.revision = revision
        self.compacted = revision
        self._items = {item.key: item for item in items}
        self._keys = sorted(self._items)
        self._past: deque[_Past] = deque()
        self._past_bytes = 0
        self._history_revisions_max = history_revisions_max
        self._history_bytes_max = history_bytes_max
        self._leased: dict[LeaseId, set[str]] = {}

    # Leases

    def grant(self, lease_id: LeaseId) -> None:
        self._leased[lease_id] = set()

    def has_lease(self, lease_id: LeaseId) -> bool:
        return lease_id in self._leased

    def lease_ids(self) -> tuple[LeaseId, ...]:
        return tuple(self._leased)

    def keys_of(self, lease_id: LeaseId) -> tuple[str, ...]:
        return tuple(sorted(self._leased.get(lease_id, ())))

    def drop_lease(self, lease_id: LeaseId) -> None:
        """Forgets the lease; its keys were deleted before."""
        del self._leased[lease_id]

    # Reading

    def get(self, key: str) -> KeyValue | None:
        return self._items.get(key)

    def range(self, prefix: str, *, start_after: str, limit: int, revision: Revision | None) -> RangeResult:
        """See KV.range."""
        at = self.revision if revision is None else revision
        if at < self.compacted:
            raise Fenced(
                f"revision {at} was compacted (up to {self.compacted}): read anew", reason=Reason.GUARD_FAILED
            )
        if at > self.revision:
            raise Invalid(f"revision {at} is in the future: the store is at {self.revision}")
        begin = bisect_left(self._keys, prefix)
        if start_after >= prefix:
            begin = bisect_right(self._keys, start_after)
        overlay = self._replaced_since(at, prefix=prefix, start_after=start_after)
        found: list[KeyValue] = []
        for index in range(begin, len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                break
            if key not in overlay:
                found.append(self._items[key])
                if len(found) > limit and not overlay:
                    break
        if overlay:
            found.extend(item for item in overlay.values() if item is not None)
            found.sort(key=lambda item: item.key)
        return RangeResult(items=tuple(found[:limit]), revision=self.revision, more=len(found) > limit)

    def _replaced_since(
        self, revision: Revision, *, prefix: str, start_after: str
    ) -> dict[str, KeyValue | None]:
        overlay: dict[str, KeyValue | None] = {}
        for past in self._past_after(revision):
            for event, replaced in zip(past.batch.events, past.replaced, strict=True):
                if event.key.startswith(prefix) and event.key > start_after:
                    overlay.setdefault(event.key, replaced)
        return overlay

    def _past_after(self, revision: Revision) -> Iterable[_Past]:
        # One entry a revision, so that the place of a revision is known.
        skip = max(0, revision - self.compacted)
        return (self._past[index] for index in range(skip, len(self._past)))

    def changes_after(self, revision: Revision, *, limit: int = 100) -> Sequence[WatchBatch]:
        """The oldest changes above `revision`. Raises Fenced(GUARD_FAILED) where they were compacted."""
        if revision < self.compacted:
            raise Fenced(
                f"the changes after revision {revision} were compacted (up to {self.compacted}): read anew",
                reason=Reason.GUARD_FAILED,
            )
        begin = revision - self.compacted
        return [self._past[index].batch for index in range(begin, min(begin + limit, len(self._past)))]

    # Writing

    def holds(self, compares: Sequence[ModRevisionIs]) -> bool:
        return all(
            (item.mod_revision if (item := self._items.get(compare.key)) else ABSENT) == compare.revision
            for compare in compares
        )

    def plan(self, ops: Sequence[Put | Delete]) -> tuple[KeyValue | Deleted, ...]:
        """The events that `ops` will be, maybe none. Raises NotFound for a lease that is over."""
        revision = Revision(self.revision + 1)
        events: list[KeyValue | Deleted] = []
        for op in ops:
            before = self._items.get(op.key)
            if isinstance(op, Put):
                if op.lease_id is not None and op.lease_id not in self._leased:
                    raise NotFound(f"the lease of {op.key} is over: register again")
                events.append(
                    KeyValue(
                        key=op.key,
                        value=op.value,
                        create_revision=before.create_revision if before else revision,
                        mod_revision=revision,
                        lease_id=op.lease_id,
                    )
                )
            elif before is not None:
                events.append(Deleted(key=op.key))
        return tuple(events)

    def apply(self, events: tuple[KeyValue | Deleted, ...]) -> Revision:
        """Makes planned events the next revision, which is returned."""
        assert events
        self.revision = Revision(self.revision + 1)
        replaced = tuple(self._apply_one(event) for event in events)
        size_bytes = sum(len(e.value) for e in (*events, *replaced) if isinstance(e, KeyValue))
        batch = WatchBatch(revision=self.revision, events=events)
        self._past.append(_Past(batch=batch, replaced=replaced, size_bytes=size_bytes))
        self._past_bytes += size_bytes
        while len(self._past) > self._history_revisions_max or self._past_bytes > self._history_bytes_max:
            self._forget_oldest()
        return self.revision

    def _apply_one(self, event: KeyValue | Deleted) -> KeyValue | None:
        before = self._items.get(event.key)
        if before is not None and before.lease_id is not None and before.lease_id in self._leased:
            self._leased[before.lease_id].discard(event.key)
        if isinstance(event, KeyValue):
            if before is None:
                insort(self._keys, event.key)
            self._items[event.key] = event
            if event.lease_id is not None:
                self._leased[event.lease_id].add(event.key)
        else:
            del self._items[event.key]
            del self._keys[bisect_left(self._keys, event.key)]
        return before

    def compact(self, revision: Revision) -> None:
        """Forgets the changes up to `revision`; Invalid where it is in the future."""
        if revision > self.revision:
            raise Invalid(f"revision {revision} is in the future: the store is at {self.revision}")
        while self.compacted < revision:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        past = self._past.popleft()
        self._past_bytes -= past.size_bytes
        self.compacted = past.batch.revision


def matching(batch: WatchBatch, prefix: str) -> WatchBatch | None:
    """The part of a batch that a watch of `prefix` sees, or None."""
    events = tuple(event for event in batch.events if event.key.startswith(prefix))
    if not events:
        return None
    return batch if len(events) == len(batch.events) else replace(batch, events=events)
