"""The metadata service's transactions on one partition, as production makes them; each is worked out once.

Owns: calls of services/metadata on a store that keeps what is sent instead of writing it. Does not own: when
a transaction lands (partition.py).
Rules: 1 all that a transaction's values depend on goes through `get` and `range` or is the cache's, so that
what it reads and does not compare is known; 2 nothing here waits: a call ends with what it sends.
"""

from collections.abc import Coroutine, Sequence
from functools import cache
from typing import cast
from uuid import UUID

import trio
from structlog.testing import capture_logs

from libs.concurrency.rand import SeededRand
from libs.model.cluster import Assignment, PartitionState, Replica
from libs.model.errors import KafscaleError
from libs.model.ids import ChainSeq, LeaderEpoch, Offset, ReplicaId, Revision, SessionId
from services.metadata import keys, stored
from services.metadata.cache import Cache
from services.metadata.cluster_state import ClusterState
from services.metadata.controller import Controller
from services.metadata.grace import Grace
from services.metadata.kv.port import (
    ABSENT,
    KV,
    Delete,
    KeyValue,
    LeaseId,
    ModRevisionIs,
    Put,
    RangeResult,
    TxnResult,
)
from services.metadata.partitions import Partitions
from services.metadata.replica import ReplicaLease
from services.metadata.stored import ControllerRecord
from tests.model.partition import values
from tests.model.partition.rules import ASSIGNMENT, BOTH, STATE
from tests.model.partition.values import TOPIC, TP
from tests.model.partition.world import OWNERS, Assigned, Release, State, Txn

ANSWER_SECONDS_MAX = 5.0
_LEASE = LeaseId(1)
_REPLICA = Replica(replica_id=ReplicaId("m"), address="m:1", zone="", session=SessionId(UUID(int=200)))
_AS_READ = Revision(7)
_BEFORE = Revision(6)
_KINDS = {keys.assignment(TP): ASSIGNMENT, keys.partition(TP): STATE}


class _Sent(Exception):
    def __init__(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> None:
        super().__init__()
        self.compares = compares
        self.ops = ops


class _Store:
    """Its keys, all of one revision; `reads` are those of the partition that were asked for."""

    def __init__(self, items: dict[str, bytes]) -> None:
        self._items = items
        self.reads: set[str] = set()

    def _item(self, key: str) -> KeyValue | None:
        self.reads.add(key)
        value = self._items.get(key)
        if value is None:
            return None
        lease_id = _LEASE if key.startswith(keys.OWNERS) else None
        return KeyValue(
            key=key, value=value, create_revision=_AS_READ, mod_revision=_AS_READ, lease_id=lease_id
        )

    async def get(self, key: str) -> KeyValue | None:
        return self._item(key)

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 1000, revision: Revision | None = None
    ) -> RangeResult:
        found = [self._item(key) for key in (keys.partition(TP),) if key.startswith(prefix)]
        items = tuple(each for each in found if each is not None)
        return RangeResult(items=items, revision=_AS_READ, more=False)

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        raise _Sent(compares, ops)


class _Known:
    """A cache that knows the newest."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state

    async def wait_loaded(self) -> None:
        pass

    async def wait_changed(self) -> None:
        await trio.sleep_forever()


def _items(assigned: Assigned, state: State | None, owners: Sequence[tuple[int, bool]]) -> dict[str, bytes]:
    items = {
        keys.topic(TOPIC.name): stored.topic_bytes(TOPIC),
        keys.assignment(TP): stored.assignment_bytes(values.assignment(assigned)),
        keys.CONTROLLER: stored.controller_bytes(
            ControllerRecord(replica_id=_REPLICA.replica_id, session=_REPLICA.session)
        ),
    }
    if state is not None:
        items[keys.partition(TP)] = stored.partition_state_bytes(values.partition_state(state))
    for index, draining in owners:
        registered = values.owner(index, draining=draining)
        items[keys.owner(registered.owner_id)] = stored.owner_bytes(registered)
    return items


def _cache(items: dict[str, bytes]) -> Cache:
    state = ClusterState()
    state.revision = _AS_READ
    for key, value in items.items():
        state.apply(
            KeyValue(key=key, value=value, create_revision=_AS_READ, mod_revision=_AS_READ, lease_id=_LEASE)
        )
    return cast(Cache, _Known(state))


def _txn(sent: _Sent, store: _Store, items: dict[str, bytes]) -> Txn:
    """What was sent, in the model's words."""
    compares: set[str] = set()
    for compare in sent.compares:
        assert compare.revision == (_AS_READ if compare.key in items else ABSENT), "compares what was read"
        compares.add(_KINDS.get(compare.key, compare.key))
    assigned: Assigned | None = None
    state: State | None = None
    for op in sent.ops:
        assert isinstance(op, Put)
        item = KeyValue(key=op.key, value=op.value, create_revision=_AS_READ, mod_revision=_AS_READ)
        if op.key == keys.assignment(TP):
            assigned = values.assigned(_assignment(item))
        else:
            assert op.key == keys.partition(TP)
            state = values.state(_state(item))
    reads = {_KINDS.get(key, key) for key in store.reads}
    kept = frozenset({ASSIGNMENT, STATE})
    return Txn(
        compares=frozenset(compares) & kept, assigned=assigned, state=state, reads=frozenset(reads) & kept
    )


