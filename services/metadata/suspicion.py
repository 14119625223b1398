"""Owners that died, noticed before their lease ends: their watch broke, and nobody listens at their address.

Owns: suspicion, the proof, the end of the registration. Does not own: how to ask an address (handed in), the
takeover (controller.py).
Rules: 1 it decides only when a takeover is tried, which is safe at any time (promise 5); 2 only a refusal
counts, twice in a row: it comes from the owner's own host. Silence says nothing, the lease decides; 3 what
ends is the registration that was there when the watch broke, never a newer one; 4 one who answers is asked
again for a moment: a dying process closes its connections and its listener one after the other, and on a busy
machine the question comes in between.
"""

from collections.abc import Awaitable, Callable

import structlog
import trio

from libs.model.cluster import Owner
from libs.model.errors import KafscaleError
from libs.model.ids import OwnerId
from services.metadata.cache import Cache
from services.metadata.kv.port import KV
from services.metadata.stored import Stored

SUSPECTS_MAX = 256
ASKED_AT_ONCE_MAX = 16
_AGAIN_SECONDS = (0.1, 0.2, 0.4, 0.8)
"""Pauses between the questions."""

IsRefused = Callable[[str], Awaitable[bool]]
"""Whether the host of an address says that nobody listens there."""

log = structlog.get_logger(__name__)


class Suspicion:
    """`watch_broke` suspects, `run` finds out."""

    def __init__(self, kv: KV, cache: Cache, *, is_refused: IsRefused) -> None:
        self._kv = kv
        self._cache = cache
        self._is_refused = is_refused
        self._send, self._receive = trio.open_memory_channel[Stored[Owner]](SUSPECTS_MAX)

    def watch_broke(self, watcher: str) -> None:
        """A watch of whoever has this name is over, for whatever reason. Never waits."""
        owner = self._cache.state.owners.get(OwnerId(watcher))
        if owner is None:
            return
        try:
            self._send.send_nowait(owner)
        except trio.WouldBlock:
            log.info("owner_not_suspected", owner=watcher, reason="too many at once: the lease decides")

    async def run(self) -> None:
        """Until cancelled."""
        async with trio.open_nursery() as nursery:
            for _ in range(ASKED_AT_ONCE_MAX):
                nursery.start_soon(self._work)

    async def _work(self) -> None:
        async for suspect in self._receive:
            try:
                if await self._is_gone(suspect.value):
                    await self._end(suspect)
            except KafscaleError as error:
                log.info("suspicion_dropped", owner=suspect.value.owner_id, error=error.message)

    async def _is_gone(self, owner: Owner) -> bool:
        refused = await self._is_refused(owner.address)
        for pause_seconds in _AGAIN_SECONDS:
            await trio.sleep(pause_seconds)
            before, refused = refused, await self._is_refused(owner.address)
            if before and refused:
                return True
        log.info("owner_not_gone", owner=owner.owner_id, address=owner.address)
        return False

    async def _end(self, suspect: Stored[Owner]) -> None:
        owner = suspect.value
        now = self._cache.state.owners.get(owner.owner_id)
        if now is None or suspect.lease_id is None or now.lease_id != suspect.lease_id:
            return
        log.warning("owner_gone", owner=owner.owner_id, session=str(owner.session), address=owner.address)
        await self._kv.revoke_lease(suspect.lease_id)
