"""Writes compacted objects: each key once, and whoever finds it taken reads whose it is.

Owns: retries of a PUT that nobody waits for, what a taken key means. Does not own: names, what is in the
objects, deleting what was written in vain (the collector does: design section 3, rule 16).
Rules: 1 all writes are conditional (rule 1); 2 a key that is taken is ours if it has our bytes: an earlier
attempt landed; 3 trouble slows: an upload is tried until it succeeds or is cancelled.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.errors import Corrupt, NotFound, Unavailable
from libs.model.ids import LeaderEpoch
from libs.objectstore.body import body_size
from libs.objectstore.port import Body, ObjectStore, PutResult
from libs.segments.keys import ManifestName, PartitionFolder, manifest_key
from libs.segments.manifest import Manifest

_BACKOFF = Backoff(first_seconds=0.1, max_seconds=10.0)
_NAMES_TRIED_MAX = 1000

log = structlog.get_logger(__name__)


class Uploads:
    """PUTs of compaction; `puts` and `put_bytes` count what was written."""

    def __init__(self, *, store: ObjectStore, rand: Rand) -> None:
        self._store = store
        self._rand = rand
        self.puts = 0
        self.put_bytes = 0

    async def put(self, key: str, body: Body, *, tail: bytes) -> None:
        """Writes an object under a name that nobody else uses. `tail`: the last bytes of `body`.

        Raises Corrupt where another object is there all the same, and Invalid.
        """
        if await self._created(key, body):
            return
        found, size_bytes = await self._read_suffix(key, len(tail))
        if (found, size_bytes) != (tail, body_size(body)):
            raise Corrupt(f"{key} is taken by an object that this owner did not write")

    async def put_manifest(
        self, folder: PartitionFolder, manifest: Manifest, encode: Callable[[Manifest], Awaitable[bytes]]
    ) -> tuple[str, Manifest]:
        """Writes the manifest under its (epoch, n), or the next n that is free: an earlier one of this epoch
        may have been written and never committed. Returns its key, and the manifest with that n.

        `encode`: what may take a second where a partition has many producers.
        """
        for n in range(manifest.n, manifest.n + _NAMES_TRIED_MAX):
            named = _with_n(manifest, n)
            body = await encode(named)
            key = manifest_key(folder, ManifestName(LeaderEpoch(named.leader_epoch), n))
            if await self._created(key, body) or await self._read(key) == body:
                return key, named
        raise Corrupt(f"{_NAMES_TRIED_MAX} manifests of epoch {manifest.leader_epoch} are there, uncommitted")

    async def _created(self, key: str, body: Body) -> bool:
        """False where the key is taken, maybe by an earlier attempt of this very call."""
        failures = 0
        while True:
            try:
                result = await self._store.put_if_absent(key, body)
            except Unavailable as error:
                failures += 1
                log.info("compaction_put_retried", key=key, failures=failures, error=error.message)
                await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))
            else:
                self.puts += 1
                self.put_bytes += body_size(body)
                return result is PutResult.CREATED

    async def _read(self, key: str) -> bytes:
        return (await self._read_suffix(key, None))[0]

    async def _read_suffix(self, key: str, length: int | None) -> tuple[bytes, int]:
        """The last bytes (None: all) of an object that is there, and its size."""
        failures = 0
        while True:
            try:
                if length is not None:
                    return await self._store.get_suffix(key, length)
                body = await self._store.get(key)
                return body, len(body)
            except NotFound as error:
                raise Corrupt(f"{key} was taken and is gone: somebody deletes what is in use") from error
            except Unavailable as error:
                failures += 1
                log.info("compaction_get_retried", key=key, failures=failures, error=error.message)
                await trio.sleep(_BACKOFF.delay_seconds(failures, self._rand))


def _with_n(manifest: Manifest, n: int) -> Manifest:
    return manifest if manifest.n == n else replace(manifest, n=n)
