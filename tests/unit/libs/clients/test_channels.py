"""Channels by address."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from libs.clients.channels import open_channels
from libs.model.errors import Invalid
from libs.rpc import Channel, Server, memory_channel


class Dialer:
    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[Channel]:
        if address == "bad":
            raise Invalid("no address")
        self.opened.append(address)
        try:
            async with memory_channel(Server([])) as channel:
                await trio.lowlevel.checkpoint()
                yield channel
        finally:
            self.closed.append(address)


async def test_one_channel_an_address_however_many_ask() -> None:
    dialer = Dialer()
    async with open_channels(dialer.connect) as channels:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(channels.get, "a:1")
        assert await channels.get("a:1") is await channels.get("a:1")
        assert await channels.get("b:1") is not await channels.get("a:1")
        assert dialer.opened == ["a:1", "b:1"]
        assert dialer.closed == []
    assert sorted(dialer.closed) == ["a:1", "b:1"]


async def test_the_least_recently_used_makes_room() -> None:
    dialer = Dialer()
    async with open_channels(dialer.connect, channels_max=2) as channels:
        for address in ("a", "b", "a", "c"):
            await channels.get(address)
        await trio.testing.wait_all_tasks_blocked()
        assert dialer.closed == ["b"]
        assert len(channels) == 2
        await channels.get("a")
        assert dialer.opened == ["a", "b", "c"]


async def test_an_address_that_is_none_fails_its_caller_alone() -> None:
    dialer = Dialer()
    async with open_channels(dialer.connect) as channels:
        with pytest.raises(Invalid):
            await channels.get("bad")
        await channels.get("a")


async def test_a_caller_that_gives_up_leaves_the_others_alone() -> None:
    dialer = Dialer()
    async with open_channels(dialer.connect) as channels:
        with trio.CancelScope() as scope:
            scope.cancel()
            await channels.get("a")
        assert scope.cancelled_caught
        await channels.get("a")
