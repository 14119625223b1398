"""Writes of groups and offsets on their way to the store: in order, many a transaction, under their claims.

Owns: the line of writes, coalescing, retries, what is done about doubt. Does not own: what is written.
Rules:
1 every transaction compares each involved group's key with its last revision that this replica wrote: a
  coordinator that lost its claim writes nothing, whatever it believes;
2 the writes of a transaction whose guard failed are tried again group by group, so that one lost claim hurts
  nobody else;
3 after an outcome that is unknown the group's key is read and written again with the same content: from then
  on a late arrival of the first transaction fails its guard, and its writes, idempotent, are repeated;
4 one transaction is under way at a time; a later write of the same key in one transaction wins.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
import trio

from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.errors import Corrupt, KafscaleError, Unavailable
from libs.model.ids import GroupId, Revision
from services.metadata.groups import errors
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.keys import group_key
from services.metadata.groups.stored import Claim, decode_group
from services.metadata.kv.port import KV, Delete, KeyValue, ModRevisionIs, Put

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False, kw_only=True)
class HeldClaim:
    """A claim in use. `revision` is the group key's, as last written under this claim."""

    group: GroupId
    claim: Claim
    revision: Revision
    lost: bool = False
    doubtful: bool = False
    """A transaction under this claim has an unknown outcome."""
    writes: int = 0
    """In line."""

    @property
    def key(self) -> str:
        return group_key(self.group)


@dataclass(slots=True, eq=False, kw_only=True)
class _Write:
    held: HeldClaim
    ops: tuple[Put | Delete, ...]
    size_bytes: int
    done: Callable[[KafscaleError | None], None]
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStatistics:
    """Writes and bytes in line, what the bytes may be, transactions so far, and attempts in vain."""

    writes: int
    pending_bytes: int
    pending_bytes_max: int
    transactions: int
    failed_attempts: int


@dataclass(slots=True, eq=False)
class _Outcome:
    event: trio.Event = field(default_factory=trio.Event)
    error: KafscaleError | None = None

    def set(self, error: KafscaleError | None) -> None:
        self.error = error
        self.event.set()


