"""Committed offsets: validated, written under the group's claim, read linearizably.

Owns: commits and fetches. Does not own: who may commit (state.py), coalescing (journal.py).
Rules: 1 a commit is answered once it is stored; 2 a fetch is served from the store, never from memory, and
tells only what exists; 3 a commit for a topic that is no more, as far as this replica knows, is refused, and
an offset of one is not told: to a gateway that has not heard which topic has the name by now, the first would
be stored where nobody looks, and the second be taken for the other topic's.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from itertools import islice

import trio

from libs.clients.group_types import NO_MEMBER, CommitOffsets, OffsetCommit
from libs.concurrency.clock import Clock
from libs.model.errors import Fenced, Invalid, KafscaleError, Moved, NotFound, Reason, Unavailable
from libs.model.ids import GroupId, TopicId, TopicPartition
from libs.model.limits import OFFSET_METADATA_BYTES_MAX
from services.metadata.groups import errors
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.coordinator import Coordinator
from services.metadata.groups.journal import Journal
from services.metadata.groups.keys import offset_key, offsets_prefix
from services.metadata.groups.stored import decode_offset, encode_offset
from services.metadata.kv.port import KV, Put
from services.metadata.paging import read_all

MissingTopics = Callable[[Iterable[TopicId]], Awaitable[Set[TopicId]]]
"""Those of the topics that do not exist. Raises Unavailable."""

_GETS_MAX = 4
"""Beyond so many partitions the whole group is read at once."""


class Offsets:
    def __init__(
        self,
        *,
        kv: KV,
        journal: Journal,
        coordinator: Coordinator,
        missing_topics: MissingTopics,
        clock: Clock,
        config: GroupsConfig,
    ) -> None:
        self._kv = kv
        self._journal = journal
        self._coordinator = coordinator
        self._missing_topics = missing_topics
        self._clock = clock
        self._config = config

    async def commit(self, request: CommitOffsets) -> tuple[KafscaleError | None, ...]:
        """One answer a partition, in order.

        Raises, for the whole request, what GroupState.check_commit does, Moved(NOT_COORDINATOR), and
        Unavailable(outcome_unknown=True) when the store does not answer in time.
        """
        if len(request.offsets) > self._config.commit_partitions_max:
            raise Invalid(f"one commit may have {self._config.commit_partitions_max} partitions")
        timeout_ms = (
            self._config.commit_away_timeout_ms if self._journal.is_away else self._config.commit_timeout_ms
        )
        deadline = trio.current_time() + timeout_ms / 1000
        outside = request.generation < 0 and request.member_id == NO_MEMBER
        hosted = await self._coordinator.hosting.find(request.group, create=outside)
        if hosted is None:
            raise errors.illegal_generation(request.group, request.generation, 0)
        missing = await self._missing(request, deadline)
        hosted.state.check_commit(request, trio.current_time())
        committed_ms = self._clock.now_ms()
        answers = tuple(_refusal(commit, missing) for commit in request.offsets)
        puts = iter(
            [
                Put(
                    key=offset_key(request.group, commit.at),
                    value=encode_offset(commit, committed_ms=committed_ms),
                )
                for commit, refusal in zip(request.offsets, answers, strict=True)
                if refusal is None
            ]
        )
        try:
            while chunk := tuple(islice(puts, self._config.batch_operations_max)):
                left_seconds = max(deadline - trio.current_time(), 0.0)
                hosted.state.check_commit(request, trio.current_time())  # a generation may end between them
                await self._journal.write(hosted.held, chunk, timeout_seconds=left_seconds)
        except Moved as error:
            self._coordinator.drop(hosted, error)
            raise
        return answers

    async def _missing(self, request: CommitOffsets, deadline: float) -> Set[TopicId]:
        with trio.move_on_at(deadline):
            return await self._missing_topics({commit.at.topic_id for commit in request.offsets})
        raise errors.store_unavailable("it can't be told which topics there are", outcome_unknown=False)

    async def fetch(
        self, group: GroupId, partitions: Sequence[TopicPartition] | None
    ) -> tuple[OffsetCommit, ...]:
        """The committed offsets of these partitions, or of all; only those that exist. Linearizable."""
        self._coordinator.hosting.check_mine(group)
        try:
            found = await self._read(group, partitions)
            missing = await self._missing_topics({each.at.topic_id for each in found})
        except (Unavailable, Fenced) as error:
            raise errors.store_unavailable(
                f"offsets of group {group!r} can't be read: {error.message}", outcome_unknown=False
            ) from error
        return tuple(each for each in found if each.at.topic_id not in missing)

    async def _read(
        self, group: GroupId, partitions: Sequence[TopicPartition] | None
    ) -> Sequence[OffsetCommit]:
        if partitions is not None and len(partitions) <= _GETS_MAX:
            found = [await self._kv.get(offset_key(group, at)) for at in partitions]
            return [decode_offset(item) for item in found if item is not None]
        wanted = None if partitions is None else set(partitions)
        offsets = map(decode_offset, await read_all(self._kv, offsets_prefix(group)))
        return [each for each in offsets if wanted is None or each.at in wanted]


def _refusal(commit: OffsetCommit, missing: Set[TopicId]) -> KafscaleError | None:
    if commit.at.topic_id in missing:
        return NotFound(
            f"there is no topic with id {commit.at.topic_id} any more", reason=Reason.UNKNOWN_TOPIC_ID
        )
    if len(commit.metadata.encode()) > OFFSET_METADATA_BYTES_MAX:
        return Invalid(
            f"the metadata of a committed offset may have {OFFSET_METADATA_BYTES_MAX} bytes",
            reason=Reason.OFFSET_METADATA_TOO_LARGE,
        )
    if commit.offset < 0:
        return Invalid(f"{commit.offset} is no offset to commit")
    return None
