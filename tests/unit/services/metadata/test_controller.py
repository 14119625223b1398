"""The controller over RPC: dead owners, hand-over, drain, balance, its own end. Time is mocked."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import pytest
import trio

from libs.clients.metadata import MetadataClient
from libs.clients.view import ClusterView
from libs.clients.watcher import ClusterWatcher
from libs.model.cluster import Assignment, AssignmentState, ChainPosition, PartitionState, Predecessor
from libs.model.errors import Fenced, Invalid, Moved, Reason
from libs.model.ids import ChainSeq, LeaderEpoch, Offset, OwnerId, SessionId, TopicPartition
from services.metadata import keys
from services.metadata.cluster_state import ClusterState
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import KeyValue
from services.metadata.planning import Plan, plan
from tests.support.metadata import (
    LEASE_SECONDS,
    FakeOwner,
    MetadataCluster,
    open_metadata_cluster,
    wait_view,
)
from tests.unit.services.metadata.test_topics import created, new


def settled_on(*owners: str, partitions: int) -> "SettledOn":
    return SettledOn(frozenset(OwnerId(owner) for owner in owners), partitions)


class SettledOn:
    """Every partition is assigned, to these owners and all of these."""

    def __init__(self, owners: frozenset[OwnerId], partitions: int) -> None:
        self._owners = owners
        self._partitions = partitions

    def __call__(self, view: ClusterView) -> bool:
        held = list(view.assignments.values())
        return (
            len(held) == self._partitions
            and {each.owner_id for each in held} == self._owners
            and all(each.state is AssignmentState.ASSIGNED for each in held)
        )


async def open_all(client: MetadataClient, view: ClusterView, owner: str) -> list[TopicPartition]:
    """What an owner does with its partitions: opens them at seq 0 of its chain."""
    opened = []
    for at, assignment in list(view.assignments.items()):
        if assignment.owner_id == owner:
            await open_one(client, at)
            opened.append(at)
    return opened


async def open_one(client: MetadataClient, at: TopicPartition, *, from_seq: int = 0) -> None:
    read = await client.get_partition(at)
    closed = {each.session: ChainSeq(7) for each in read.assignment.predecessors}
    positions = [
        ChainPosition(
            session=each.session,
            leader_epoch=each.leader_epoch,
            from_seq=each.from_seq,
            to_seq=closed.get(each.session, each.to_seq),
        )
        for each in (read.state.positions if read.state else ())
    ]
    own = ChainPosition(
        session=read.assignment.session,
        leader_epoch=read.assignment.leader_epoch,
        from_seq=ChainSeq(from_seq),
        to_seq=None,
    )
    await client.open_partition(at, read, PartitionState(positions=(*positions, own)))


async def release(
    client: MetadataClient, assignment: Assignment, *, opened: bool = True, to_seq: int = 3
) -> None:
    await client.release_partition(
        TopicPartition(assignment.topic_id, assignment.partition),
        session=assignment.session,
        leader_epoch=assignment.leader_epoch,
        opened=opened,
        to_seq=ChainSeq(to_seq),
        released_offset=Offset(100),
    )


async def serve_releases(
    client: MetadataClient, watcher: ClusterWatcher, seen: list[int], *, opened: bool = True
) -> None:
    """Every owner gives up what it is asked to, after a moment; `seen` gets how many it gave up at a time."""
    while True:
        version = watcher.view.version
        releasing = [
            each for each in watcher.view.assignments.values() if each.state is AssignmentState.RELEASING
        ]
        if releasing:
            seen.append(len(releasing))
            await trio.sleep(0.01)
            for assignment in releasing:
                with suppress(Moved):  # the view is behind: it was released already
                    await release(client, assignment, opened=opened)
        await watcher.wait_changed(version)


async def test_a_dead_owners_partitions_move_within_its_lease(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0", "m1") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        owners = [await cluster.owner(client, f"owner-{number}", number) for number in range(3)]
        await trio.sleep(LEASE_SECONDS)
        await created(client, new("orders", 8))
        view = await wait_view(watcher, settled_on("owner-0", "owner-1", "owner-2", partitions=8))
        opened = await open_all(client, view, "owner-0")
        before = dict(view.assignments)
        killed_at = trio.current_time()
        owners[0].kill()
        view = await wait_view(watcher, settled_on("owner-1", "owner-2", partitions=8))
        assert trio.current_time() - killed_at <= LEASE_SECONDS + 0.1
        for at, after in view.assignments.items():
            if at in opened:
                assert after.leader_epoch == 1
                session = before[at].session
                assert after.predecessors == (Predecessor(session=session, leader_epoch=LeaderEpoch(0)),)
            else:
                assert after == before[at]


class CountingKV(MemoryKV):
    """Remembers which keys were read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    async def get(self, key: str) -> KeyValue | None:
        self.reads.append(key)
        return await super().get(key)