class Journal:
    """`run` writes; one at a time must run."""

    def __init__(self, kv: KV, *, config: GroupsConfig, rand: Rand) -> None:
        self._kv = kv
        self._config = config
        self._rand = rand
        self._backoff = Backoff(first_seconds=config.retry_seconds_min, max_seconds=config.retry_seconds_max)
        self._line: deque[_Write] = deque()
        self._pending_bytes = 0
        self._nonempty = trio.Event()
        self._changed = trio.Event()
        self._turn = trio.StrictFIFOLock()
        """Of who waits for room: a small commit must not overtake a large one, which may be older."""
        self._active: list[_Write] = []
        self._transactions = 0
        self._failed_attempts = 0
        self._is_away = False

    @property
    def is_away(self) -> bool:
        """Whether the last attempt found no store."""
        return self._is_away

    def statistics(self) -> JournalStatistics:
        return JournalStatistics(
            writes=len(self._line) + len(self._active),
            pending_bytes=self._pending_bytes,
            pending_bytes_max=self._config.pending_bytes_max,
            transactions=self._transactions,
            failed_attempts=self._failed_attempts,
        )

    def submit(
        self, held: HeldClaim, ops: Sequence[Put | Delete], done: Callable[[KafscaleError | None], None]
    ) -> None:
        """Gets in line whatever its length: for group records, of which each group has one in line."""
        self._append(held, tuple(ops), done)

    async def write(self, held: HeldClaim, ops: Sequence[Put | Delete], *, timeout_seconds: float) -> None:
        """Returns once all of `ops` are stored.

        Raises Moved(NOT_COORDINATOR) where the claim is lost, and Unavailable(outcome_unknown=True) when the
        timeout passes. When cancelled, or timed out, what was not tried yet is not written.
        """
        outcome = _Outcome()
        write: _Write | None = None
        with trio.move_on_after(timeout_seconds):
            try:
                size_bytes = _size_bytes(ops)
                async with self._turn:
                    while (
                        self._pending_bytes
                        and self._pending_bytes + size_bytes > self._config.pending_bytes_max
                    ):
                        await self._changed.wait()
                    write = self._append(held, tuple(ops), outcome.set)
                await outcome.event.wait()
            finally:
                if write is not None:
                    write.withdrawn = True
        if not outcome.event.is_set():
            raise errors.store_unavailable(
                f"the commit of group {held.group!r} did not reach the store in time",
                outcome_unknown=write is not None,
            )
        if outcome.error is not None:
            raise outcome.error

    async def wait_empty(self) -> None:
        """Returns when nothing is in line."""
        while self._line or self._active:
            await self._changed.wait()

    async def run(self) -> None:
        """Writes for ever; ends only by cancellation."""
        while True:
            await self._nonempty.wait()
            await trio.sleep(self._config.commit_linger_ms / 1000)
            self._active = self._next_batch()
            await self._store(self._active)
            self._active = []
            self._wake()

    def _append(
        self,
        held: HeldClaim,
        ops: tuple[Put | Delete, ...],
        done: Callable[[KafscaleError | None], None],
    ) -> _Write:
        write = _Write(held=held, ops=ops, size_bytes=_size_bytes(ops), done=done)
        held.writes += 1
        self._line.append(write)
        self._pending_bytes += write.size_bytes
        self._nonempty.set()
        return write

    def _finish(self, write: _Write, error: KafscaleError | None) -> None:
        write.held.writes -= 1
        self._pending_bytes -= write.size_bytes
        write.done(error)
        self._wake()

    def _next_batch(self) -> list[_Write]:
        batch: list[_Write] = []
        operations = size_bytes = 0
        while self._line:
            write = self._line[0]
            operations += len(write.ops)
            size_bytes += write.size_bytes
            full = operations > self._config.batch_operations_max or size_bytes > self._config.batch_bytes_max
            if batch and full:
                break
            batch.append(self._line.popleft())
        if not self._line:
            self._nonempty = trio.Event()
        return batch

    async def _store(self, writes: list[_Write]) -> None:
        """Stores what is still wanted, however long the store is away; each write ends here."""
        failures = 0
        while writes := self._still_wanted(writes):
            try:
                is_stored = await self._attempt(writes)
                self._is_away = False
                if is_stored:
                    return
                parts = _by_claim(writes)
            except Unavailable as error:
                failures += 1
                self._is_away = True
                self._failed_attempts += 1
                log.warning("group_write_waits", reason=error.reason.value, error=error.message)
                await trio.sleep(self._backoff.delay_seconds(failures, self._rand))
                continue
            except KafscaleError as error:
                if len(writes) == 1:
                    self._finish(writes[0], error)
                    return
                parts = [[write] for write in writes]
            for part in parts:
                await self._store(part)
            return

    def _still_wanted(self, writes: list[_Write]) -> list[_Write]:
        wanted: list[_Write] = []
        for write in writes:
            if write.held.lost:
                self._finish(write, errors.not_coordinator(write.held.group))
            elif write.withdrawn:
                self._finish(write, None)
            else:
                wanted.append(write)
        return wanted

    async def _attempt(self, writes: list[_Write]) -> bool:
        """One transaction; False where a guard failed."""
        held_ones = [part[0].held for part in _by_claim(writes)]
        for held in held_ones:
            await self._settle(held)
        if any(held.lost for held in held_ones):
            return False
        compares = [ModRevisionIs(key=held.key, revision=held.revision) for held in held_ones]
        ops = {op.key: op for write in writes for op in write.ops}
        try:
            result = await self._kv.txn(compares, list(ops.values()))
        except Unavailable as error:
            for held in held_ones:
                held.doubtful = error.outcome_unknown
            raise
        if not result.succeeded:
            if len(held_ones) == 1:
                held_ones[0].doubtful = True  # the next attempt reads whose claim it is now
            return False
        self._transactions += 1
        for held in held_ones:
            if held.key in ops:
                held.revision = result.revision
        for write in writes:
            self._finish(write, None)
        return True

    async def _settle(self, held: HeldClaim) -> None:
        """Ends the doubt of one claim (rule 3), or finds it lost."""
        while held.doubtful and not held.lost:
            item = await self._kv.get(held.key)
            if item is None or not is_claimed_by(item, held.claim):
                held.lost = True
                return
            compare = ModRevisionIs(key=held.key, revision=item.mod_revision)
            result = await self._kv.txn([compare], [Put(key=held.key, value=item.value)])
            if result.succeeded:
                held.revision = result.revision
                held.doubtful = False

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def is_claimed_by(item: KeyValue, claim: Claim) -> bool:
    """Whether this value of a group's key was written under this claim."""
    try:
        _, written_under = decode_group(item)
    except Corrupt:
        log.error("group_is_corrupt", key=item.key)
        return False
    return written_under == claim


def _by_claim(writes: Sequence[_Write]) -> list[list[_Write]]:
    parts: dict[int, list[_Write]] = {}
    for write in writes:
        parts.setdefault(id(write.held), []).append(write)
    return list(parts.values())


def _size_bytes(ops: Sequence[Put | Delete]) -> int:
    return sum(len(op.key) + (len(op.value) if isinstance(op, Put) else 0) for op in ops)
