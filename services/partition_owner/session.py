"""The life of an owner, one session after the other: register, keep the lease, serve, start anew when it is
over.

Owns: sessions, registration and lease. Does not own: what happens within a session (flusher, assignments).
Rules (design section 3): 1 a session is over when its chain says so, or when metadata says that it was
sealed: every partition is dropped, every waiting producer answered, and a new session begins (rule 5); 2 a
lost lease alone ends nothing: the same session registers again (promise 5); 3 while the oldest PUT is
stalled and there are other owners, the lease is not renewed, so that the partitions can move.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
import trio

from libs.clients.metadata import MetadataClient, Registration
from libs.clients.watcher import ClusterWatcher
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.cluster import Owner
from libs.model.errors import Fenced, Invalid, KafscaleError, NotFound, Reason
from libs.model.ids import ChainSeq, SessionId, StoreId
from services.partition_owner.assignments import Assignments
from services.partition_owner.flusher import Flusher
from services.partition_owner.partition import PartitionPhase
from services.partition_owner.registry import Registry

_BACKOFF = Backoff(first_seconds=0.1, max_seconds=2.0)
_STALL_CHECK_SECONDS = 1.0
_RENEW_AGAIN_SHARE = 0.2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    in_flight_max: int
    """W, told to metadata."""
    stalled_seconds: float
    """A PUT in flight for so long lets the lease go."""


class SessionKeeper:
    """`run` goes through sessions until `close` was called and the last one has ended."""

    def __init__(  # noqa: PLR0913 - all that a session's life needs, by name
        self,
        *,
        owner: Callable[[SessionId], Owner],
        store_id: StoreId,
        metadata: MetadataClient,
        watcher: ClusterWatcher,
        registry: Registry,
        new_flusher: Callable[[SessionId], Flusher],
        new_assignments: Callable[[Flusher], Assignments],
        background: Sequence[Callable[[Flusher], Awaitable[None]]] = (),
        limits: SessionLimits,
        rand: Rand,
    ) -> None:
        """`background`: what runs beside the flusher as long as a session lives."""
        self._owner = owner
        self._store_id = store_id
        self._metadata = metadata
        self._watcher = watcher
        self._registry = registry
        self._new_flusher = new_flusher
        self._new_assignments = new_assignments
        self._background = background
        self._limits = limits
        self._rand = rand
        self._closing = False
        self._lease_id: int | None = None
        self._registered = trio.Event()
        self.session: SessionId | None = None
        self.assignments: Assignments | None = None
        self.sessions_begun = 0

    async def wait_registered(self) -> None:
        """Returns once the first registration succeeded."""
        await self._registered.wait()

    async def run(self) -> None:
        while not self._closing:
            await self._live(SessionId(self._rand.uuid()))

    async def _live(self, session: SessionId) -> None:
        flusher = self._new_flusher(session)
        assignments = self._new_assignments(flusher)
        self.session, self.assignments = session, assignments
        self._registry.flusher = flusher
        self.sessions_begun += 1
        log.info("session_began", session=str(session))
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flusher.run)
                nursery.start_soon(self._stay_registered, flusher)
                nursery.start_soon(assignments.run)
                for each in self._background:
                    nursery.start_soon(each, flusher)
                await flusher.over.wait()
                self._registry.drop_all()
                nursery.cancel_scope.cancel()
        finally:
            self._registry.drop_all()
            flusher.end(Fenced("this owner stopped", reason=Reason.SESSION_OVER))
        log.info("session_ended", session=str(session), error=str(flusher.over_because))

    async def close(self) -> ChainSeq | None:
        """Makes everything durable, seals the own chain, and ends the session and its registration.

        Returns where the chain ends; None where the session was over before. No partition takes
        appends any more.
        """
        self._closing = True
        flusher, session = self._registry.flusher, self.session
        if flusher is None or session is None:
            return None
        for partition in self._registry:
            if partition.phase is PartitionPhase.OPEN:
                partition.phase = PartitionPhase.RELEASING
        sealed_at: ChainSeq | None = None
        try:
            sealed_at = await flusher.seal()
            if sealed_at is not None:
                await self._metadata.mark_session_sealed(session, sealed_at=sealed_at)
            if self._lease_id is not None:
                await self._metadata.deregister(self._lease_id)
        except KafscaleError as error:
            log.warning("session_not_closed", session=str(session), error=error.message)
        log.info("session_sealed", session=str(session), sealed_at=sealed_at)
        flusher.end(Fenced("this owner stopped", reason=Reason.SESSION_OVER))
        return sealed_at

    async def _stay_registered(self, flusher: Flusher) -> None:
        """Registers and renews until the session is over."""
        failures, known = 0, False
        while True:
            await self._wait_not_stalled(flusher)
            try:
                registration = await self._metadata.register_owner(
                    self._owner(flusher.session),
                    in_flight_max=self._limits.in_flight_max,
                    # A metadata store that knew this session and has no record of it was wiped or set back:
                    # it may not say what of the chain is needed.
                    known=known or flusher.next_seq > 0,
                    store_id=self._store_id,
                )
            except KafscaleError as error:
                if error.reason is Reason.WRONG_STORE:
                    raise  # it will never be this cluster's
                if isinstance(error, Fenced) and error.reason is Reason.SESSION_OVER:
                    flusher.end(error)
                    return
                failures += 1
                log.warning("owner_not_registered", failures=failures, error=error.message)
                await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))
                continue
            failures, known = 0, True
            self._lease_id = registration.lease_id
            log.info(
                "owner_registered", session=str(flusher.session), lease_seconds=registration.lease_seconds
            )
            self._registered.set()
            await self._renew(flusher, registration)

    async def _renew(self, flusher: Flusher, registration: Registration) -> None:
        """Returns when the lease is over."""
        third_seconds = registration.lease_seconds / 3
        pause_seconds = third_seconds
        while True:
            await trio.sleep(pause_seconds)
            pause_seconds = third_seconds
            if self._is_stalled(flusher):
                log.warning(
                    "lease_not_renewed", session=str(flusher.session), reason="the oldest PUT is stalled"
                )
                continue
            try:
                await self._metadata.keep_alive(registration.lease_id, timeout_seconds=third_seconds)
            except (NotFound, Invalid) as error:
                log.warning("lease_over", session=str(flusher.session), error=error.message)
                return
            except KafscaleError as error:
                # It may have taken its third: another whole one would be the lease's end.
                pause_seconds = third_seconds * _RENEW_AGAIN_SHARE
                log.info("lease_not_renewed", session=str(flusher.session), reason=error.message)

    async def _wait_not_stalled(self, flusher: Flusher) -> None:
        while self._is_stalled(flusher):  # noqa: ASYNC110 - time itself is what is waited for
            await trio.sleep(_STALL_CHECK_SECONDS)

    def _is_stalled(self, flusher: Flusher) -> bool:
        """Whether others might do better: our PUTs don't get through, and there are others."""
        oldest_put_at = flusher.oldest_put_at
        if oldest_put_at is None or trio.current_time() - oldest_put_at < self._limits.stalled_seconds:
            return False
        own = self._owner(flusher.session).owner_id
        return any(owner_id != own for owner_id in self._watcher.view.owners)
