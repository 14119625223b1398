"""Coordinators on a store: claims, parking, time, takeover."""

import pytest
import trio
import trio.testing

from libs.clients.group_types import (
    GroupPhase,
    Heartbeat,
    JoinGroupReply,
    LeaveGroup,
    LeavingMember,
    MemberAssignment,
    SyncGroup,
    SyncGroupReply,
)
from libs.clients.groups import GroupsClient
from libs.model.errors import Fenced, Invalid, KafscaleError, Moved, NotFound, Overloaded, Reason, Unavailable
from libs.model.ids import GroupId, MemberId, ReplicaId
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.keys import group_key
from services.metadata.groups.stored import decode_group
from tests.unit.services.metadata.groups.cluster import CONFIG, Cluster, open_cluster
from tests.unit.services.metadata.groups.support import GROUP, commit_of, join_request, partition

CUSTOM = b"\x00\xff assignor of our own \x80"


async def form(client: GroupsClient, count: int = 2, **changes: object) -> list[MemberId]:
    """A stable group; the first member leads."""
    replies: list[JoinGroupReply] = []

    async def join() -> None:
        replies.append(await client.join(join_request(**changes)))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(join)
    leader = replies[0].leader
    others = [each.member_id for each in replies if each.member_id != leader]
    generation = replies[0].generation
    assignments = {each: CUSTOM + each.encode() for each in (leader, *others)}
    async with trio.open_nursery() as nursery:
        for each in others:
            nursery.start_soon(sync, client, each, generation)
        nursery.start_soon(sync, client, leader, generation, assignments)
    return [leader, *others]


async def sync(
    client: GroupsClient,
    member_id: MemberId,
    generation: int,
    assignments: dict[MemberId, bytes] | None = None,
    group: GroupId = GROUP,
) -> SyncGroupReply:
    given = tuple(
        MemberAssignment(member_id=each, assignment=raw) for each, raw in (assignments or {}).items()
    )
    return await client.sync(
        SyncGroup(group=group, member_id=member_id, generation=generation, assignments=given)
    )


async def beat(client: GroupsClient, member_id: MemberId, generation: int = 1) -> None:
    await client.heartbeat(Heartbeat(group=GROUP, member_id=member_id, generation=generation))


async def stored_claim(cluster: Cluster, group: GroupId = GROUP) -> tuple[str, int]:
    item = await cluster.kv.get(group_key(group))
    assert item is not None
    _, claim = decode_group(item)
    return claim.replica_id, claim.number


