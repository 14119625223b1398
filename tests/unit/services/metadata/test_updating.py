"""Topics that change over RPC: growing in steps that may be cut off, races, outcomes that are not known."""

from collections.abc import Sequence
from uuid import UUID

import pytest
import trio

from libs.clients.metadata import MetadataClient
from libs.clients.topic_updates import ConfigChanges, TopicUpdate
from libs.clients.view import ClusterView
from libs.model.errors import Fenced, Invalid, NotFound, Reason, Unavailable
from libs.model.ids import Partition, TopicId, TopicName, TopicPartition
from services.metadata import keys, stored
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import Delete, KeyValue, ModRevisionIs, Put, TxnResult
from services.metadata.writes import ATTEMPTS_MAX
from tests.support.kv import FaultyKV
from tests.support.metadata import MetadataReplica, open_metadata_cluster, wait_view
from tests.unit.services.metadata.test_topics import created, new

NAME = TopicName("orders")
KEY = keys.topic(NAME)


async def revision(kv: MemoryKV) -> int:
    return (await kv.range(keys.CLUSTER, limit=1)).revision


def whole(view: ClusterView, partitions: int) -> bool:
    """Live, with these partitions and no others."""
    topic = view.topics_by_name.get(NAME)
    return (
        topic is not None
        and topic.live
        and topic.partitions == partitions
        and {at.partition for at in view.assignments} == set(range(partitions))
    )


async def test_a_topic_grows_and_what_it_had_stays_where_it_is(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        for number in range(2):
            await cluster.owner(client, f"owner-{number}", number)
        topic = await created(client, new("orders", 4, retention_ms="5"))
        before = dict((await wait_view(watcher, lambda view: whole(view, 4))).assignments)
        grown = await client.update_topic(TopicUpdate(name=NAME, topic_id=topic.topic_id, partitions=300))
        assert grown.changed
        assert (grown.topic.topic_id, grown.topic.partitions, grown.topic.live) == (
            topic.topic_id,
            300,
            False,
        )
        assert grown.topic.configs == {"retention.ms": "5"}
        view = await wait_view(watcher, lambda view: whole(view, 300))
        assert view.revision > grown.revision
        assert {at: view.assignments[at] for at in before} == before
        assert {each.leader_epoch for each in view.assignments.values()} == {0}


async def test_configs_are_replaced_as_a_whole_or_changed_one_by_one(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 1, retention_ms="5", flush_ms="6"))
        changes = ConfigChanges(put={"segment.ms": "7"}, unset=frozenset({"flush.ms"}))
        changed = await client.update_topic(TopicUpdate(name=NAME, configs=changes))
        assert changed.topic.configs == {"retention.ms": "5", "segment.ms": "7"}
        assert changed.topic.live
        replaced = await client.update_topic(TopicUpdate(name=NAME, configs={"flush.ms": "8"}))
        assert replaced.topic.configs == {"flush.ms": "8"}
        assert (await client.update_topic(TopicUpdate(name=NAME, partitions=2))).topic.configs
        assert (await client.update_topic(TopicUpdate(name=NAME, configs={}))).topic.configs == {}


async def test_an_unchanged_call_writes_nothing_and_one_that_only_asks_neither(
    autojump_clock: object,
) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 3, retention_ms="5"))
        await wait_view(watcher, lambda view: whole(view, 3))
        before = await revision(kv)
        same = await client.update_topic(TopicUpdate(name=NAME, partitions=3, configs={"retention.ms": "5"}))
        assert (same.changed, same.topic.live) == (False, True)
        asked = await client.update_topic(
            TopicUpdate(name=NAME, partitions=5, configs={}), validate_only=True
        )
        assert (asked.changed, asked.topic.partitions, asked.topic.configs) == (True, 5, {})
        with pytest.raises(Invalid):
            await client.update_topic(TopicUpdate(name=NAME, partitions=2), validate_only=True)
        assert await revision(kv) == before


