"""An owner whose watch breaks and at whose address nobody listens is gone before its lease ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from libs.clients.metadata import MetadataClient
from libs.clients.watcher import open_watcher
from libs.concurrency.rand import SeededRand
from libs.model.ids import OwnerId
from services.metadata.kv.memory import MemoryKV
from tests.support.metadata import (
    LEASE_SECONDS,
    MetadataCluster,
    open_metadata_cluster,
    owner_named,
    wait_view,
)


class Network:
    """Whose address refuses; an owner's address is its name with a port."""

    def __init__(self) -> None:
        self.refusing: set[str] = set()
        self.asked: list[str] = []

    async def is_refused(self, address: str) -> bool:
        await trio.lowlevel.checkpoint()
        self.asked.append(address)
        return address in self.refusing


@asynccontextmanager
async def _watching(cluster: MetadataCluster, name: str) -> AsyncIterator[trio.CancelScope]:
    """A watch in the name of an owner, which breaks when the scope is cancelled."""
    async with trio.open_nursery() as nursery:

        async def watch(*, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
            with trio.CancelScope() as scope:
                async with open_watcher(
                    name=name, addresses=("a",), connect=cluster.connect, rand=SeededRand(name)
                ) as watcher:
                    await watcher.wait_ready()
                    task_status.started(scope)
                    await trio.sleep_forever()

        yield await nursery.start(watch)
        nursery.cancel_scope.cancel()


async def _register(client: MetadataClient, name: str, session: int) -> None:
    await client.register_owner(owner_named(name, session), in_flight_max=4)


async def test_a_dead_owner_is_gone_long_before_its_lease(autojump_clock: MockClock) -> None:
    network = Network()
    async with (
        open_metadata_cluster(MemoryKV(), "a", is_refused=network.is_refused) as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
        _watching(cluster, "x") as dying,
    ):
        await _register(client, "x", 1)
        await wait_view(watcher, lambda view: OwnerId("x") in view.owners)
        network.refusing.add("x:9094")
        died_at = trio.current_time()
        dying.cancel()
        await wait_view(watcher, lambda view: OwnerId("x") not in view.owners)
        assert trio.current_time() - died_at < 1
        assert network.asked == ["x:9094", "x:9094"]


@pytest.mark.parametrize("refused_once", [False, True])
async def test_one_that_only_lost_its_watch_stays(autojump_clock: MockClock, *, refused_once: bool) -> None:
    network = Network()

    async def is_refused(address: str) -> bool:
        await network.is_refused(address)
        return refused_once and len(network.asked) == 1

    async with (
        open_metadata_cluster(MemoryKV(), "a", is_refused=is_refused) as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
        _watching(cluster, "x") as breaking,
    ):
        await _register(client, "x", 1)
        await wait_view(watcher, lambda view: OwnerId("x") in view.owners)
        breaking.cancel()
        await trio.sleep(LEASE_SECONDS / 2)
        assert OwnerId("x") in watcher.view.owners
        assert len(network.asked) == 5


async def test_one_that_dies_slowly_is_gone_too(autojump_clock: MockClock) -> None:
    """Its listener outlives its watch for a moment."""
    network = Network()
    async with (
        open_metadata_cluster(MemoryKV(), "a", is_refused=network.is_refused) as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
        _watching(cluster, "x") as dying,
    ):
        await _register(client, "x", 1)
        await wait_view(watcher, lambda view: OwnerId("x") in view.owners)
        died_at = trio.current_time()
        dying.cancel()
        await trio.sleep(0.2)
        network.refusing.add("x:9094")
        await wait_view(watcher, lambda view: OwnerId("x") not in view.owners)
        assert trio.current_time() - died_at < 1


async def test_a_newer_registration_is_left_alone(autojump_clock: MockClock) -> None:
    """The process was started again between the look and the verdict."""
    network = Network()
    asking, go_on = trio.Event(), trio.Event()

    async def is_refused(_address: str) -> bool:
        asking.set()
        await go_on.wait()
        return True

    async with (
        open_metadata_cluster(MemoryKV(), "a", is_refused=is_refused) as cluster,
        cluster.client() as client,
        cluster.watcher() as watcher,
        _watching(cluster, "x") as breaking,
    ):
        await _register(client, "x", 1)
        await wait_view(watcher, lambda view: OwnerId("x") in view.owners)
        breaking.cancel()
        await asking.wait()
        await _register(client, "x", 2)
        second = owner_named("x", 2).session
        await wait_view(watcher, lambda view: view.owners[OwnerId("x")].session == second)
        go_on.set()
        await trio.sleep(LEASE_SECONDS / 2)
        assert watcher.view.owners[OwnerId("x")].session == second
    assert network.asked == []


async def test_a_watcher_that_is_no_owner_is_nobody_to_ask_for(autojump_clock: MockClock) -> None:
    network = Network()
    async with (
        open_metadata_cluster(MemoryKV(), "a", is_refused=network.is_refused) as cluster,
        _watching(cluster, "gateway-0") as breaking,
    ):
        breaking.cancel()
        await trio.sleep(1)
        assert network.asked == []
