"""Gateways' broker ids, owners' sessions, leases, producer ids, and writes whose outcome is unknown."""

from uuid import UUID

import pytest
import trio

from libs.clients.metadata import MetadataClient
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Gateway, Topic
from libs.model.errors import Invalid, KafscaleError, NotFound, Reason, Unavailable
from libs.model.ids import BrokerId, GatewayId, OwnerId, SessionId, StoreId
from proto.metadata import metadata_pb2 as messages
from services.metadata import keys, registrations
from services.metadata.cluster_info import ensure_cluster
from services.metadata.kv.memory import MemoryKV
from services.metadata.kv.port import ABSENT, ModRevisionIs, Put
from services.metadata.registrations import Registrations
from services.metadata.writes import write
from tests.support.kv import FaultyKV
from tests.support.metadata import (
    LEASE_SECONDS,
    open_metadata_cluster,
    owner_named,
    wait_view,
)
from tests.unit.services.metadata.test_topics import created, new


def gateway(name: str, broker_id: int = -1) -> Gateway:
    return Gateway(gateway_id=GatewayId(name), broker_id=BrokerId(broker_id), host="h", port=9092)


async def test_a_gateway_keeps_its_broker_id_over_restarts(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        first = await client.register_gateway(gateway("gateway-0"))
        second = await client.register_gateway(gateway("gateway-1"))
        assert (first.broker_id, second.broker_id) == (1, 2)
        await client.deregister(first.lease_id)
        await client.deregister(second.lease_id)
        assert (await client.register_gateway(gateway("gateway-1"))).broker_id == 2
        assert (await client.register_gateway(gateway("gateway-2"))).broker_id == 3
        assert (await client.register_gateway(gateway("gateway-0"))).broker_id == 1


async def test_gateways_of_one_address_bring_their_broker_id(autojump_clock: object) -> None:
    kv = MemoryKV()
    async with (
        open_metadata_cluster(kv, "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        for name in ("gateway-0", "gateway-1"):
            assert (await client.register_gateway(gateway(name, 0))).broker_id == 0
        view = await wait_view(watcher, lambda view: len(view.gateways) == 2)
        assert {each.broker_id for each in view.gateways.values()} == {0}
        assert (await kv.range(keys.BROKER_IDS)).items == ()
        await trio.sleep(LEASE_SECONDS + 1)
        await wait_view(watcher, lambda view: not view.gateways)


async def test_broker_ids_of_gateways_long_gone_are_given_again_when_all_are_given(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    monkeypatch.setattr(registrations, "BROKER_IDS_MAX", 3)
    owners = Registrations(MemoryKV(), lease_seconds=LEASE_SECONDS)
    leases = [await owners.register_gateway(gateway(f"gateway-{number}")) for number in range(3)]
    with pytest.raises(Invalid, match="no broker id left"):
        await owners.register_gateway(gateway("gateway-3"))
    await owners.deregister(leases[2].lease_id)
    await owners.deregister(leases[1].lease_id)
    assert (await owners.register_gateway(gateway("gateway-3"))).broker_id == 2


async def test_a_lease_that_is_over_says_so(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        registration = await client.register_owner(owner_named("owner-0", 1), in_flight_max=4)
        assert registration.lease_seconds == LEASE_SECONDS
        await trio.sleep(LEASE_SECONDS - 1)
        assert await client.keep_alive(registration.lease_id, timeout_seconds=1) == LEASE_SECONDS
        await trio.sleep(LEASE_SECONDS + 1)
        with pytest.raises(NotFound):
            await client.keep_alive(registration.lease_id, timeout_seconds=1)


async def test_a_drain_outlives_a_lapse_of_the_lease(autojump_clock: object) -> None:
    async with (
        open_metadata_cluster(MemoryKV(), "m0") as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        owner = owner_named("owner-0", 1)
        await client.register_owner(owner, in_flight_max=4)
        await cluster.owner(client, "owner-1", 2)
        await client.drain_owner(owner.owner_id, owner.session, partitions=[], reason="test")
        await trio.sleep(2 * LEASE_SECONDS)
        await wait_view(watcher, lambda view: len(view.owners) == 1)
        await client.register_owner(owner, in_flight_max=4)
        view = await wait_view(watcher, lambda view: len(view.owners) == 2)
        assert view.owners[owner.owner_id].draining


@pytest.mark.parametrize("name", ["", "a/b", "x" * 254])
async def test_names_that_make_no_key_are_refused(name: str, autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        with pytest.raises(Invalid):
            await client.register_owner(owner_named(name, 1), in_flight_max=4)
        with pytest.raises(Invalid):
            await client.register_gateway(gateway(name))


async def test_a_session_belongs_to_one_owner(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        await client.register_owner(owner_named("owner-0", 1), in_flight_max=4)
        with pytest.raises(Invalid, match="belongs to"):
            await client.register_owner(owner_named("owner-1", 1), in_flight_max=4)


async def test_an_owner_of_another_object_store_is_refused(autojump_clock: object) -> None:
    """It would find its predecessors' chains empty, and seal them as if nothing had been written."""
    kv = FaultyKV()
    one, other = StoreId(UUID(int=1)), StoreId(UUID(int=2))
    async with open_metadata_cluster(kv, "m0", "m1") as cluster, cluster.client("m0") as client:
        kv.lost_replies = 1
        await client.register_owner(owner_named("owner-0", 1), in_flight_max=4, store_id=one)
        async with cluster.client("m1") as at_another:
            with pytest.raises(Invalid, match=f"object store {one}.*{other}.*KAFSCALE_S3_BUCKET") as refused:
                await at_another.register_owner(owner_named("owner-1", 2), in_flight_max=4, store_id=other)
            assert refused.value.reason is Reason.WRONG_STORE
            await at_another.register_owner(owner_named("owner-2", 3), in_flight_max=4, store_id=one)
        owners = await kv.range(keys.OWNERS, limit=10)
        assert [item.key for item in owners.items] == [keys.owner(OwnerId(f"owner-{n}")) for n in (0, 2)]


async def test_of_two_first_owners_one_says_which_store_it_is(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0", "m1") as cluster:
        refused: list[Invalid] = []

        async def register(at: str, number: int) -> None:
            async with cluster.client(at) as client:
                owner = owner_named(f"owner-{number}", number)
                try:
                    await client.register_owner(owner, in_flight_max=4, store_id=StoreId(UUID(int=number)))
                except Invalid as error:
                    refused.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(register, "m0", 1)
            nursery.start_soon(register, "m1", 2)
        assert [error.reason for error in refused] == [Reason.WRONG_STORE]


async def test_blocks_of_producer_ids_never_overlap(autojump_clock: object) -> None:
    kv = FaultyKV()
    async with open_metadata_cluster(kv, "m0", "m1") as cluster:
        blocks: list[range] = []

        async def allocate(client: MetadataClient) -> None:
            for _ in range(5):
                blocks.append(await client.allocate_producer_ids(10))

        async with cluster.client("m0", "m1") as one, cluster.client("m1", "m0") as two:
            kv.lost_replies = 1  # wastes a block
            async with trio.open_nursery() as nursery:
                nursery.start_soon(allocate, one)
                nursery.start_soon(allocate, two)
            with pytest.raises(Invalid):
                await one.allocate_producer_ids(0)
        ids = [each for block in blocks for each in block]
        assert len(set(ids)) == len(ids) == 100
        assert max(ids) == 109


async def test_a_lost_reply_is_read_back(autojump_clock: object) -> None:
    kv = FaultyKV()
    kv.lost_replies = 1
    revision = await write(kv, [], [Put(key="a", value=b"1")])
    assert revision == kv.revision
    item = await kv.get("a")
    assert item is not None
    guard = ModRevisionIs(key="a", revision=item.mod_revision)
    kv.lost_requests = 1
    with pytest.raises(Unavailable) as caught:  # the same value, but of the write before
        await write(kv, [guard], [Put(key="a", value=b"1")])
    assert caught.value.outcome_unknown
    assert await write(kv, [ModRevisionIs(key="a", revision=kv.revision)], [Put(key="a", value=b"2")])
    assert await write(kv, [guard], [Put(key="a", value=b"3")]) is None


async def test_an_equal_value_on_another_lease_is_not_mine(autojump_clock: object) -> None:
    """A registration's key would end with that lease, while its owner renews the one it was told."""
    kv = FaultyKV()
    old, new_lease = [await kv.grant_lease(ttl_seconds=5.0) for _ in range(2)]
    await kv.txn([], [Put(key="a", value=b"1", lease_id=old)])
    kv.lost_requests = 1
    with pytest.raises(Unavailable):
        await write(
            kv, [ModRevisionIs(key="a", revision=ABSENT)], [Put(key="a", value=b"1", lease_id=new_lease)]
        )


async def test_every_step_survives_a_lost_reply(autojump_clock: object) -> None:
    """From registering to assigning: each step's first transaction happens and is not told."""
    kv = FaultyKV()
    async with open_metadata_cluster(kv, "m0") as cluster, cluster.client() as client:
        await trio.sleep(1)
        kv.lost_replies = 1
        await cluster.owner(client, "owner-0", 0)
        kv.lost_replies = 2  # creating the topic, and assigning it
        topic = await created(client, new("orders", 3))
        kv.lost_replies = 1
        (deleted,) = await client.delete_topics([topic.name])
        assert not isinstance(deleted, KafscaleError)
        again = await created(client, new("orders"))
        assert isinstance(again, Topic)
        assert kv.lost_replies == 0


async def test_the_cluster_is_named_once_and_newer_formats_are_refused(autojump_clock: object) -> None:
    kv = MemoryKV()
    first = await ensure_cluster(kv, SeededRand(1))
    assert len(first) == 22
    assert await ensure_cluster(kv, SeededRand(2)) == first
    newer = messages.ClusterInfo(cluster_id=first, format_version=99).SerializeToString()
    await kv.txn([], [Put(key=keys.CLUSTER, value=newer)])
    with pytest.raises(Invalid, match="format version 99"):
        await ensure_cluster(kv, SeededRand(3))


async def test_two_first_replicas_agree_on_the_clusters_id(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0", "m1") as cluster:
        ids = {replica.service.cluster_id for replica in cluster.replicas.values()}
        assert len(ids) == 1
        async with cluster.watcher("m1") as watcher:
            assert {watcher.view.cluster_id} == ids


async def test_unknown_sessions_are_nothing_to_seal(autojump_clock: object) -> None:
    async with open_metadata_cluster(MemoryKV(), "m0") as cluster, cluster.client() as client:
        await client.mark_session_sealed(SessionId(UUID(int=77)), sealed_at=3)  # type: ignore[arg-type]
