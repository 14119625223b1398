"""A TCP load balancer as clouds have them: knows nothing of Kafka, each connection goes to the next target.

Owns: its port, taking turns. Does not own: whether a target lives.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio

_CHUNK_BYTES = 65536


class Balancer:
    """`targets` (host:port) may be set later, before the first client comes. `taken` counts connections."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.targets: list[str] = []
        self.taken: list[int] = []

    async def forward(self, client: trio.SocketStream) -> None:
        """One connection, until either side ends it."""
        self.taken = self.taken or [0] * len(self.targets)
        turn = sum(self.taken) % len(self.targets)
        self.taken[turn] += 1
        host, _, port = self.targets[turn].rpartition(":")
        async with client, await trio.open_tcp_stream(host, int(port)) as target, trio.open_nursery() as both:

            async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
                try:
                    async for chunk in source:
                        await sink.send_all(chunk)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # as if it had ended
                both.cancel_scope.cancel()

            both.start_soon(pump, client, target)
            both.start_soon(pump, target, client)


@asynccontextmanager
async def open_balancer() -> AsyncIterator[Balancer]:
    """On a free port of 127.0.0.1."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        balancer = Balancer(listeners[0].socket.getsockname()[1])
        nursery.start_soon(
            partial(trio.serve_listeners, balancer.forward, listeners, handler_nursery=nursery)
        )
        yield balancer
        nursery.cancel_scope.cancel()


__all__ = ["Balancer", "open_balancer"]
