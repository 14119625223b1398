"""A proxy in front of every process, in which each directed pair can be delayed, cut, throttled or lied to.

Owns: one listener per target, the connections through it, who is at their other end. Does not own: the
trouble (links.py), whose turn it is (nemesis.py), the processes.
Rules: 1 one address per target serves all sources, which are told apart by the process that holds the other
end of the socket; so also addresses that services tell each other lead through a proxy; 2 while nobody
listens at the target nobody listens at the proxy, so that "refused" keeps its meaning; the listener closes
before the end of a connection is passed on; 3 a cut is a network that loses packets: bytes, ends and resets
come late; only a new connection is taken at once and then hears nothing, where a network would keep SYN.
"""

import random
import traceback
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio

from tests.chaos.links import Link, Way
from tests.chaos.sockets import HOST, connect, holder_of, is_listening, reset, wait_listening
from tests.chaos.store_faults import FAILED, Exchange, Fate, fate_of

CHUNK_BYTES = 65536
_AHEAD_CHUNKS = 64
"""What a delayed direction holds: 4 MiB."""
CLIENTS = "clients"
"""The source of connections that no process of the stack holds."""


@dataclass(slots=True)
class Front:
    """Where a target is reached through its proxy."""

    name: str
    port: int
    target_port: int
    connections: int = 0
    listeners: list[trio.SocketListener] = field(default_factory=list)
    serving: trio.CancelScope = field(default_factory=trio.CancelScope)
    opened: trio.Event = field(default_factory=trio.Event)

    def close(self) -> None:
        """At once, so that who connects next is refused."""
        self.serving.cancel()
        for listener in self.listeners:
            listener.socket.close()


@dataclass(slots=True)
class _Connection:
    link: Link
    source: trio.SocketStream
    target: trio.SocketStream
    exchange: Exchange | None
    is_failed: bool = False


