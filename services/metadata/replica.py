"""This replica's own registration, on a lease that it keeps alive.

Owns: the key REPLICAS of this replica. Does not own: being controller (controller.py, on the same lease).
Rules: 1 one life of the process is one session, however often the lease has to be taken anew; 2 whoever
depends on the lease compares its keys in the store: a lease is never believed by the clock (promise 5);
3 a registration is guarded: one that was given up may land after the next, and would take the key to a lease
that nobody renews.
"""

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.model.cluster import Replica
from libs.model.errors import KafscaleError, NotFound
from services.metadata import keys, stored
from services.metadata.kv.port import KV, LeaseId, Put
from services.metadata.writes import contended, unchanged, write

RENEWALS_PER_LEASE = 3
_RETRY_SECONDS = 0.25

log = structlog.get_logger(__name__)


class ReplicaLease:
    """`lease_id` is None while there is none; `held_since` is in Trio's time."""

    def __init__(self, kv: KV, replica: Replica, *, lease_seconds: float, rand: Rand) -> None:
        self.replica = replica
        self.lease_id: LeaseId | None = None
        self.held_since = float("inf")
        self._kv = kv
        self._lease_seconds = lease_seconds
        self._rand = rand
        self._registered = trio.Event()
        self._resigned = False

    async def wait_registered(self) -> LeaseId:
        while self.lease_id is None:
            await self._registered.wait()
        return self.lease_id

    async def run(self) -> None:
        """Registers and renews until cancelled or resigned."""
        while not self._resigned:
            try:
                lease_id = await self._register()
                await self._renew(lease_id)
            except NotFound:
                log.warning("replica_lease_lost", replica=self.replica.replica_id)
            except KafscaleError as error:
                log.warning("replica_not_registered", reason=error.reason.value, error=error.message)
                await trio.sleep(self._rand.uniform(_RETRY_SECONDS, 4 * _RETRY_SECONDS))
            finally:
                self.lease_id = None
                self.held_since = float("inf")
                if self._registered.is_set():
                    self._registered = trio.Event()

    async def resign(self) -> None:
        """Ends the registration and what else stands on the lease at once. Raises Unavailable."""
        self._resigned = True
        lease_id, self.lease_id = self.lease_id, None
        if self._registered.is_set():
            self._registered = trio.Event()  # nobody builds on it any more
        if lease_id is not None:
            await self._kv.revoke_lease(lease_id)

    async def _register(self) -> LeaseId:
        key = keys.replica(self.replica.replica_id)
        guard = unchanged(key, await self._kv.get(key))
        lease_id = await self._kv.grant_lease(ttl_seconds=self._lease_seconds)
        put = Put(key=key, value=stored.replica_bytes(self.replica), lease_id=lease_id)
        if await write(self._kv, [guard], [put]) is None:
            raise contended(f"replica {self.replica.replica_id}")
        self.lease_id = lease_id
        self.held_since = trio.current_time()
        self._registered.set()
        log.info("replica_registered", replica=self.replica.replica_id)
        return lease_id

    async def _renew(self, lease_id: LeaseId) -> None:
        """Returns once resigned. Raises NotFound where the lease is over."""
        every = self._lease_seconds / RENEWALS_PER_LEASE
        pause, failing = every, False
        while not self._resigned:
            await trio.sleep(pause)
            try:
                with trio.fail_after(every):
                    await self._kv.keep_alive(lease_id)
            except NotFound:
                raise
            except (KafscaleError, trio.TooSlowError) as error:
                if not failing:  # once an outage, not once an attempt
                    log.warning("replica_lease_not_renewed", error=str(error))
                pause, failing = _RETRY_SECONDS, True
            else:
                pause, failing = every, False
