"""ClusterWatcher: keeps a ClusterView fresh over one Watch stream to any metadata replica.

Owns: the stream's life, failing over between replicas, waking who waits for a change.
Rules: 1 losing every replica is not an outage: the view stays as it was last heard (promise 6);
2 after a break the stream resumes after the last revision that was applied whole.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import grpclib.client
import structlog
import trio

from libs.clients.view import ClusterView
from libs.concurrency.rand import Rand
from libs.model.errors import KafscaleError
from proto.metadata_api.metadata_api_grpc import MetadataStub
from proto.metadata_api.metadata_api_pb2 import WatchRequest

Connect = Callable[[str], AbstractAsyncContextManager[grpclib.client.Channel]]
"""Address -> channel; in one process it gives the in-memory transport."""

_PAUSE_SECONDS_MIN = 0.05
_PAUSE_SECONDS_MAX = 2.0

log = structlog.get_logger(__name__)


class ClusterWatcher:
    """`view` is what was last heard; `wait_changed` and `wait_until` park until there is more."""

    def __init__(self, *, name: str, addresses: Sequence[str], connect: Connect, rand: Rand) -> None:
        if not addresses:
            raise ValueError("a watcher needs the address of at least one metadata replica")
        self.view = ClusterView()
        self._name = name
        self._addresses = tuple(addresses)
        self._connect = connect
        self._rand = rand
        self._changed = trio.Event()
        self._connected = False

    @property
    def connected(self) -> bool:
        """Whether a stream is up now."""
        return self._connected

    async def wait_changed(self, version: int) -> int:
        """Waits until the view's version is not `version` any more; returns the new one."""
        while self.view.version == version:
            await self._changed.wait()
        return self.view.version

    async def wait_until(self, condition: Callable[[ClusterView], bool]) -> None:
        """Waits until the condition holds of the view; checked at each change."""
        while not condition(self.view):
            await self.wait_changed(self.view.version)

    async def wait_ready(self) -> None:
        """Waits for the first complete snapshot."""
        await self.wait_until(lambda view: view.version > 0)

    async def run(self) -> None:
        """Watches for ever, going round the replicas with back-off; ends only by cancellation."""
        pause = _PAUSE_SECONDS_MIN
        at = int(self._rand.random() * len(self._addresses))
        while True:
            address = self._addresses[at % len(self._addresses)]
            heard_before = self.view.revision, self.view.version
            try:
                await self._watch(address)
            except KafscaleError as error:
                log.info("watch_lost", replica=address, reason=error.reason.value, error=error.message)
            finally:
                self._connected = False
                self.view.forget_partial_snapshot()
            at += 1
            heard = (self.view.revision, self.view.version) != heard_before
            pause = _PAUSE_SECONDS_MIN if heard else min(pause * 2, _PAUSE_SECONDS_MAX)
            await trio.sleep(pause * (0.5 + self._rand.random() / 2))

    async def _watch(self, address: str) -> None:
        async with self._connect(address) as channel:
            stub = MetadataStub(channel)
            async with stub.Watch.open() as stream:
                request = WatchRequest(after_revision=self.view.revision, watcher=self._name)
                await stream.send_message(request, end=True)
                async for event in stream:
                    self._connected = True
                    if self.view.apply(event):
                        self._changed.set()
                        self._changed = trio.Event()


@asynccontextmanager
async def open_watcher(
    *, name: str, addresses: Sequence[str], connect: Connect, rand: Rand
) -> AsyncIterator[ClusterWatcher]:
    """A watcher whose task runs as long as the block."""
    watcher = ClusterWatcher(name=name, addresses=addresses, connect=connect, rand=rand)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watcher.run)
        yield watcher
        nursery.cancel_scope.cancel()