async def test_members_join_get_their_assignments_and_live(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        leader, follower = await form(client)
        assert (await sync(client, follower, 1)).assignment == CUSTOM + follower.encode()
        assert await stored_claim(cluster) == (cluster.coordinator(GROUP), 1)
        described = await client.describe(GROUP)
        assert described.phase is GroupPhase.STABLE
        assert {each.member_id for each in described.record.members} == {leader, follower}
        assert {each.client_host for each in described.record.members} == {"/10.0.0.9"}


async def test_a_heartbeat_writes_nothing_and_reads_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        leader, follower = await form(client)
        written = len(cluster.kv.transactions)
        for _ in range(20):
            await trio.sleep(3)
            await beat(client, leader)
            await beat(client, follower)
        assert len(cluster.kv.transactions) == written
        assert written == 2, "the claim, and the completed rebalance"


async def test_who_has_to_know_its_id_first_is_told_it(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (_, client):
        told = await client.join(join_request(require_known_member_id=True))
        assert told.error is not None
        assert told.error.reason is Reason.MEMBER_ID_REQUIRED
        joined = await client.join(join_request(member_id=told.member_id, require_known_member_id=True))
        assert (joined.error, joined.member_id, joined.generation) == (None, told.member_id, 1)


async def test_errors_of_the_group_protocol_arrive_as_they_are(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (_, client):
        leader, _ = await form(client)
        with pytest.raises(Fenced) as illegal:
            await beat(client, leader, 7)
        assert illegal.value.reason is Reason.ILLEGAL_GENERATION
        with pytest.raises(NotFound) as unknown:
            await sync(client, MemberId("nobody"), 1)
        assert unknown.value.reason is Reason.UNKNOWN_MEMBER_ID
        with pytest.raises(Invalid) as bounds:
            await client.join(join_request(session_timeout_ms=1))
        assert bounds.value.reason is Reason.INVALID_SESSION_TIMEOUT
        with pytest.raises(Invalid) as name:
            await client.join(join_request(group=""))
        assert name.value.reason is Reason.INVALID_GROUP_ID


async def test_calls_for_a_group_that_does_not_exist_create_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (cluster, client):
        with pytest.raises(NotFound):
            await beat(client, MemberId("x"))
        with pytest.raises(NotFound):
            await client.join(join_request(member_id="x"))
        with pytest.raises(NotFound):
            await sync(client, MemberId("x"), 1)
        (left,) = await client.leave(
            LeaveGroup(group=GROUP, members=(LeavingMember(member_id=MemberId("x")),))
        )
        assert left.error is not None
        with pytest.raises(NotFound):
            await client.describe(GROUP)
        with pytest.raises(NotFound):
            await client.delete(GROUP)
        with pytest.raises(Fenced):
            await client.commit(commit_of(0, generation=3, member_id="x"))
        assert await client.fetch_offsets(GROUP, None) == {}
        assert await client.list_groups() == ()
        assert cluster.kv.transactions == []


async def test_the_coordinator_dies_and_the_group_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        leader, follower = await form(client)
        await client.commit(commit_of(0, offset=41, member_id=leader, generation=1))
        first = cluster.coordinator(GROUP)
        cluster.kill(first)
        for _ in range(10):
            await beat(client, leader)
            await beat(client, follower)
            await trio.sleep(3)
        assert (await sync(client, follower, 1)).assignment == CUSTOM + follower.encode()
        assert (await sync(client, leader, 1)).assignment == CUSTOM + leader.encode()
        await client.commit(commit_of(0, offset=42, member_id=leader, generation=1))
        assert (await client.fetch_offsets(GROUP, [partition(0)]))[partition(0)].offset == 42
        assert await stored_claim(cluster) == (cluster.coordinator(GROUP), 2)
        assert cluster.coordinator(GROUP) != first
        assert (await client.describe(GROUP)).record.generation == 1


async def test_after_a_takeover_every_member_has_its_full_session(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        leader, follower = await form(client)
        await trio.sleep(9)
        cluster.kill(cluster.coordinator(GROUP))
        await beat(client, leader)
        await trio.sleep(9)
        await beat(client, leader)
        await beat(client, follower)


async def test_while_the_death_is_not_noticed_calls_fail_in_bounded_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        leader, _ = await form(client)
        dead = cluster.coordinator(GROUP)
        cluster.kill(dead, noticed=False)
        started = trio.current_time()
        with pytest.raises(Unavailable):
            await beat(client, leader)
        assert trio.current_time() - started <= 3
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat, client, leader)
            await trio.sleep(1)
            del cluster.view[dead]


async def test_a_parked_join_ends_when_its_coordinator_dies(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        await form(client)
        failed: list[KafscaleError] = []

        async def join() -> None:
            try:
                await client.join(join_request())
            except KafscaleError as error:
                failed.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(join)
            await trio.sleep(1)
            cluster.kill(cluster.coordinator(GROUP))
        assert isinstance(failed[0], Unavailable)


async def test_a_group_that_moves_refuses_who_is_parked(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster("r1") as (cluster, client):
        leader, follower = await form(client)
        coordinator = cluster.groups[ReplicaId("r1")].coordinator
        replies: list[JoinGroupReply] = []

        async def rejoin(member_id: MemberId) -> None:
            replies.append(await client.join(join_request(member_id=member_id)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(rejoin, leader)
            await trio.sleep(1)
            assert coordinator.parked == 1
            others = (f"r{index}" for index in range(2, 100))
            while cluster.coordinator(GROUP) == ReplicaId("r1"):
                await cluster.start(next(others))
            await trio.sleep(2)
            assert coordinator.parked == 0, "it was refused and asked the new coordinator"
            nursery.start_soon(rejoin, follower)
        assert {each.generation for each in replies} == {2}


async def test_a_drain_hands_every_group_to_the_next_replica(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        leader, follower = await form(client)
        first = cluster.coordinator(GROUP)
        await cluster.groups[first].drain(1.0)
        assert cluster.groups[first].statistics().groups == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(beat, client, leader)
            await trio.sleep(0.5)
            del cluster.view[first]
        await beat(client, follower)


async def test_two_coordinators_never_both_write(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        leader, _ = await form(client)
        first, second = (ReplicaId(each) for each in ("r1", "r2"))
        if cluster.coordinator(GROUP) == second:
            first, second = second, first
        await client.commit(commit_of(0, offset=1, member_id=leader, generation=1))
        # The second one believes that it is alone, the first one believes the same of itself.
        cluster.own_views = {each: {each: cluster.view[each]} for each in (first, second)}
        old, new = cluster.groups[first], cluster.groups[second]
        await new.offsets.commit(commit_of(0, offset=2, member_id=leader, generation=1))
        with pytest.raises(Moved) as moved:
            await old.offsets.commit(commit_of(0, offset=99, member_id=leader, generation=1))
        assert moved.value.reason is Reason.NOT_COORDINATOR
        assert (await new.offsets.fetch(GROUP, [partition(0)]))[0].offset == 2
        assert await stored_claim(cluster) == (second, 2)


async def test_a_coordinator_that_lost_its_claim_expires_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster("r1", "r2") as (cluster, client):
        leader, follower = await form(client)
        first = cluster.coordinator(GROUP)
        second = next(each for each in cluster.view if each != first)
        cluster.own_views = {each: {each: cluster.view[each]} for each in (first, second)}
        new = cluster.groups[second].coordinator
        for _ in range(8):
            for each in (leader, follower):
                await new.heartbeat(Heartbeat(group=GROUP, member_id=each, generation=1))
            await trio.sleep(4)
        assert cluster.groups[first].statistics().groups == 0, "it found out and dropped the group"
        assert await stored_claim(cluster) == (second, 2)


async def test_racing_claims_have_one_winner_each(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster("r1", "r2", "r3") as (cluster, _):
        cluster.own_views = {each: {each: cluster.view[each]} for each in cluster.view}
        numbers = set()

        async def commit(replica_id: ReplicaId) -> None:
            try:
                await cluster.groups[replica_id].offsets.commit(commit_of(0))
            except Moved:
                return
            numbers.add((await stored_claim(cluster))[1])

        async with trio.open_nursery() as nursery:
            for each in cluster.view:
                nursery.start_soon(commit, each)
        assert numbers
        replica_id, number = await stored_claim(cluster)
        assert replica_id in cluster.view
        assert 1 <= number <= 3


async def test_while_the_store_is_away_nobody_is_expired(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        leader, follower = await form(client)
        cluster.kv.is_down = True
        for _ in range(20):
            await trio.sleep(5)
            await beat(client, leader)  # answered from memory
        cluster.kv.is_down = False
        await trio.sleep(9)
        await beat(client, follower)
        await beat(client, leader)
        await trio.sleep(12)
        with pytest.raises(NotFound):
            await beat(client, follower)


async def test_a_store_that_never_answers_is_asked_once_for_all_groups(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (cluster, client):
        joined = {}
        for name in (GroupId(f"g{index}") for index in range(50)):
            joined[name] = (await client.join(join_request(group=name))).member_id
        cluster.kv.hangs = True
        asked = cluster.kv.gets
        await trio.sleep(60)
        assert cluster.kv.gets - asked <= 20
        for name, member_id in joined.items():
            await client.heartbeat(Heartbeat(group=name, member_id=member_id, generation=1))


async def test_a_rebalance_waits_for_the_store_and_completes(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        joined = await client.join(join_request())
        cluster.kv.is_down = True
        replies: list[SyncGroupReply] = []

        async def sync_leader() -> None:
            replies.append(await sync(client, joined.member_id, 1, {joined.member_id: CUSTOM}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(sync_leader)
            await trio.sleep(30)
            assert replies == []
            await beat(client, joined.member_id)
            cluster.kv.is_down = False
        assert replies[0].assignment == CUSTOM


async def test_groups_that_are_not_loaded_need_the_store(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        cluster.kv.is_down = True
        with pytest.raises(Unavailable) as unavailable:
            await client.join(join_request())
        assert unavailable.value.reason is Reason.METADATA_UNAVAILABLE
        assert not unavailable.value.outcome_unknown


async def test_a_claim_whose_outcome_is_unknown_is_read_back(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        cluster.kv.lose_replies = 1
        await form(client, 1)
        assert await stored_claim(cluster) == ("r1", 2), "the first claim stood, the second one follows it"


async def test_a_caller_that_goes_away_leaves_its_member_behind(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (cluster, client):
        leader, follower = await form(client)
        with trio.move_on_after(1):
            await client.join(join_request(member_id=leader))
        assert cluster.groups[ReplicaId("r1")].coordinator.parked == 0
        reply = await client.join(join_request(member_id=follower))
        assert reply.generation == 2
        assert (await client.describe(GROUP)).phase is GroupPhase.COMPLETING_REBALANCE


@pytest.mark.parametrize("patience", [0.0, 0.001, 0.01])
async def test_a_first_join_that_is_cancelled_anywhere_hurts_nobody(
    autojump_clock: trio.testing.MockClock, patience: float
) -> None:
    async with open_cluster() as (_, client):
        with trio.move_on_after(patience):
            await client.join(join_request())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.join, join_request(session_timeout_ms=6_000))


async def test_state_that_does_not_fit_into_the_store_is_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_cluster() as (_, client):
        joined = await client.join(join_request())
        with pytest.raises(Overloaded) as full:
            await sync(client, joined.member_id, 1, {joined.member_id: bytes(1 << 20)})
        assert full.value.reason is Reason.GROUP_MAX_SIZE_REACHED


async def test_groups_in_memory_are_bounded_and_idle_ones_make_room(
    autojump_clock: trio.testing.MockClock,
) -> None:
    config = GroupsConfig(initial_rebalance_delay_ms=0, groups_max=2)
    async with open_cluster(config=config) as (cluster, client):
        for index in range(5):
            await client.commit(commit_of(0, group=GroupId(f"g{index}")))
        assert cluster.groups[ReplicaId("r1")].statistics().groups == 2
        for name in ("a", "b"):
            await client.join(join_request(group=name))
        with pytest.raises(Overloaded):
            await client.commit(commit_of(0, group=GroupId("one-more")))
        await client.fetch_offsets(GroupId("g0"), None)


async def test_a_replica_that_knows_nobody_yet_says_so(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        cluster.own_views[ReplicaId("r1")] = {}
        with pytest.raises(Moved) as loading:
            await beat(client, MemberId("x"))
        assert loading.value.reason is Reason.COORDINATOR_LOADING


async def test_statistics_tell_how_full_it_is(autojump_clock: trio.testing.MockClock) -> None:
    async with open_cluster() as (cluster, client):
        await form(client, 3)
        statistics = cluster.groups[ReplicaId("r1")].statistics()
        assert (statistics.groups, statistics.members, statistics.parked) == (1, 3, 0)
        assert statistics.groups_max == CONFIG.groups_max
        assert statistics.journal.pending_bytes == 0