def _assignment(item: KeyValue) -> Assignment:
    return stored.assignment(item).value


def _state(item: KeyValue) -> PartitionState:
    return stored.partition_state(item).value


# Owners'


@cache
def open_partition(assigned: Assigned, state: State | None, new: State) -> Txn:
    """What comes of an owner's wish to write `new`, having read just this.

    The service may take it up late: it compares only what it also refuses then, where that has changed.
    """
    txn = _opening(assigned, state, new)
    assert txn is not None, "the service refuses what an owner wants that read just this"
    refused = {kind for kind in (ASSIGNMENT, STATE) if _opening(assigned, state, new, older=kind) is None}
    return txn._replace(compares=txn.compares & refused, reads=BOTH)


def _opening(assigned: Assigned, state: State | None, new: State, *, older: str = "") -> Txn | None:
    items = _items(assigned, state, ())
    store = _Store(items)
    newest = ABSENT if state is None else _AS_READ
    call = Partitions(cast(KV, store), _cache({})).open(
        TP,
        values.partition_state(new),
        assignment_revision=_BEFORE if older == ASSIGNMENT else _AS_READ,
        state_revision=_BEFORE if older == STATE else newest,
    )
    return _driven(call, store, items)


@cache
def release_partition(
    assigned: Assigned, state: State | None, registered: tuple[int, ...], session: int, asked: Release
) -> Txn | None:
    """What the service sends for a release that it takes up now; None: it refuses."""
    items = _items(assigned, state, [(index, False) for index in registered])
    store = _Store(items)
    call = Partitions(cast(KV, store), _cache(items)).release(
        TP,
        session=values.session_id(session),
        leader_epoch=LeaderEpoch(asked.epoch),
        opened=asked.opened,
        to_seq=ChainSeq(asked.to_seq),
        released_offset=Offset(asked.offset),
    )
    return _driven(call, store, items)


def _driven(call: Coroutine[object, None, object], store: _Store, items: dict[str, bytes]) -> Txn | None:
    """Nothing that it calls waits."""
    try:
        call.send(None)
    except _Sent as sent:
        return _txn(sent, store, items)
    except KafscaleError:
        return None
    finally:
        call.close()
    raise AssertionError("the service neither sent anything nor refused")


# The controller's


@cache
def adopt(assigned: Assigned, state: State | None, by: int) -> Txn:
    """The owner is gone, and only the one with session `by` is there."""
    return _controlled(assigned, state, ((by, False),))


@cache
def hand_over(assigned: Assigned, to: int) -> Txn:
    """The owner drains."""
    return _controlled(assigned, None, ((assigned.session, True), (to, False)))


def _controlled(assigned: Assigned, state: State | None, owners: Sequence[tuple[int, bool]]) -> Txn:
    items = _items(assigned, state, owners)
    store = _Store(items)
    store.reads.add(keys.assignment(TP))
    lease = ReplicaLease(cast(KV, store), _REPLICA, lease_seconds=1.0, rand=SeededRand(0))
    lease.lease_id = _LEASE
    lease.held_since = float("-inf")
    controller = Controller(
        cast(KV, store),
        _cache(items),
        lease,
        rand=SeededRand(0),
        grace=Grace(lease_seconds=1.0, exclusive_store=True),
        moves_max=1,
    )

    async def run() -> None:
        with trio.fail_after(ANSWER_SECONDS_MAX):
            await controller.run()

    try:
        with capture_logs():
            trio.run(run)
    except _Sent as sent:
        return _txn(sent, store, items)
    raise AssertionError(f"the controller does nothing for {OWNERS[assigned.session]}")
