"""Reads of stored objects from a copy of the bucket, and from the bucket where the copy can't give them.

Owns: who is asked, how long a copy that fails is left alone. Does not own: making the copy (the store's
replication, behind by seconds or minutes), which reads may come from it (ADR 0014).
Rules: 1 only bytes are asked of the copy, and only of objects that the caller knows to be stored: that
something is not there is the bucket's word alone; 2 whatever the copy can't give, the bucket is asked for, so
that the copy can only help; 3 a copy that fails, instead of having no such object, is left alone for a while:
reads don't wait for its time-outs one after the other.
"""

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.errors import Invalid, KafscaleError, NotFound, Unavailable
from libs.objectstore.instrumented import Recorder
from libs.objectstore.port import ObjectReader, ObjectStore

log = structlog.get_logger(__name__)

COPY_SECONDS_MAX = 3.0
"""How long a copy may take to answer: there is somebody else to ask."""
_PAUSE = Backoff(first_seconds=2.0, max_seconds=60.0)


class ReadBucket:
    """The reads of `bucket`, by way of `copy`. `copy` tries once, `bucket` as often as it likes."""

    def __init__(self, *, bucket: ObjectReader, copy: ObjectReader, rand: Rand) -> None:
        self._bucket = bucket
        self._copy = copy
        self._rand = rand
        self._failures = 0
        self._not_before = -float("inf")

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """As `ObjectStore.get`, of an object that is known to be stored."""
        asked_at = trio.current_time()
        if asked_at >= self._not_before:
            try:
                data = await self._ask_copy(key, start, length)
                self._failures = 0
                if data:  # none: as far as it is there, it is another object than the caller means
                    return data
            except NotFound:
                self._failures = 0
            except KafscaleError as error:
                self._leave_alone(error, asked_at)
        return await self._bucket.get(key, start=start, length=length)

    async def _ask_copy(self, key: str, start: int, length: int | None) -> bytes:
        """Within the time, whatever takes it: a thread, a connection, or an answer that trickles."""
        with trio.move_on_after(COPY_SECONDS_MAX):
            return await self._copy.get(key, start=start, length=length)
        raise Unavailable(f"the copy gave no whole answer within {COPY_SECONDS_MAX:g} s")

    def _leave_alone(self, error: KafscaleError, asked_at: float) -> None:
        if asked_at < self._not_before:
            return  # one of several that failed together
        self._failures += 1
        seconds = _PAUSE.delay_seconds(self._failures, self._rand)
        self._not_before = trio.current_time() + seconds
        log.warning("read_bucket_failed", error=error.message, failures=self._failures, pause_seconds=seconds)


class CopyRecorder:
    """Tells a recorder of the copy's operations apart: `read_bucket_get`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def observe(self, operation: str, outcome: str, seconds: float, size_bytes: int) -> None:
        self._recorder.observe(f"read_bucket_{operation}", outcome, seconds, size_bytes)


async def check_read_bucket(copy: ObjectStore, name: str) -> None:
    """Raises Invalid where the copy can't be read by these settings; one that is away is no end.

    It is listed, because only who may list a bucket is told that an object is not there: others are refused.
    """
    try:
        await copy.list("", limit=1)
    except Unavailable as error:
        log.warning("read_bucket_away", bucket=name, error=error.message)
    except Invalid as error:
        why = error.message.replace("KAFSCALE_S3_BUCKET", "KAFSCALE_S3_READ_BUCKET")
        text = f"the read bucket {name} can't be used ({why}); it needs s3:GetObject and s3:ListBucket"
        raise Invalid(text, reason=error.reason) from error
