"""What nobody needs any more goes, and nothing else."""

from uuid import UUID

import trio
import trio.testing

from libs.clients.group_types import LeaveGroup, LeavingMember, OffsetCommit
from libs.model.ids import GroupId, Offset, Partition, ReplicaId, TopicId, TopicPartition
from proto.metadata.metadata_pb2 import TopicConfig
from services.metadata import keys
from services.metadata.groups.keys import GROUPS_PREFIX, offsets_prefix
from services.metadata.kv.port import Delete, Put
from tests.unit.services.metadata.groups.cluster import CONFIG, Cluster, open_cluster
from tests.unit.services.metadata.groups.support import GROUP, TOPIC_ID, commit_of, join_request, partition

R1 = ReplicaId("r1")
DAY_MS = 24 * 3600 * 1000
OTHER_TOPIC = TopicId(UUID(int=8))


async def create_topic(cluster: Cluster, topic_id: TopicId = TOPIC_ID) -> str:
    key = f"{keys.TOPICS}topic-{topic_id.int}"
    await cluster.kv.txn([], [Put(key=key, value=TopicConfig(topic_id=topic_id.bytes).SerializeToString())])
    return key


async def groups_left(cluster: Cluster) -> list[str]:
    return [item.key.removeprefix(GROUPS_PREFIX) for item in (await cluster.kv.range(GROUPS_PREFIX)).items]


async def test_a_group_that_was_left_expires_with_its_offsets(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await create_topic(cluster)
        joined = await client.join(join_request())
        leaving = LeavingMember(member_id=joined.member_id)
        cluster.clock.advance_ms(30 * DAY_MS)
        await client.leave(LeaveGroup(group=GROUP, members=(leaving,)))
        await client.commit(commit_of(0))
        cluster.clock.advance_ms(7 * DAY_MS - 1)
        await cluster.groups[R1].expiry.sweep()
        assert await groups_left(cluster) == [GROUP]
        cluster.clock.advance_ms(1)
        await cluster.groups[R1].expiry.sweep()
        assert await groups_left(cluster) == []
        assert (await cluster.kv.range(offsets_prefix(GROUP))).items == ()


async def test_a_commit_keeps_a_group_that_has_no_members(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await create_topic(cluster)
        for day in range(20):
            await client.commit(commit_of(0, offset=day))
            cluster.clock.advance_ms(6 * DAY_MS)
            await cluster.groups[R1].expiry.sweep()
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 19


async def test_a_group_with_members_does_not_expire(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await create_topic(cluster)
        await client.commit(commit_of(0))
        await client.join(join_request(session_timeout_ms=1_000_000))
        cluster.clock.advance_ms(100 * DAY_MS)
        await cluster.groups[R1].expiry.sweep()
        assert await groups_left(cluster) == [GROUP]
        assert len(await client.fetch_offsets(GROUP, None)) == 1


async def test_a_commit_in_the_last_moment_is_not_lost(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await create_topic(cluster)
        await client.commit(commit_of(0))
        groups = cluster.groups[R1]
        before_ms = cluster.clock.now_ms()
        cluster.clock.advance_ms(8 * DAY_MS)
        await client.commit(commit_of(0, offset=5))
        await groups.admin.delete(GROUP, unless_committed_since_ms=before_ms)
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 5


async def test_a_group_that_stays_keeps_its_generation(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        joined = await client.join(join_request())
        await client.leave(LeaveGroup(group=GROUP, members=(LeavingMember(member_id=joined.member_id),)))
        cluster.clock.advance_ms(1)
        await client.commit(commit_of(0))
        before_ms = cluster.clock.now_ms() - 1
        await cluster.groups[R1].admin.delete(GROUP, unless_committed_since_ms=before_ms)
        assert (await client.join(join_request())).generation == 3


async def test_a_takeover_does_not_make_a_group_younger(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        joined = await client.join(join_request())
        await client.leave(LeaveGroup(group=GROUP, members=(LeavingMember(member_id=joined.member_id),)))
        cluster.clock.advance_ms(6 * DAY_MS)
        cluster.kill(cluster.coordinator(GROUP))
        await trio.sleep(1)
        await client.leave(LeaveGroup(group=GROUP, members=()))
        cluster.clock.advance_ms(DAY_MS)
        await cluster.groups[cluster.coordinator(GROUP)].expiry.sweep()
        assert await groups_left(cluster) == []


async def test_offsets_of_deleted_topics_go_and_the_others_stay(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (cluster, client):
        await create_topic(cluster)
        doomed = await create_topic(cluster, OTHER_TOPIC)
        both = [TopicPartition(each, Partition(0)) for each in (TOPIC_ID, OTHER_TOPIC)]
        await client.commit(commit_of(offsets=tuple(OffsetCommit(at=at, offset=Offset(1)) for at in both)))
        expiry = cluster.groups[R1].expiry
        await expiry.sweep()
        assert list(await client.fetch_offsets(GROUP, None)) == both
        await cluster.kv.txn([], [Delete(key=doomed)])
        await expiry.sweep()
        assert list(await client.fetch_offsets(GROUP, None)) == both[:1]


async def test_other_replicas_groups_are_left_alone_and_a_quiet_sweep_writes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        await create_topic(cluster)
        names = [GroupId(f"g{index}") for index in range(8)]
        for name in names:
            await client.commit(commit_of(0, group=name))
        written = len(cluster.kv.transactions)
        await cluster.groups[R1].expiry.sweep()
        assert len(cluster.kv.transactions) == written
        cluster.clock.advance_ms(CONFIG.retention_ms)
        await cluster.groups[R1].expiry.sweep()
        assert await groups_left(cluster) == [each for each in names if cluster.coordinator(each) != R1]


async def test_the_sweep_goes_on_by_itself_whatever_the_store_does(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(0))
        cluster.clock.advance_ms(CONFIG.retention_ms)
        cluster.kv.is_down = True
        await trio.sleep(CONFIG.expiry_every_seconds + 1)
        cluster.kv.is_down = False
        await trio.sleep(CONFIG.expiry_every_seconds)
        assert await groups_left(cluster) == []