async def test_an_id_that_was_anothers_changes_nothing(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        await cluster.owner(client, "owner-0", 0)
        first = await created(client, new("orders", 2))
        await client.delete_topics([first.topic_id])
        with pytest.raises(NotFound) as caught:
            await client.update_topic(TopicUpdate(name=NAME, partitions=4))
        assert caught.value.reason is Reason.UNKNOWN_TOPIC_OR_PARTITION
        second = await created(client, new("orders", 2))
        for topic_id in (first.topic_id, TopicId(UUID(int=9))):
            with pytest.raises(NotFound) as caught:
                await client.update_topic(TopicUpdate(name=NAME, topic_id=topic_id, partitions=4))
            assert caught.value.reason is Reason.UNKNOWN_TOPIC_ID
        done = await client.update_topic(TopicUpdate(name=NAME, partitions=4))
        assert done.topic.topic_id == second.topic_id
        with pytest.raises(Invalid):
            await client.update_topic(TopicUpdate(name=TopicName(""), partitions=4))


class SteppingKV(MemoryKV):
    """Calls back before transactions that assign partitions, with how many there were."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.kill: MetadataReplica | None = None
        self.kill_at = -1

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        if any(op.key.startswith(keys.ASSIGNMENTS) for op in ops):
            self.steps += 1
            await self._check()
            if self.steps == self.kill_at and self.kill is not None:
                killed, self.kill = self.kill, None
                await killed.kill()
                await trio.sleep_forever()  # of the killed one: it is cancelled here
        return await super().txn(compares, ops)

    async def _check(self) -> None:
        """At no time are there more assignments than partitions."""
        item = await self.get(KEY)
        if item is not None:
            topic = stored.topic(item).value
            page = await self.range(keys.assignments_of(topic.topic_id), limit=2000)
            assert len(page.items) <= topic.partitions


@pytest.mark.parametrize("kill_at", [1, 2, 5])
async def test_growing_is_finished_by_another_where_the_controller_dies(
    kill_at: int, autojump_clock: object
) -> None:
    kv = SteppingKV()
    async with (
        open_metadata_cluster(kv, "m0", "m1") as cluster,
        cluster.client("m1") as client,
        cluster.watcher("m1") as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        await cluster.owner(client, "owner-1", 1)
        await created(client, new("orders", 3))
        assert cluster.replicas["m0"].service.statistics().controller
        kv.steps, kv.kill_at, kv.kill = 0, kill_at, cluster.replicas["m0"]
        await client.update_topic(TopicUpdate(name=NAME, partitions=400))
        await wait_view(watcher, lambda view: whole(view, 400))
        assert kv.kill is None


async def test_a_topic_that_grows_while_it_grows_ends_whole(autojump_clock: object) -> None:
    kv = SteppingKV()
    async with (
        open_metadata_cluster(kv, "m0", "m1") as cluster,
        cluster.client("m0") as client,
        cluster.client("m1") as other,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 1))
        for partitions in (120, 250, 1000):
            configs = {"retention.ms": str(partitions)}
            await other.update_topic(TopicUpdate(name=NAME, partitions=partitions, configs=configs))
        view = await wait_view(watcher, lambda view: whole(view, 1000))
        assert view.topics_by_name[NAME].configs == {"retention.ms": "1000"}


async def test_without_owners_it_grows_and_gets_them_when_one_comes(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        gone = await cluster.owner(client, "owner-0", 0)
        topic = await created(client, new("orders", 1))
        gone.kill()
        await wait_view(watcher, lambda view: not view.owners)
        await client.update_topic(TopicUpdate(name=NAME, partitions=60))
        await trio.sleep(30)
        assert TopicPartition(topic.topic_id, Partition(59)) not in watcher.view.assignments
        await cluster.owner(client, "owner-1", 1)
        await wait_view(watcher, lambda view: whole(view, 60))


async def test_deleted_while_it_grows_nothing_is_left(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 1))
        await client.update_topic(TopicUpdate(name=NAME, partitions=1000))
        await client.delete_topics([NAME])
        await wait_view(watcher, lambda view: not view.topics and not view.assignments)
        await trio.sleep(30)
        assert not (await kv.range(keys.ASSIGNMENTS)).items


async def test_changes_at_the_same_time_all_happen(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0", "m1") as cluster,
        cluster.client("m0") as one,
        cluster.client("m1") as two,
    ):
        await cluster.owner(one, "owner-0", 0)
        await created(one, new("orders", 1))
        named = ["retention.ms", "flush.ms", "segment.ms", "retention.bytes"]

        async def put(client: MetadataClient, name: str) -> None:
            await client.update_topic(TopicUpdate(name=NAME, configs=ConfigChanges(put={name: "5"})))

        async with trio.open_nursery() as nursery:
            for number, name in enumerate(named):
                nursery.start_soon(put, (one, two)[number % 2], name)
        now = await one.update_topic(TopicUpdate(name=NAME))
        assert now.topic.configs == dict.fromkeys(named, "5")


class ContendedKV(MemoryKV):
    """Just before a topic is written, another writes it, so many times."""

    rivals = 0

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        item = await self.get(KEY)
        if self.rivals and item is not None and any(op.key == KEY for op in ops):
            self.rivals -= 1
            await super().txn([], [Put(key=KEY, value=item.value)])
        return await super().txn(compares, ops)


async def test_a_lost_guard_is_tried_again_within_a_bound(autojump_clock: object) -> None:
    kv = ContendedKV()
    async with open_metadata_cluster(kv, "m0") as cluster, cluster.client() as client:
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 1))
        kv.rivals = ATTEMPTS_MAX - 1
        assert (await client.update_topic(TopicUpdate(name=NAME, configs={"flush.ms": "1"}))).changed
        kv.rivals = ATTEMPTS_MAX
        with pytest.raises(Fenced) as caught:
            await client.update_topic(TopicUpdate(name=NAME, configs={}))
        assert caught.value.reason is Reason.GUARD_FAILED


async def test_a_lost_reply_is_read_back(autojump_clock: object) -> None:
    kv = FaultyKV()
    async with open_metadata_cluster(kv, "m0") as cluster, cluster.client() as client:
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 1))
        kv.lost_replies = 1
        done = await client.update_topic(TopicUpdate(name=NAME, configs={"flush.ms": "1"}))
        assert (done.changed, done.topic.configs) == (True, {"flush.ms": "1"})
        kv.lost_requests = 1
        with pytest.raises(Unavailable) as caught:
            await client.update_topic(TopicUpdate(name=NAME, configs={}))
        assert caught.value.outcome_unknown


class OvertakenKV(MemoryKV):
    """Loses the reply to a write of the topic and tells it late, when the controller has written it, too."""

    lose = False
    then_away = False
    away = False

    async def txn(self, compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]) -> TxnResult:
        result = await super().txn(compares, ops)
        if self.lose and any(op.key == KEY for op in ops):
            self.lose = False
            await trio.sleep(5)
            self.away = self.then_away
            raise Unavailable("the reply is lost", outcome_unknown=True)
        return result

    async def get(self, key: str) -> KeyValue | None:
        if self.away and key == KEY:
            raise Unavailable("the store is away")
        return await super().get(key)


async def test_a_lost_reply_is_recognised_under_what_the_controller_wrote_on_top(
    autojump_clock: object,
) -> None:
    kv = OvertakenKV()
    async with open_metadata_cluster(kv, "m0") as cluster, cluster.client() as client:
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 1))
        kv.lose = True
        done = await client.update_topic(TopicUpdate(name=NAME, partitions=2))
        assert (done.changed, done.topic.partitions, done.topic.live) == (True, 2, True)


async def test_an_outcome_that_cannot_be_read_back_stays_unknown(autojump_clock: object) -> None:
    kv = OvertakenKV()
    async with open_metadata_cluster(kv, "m0", "m1") as cluster, cluster.client() as client:
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 1))
        kv.lose = kv.then_away = True
        with pytest.raises(Unavailable) as caught:
            await client.update_topic(TopicUpdate(name=NAME, partitions=2))
        assert caught.value.outcome_unknown
