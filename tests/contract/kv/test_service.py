"""The metadata service on each store: what it does on the model it does on the real ones, in real time."""

import time

import pytest
import trio

from libs.concurrency.rand import SystemRand
from libs.model.errors import Unavailable
from services.metadata.config import MetadataOptions
from services.metadata.kv.etcd import open_etcd_kv
from services.metadata.kv.port import KV
from tests.support.metadata import open_metadata_cluster, wait_view
from tests.support.servers import open_etcd, restart
from tests.unit.services.metadata.test_controller import settled_on
from tests.unit.services.metadata.test_topics import created, new

LEASE_SECONDS = 4.0
OPTIONS = MetadataOptions(lease_seconds=LEASE_SECONDS)
MOVED_SECONDS_MAX = LEASE_SECONDS + 3
"""The store's own sense of time adds to the lease, etcd looks for ended ones twice a second, and the machine
may be busy. A second lease, or another grace of a controller, does not fit."""


async def test_topics_live_move_and_go(real_kv: KV) -> None:
    async with (
        open_metadata_cluster(real_kv, "m0", "m1", options=OPTIONS) as cluster,
        cluster.client("m0", "m1") as client,
        cluster.watcher("m1") as watcher,
    ):
        owners = [await cluster.owner(client, f"owner-{number}", number) for number in range(3)]
        topic = await created(client, new("orders", 130))
        await wait_view(watcher, settled_on("owner-0", "owner-1", "owner-2", partitions=130))
        await trio.sleep(LEASE_SECONDS)  # the first controller's grace
        killed_at = trio.current_time()
        owners[0].kill()
        await wait_view(watcher, settled_on("owner-1", "owner-2", partitions=130))
        assert trio.current_time() - killed_at < MOVED_SECONDS_MAX
        await cluster.replicas["m0"].kill()
        await client.delete_topics([topic.name])
        await created(client, new("orders", 2))
        await wait_view(watcher, settled_on("owner-1", "owner-2", partitions=2))


async def test_an_idle_cluster_leaves_the_store_alone(real_kv: KV) -> None:
    async with (
        open_metadata_cluster(real_kv, "m0", "m1", options=OPTIONS) as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
    ):
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 4))
        await wait_view(watcher, settled_on("owner-0", partitions=4))
        await trio.sleep(LEASE_SECONDS + 0.5)
        revision = (await real_kv.range("")).revision
        await trio.sleep(3)
        assert (await real_kv.range("")).revision == revision


async def test_etcd_killed_and_back() -> None:
    async with (
        open_etcd() as server,
        open_etcd_kv([server.endpoint], cluster="test", rand=SystemRand()) as kv,
        open_metadata_cluster(kv, "m0", options=OPTIONS) as cluster,
        cluster.client() as client,
    ):
        await cluster.owner(client, "owner-0", 0)
        await created(client, new("orders", 4))
        await trio.to_thread.run_sync(server.kill)
        async with cluster.watcher() as watcher:
            view = await wait_view(watcher, settled_on("owner-0", partitions=4))
            before = dict(view.assignments)
            with pytest.raises(Unavailable):
                await client.allocate_producer_ids(1)
            await trio.sleep(LEASE_SECONDS + 1)
            await restart(server)
            with trio.fail_after(20):
                while True:
                    try:
                        await client.allocate_producer_ids(1)
                        break
                    except Unavailable:
                        await trio.sleep(0.1)
            await created(client, new("more", 4))
            await trio.sleep(LEASE_SECONDS + 0.5)
            # The owner was there all the time: nothing moved.
            for at, assignment in before.items():
                assert watcher.view.assignments[at] == assignment


async def test_an_owner_and_its_controller_killed_at_once_on_etcd() -> None:
    async with (
        open_etcd() as server,
        open_etcd_kv([server.endpoint], cluster="test", rand=SystemRand()) as kv,
        open_metadata_cluster(kv, "m0", "m1", options=OPTIONS) as cluster,
        cluster.client("m1") as client,
        cluster.watcher("m1") as watcher,
    ):
        owners = [await cluster.owner(client, f"owner-{number}", number) for number in range(3)]
        await created(client, new("orders", 9))
        await wait_view(watcher, settled_on("owner-0", "owner-1", "owner-2", partitions=9))
        await trio.sleep(LEASE_SECONDS + 1)
        killed_at = time.monotonic()
        owners[0].kill()
        await cluster.replicas["m0"].kill()
        await wait_view(watcher, settled_on("owner-1", "owner-2", partitions=9))
        assert time.monotonic() - killed_at < MOVED_SECONDS_MAX
