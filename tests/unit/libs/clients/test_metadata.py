"""Which replica a MetadataClient asks first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from libs.clients.metadata import open_metadata_client
from libs.concurrency.rand import SeededRand
from libs.model.errors import KafscaleError
from libs.rpc import Channel, Server, memory_channel

ADDRESSES = ("a:1", "b:1", "c:1")


async def first_asked(rand: SeededRand | None) -> list[str]:
    """Who got the first call; an answer that says "unknown method" is one."""
    channels: dict[str, Channel] = {}

    @asynccontextmanager
    async def connect(address: str) -> AsyncIterator[Channel]:
        async with memory_channel(Server([])) as channel:
            channels[address] = channel
            yield channel

    async with open_metadata_client(ADDRESSES, connect, rand=rand) as client:
        with pytest.raises(KafscaleError):
            await client.deregister(1)
        return [address for address, each in channels.items() if each.statistics().calls_started]


async def test_the_first_address_where_chance_is_not_handed_in() -> None:
    assert await first_asked(None) == ["a:1"]


async def test_any_of_them_else_so_that_services_with_one_list_share_the_replicas() -> None:
    asked = [await first_asked(SeededRand(f"service {number}")) for number in range(20)]
    assert {address for (address,) in asked} == set(ADDRESSES)
