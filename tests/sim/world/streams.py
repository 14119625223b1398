"""Kafka connections over the simulated network: byte streams, and the listener that a gateway serves.

Owns: streams as Trio's interface has them. Does not own: what arrives (network.py), the protocol.
Rules: 1 as TCP: what was received stays readable after the end; a connection that broke raises, one that the
peer closed ends.
"""

from collections import deque

import trio

from tests.sim.world.network import Connection, Network
from tests.sim.world.process import SimProcess


class SimStream(trio.abc.Stream):
    """One side of a connection."""

    def __init__(self, connection: Connection, side: int) -> None:
        self._connection = connection
        self._side = side
        self._received = bytearray()
        self._ended = ""
        self._lot = trio.lowlevel.ParkingLot()
        self.peer: SimStream | None = None
        connection.on_lost[side] = self._lost

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ended:
            raise trio.BrokenResourceError(self._ended)
        peer = self.peer
        assert peer is not None
        sent = bytes(data)
        self._connection.send(self._side, lambda: peer.receive(sent))

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._received:
            if self._ended == "closed by the peer":
                return b""
            if self._ended:
                raise trio.BrokenResourceError(self._ended)
            await self._lot.park()
        taken = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        return taken

    async def aclose(self) -> None:
        self.close_nowait()
        await trio.lowlevel.checkpoint()

    def close_nowait(self) -> None:
        """As `aclose`, without waiting: there is nothing to wait for."""
        self._ended = self._ended or "closed here"
        self._connection.close(self._side)
        self._lot.unpark_all()

    def receive(self, data: bytes) -> None:
        """Bytes arrived."""
        self._received += data
        self._lot.unpark_all()

    def _lost(self, reason: str) -> None:
        self._ended = reason
        self._lot.unpark_all()


class SimListener(trio.abc.Listener[SimStream]):
    """Accepts what is dialled to one address; connections wait in the backlog until then."""

    def __init__(self, network: Network, process: SimProcess) -> None:
        self._backlog: deque[SimStream] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        network.listen(process, self._connected)

    async def accept(self) -> SimStream:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._backlog:
            await self._lot.park()
        return self._backlog.popleft()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def _connected(self, connection: Connection) -> None:
        ours, theirs = SimStream(connection, 1), SimStream(connection, 0)
        ours.peer, theirs.peer = theirs, ours
        connection.served = theirs
        self._backlog.append(ours)
        self._lot.unpark()


async def dial(network: Network, process: SimProcess, address: str) -> SimStream:
    """A stream to that address. Raises OSError where nobody answers."""
    done = trio.Event()
    found: list[SimStream] = []

    def up(connection: Connection) -> None:
        assert isinstance(connection.served, SimStream)
        found.append(connection.served)
        done.set()

    network.dial(process, address, up, lambda _reason: done.set())
    try:
        await done.wait()
    except trio.Cancelled:
        for stream in found:
            await trio.aclose_forcefully(stream)
        raise
    if not found:
        raise OSError(f"{address} can't be reached")
    return found[0]
