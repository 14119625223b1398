"""A replica's registration outlives what was given up before it."""

from collections.abc import Sequence

import trio

from libs.concurrency.rand import SeededRand
from libs.model.cluster import Replica
from libs.model.errors import Unavailable
from libs.model.ids import ReplicaId, SessionId
from services.metadata import keys
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Delete, ModRevisionIs, Put, TxnResult
from services.metadata.replica import ReplicaLease
from tests.support.metadata import LEASE_SECONDS


class LateKV(MemoryKV):
    """Its first transaction is held up on its way, and whoever sent it is told that nothing is known."""

    def __init__(self) -> None:
        super().__init__()
        self._late: tuple[Sequence[ModRevisionIs], Sequence[Put | Delete]] | None = None

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        if self._late is None:
            self._late = (compares, ops)
            raise Unavailable("no answer", outcome_unknown=True)
        return await super().txn(compares, ops)

    async def land(self) -> None:
        assert self._late is not None
        await super().txn(*self._late)


async def test_a_registration_that_lands_late_does_not_take_the_key(autojump_clock: object) -> None:
    """On the lease of the one that was given up, the key would go when that ends, and never come back."""
    kv = LateKV()
    replica = Replica(
        replica_id=ReplicaId("m0"), session=SessionId(SeededRand(1).uuid()), address="h:1", zone=""
    )
    lease = ReplicaLease(kv, replica, lease_seconds=LEASE_SECONDS, rand=SeededRand(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lease.run)
        lease_id = await lease.wait_registered()
        await kv.land()
        await trio.sleep(3 * LEASE_SECONDS)
        registered = await kv.get(keys.replica(replica.replica_id))
        assert registered is not None
        assert registered.lease_id == lease_id
        nursery.cancel_scope.cancel()