class Proxies:
    """`ports` are the proxies' own; `link` names the trouble of a pair."""

    def __init__(
        self, nursery: trio.Nursery, *, pids: Callable[[], Mapping[str, int]], chance: random.Random
    ) -> None:
        self._nursery = nursery
        self._pids = pids
        self._chance = chance
        self._fronts: dict[str, Front] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self.failures: list[str] = []
        """Faults of the proxies themselves."""

    @property
    def ports(self) -> dict[str, int]:
        """Target -> the port of its proxy."""
        return {name: front.port for name, front in self._fronts.items()}

    @property
    def links(self) -> list[Link]:
        """Those that were asked for or used until now."""
        return list(self._links.values())

    def link(self, source: str, target: str) -> Link:
        """The same object for the same pair, always."""
        return self._links.setdefault((source, target), Link(source, target))

    def links_to(self, target: str, sources: Iterable[str]) -> list[Link]:
        return [self.link(source, target) for source in sources]

    def heal(self) -> None:
        for link in self._links.values():
            link.heal()

    def statistics(self) -> dict[str, int]:
        """Connections that each proxy took until now."""
        return {name: front.connections for name, front in self._fronts.items()}

    def add(self, name: str, *, port: int, target_port: int) -> None:
        """Listens on `port` while somebody listens on `target_port`."""
        front = Front(name, port, target_port)
        self._fronts[name] = front
        self._nursery.start_soon(self._run, front)

    async def wait_open(self, name: str) -> None:
        """Until the target listens, and the proxy with it."""
        await self._fronts[name].opened.wait()

    async def _run(self, front: Front) -> None:
        while True:
            await wait_listening(front.target_port)
            try:
                await self._listen(front)
            except* trio.ClosedResourceError:
                pass  # closed between two connections
            except* Exception:  # it listens again; but never unnoticed
                self.failures.append(f"{front.name}: {traceback.format_exc()}")
            front.listeners = []
            front.opened = trio.Event()

    async def _listen(self, front: Front) -> None:
        """Until the front is closed."""
        front.listeners = await trio.open_tcp_listeners(front.port, host=HOST)
        front.opened.set()
        with trio.CancelScope() as front.serving:
            await trio.serve_listeners(
                partial(self._serve, front), front.listeners, handler_nursery=self._nursery
            )

    async def _close_dead(self, names: Iterable[str]) -> None:
        """Rule 2."""
        for name in names:
            front = self._fronts.get(name)
            if front and front.listeners and not await is_listening(front.target_port):
                front.close()

    async def _serve(self, front: Front, stream: trio.SocketStream) -> None:
        front.connections += 1
        link = self.link(self._source(front, stream), front.name)
        with trio.CancelScope() as scope:
            link.connections.add(scope)
            try:
                if not link.is_refusing:
                    await self._connected(front, link, stream)
            except Exception:  # one connection's end, not all of theirs; but never unnoticed
                self.failures.append(f"{link.source} -> {link.target}: {traceback.format_exc()}")
        link.connections.discard(scope)
        reset(stream)  # no harm where both sides had ended it

    def _source(self, front: Front, stream: trio.SocketStream) -> str:
        if front.name.startswith("gateway"):
            return CLIENTS  # nobody else speaks Kafka: saves the look
        try:
            return holder_of(stream, self._pids()) or CLIENTS
        except OSError:
            return CLIENTS  # gone already

    async def _connected(self, front: Front, link: Link, stream: trio.SocketStream) -> None:
        await link.forth.wait_open()
        try:
            target = await connect(front.target_port)
        except OSError:
            await self._close_dead([front.name])
            return
        exchange = Exchange(lambda: fate_of(link.store, self._chance.random()))
        connection = _Connection(link, stream, target, exchange if front.name == "minio" else None)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, connection, True)
                nursery.start_soon(self._pump, connection, False)
        except* trio.BrokenResourceError:
            pass  # one side was reset, so the other is as well
        finally:
            reset(target)

    async def _pump(self, connection: _Connection, is_forth: bool) -> None:
        """One direction until its end was passed on; BrokenResourceError where either side was reset."""
        link = connection.link
        way, opposite = (link.forth, link.back) if is_forth else (link.back, link.forth)
        sender, receiver = connection.source, connection.target
        if not is_forth:
            sender, receiver = receiver, sender
        send, receive = trio.open_memory_channel[tuple[float, bytes]](_AHEAD_CHUNKS)
        async with trio.open_nursery() as nursery, receive:
            nursery.start_soon(self._read, link, sender, way, send)
            async for due, data in receive:
                await trio.sleep_until(due)
                await way.wait_open()
                if way.trouble.bytes_per_second:
                    await trio.sleep(len(data) / way.trouble.bytes_per_second)
                try:
                    await self._pass_on(connection, is_forth, data)
                except trio.BrokenResourceError:
                    await opposite.wait_open()  # the receiver's reset has to come back
                    await self._close_dead([link.source, link.target])
                    raise
        await way.wait_open()
        await self._close_dead([link.source, link.target])
        await receiver.send_eof()

    async def _read(
        self,
        link: Link,
        sender: trio.SocketStream,
        way: Way,
        send: trio.MemorySendChannel[tuple[float, bytes]],
    ) -> None:
        async with send:
            while True:
                try:
                    data = await sender.receive_some(CHUNK_BYTES)
                except trio.BrokenResourceError:
                    await way.wait_open()
                    await self._close_dead([link.source, link.target])
                    raise
                if not data:
                    return
                await send.send((trio.current_time() + way.trouble.delay_seconds, bytes(data)))

    async def _pass_on(self, connection: _Connection, is_forth: bool, data: bytes) -> None:
        exchange = connection.exchange
        if exchange is None:
            await (connection.target if is_forth else connection.source).send_all(data)
        elif is_forth:
            passed, answer = exchange.sent(data)
            await connection.target.send_all(passed)
            if answer:
                try:
                    await connection.source.send_all(answer)
                except (trio.BusyResourceError, trio.ClosedResourceError) as error:
                    # It is in the middle of another answer, or has given up: no way to answer but RST.
                    raise trio.BrokenResourceError("planted: no answer") from error
        else:
            fate = exchange.answered()
            if fate is Fate.PASS:
                await connection.source.send_all(data)
                return
            if fate is Fate.LOST_ANSWER:
                raise trio.BrokenResourceError("planted: an answer is lost")
            if not connection.is_failed:
                connection.is_failed = True  # the client closes; what else the store says is dropped
                await connection.source.send_all(FAILED)


@asynccontextmanager
async def open_proxies(*, pids: Callable[[], Mapping[str, int]], seed: int = 0) -> AsyncIterator[Proxies]:
    """Proxies that listen until the block ends. `pids`: the processes of the stack that run now."""
    async with trio.open_nursery() as nursery:
        yield Proxies(nursery, pids=pids, chance=random.Random(seed))
        nursery.cancel_scope.cancel()
