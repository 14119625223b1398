"""Addresses inside one process: channels to servers in memory, whose messages still cross the codec.

Owns: which server an address means. Does not own: the transport (libs/rpc).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from libs.model.errors import Unavailable
from libs.rpc import ChannelStatistics, Server, memory_channel
from libs.rpc.memory import MemoryChannel


class MemoryNetwork:
    """`attach` a server, then `connect` to it by name."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}
        self._channels: list[tuple[str, MemoryChannel]] = []

    def attach(self, address: str, server: Server) -> None:
        self._servers[address] = server

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[MemoryChannel]:
        """Raises Unavailable where nobody is attached."""
        await trio.lowlevel.checkpoint()
        server = self._servers.get(address)
        if server is None:
            raise Unavailable(f"nobody is at {address} in this process")
        channel = memory_channel(server)
        self._channels.append((address, channel))
        try:
            yield channel
        finally:
            channel.close()

    def statistics(self) -> list[tuple[str, ChannelStatistics]]:
        """Every channel that was ever opened, with the address that it goes to."""
        return [(address, channel.statistics()) for address, channel in self._channels]
