"""GetReferences: of one revision whatever moves meanwhile; and records that end when nothing names them."""

from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

import pytest
import trio

from libs.clients.metadata import MetadataClient
from libs.clients.view import ClusterView
from libs.model.errors import Fenced, Invalid, Reason
from libs.model.ids import (
    ChainSeq,
    OwnerId,
    Partition,
    Revision,
    SessionId,
    TopicId,
    TopicName,
    TopicPartition,
)
from libs.model.references import TopicPhase
from services.metadata import keys
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import RangeResult
from services.metadata.references import ASKED_MAX, ReferenceReader
from tests.support.metadata import LEASE_SECONDS, open_metadata_cluster, owner_named, wait_view
from tests.unit.services.metadata.test_controller import open_all, open_one, release, settled_on
from tests.unit.services.metadata.test_topics import created, new


def session(number: int) -> SessionId:
    return SessionId(UUID(int=number))


async def records(kv: MemoryKV) -> set[SessionId]:
    return {SessionId(keys.last_id_of(item.key)) for item in (await kv.range(keys.SESSIONS)).items}


async def test_who_names_a_session(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        first = await cluster.owner(client, "owner-0", 1)
        await created(client, new("orders", 2))
        view = await wait_view(watcher, settled_on("owner-0", partitions=2))
        at, _ = sorted(view.assignments)
        found = (await client.get_references(sessions=[session(1), session(9)])).sessions
        assert (found[session(1)].registered, found[session(1)].assigned) == (True, True)
        assert found[session(1)].least_from_seq is None
        assert not found[session(9)].recorded
        await open_one(client, at, from_seq=5)
        first.kill()
        await cluster.owner(client, "owner-1", 2)
        await wait_view(watcher, settled_on("owner-1", partitions=2))
        reply = await client.get_references(
            sessions=[session(1), session(2)], partitions=[at], collectable=True
        )
        one = reply.sessions[session(1)]
        assert (one.registered, one.assigned, one.predecessor, one.least_from_seq) == (False, False, True, 5)
        assert not one.dead
        assert reply.partitions[at].session == session(2)
        assert (reply.partitions[at].leader_epoch, reply.partitions[at].opened) == (1, False)
        assert reply.dead_sessions == ()
        await open_one(client, at)
        await client.mark_session_sealed(session(1), sealed_at=ChainSeq(7))
        reply = await client.get_references(partitions=[at], collectable=True)
        assert reply.partitions[at].opened
        (dead,) = reply.dead_sessions
        assert (dead.session, dead.least_from_seq, dead.sealed_at) == (session(1), 5, 7)
        assert reply.cluster_id == watcher.view.cluster_id
        await client.forget_collected(sessions=[session(1), session(2)])
        assert await records(kv) == {session(1), session(2)}  # a state names one, the other is live


async def test_a_record_ends_when_nothing_names_its_session(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        owner = await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 1))
        await wait_view(watcher, settled_on("owner-0", partitions=1))
        await open_all(client, watcher.view, "owner-0")
        for number in (1, 2):
            owner.kill()
            owner = await cluster.owner(client, "owner-0", number)
            await wait_view(
                watcher,
                partial(_is_held_by, number),
            )
        await trio.sleep(200)
        assert await records(kv) == {session(0), session(1), session(2)}  # none by itself
        await client.forget_collected(sessions=[session(0), session(1), session(2)])
        # 0 is a predecessor, 2 is live; 1 never opened anything.
        assert await records(kv) == {session(0), session(2)}
        with pytest.raises(Fenced) as caught:
            await client.register_owner(owner_named("owner-0", 1), in_flight_max=4, known=True)
        assert caught.value.reason is Reason.SESSION_OVER


