"""Committed offsets, their way to the store, and what an administrator does with groups."""

from collections.abc import Sequence
from uuid import UUID

import pytest
import trio
import trio.testing

from libs.clients.group_types import GroupPhase, OffsetCommit
from libs.model.errors import Invalid, KafscaleError, Moved, NotFound, Reason, Unavailable
from libs.model.ids import GroupId, LeaderEpoch, Offset, Partition, ReplicaId, TopicId, TopicPartition
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.effects import Ticket
from services.metadata.groups.keys import group_key, offsets_prefix
from services.metadata.kv.port import Delete, ModRevisionIs, Put, TxnResult
from tests.unit.services.metadata.groups.cluster import open_cluster
from tests.unit.services.metadata.groups.support import GROUP, commit_of, join_request, partition

R1 = ReplicaId("r1")


async def test_what_was_committed_is_fetched_and_nothing_else(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        commit = OffsetCommit(
            at=partition(3), offset=Offset(77), leader_epoch=LeaderEpoch(5), metadata="where I was"
        )
        assert await client.commit(commit_of(offsets=(commit,))) == (None,)
        fetched = await client.fetch_offsets(GROUP, [partition(3), partition(4)])
        assert list(fetched) == [partition(3)]
        stored = fetched[partition(3)]
        assert (stored.offset, stored.leader_epoch, stored.metadata) == (77, 5, "where I was")
        assert stored.committed_ms == cluster.clock.now_ms()
        assert await client.fetch_offsets(GROUP, None) == fetched
        assert await client.fetch_offsets(GROUP, []) == {}


async def test_many_commits_share_few_transactions(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        names = [GroupId(f"g{index}") for index in range(20)]
        for name in names:
            await client.commit(commit_of(0, group=name))
        before = len(cluster.kv.transactions)
        async with trio.open_nursery() as nursery:
            for name in names:
                for index in range(10):
                    nursery.start_soon(client.commit, commit_of(index, offset=index, group=name))
        transactions = cluster.kv.transactions[before:]
        assert sum(len(ops) for ops in transactions) == 200
        assert len(transactions) <= 3
        assert max(len(ops) for ops in transactions) <= 128


async def test_a_commit_of_many_partitions_is_split(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        answers = await client.commit(commit_of(*range(500), offset=9))
        assert answers == (None,) * 500
        assert max(len(ops) for ops in cluster.kv.transactions) <= 128
        assert len(await client.fetch_offsets(GROUP, None)) == 500
        assert len(await client.fetch_offsets(GROUP, [partition(index) for index in range(0, 500, 2)])) == 250


async def test_of_two_commits_of_one_partition_the_later_wins(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(0, offset=1))
        async with trio.open_nursery() as nursery:
            for offset in (2, 3, 4):
                nursery.start_soon(client.commit, commit_of(0, offset=offset))
                await trio.testing.wait_all_tasks_blocked()
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 4
        assert len(cluster.kv.transactions) <= 4


async def test_a_topic_that_is_no_more_takes_no_offsets_and_has_none(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Or a gateway that knows the name by its old topic would commit where nobody looks, and tell the old
    topic's offsets for the new one's.
    """
    async with open_cluster() as (cluster, client):
        gone = TopicPartition(TopicId(UUID(int=404)), Partition(0))
        before = OffsetCommit(at=gone, offset=Offset(4))
        assert await client.commit(commit_of(offsets=(before,))) == (None,)
        assert list(await client.fetch_offsets(GROUP, [gone])) == [gone]
        cluster.deleted_topics.add(gone.topic_id)
        assert not await client.fetch_offsets(GROUP, [gone])
        offsets = (*commit_of(0, offset=5).offsets, OffsetCommit(at=gone, offset=Offset(6)))
        stored, refused = await client.commit(commit_of(offsets=offsets))
        assert stored is None
        assert refused is not None
        assert refused.reason is Reason.UNKNOWN_TOPIC_ID
        assert list(await client.fetch_offsets(GROUP, None)) == [partition(0)]


async def test_metadata_that_is_too_large_fails_its_partition_alone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (_, client):
        commits = (
            OffsetCommit(at=partition(0), offset=Offset(1), metadata="é" * 2049),
            OffsetCommit(at=partition(1), offset=Offset(1), metadata="é" * 2048),
            OffsetCommit(at=partition(2), offset=Offset(-1)),
        )
        refused, stored, negative = await client.commit(commit_of(offsets=commits))
        assert refused is not None
        assert refused.reason is Reason.OFFSET_METADATA_TOO_LARGE
        assert stored is None
        assert isinstance(negative, Invalid)
        assert list(await client.fetch_offsets(GROUP, None)) == [partition(1)]


async def test_a_commit_while_the_store_is_away_ends_in_time_and_is_not_written_later(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(0, offset=1))
        cluster.kv.is_down = True
        groups = cluster.groups[R1]
        started = trio.current_time()
        with pytest.raises(Unavailable) as unavailable:
            await groups.offsets.commit(commit_of(0, offset=2))
        assert unavailable.value.reason is Reason.METADATA_UNAVAILABLE
        assert trio.current_time() - started == pytest.approx(5)
        cluster.kv.is_down = False
        await trio.sleep(10)
        assert groups.statistics().journal.writes == 0
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 1


async def test_while_the_store_is_known_to_be_away_commits_end_soon(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Heartbeats stand behind them; the first that finds the store again is stored."""
    async with open_cluster("r1") as (cluster, client):
        await client.commit(commit_of(0, offset=1))
        cluster.kv.is_down = True
        with pytest.raises(Unavailable):
            await client.commit(commit_of(0, offset=2))
        for offset in range(3, 23):
            began = trio.current_time()
            with pytest.raises(Unavailable):
                await client.commit(commit_of(0, offset=offset))
            assert trio.current_time() - began < 0.5
        cluster.kv.is_down = False
        await client.commit(commit_of(0, offset=23))
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 23


async def test_a_commit_whose_reply_was_lost_is_stored_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(0, offset=1))
        cluster.kv.lose_replies = 1
        assert await client.commit(commit_of(0, offset=2)) == (None,)
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 2


async def test_a_commit_whose_request_was_lost_is_repeated(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(0, offset=1))
        cluster.kv.lose_requests = 2
        assert await client.commit(commit_of(0, offset=2)) == (None,)
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 2


async def test_a_transaction_that_arrives_late_changes_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(0, offset=1))
        cluster.kv.delay_requests = 1
        assert await client.commit(commit_of(0, offset=2)) == (None,)
        assert await client.commit(commit_of(0, offset=3)) == (None,)
        assert await cluster.kv.deliver_late() == [False]
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 3


async def test_a_late_claim_does_not_disturb_the_one_that_followed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (cluster, client):
        cluster.kv.delay_requests = 1
        assert await client.commit(commit_of(0, offset=2)) == (None,)
        assert await cluster.kv.deliver_late() == [False]
        assert await client.commit(commit_of(0, offset=3)) == (None,)


async def test_one_lost_claim_hurts_no_other_group(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        names = [GroupId(f"g{index}") for index in range(5)]
        for name in names:
            await client.commit(commit_of(0, group=name))
        key = group_key(names[2])
        item = await cluster.kv.get(key)
        assert item is not None
        foreign = item.value.replace(b"r1", b"rX")
        await cluster.kv.txn(
            [ModRevisionIs(key=key, revision=item.mod_revision)], [Put(key=key, value=foreign)]
        )
        offsets = cluster.groups[R1].offsets
        failed: list[str] = []

        async def commit(name: GroupId) -> None:
            try:
                await offsets.commit(commit_of(0, offset=8, group=name))
            except Moved:
                failed.append(name)

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(commit, name)
        assert failed == [names[2]]
        for name in names:
            offset = (await client.fetch_offsets(name, None))[partition(0)].offset
            assert offset == (1 if name == names[2] else 8)
        assert await client.commit(commit_of(0, offset=9, group=names[2])) == (None,), "it is claimed again"


async def test_the_line_of_writes_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    config = GroupsConfig(initial_rebalance_delay_ms=0, pending_bytes_max=1000)
    async with open_cluster(config=config) as (cluster, client):
        await client.commit(commit_of(0))
        cluster.kv.is_down = True
        groups = cluster.groups[R1]
        refused: list[Unavailable] = []

        async def commit(index: int) -> None:
            try:
                await groups.offsets.commit(commit_of(index))
            except Unavailable as error:
                refused.append(error)

        async with trio.open_nursery() as nursery:
            for index in range(100):
                nursery.start_soon(commit, index)
            await trio.sleep(1)
            assert groups.statistics().journal.pending_bytes <= 1000
        assert len(refused) == 100
        assert any(not error.outcome_unknown for error in refused), "some never got in line"
        cluster.kv.is_down = False
        await trio.sleep(5)
        assert await client.commit(commit_of(0, offset=2)) == (None,)


async def test_a_small_commit_does_not_overtake_a_large_one(autojump_clock: trio.testing.MockClock) -> None:
    """That waits for room in the line, and may be of an older generation by then."""
    config = GroupsConfig(initial_rebalance_delay_ms=0, pending_bytes_max=1000)
    async with open_cluster(config=config) as (cluster, client):
        await client.commit(commit_of(0))
        offsets = cluster.groups[R1].offsets
        cluster.kv.is_down = True
        async with trio.open_nursery() as nursery:
            for commit in (commit_of(50), commit_of(*range(40), offset=5), commit_of(0, offset=6)):
                nursery.start_soon(offsets.commit, commit)
                await trio.testing.wait_all_tasks_blocked()
            cluster.kv.is_down = False
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 6


async def test_a_large_commit_is_checked_before_each_part(autojump_clock: trio.testing.MockClock) -> None:
    """Between them a generation may end, and the next one commit."""
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(0))
        hosted = cluster.groups[R1].coordinator.hosting.get(GROUP)
        assert hosted is not None
        before, txn = len(cluster.kv.transactions), cluster.kv.txn

        async def joined_meanwhile(
            compares: Sequence[ModRevisionIs], ops: Sequence[Put | Delete]
        ) -> TxnResult:
            if len(cluster.kv.transactions) == before:
                hosted.state.join(join_request(), Ticket(1), trio.current_time())
            return await txn(compares, ops)

        cluster.kv.txn = joined_meanwhile  # type: ignore[method-assign]
        with pytest.raises(KafscaleError, match="member"):
            await client.commit(commit_of(*range(500), offset=9))
        assert len(await client.fetch_offsets(GROUP, None)) < 500


async def test_offsets_of_groups_whose_names_look_like_paths_are_apart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (_, client):
        for index, name in enumerate(("a", "a/b", "a%2Fb", "a b", "ä")):
            await client.commit(commit_of(index, group=GroupId(name)))
        for index, name in enumerate(("a", "a/b", "a%2Fb", "a b", "ä")):
            assert list(await client.fetch_offsets(GroupId(name), None)) == [partition(index)]
        assert {each.group for each in await client.list_groups()} == {"a", "a/b", "a%2Fb", "a b", "ä"}


async def test_a_listing_is_as_the_coordinators_see_it(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        await client.commit(commit_of(0, group=GroupId("offsets-only")))
        joined = {}
        for name in ("alpha", "beta", "gamma", "delta"):
            joined[name] = await client.join(join_request(group=name))
        assert {cluster.coordinator(GroupId(name)) for name in joined} == {"r1", "r2"}
        listed = {each.group: each for each in await client.list_groups()}
        assert listed[GroupId("offsets-only")].phase is GroupPhase.EMPTY
        assert {listed[GroupId(name)].phase for name in joined} == {GroupPhase.COMPLETING_REBALANCE}
        assert {listed[GroupId(name)].protocol_type for name in joined} == {"consumer"}
        assert (await client.describe(GroupId("offsets-only"))).phase is GroupPhase.EMPTY


async def test_a_deleted_group_is_gone_with_its_offsets(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(*range(300)))
        await client.commit(commit_of(0, group=GroupId("other")))
        await client.delete(GROUP)
        assert await client.fetch_offsets(GROUP, None) == {}
        assert [each.group for each in await client.list_groups()] == ["other"]
        assert (await cluster.kv.range(offsets_prefix(GROUP))).items == ()
        with pytest.raises(NotFound) as gone:
            await client.delete(GROUP)
        assert gone.value.reason is Reason.GROUP_ID_NOT_FOUND
        await client.commit(commit_of(0, offset=5))
        assert (await client.fetch_offsets(GROUP, None))[partition(0)].offset == 5


async def test_a_group_with_members_is_not_deleted(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (_, client):
        await client.join(join_request())
        with pytest.raises(Invalid) as refused:
            await client.delete(GROUP)
        assert refused.value.reason is Reason.NON_EMPTY_GROUP


async def test_a_deletion_whose_replies_are_lost_succeeds(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(0))
        for lost in range(1, 6):
            await client.commit(commit_of(0))
            cluster.kv.lose_replies = lost
            await client.delete(GROUP)
            assert await client.list_groups() == ()
            cluster.kv.lose_replies = 0


async def test_a_commit_that_races_a_deletion_is_kept_or_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (cluster, client):
        await client.commit(commit_of(0))
        answers: list[tuple[object, ...]] = []

        async def commit() -> None:
            answers.append(await client.commit(commit_of(1, offset=6)))

        async def delete() -> None:
            try:
                await client.delete(GROUP)
            except (Moved, NotFound):
                return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            nursery.start_soon(commit)
        assert answers == [(None,)]
        left = (await cluster.kv.range(offsets_prefix(GROUP))).items
        group = await cluster.kv.get(group_key(GROUP))
        assert group is not None or left == (), "no offsets without their group"