async def test_what_a_takeovers_openings_cost_does_not_grow_with_the_cluster(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each clears its predecessors, and a plan looks at every partition there is."""
    plans: list[ClusterState] = []

    def counted(state: ClusterState, *, grace: bool, moves_max: int) -> Plan:
        plans.append(state)
        return plan(state, grace=grace, moves_max=moves_max)

    monkeypatch.setattr("services.metadata.controller.plan", counted)
    kv = CountingKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        owners = [await cluster.owner(client, f"owner-{number}", number) for number in range(2)]
        await trio.sleep(LEASE_SECONDS)
        await created(client, new("orders", 8))
        view = await wait_view(watcher, settled_on("owner-0", "owner-1", partitions=8))
        lost = await open_all(client, view, "owner-0")
        owners[0].kill()
        view = await wait_view(watcher, settled_on("owner-1", partitions=8))
        await trio.sleep(LEASE_SECONDS)
        planned = len(plans)
        for at in lost:
            assert view.assignments[at].predecessors
            kv.reads.clear()
            await open_one(client, at)
            # To know what is there; and, to write on top of it, only what the replica does not remember.
            assert kv.reads == [keys.assignment(at), keys.partition(at), keys.partition(at)]
        await wait_view(
            watcher, lambda view: not any(each.predecessors for each in view.assignments.values())
        )
        assert len(plans) == planned


async def test_a_session_that_never_opened_a_partition_is_no_predecessor(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0", exclusive_store=True) as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        first = await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders"))
        for session in range(1, 4):
            first.kill()
            first = await cluster.owner(client, "owner-0", session)
        view = await wait_view(watcher, _of_session(first))
        assert _only(view).predecessors == ()
        assert _only(view).leader_epoch >= 1


def _only(view: ClusterView) -> Assignment:
    (assignment,) = view.assignments.values()
    return assignment


def _of_session(owner: FakeOwner) -> Callable[[ClusterView], bool]:
    return lambda view: _only(view).session == owner.owner.session


async def test_predecessors_add_up_until_one_opens(autojump_clock: object) -> None:
    """A session that opened stays a predecessor while its successors come and go without opening."""
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        owner = await cluster.owner(client, "owner-0", 10)
        await created(client, new("orders"))
        view = await wait_view(watcher, settled_on("owner-0", partitions=1))
        ((at, _),) = view.assignments.items()
        await open_one(client, at)
        for session in (11, 12):
            owner.kill()
            owner = await cluster.owner(client, "owner-0", session)
            view = await wait_view(watcher, _of_session(owner))
        opened = Predecessor(session=SessionId(UUID(int=10)), leader_epoch=LeaderEpoch(0))
        assert _only(view).predecessors == (opened,)
        await open_one(client, at)
        read = await client.get_partition(at)
        assert read.assignment.predecessors == ()
        assert read.state is not None
        assert [each.to_seq for each in read.state.positions] == [7, None]


async def test_a_controller_that_dies_with_an_owner_delays_nothing(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0", "m1") as cluster,
        cluster.client("m1") as client,
        cluster.watcher("m1") as watcher,
    ):
        owners = [await cluster.owner(client, f"owner-{number}", number) for number in range(3)]
        await trio.sleep(2 * LEASE_SECONDS)
        assert cluster.replicas["m0"].service.statistics().controller
        await created(client, new("orders", 6))
        await wait_view(watcher, settled_on("owner-0", "owner-1", "owner-2", partitions=6))
        killed_at = trio.current_time()
        owners[2].kill()
        await cluster.replicas["m0"].kill()
        await wait_view(watcher, settled_on("owner-0", "owner-1", partitions=6))
        assert trio.current_time() - killed_at <= LEASE_SECONDS + 1
        assert cluster.replicas["m1"].service.statistics().controller


async def test_an_orderly_end_of_the_controller_is_taken_over_at_once(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0", "m1") as cluster:
        await trio.sleep(1)
        assert cluster.replicas["m0"].service.statistics().controller
        await cluster.replicas["m0"].stop()
        await trio.sleep(0.1)
        assert cluster.replicas["m1"].service.statistics().controller


async def test_after_a_new_start_of_all_metadata_owners_may_come_back(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with open_metadata_cluster(kv, "m0") as cluster:
        async with cluster.client() as client, cluster.watcher() as watcher:
            owners = [await cluster.owner(client, f"owner-{number}", number) for number in range(3)]
            await created(client, new("orders", 9))
            before = dict((await wait_view(watcher, lambda view: len(view.assignments) == 9)).assignments)
        for owner in owners:
            owner.kill()
        await cluster.replicas["m0"].kill()
        await trio.sleep(10 * LEASE_SECONDS)
        await cluster.start("m0")
        async with cluster.client() as client, cluster.watcher() as watcher:
            await cluster.owner(client, "owner-0", 0)
            await trio.sleep(LEASE_SECONDS / 2)
            # The same sessions: they only could not renew. owner-2 is really gone.
            await cluster.owner(client, "owner-1", 1)
            view = await wait_view(watcher, settled_on("owner-0", "owner-1", partitions=9))
            for at, assignment in view.assignments.items():
                moved = before[at].owner_id == "owner-2"
                assert assignment.leader_epoch == (1 if moved else 0)


async def test_an_exclusive_store_waits_for_nobody(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with open_metadata_cluster(kv, "m0", exclusive_store=True) as cluster:
        async with cluster.client() as client:
            owner = await cluster.owner(client, "owner-0", 0)
            await created(client, new("orders", 2))
        owner.kill()
        await cluster.replicas["m0"].kill()
        await trio.sleep(10 * LEASE_SECONDS)
        await cluster.start("m0")
        at = trio.current_time()
        async with cluster.client() as client, cluster.watcher() as watcher:
            await cluster.owner(client, "another", 1)
            await wait_view(watcher, settled_on("another", partitions=2))
        assert trio.current_time() - at < 0.1


async def test_a_new_owner_gets_its_share_by_hand_over(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
        trio.open_nursery() as nursery,
    ):
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 18))
        await trio.sleep(LEASE_SECONDS)
        await open_all(client, watcher.view, "owner-0")
        at_a_time: list[int] = []
        nursery.start_soon(serve_releases, client, watcher, at_a_time)
        await cluster.owner(client, "owner-1", 1)
        view = await wait_view(
            watcher,
            lambda view: sum(each.owner_id == "owner-1" for each in view.assignments.values()) == 9,
        )
        assert max(at_a_time) <= 8
        moved = [each for each in view.assignments.values() if each.leader_epoch > 0]
        assert len(moved) == 9
        assert all(each.predecessors == () for each in moved)
        read = await client.get_partition(TopicPartition(moved[0].topic_id, moved[0].partition))
        assert read.state is not None
        assert read.state.released_offset == 100
        assert [each.to_seq for each in read.state.positions] == [3]
        nursery.cancel_scope.cancel()


async def test_a_drain_moves_everything_and_the_owner_gets_nothing(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
        trio.open_nursery() as nursery,
    ):
        owner = await cluster.owner(client, "owner-0", 0)
        await cluster.owner(client, "owner-1", 1)
        await created(client, new("orders", 14))
        await wait_view(watcher, settled_on("owner-0", "owner-1", partitions=14))
        nursery.start_soon(_release_unopened, client, watcher)
        await client.drain_owner(OwnerId("owner-0"), owner.owner.session, partitions=[], reason="test")
        await wait_view(watcher, settled_on("owner-1", partitions=14))
        await created(client, new("more", 4))
        await wait_view(watcher, settled_on("owner-1", partitions=18))
        # A new session ends the drain.
        owner.kill()
        await cluster.owner(client, "owner-0", 5)
        await wait_view(
            watcher,
            lambda view: sum(each.owner_id == "owner-0" for each in view.assignments.values()) == 9,
        )
        nursery.cancel_scope.cancel()


async def _release_unopened(client: MetadataClient, watcher: ClusterWatcher) -> None:
    await serve_releases(client, watcher, [], opened=False)


async def test_single_partitions_can_be_drained(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        owner = await cluster.owner(client, "owner-0", 0)
        await cluster.owner(client, "owner-1", 1)
        await created(client, new("orders", 4))
        view = await wait_view(watcher, settled_on("owner-0", "owner-1", partitions=4))
        mine = [at for at, each in view.assignments.items() if each.owner_id == "owner-0"][:1]
        await client.drain_owner(OwnerId("owner-0"), owner.owner.session, partitions=mine, reason="test")
        read = await client.get_partition(mine[0])
        assert read.assignment.state is AssignmentState.RELEASING
        assert read.assignment.target_owner_id == "owner-1"
        await release(client, read.assignment, opened=False)
        assert (await client.get_partition(mine[0])).assignment.owner_id == "owner-1"


async def test_nobody_can_take_over_from_a_single_owner(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        owner = await cluster.owner(client, "owner-0", 0)
        with pytest.raises(Invalid, match="nobody can take over") as caught:
            await client.drain_owner(OwnerId("owner-0"), owner.owner.session, partitions=[], reason="t")
        assert caught.value.reason is Reason.NOBODY_CAN_TAKE_OVER


async def _two_owners(cluster: MetadataCluster, client: MetadataClient) -> tuple[FakeOwner, FakeOwner]:
    return await cluster.owner(client, "owner-0", 0), await cluster.owner(client, "owner-1", 1)


async def test_guards_of_open_and_release(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await _two_owners(cluster, client)
        await created(client, new("orders", 1))
        view = await wait_view(watcher, lambda view: len(view.assignments) == 1)
        ((at, assignment),) = view.assignments.items()
        read = await client.get_partition(at)
        assert read.state is None
        own = ChainPosition(
            session=assignment.session, leader_epoch=LeaderEpoch(0), from_seq=ChainSeq(0), to_seq=None
        )
        for wrong in (
            PartitionState(),
            PartitionState(positions=(own, own)),
            PartitionState(positions=(replace(own, to_seq=ChainSeq(4)),)),
            PartitionState(positions=(replace(own, leader_epoch=LeaderEpoch(1)),)),
        ):
            with pytest.raises(Invalid):
                await client.open_partition(at, read, wrong)
        with pytest.raises(Invalid, match="never opened"):
            await release(client, assignment)
        opened = await client.open_partition(at, read, PartitionState(positions=(own,)))
        assert opened.state_revision > opened.assignment_revision
        with pytest.raises(Fenced) as caught:  # the state has moved on since `read`
            await client.open_partition(at, read, PartitionState(positions=(own,)))
        assert caught.value.reason is Reason.GUARD_FAILED
        await release(client, assignment, to_seq=5)
        with pytest.raises(Moved):
            await release(client, assignment, to_seq=5)
        after = await client.get_partition(at)
        assert after.assignment.leader_epoch == 1
        assert after.assignment.owner_id != assignment.owner_id
        assert after.state is not None
        assert after.state.positions == (replace(own, to_seq=ChainSeq(5)),)


async def test_a_release_ends_in_a_higher_epoch_also_when_nobody_else_is_there(
    autojump_clock: object,
) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        owner, other = await _two_owners(cluster, client)
        await created(client, new("orders", 2))
        view = await wait_view(watcher, settled_on("owner-0", "owner-1", partitions=2))
        (mine,) = (each for each in view.assignments.values() if each.owner_id == "owner-0")
        at = TopicPartition(mine.topic_id, mine.partition)
        await client.drain_owner(OwnerId("owner-0"), owner.owner.session, partitions=[at], reason="t")
        assert other.registration is not None
        other.kill()
        await client.deregister(other.registration.lease_id)
        await release(client, mine, opened=False)
        after = (await client.get_partition(at)).assignment
        assert (after.owner_id, after.leader_epoch) == ("owner-0", 1)
        assert after.state is AssignmentState.ASSIGNED


async def test_a_sealed_session_is_over(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        owner, _ = await _two_owners(cluster, client)
        await created(client, new("orders", 2))
        await client.mark_session_sealed(owner.owner.session, sealed_at=ChainSeq(4))
        await client.mark_session_sealed(owner.owner.session, sealed_at=ChainSeq(4))
        with pytest.raises(Invalid, match="never changes"):
            await client.mark_session_sealed(owner.owner.session, sealed_at=ChainSeq(5))
        with pytest.raises(Fenced) as caught:
            await client.register_owner(owner.owner, in_flight_max=4)
        assert caught.value.reason is Reason.SESSION_OVER
        # Proven over: nobody waits for its lease.
        at = trio.current_time()
        await wait_view(watcher, settled_on("owner-1", partitions=2))
        assert trio.current_time() - at < 1


async def test_an_idle_cluster_writes_nothing(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0", "m1") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await _two_owners(cluster, client)
        await created(client, new("orders", 8))
        await wait_view(watcher, settled_on("owner-0", "owner-1", partitions=8))
        await trio.sleep(LEASE_SECONDS)
        revision = kv.revision
        await trio.sleep(3600)
        assert kv.revision == revision