async def test_topics_on_their_way_out(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 1)
        topic = await created(client, new("orders", 1))
        await wait_view(watcher, settled_on("owner-0", partitions=1))
        at, unknown = TopicPartition(topic.topic_id, Partition(0)), TopicId(UUID(int=3))
        await open_all(client, watcher.view, "owner-0")
        found = await client.get_references(topics=[unknown, topic.topic_id], partitions=[at])
        assert found.topics == {unknown: TopicPhase.UNKNOWN, topic.topic_id: TopicPhase.EXISTS}
        await client.delete_topics([TopicName("orders")])
        await wait_view(watcher, lambda view: not view.assignments)
        await trio.sleep(1)
        found = await client.get_references(topics=[topic.topic_id], partitions=[at], collectable=True)
        assert found.topics == {topic.topic_id: TopicPhase.DELETED}
        assert found.partitions == {}
        (gone,) = found.deleted_topics
        assert (gone.topic_id, gone.name) == (topic.topic_id, "orders")
        await client.forget_collected(topics=[topic.topic_id, unknown])
        found = await client.get_references(topics=[topic.topic_id], collectable=True)
        assert found.topics == {topic.topic_id: TopicPhase.UNKNOWN}
        assert found.deleted_topics == ()


class Interrupted(MemoryKV):
    """Lets something happen before each page of the partitions' states is read."""

    def __init__(self, *, history_revisions_max: int = 1000) -> None:
        super().__init__(history_revisions_max=history_revisions_max)
        self.before_partitions: list[Callable[[], Awaitable[None]]] = []

    async def range(
        self, prefix: str, *, start_after: str = "", limit: int = 1000, revision: Revision | None = None
    ) -> RangeResult:
        if prefix.startswith(keys.PARTITIONS) and self.before_partitions:
            await self.before_partitions.pop()()
        return await super().range(prefix, start_after=start_after, limit=limit, revision=revision)


async def test_references_that_move_while_they_are_read_are_not_missed(autojump_clock: object) -> None:
    """From an assignment to a state, to the next assignment: at one revision each is somewhere."""
    kv = Interrupted()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 1)
        await created(client, new("orders", 1))
        view = await wait_view(watcher, settled_on("owner-0", partitions=1))
        (at,) = view.assignments

        async def open_and_release() -> None:
            await open_one(client, at, from_seq=3)
            await release(client, (await client.get_partition(at)).assignment, to_seq=3)

        kv.before_partitions = [open_and_release]
        found = (await ReferenceReader(kv).get(sessions=[session(1)])).sessions[session(1)]
        assert found.assigned
        assert found.least_from_seq is None  # of the revision before


async def test_a_revision_that_is_compacted_meanwhile_is_read_anew(autojump_clock: object) -> None:
    kv = Interrupted()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
    ):
        await cluster.owner(client, "owner-0", 1)

        async def compact() -> None:
            await client.allocate_producer_ids(1)
            await kv.compact(kv.revision)

        kv.before_partitions = [compact, compact]
        found = await ReferenceReader(kv).get(sessions=[session(1)])
        assert found.sessions[session(1)].registered
        assert not kv.before_partitions


async def test_what_may_be_asked_is_bounded() -> None:
    reader = ReferenceReader(MemoryKV())
    with pytest.raises(Invalid):
        await reader.get(sessions=[session(each) for each in range(ASKED_MAX + 1)])


async def test_a_session_that_comes_back_keeps_its_record(autojump_clock: object) -> None:
    """Its owner lost the lease only: while it is registered again, nothing ends."""
    kv = MemoryKV()
    async with open_metadata_cluster(kv, "m0") as cluster, cluster.client() as client:
        owner = await cluster.owner(client, "owner-0", 1)
        owner.kill()
        await trio.sleep(2 * LEASE_SECONDS)
        assert [each.session for each in (await client.get_references(collectable=True)).dead_sessions] == [
            session(1)
        ]
        await _register(client, "owner-0", 1)
        await client.forget_collected(sessions=[session(1)])
        assert await records(kv) == {session(1)}


def _is_held_by(number: int, view: ClusterView) -> bool:
    return {each.session for each in view.assignments.values()} == {session(number)}


async def _register(client: MetadataClient, name: str, number: int) -> None:
    await client.register_owner(owner_named(OwnerId(name), number), in_flight_max=4, known=True)
