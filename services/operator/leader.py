"""Which of the operator's replicas works: the holder of a Lease (coordination.k8s.io/v1).

Owns: taking, renewing, giving back. Does not own: what a leader does. As client-go's leaderelection.
Rules: 1 no clock of another machine is believed: a lease is over when it did not change for its duration as
measured here; 2 a leader that could not renew for two thirds of it stops before another may begin; 3 a wrong
leader does no harm: all writes are guarded or idempotent. The election spares work and double events.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
import trio

from libs.concurrency.clock import Clock
from libs.model.errors import Fenced, KafscaleError, NotFound, Unavailable
from services.operator.kinds import LEASES, Key, Object
from services.operator.kube import Kube

LEASE_NAME = "kafscale-operator"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was last read of the lease, and when it last changed, by our own clock."""

    version: str
    at: float


def may_take(lease: Object | None, seen: Seen | None, *, identity: str, now: float) -> bool:
    """Whether the lease is free, ours, or over. `now` and `seen.at` in seconds of Trio's clock."""
    spec = {} if lease is None else lease.get("spec") or {}
    if not spec.get("holderIdentity") or spec["holderIdentity"] == identity:
        return True
    return seen is not None and now - seen.at > spec.get("leaseDurationSeconds", 15)


def held(lease: Object | None, *, namespace: str, identity: str, seconds: float, now_ms: int) -> Object:
    """The lease as `identity` holds it."""
    spec: dict[str, Any] = {} if lease is None else dict(lease.get("spec") or {})
    now = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if spec.get("holderIdentity") != identity:
        spec["leaseTransitions"] = spec.get("leaseTransitions", -1) + 1
        spec["acquireTime"] = now
    spec.update(holderIdentity=identity, leaseDurationSeconds=max(1, int(seconds)), renewTime=now)
    metadata: dict[str, Any] = {"name": LEASE_NAME, "namespace": namespace}
    if lease is not None:
        metadata["resourceVersion"] = lease["metadata"]["resourceVersion"]
    return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}


class Election:
    def __init__(self, kube: Kube, *, namespace: str, identity: str, seconds: float, clock: Clock) -> None:
        self.leading = False
        self._kube = kube
        self._namespace = namespace
        self._identity = identity
        self._seconds = seconds
        self._clock = clock
        self._seen: Seen | None = None
        self._is_others = False
        self._answered = trio.Event()
        self._standing = trio.CancelScope()
        self._ended = trio.Event()

    async def wait_answered(self) -> None:
        """Waits until the API server answered once, whatever it said."""
        await self._answered.wait()

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Waits to be elected, leads until the lease is lost, again and again."""
        try:
            with self._standing:
                await self._stand(lead)
        finally:
            self._ended.set()

    async def _stand(self, lead: Callable[[], Awaitable[None]]) -> None:
        while True:
            if not await self._try():
                await trio.sleep(self._seconds / 5)
                continue
            log.info("leading", identity=self._identity)
            async with trio.open_nursery() as nursery:
                self.leading = True
                nursery.start_soon(lead)
                try:
                    await self._renew()
                finally:
                    self.leading = False
                    nursery.cancel_scope.cancel()
            log.warning("leadership_lost", identity=self._identity)

    async def _renew(self) -> None:
        """Returns when the lease is lost, or may be."""
        renewed = trio.current_time()
        while True:
            await trio.sleep(self._seconds / 5)
            with trio.move_on_at(renewed + self._seconds * 2 / 3):
                if await self._try():
                    renewed = trio.current_time()
                    continue
            if trio.current_time() >= renewed + self._seconds * 2 / 3 or self._is_others:
                return

    async def _try(self) -> bool:
        self._is_others = False
        try:
            lease = await self._read()
            now = trio.current_time()
            if not may_take(lease, self._seen, identity=self._identity, now=now):
                self._is_others = True
                return False
            wanted = held(
                lease,
                namespace=self._namespace,
                identity=self._identity,
                seconds=self._seconds,
                now_ms=self._clock.now_ms(),
            )
            await (self._kube.create(wanted) if lease is None else self._kube.replace(wanted))
        except Fenced:
            return False  # somebody else was faster; who it is shows at the next read
        except Unavailable as error:
            log.warning("lease_not_reached", reason=error.reason.value, error=error.message)
            return False
        except KafscaleError as error:
            self._answered.set()
            log.warning("lease_refused", reason=error.reason.value, error=error.message)
            return False
        else:
            return True

    async def _read(self) -> Object | None:
        try:
            lease = await self._kube.get(Key(LEASES.kind, self._namespace, LEASE_NAME))
        except NotFound:
            self._answered.set()
            return None
        self._answered.set()
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen.version != version:
            self._seen = Seen(version=version, at=trio.current_time())
        return lease

    async def resign(self) -> None:
        """Stops leading, then gives the lease back, so that the next one needn't wait for its end."""
        self._standing.cancel()
        await self._ended.wait()
        await self._give_back()

    async def _give_back(self) -> None:
        try:
            lease = await self._kube.get(Key(LEASES.kind, self._namespace, LEASE_NAME))
            if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                await self._kube.replace({**lease, "spec": {**lease["spec"], "holderIdentity": ""}})
        except KafscaleError as error:
            log.info("lease_not_given_back", error=error.message)
