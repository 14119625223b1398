"""Keeps this gateway registered while it lives, so that other gateways name it to clients.

Owns: the lease. Does not own: what clients are told (brokers.py).
Rules: 1 a lease that can't be renewed changes nothing for clients that are connected (promise 6); 2 a lease
that is over is taken anew; 3 a stopping gateway gives its lease back, so that nobody is sent to it any more.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog
import trio

from libs.clients.metadata import MetadataClient
from libs.concurrency.rand import Rand
from libs.model.cluster import Gateway
from libs.model.errors import KafscaleError, NotFound

_PAUSE_SECONDS_MIN: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 2.0
_RENEWALS_PER_LEASE: Final = 3

log = structlog.get_logger(__name__)


class GatewayRegistration:
    def __init__(
        self,
        *,
        metadata: MetadataClient,
        gateway: Gateway,
        registered: Callable[[Gateway], None],
        rand: Rand,
    ) -> None:
        """`registered` is called with the gateway and the broker id that it was given."""
        self._metadata = metadata
        self._gateway = gateway
        self._registered = registered
        self._rand = rand
        self._lease_id: int | None = None
        self._ready = trio.Event()
        self._over = False

    async def wait_registered(self) -> None:
        """Returns once the first registration is there."""
        await self._ready.wait()

    async def run(self) -> None:
        """Registers and renews, until `deregister` or cancellation."""
        pause = _PAUSE_SECONDS_MIN
        while not self._over:
            try:
                await self._hold_one_lease()
                pause = _PAUSE_SECONDS_MIN
            except KafscaleError as error:
                log.warning("registration_failed", error=error.message, reason=error.reason.value)
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
            await trio.sleep(self._rand.uniform(pause / 2, pause))

    async def deregister(self, *, seconds_max: float) -> None:
        """Gives the lease back, if it can be done soon."""
        self._over = True
        if self._lease_id is None:
            return
        with trio.move_on_after(seconds_max):
            try:
                await self._metadata.deregister(self._lease_id)
            except KafscaleError as error:
                log.info("deregistration_failed", error=error.message)

    async def _hold_one_lease(self) -> None:
        """Until the lease is over. Raises what keeps it from being taken."""
        registration = await self._metadata.register_gateway(self._gateway)
        self._lease_id = registration.lease_id
        self._gateway = replace(self._gateway, broker_id=registration.broker_id)
        self._registered(self._gateway)
        self._ready.set()
        log.info("gateway_registered", broker_id=registration.broker_id)
        lease_seconds = registration.lease_seconds
        while not self._over:
            interval = lease_seconds / _RENEWALS_PER_LEASE
            await trio.sleep(interval)
            try:
                lease_seconds = await self._metadata.keep_alive(
                    registration.lease_id, timeout_seconds=interval
                )
            except NotFound:
                log.info("gateway_lease_over")
                return
            except KafscaleError as error:
                log.info("gateway_lease_not_renewed", error=error.message)
