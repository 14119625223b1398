"""Channels by address, made on first use and kept.

Owns: one channel an address and its life. Does not own: how a channel is made (`connect`), who is live.
Rules: 1 each channel lives in a task of its own, so that they may end in any order; 2 at most `channels_max`
are open: the one that was used least recently makes room, and calls on it get Unavailable.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpclib.client
import trio

from libs.clients.watcher import Connect

CHANNELS_MAX = 64
"""More than any cluster has of metadata replicas."""


class Channels:
    """Made by `open_channels`."""

    def __init__(self, connect: Connect, nursery: trio.Nursery, *, channels_max: int) -> None:
        self._connect = connect
        self._nursery = nursery
        self._channels_max = channels_max
        self._open: dict[str, tuple[grpclib.client.Channel, trio.CancelScope]] = {}
        self._lock = trio.Lock()

    def __len__(self) -> int:
        return len(self._open)

    async def get(self, address: str) -> grpclib.client.Channel:
        """The channel to this address. Raises what `connect` does, Invalid for an address that is none."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if address not in self._open:
            async with self._lock:
                if address not in self._open:
                    await self._add(address)
        entry = self._open[address] = self._open.pop(address)
        return entry[0]

    async def _add(self, address: str) -> None:
        if len(self._open) >= self._channels_max:
            _, scope = self._open.pop(next(iter(self._open)))
            scope.cancel()
        self._open[address] = await self._nursery.start(self._hold, address)

    async def _hold(
        self,
        address: str,
        *,
        task_status: trio.TaskStatus[
            tuple[grpclib.client.Channel, trio.CancelScope]
        ] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        with trio.CancelScope() as scope:
            async with self._connect(address) as channel:
                task_status.started((channel, scope))
                await trio.sleep_forever()


@asynccontextmanager
async def open_channels(connect: Connect, *, channels_max: int = CHANNELS_MAX) -> AsyncIterator[Channels]:
    """Channels that are closed when the block ends."""
    async with trio.open_nursery() as nursery:
        yield Channels(connect, nursery, channels_max=channels_max)
        nursery.cancel_scope.cancel()
