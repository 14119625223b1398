"""What nobody needs any more: groups that were left long ago, and offsets of topics that are deleted.

Owns: when they go. Does not own: how a group is deleted (admin.py).
Rules:
1 each replica looks after the groups that it coordinates;
2 a group expires when it has had no member and no commit for the retention time (Kafka's
  offsets.retention.minutes, KIP-211), so that names that are used once do not fill the store;
3 an offset goes when its topic id is not in a listing that was read after the offset: ids never come back;
4 with nothing to remove it only reads.
"""

from itertools import islice
from uuid import UUID

import structlog
import trio
from google.protobuf.message import DecodeError

from libs.clients.group_types import GroupRecord, OffsetCommit
from libs.concurrency.clock import Clock
from libs.model.errors import Corrupt, KafscaleError
from libs.model.ids import GroupId, TopicId
from proto.metadata.metadata_pb2 import TopicConfig
from services.metadata import keys
from services.metadata.groups.admin import GroupAdmin
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.hosting import Hosting
from services.metadata.groups.journal import Journal
from services.metadata.groups.keys import GROUPS_PREFIX, group_of_key, offset_key, offsets_prefix
from services.metadata.groups.stored import decode_group, decode_offset
from services.metadata.kv.port import KV, Delete
from services.metadata.paging import read_all

_GROUPS_PAGE = 50
_WRITE_SECONDS_MAX = 10.0

log = structlog.get_logger(__name__)


class Expiry:
    def __init__(
        self,
        *,
        kv: KV,
        journal: Journal,
        hosting: Hosting,
        admin: GroupAdmin,
        clock: Clock,
        config: GroupsConfig,
    ) -> None:
        self._kv = kv
        self._journal = journal
        self._hosting = hosting
        self._admin = admin
        self._clock = clock
        self._config = config
        self._topics: set[TopicId] = set()

    async def run(self) -> None:
        """Sweeps now and then; ends only by cancellation."""
        while True:
            await trio.sleep(self._config.expiry_every_seconds)
            try:
                await self.sweep()
            except KafscaleError as error:
                log.warning("group_expiry_waits", reason=error.reason.value, error=error.message)

    async def sweep(self) -> None:
        """Looks at every group of this replica once. Raises Unavailable."""
        self._topics = set()
        start_after, more = "", True
        while more:
            page = await self._kv.range(GROUPS_PREFIX, start_after=start_after, limit=_GROUPS_PAGE)
            more = page.more and bool(page.items)
            for item in page.items:
                start_after = item.key
                group = group_of_key(item.key)
                if not self._hosting.is_mine(group):
                    continue
                record, _ = decode_group(item)
                try:
                    await self._look_at(group, record)
                except KafscaleError as error:
                    # It moved, got a member, or the store is away: there is a next time.
                    log.info("group_not_expired", group=group, reason=error.reason.value)

    async def _look_at(self, group: GroupId, record: GroupRecord) -> None:
        offsets = [decode_offset(item) for item in await read_all(self._kv, offsets_prefix(group))]
        expired_before_ms = self._clock.now_ms() - self._config.retention_ms
        used_ms = max([record.empty_since_ms, *(each.committed_ms for each in offsets)])
        if not record.members and used_ms <= expired_before_ms:
            await self._admin.delete(group, unless_committed_since_ms=expired_before_ms)
            log.info("group_expired", group=group)
            return
        await self._drop_offsets_of_deleted_topics(group, offsets)

    async def _drop_offsets_of_deleted_topics(self, group: GroupId, offsets: list[OffsetCommit]) -> None:
        if all(each.at.topic_id in self._topics for each in offsets):
            return
        self._topics = await self._read_topics()
        gone = iter([each.at for each in offsets if each.at.topic_id not in self._topics])
        while chunk := tuple(islice(gone, self._config.batch_operations_max)):
            hosted = await self._hosting.find(group, create=False)
            if hosted is None:
                return
            deletes = [Delete(key=offset_key(group, at)) for at in chunk]
            await self._journal.write(hosted.held, deletes, timeout_seconds=_WRITE_SECONDS_MAX)
            log.info("offsets_of_deleted_topics_dropped", group=group, partitions=len(deletes))

    async def _read_topics(self) -> set[TopicId]:
        topics: set[TopicId] = set()
        for item in await read_all(self._kv, keys.TOPICS):
            try:
                topics.add(TopicId(UUID(bytes=TopicConfig.FromString(item.value).topic_id)))
            except (DecodeError, ValueError) as error:
                raise Corrupt(f"the value of {item.key!r} is no topic") from error
        return topics
