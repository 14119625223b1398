"""A server and a channel to it, over either transport."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from libs.concurrency.rand import SeededRand
from libs.rpc import (
    Channel,
    ClientTls,
    RpcLimits,
    Server,
    ServerTls,
    memory_channel,
    open_channel,
    open_tcp_listeners,
)
from tests.contract.rpc.echo import Call, Echo, EchoStub

both_transports = pytest.mark.parametrize("transport", ["memory", "socket"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both ends."""

    server: Server
    channel: Channel
    stub: EchoStub


@asynccontextmanager
async def serving(server: Server, *, tls: ServerTls | None = None) -> AsyncIterator[str]:
    """The address at which `server` serves on loopback."""
    listeners = await open_tcp_listeners("127.0.0.1", 0, tls=tls)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        try:
            yield address_of(listeners)
        finally:
            nursery.cancel_scope.cancel()


def address_of(listeners: Sequence[Any]) -> str:
    listener = listeners[0]
    if isinstance(listener, trio.SSLListener):
        listener = listener.transport_listener
    assert isinstance(listener, trio.SocketListener)
    return f"127.0.0.1:{listener.socket.getsockname()[1]}"


@asynccontextmanager
async def connected(
    transport: str,
    handle: Call | None = None,
    *,
    limits: RpcLimits | None = None,
    client_limits: RpcLimits | None = None,
    tls: tuple[ServerTls, ClientTls] | None = None,
) -> AsyncIterator[Pair]:
    """An Echo server and a channel to it; `handle` replaces the methods of Echo."""
    limits = limits or RpcLimits()
    server = Server([Echo(handle)], limits=limits)
    if transport == "memory":
        async with memory_channel(server, limits=client_limits or limits) as channel:
            yield Pair(server=server, channel=channel, stub=EchoStub(channel))
        return
    async with (
        serving(server, tls=tls[0] if tls else None) as address,
        open_channel(
            address, tls=tls[1] if tls else None, limits=client_limits or limits, rand=SeededRand(0)
        ) as channel,
    ):
        yield Pair(server=server, channel=channel, stub=EchoStub(channel))
