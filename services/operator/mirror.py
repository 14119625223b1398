"""A mirror of one kind's objects, kept by list and watch.

Owns: the objects last heard of, the stream's life. Does not own: what a change means.
Rules: 1 a stream that ends is resumed after the last version; 410 and 404 list again; 2 what is not allowed
is tried again, and said in `missing`; only a list says that a kind is not installed; 3 an outage of the API
server leaves the mirror as it was.
"""

from collections.abc import Callable, Iterator

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.errors import KafscaleError, NotFound
from services.operator.kinds import Key, Kind, Object, key_of, labels_of
from services.operator.kube import Expired, Forbidden, Kube

_BACKOFF = Backoff(first_seconds=0.5, max_seconds=30.0)
_QUIET_STREAM_SECONDS = 600.0
"""A stream of the server's own length; ours ends it when a half-open connection would not."""

log = structlog.get_logger(__name__)


class Mirror:
    """`on_change` hears the object that came, changed or went."""

    def __init__(
        self,
        kube: Kube,
        kind: Kind,
        *,
        namespace: str | None,
        selector: str,
        rand: Rand,
        on_change: Callable[[Object], None],
    ) -> None:
        self.kind = kind
        self.namespace = namespace
        self.missing: str | None = None
        """The permission that was refused last; None while all is well."""
        self.relists = 0
        self._kube = kube
        self._selector = selector
        self._rand = rand
        self._on_change = on_change
        self._failures = 0
        """In a row: none of them was followed by an event, or by a stream that ended in order."""
        self._items: dict[Key, Object] = {}
        self._listed = trio.Event()

    def get(self, key: Key) -> Object | None:
        return self._items.get(key)

    def items(self, namespace: str | None = None, labels: dict[str, str] | None = None) -> Iterator[Object]:
        """Those in a namespace that carry all of these labels."""
        for key, item in self._items.items():
            if namespace in (None, key.namespace) and (labels or {}).items() <= labels_of(item).items():
                yield item

    async def wait_listed(self) -> None:
        """Waits for the first answer, which may be that nothing may be listed."""
        await self._listed.wait()

    async def run(self) -> None:
        """Mirrors for ever; ends by cancellation."""
        version = ""
        while True:
            try:
                version = version or await self._list()
                version = await self._follow(version)
                self._failures = 0
            except KafscaleError as error:
                self._failures += 1
                self._note(error, listing=not version)
                if isinstance(error, Expired | Forbidden | NotFound):
                    version = ""
            # A server that ends every stream at once is not asked in a loop.
            await trio.sleep(_BACKOFF.delay_seconds(max(1, self._failures), self._rand))

    async def _list(self) -> str:
        listed = await self._kube.list(self.kind, self.namespace, selector=self._selector)
        self.relists += 1
        self.missing = None
        now = {key_of(item): item for item in listed.items}
        gone = [item for key, item in self._items.items() if key not in now]
        changed = [item for key, item in now.items() if self._items.get(key) != item]
        self._items = now
        self._listed.set()
        for item in (*gone, *changed):
            self._on_change(item)
        return listed.resource_version

    async def _follow(self, version: str) -> str:
        """Until the stream ends; returns the version to go on after."""
        stream = self._kube.watch(
            self.kind, self.namespace, resource_version=version, selector=self._selector
        )
        with trio.move_on_after(_QUIET_STREAM_SECONDS):
            async with stream as events:
                async for event in events:
                    self._failures = 0
                    version = event.item["metadata"]["resourceVersion"]
                    if event.type == "BOOKMARK":
                        continue
                    if event.type == "DELETED":
                        self._items.pop(key_of(event.item), None)
                    else:
                        self._items[key_of(event.item)] = event.item
                    self._on_change(event.item)
        return version

    def _note(self, error: KafscaleError, *, listing: bool) -> None:
        if isinstance(error, Forbidden):
            self.missing = error.permission
        if isinstance(error, Forbidden) or (listing and isinstance(error, NotFound)):
            self._items = {}
            self._listed.set()
        log.info("mirror_lost", kind=self.kind.kind, reason=error.reason.value, error=error.message)
