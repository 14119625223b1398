"""The RPC transport over the simulated network: channels and calls, message by message.

Owns: calls on connections, connecting again. Does not own: the rules of calls (the streams and the dispatcher
are those of the socket transport), what arrives (network.py).
Rules: 1 messages cross the codec, and are values: nothing is shared; 2 as over h2: one connection a channel,
calls on it end when it breaks with an unknown outcome, a handler whose connection breaks is cancelled, one
whose caller only left hears of it a little later; 3 a handler is a task of the server's process.
"""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio
from grpclib.const import Status

from libs.clients.watcher import Connect
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.errors import Reason, Unavailable
from libs.rpc import Channel, Server
from libs.rpc.call import CallRequest, ClientCall, Metadata, Peer, new_metadata
from libs.rpc.headers import USER_AGENT
from libs.rpc.limits import DEFAULT_LIMITS
from libs.rpc.statistics import ChannelStatistics
from libs.rpc.status import OK, CallStatus, local
from tests.sim.world.network import Connection, Network
from tests.sim.world.process import SimProcess

CALLER, CALLED = 0, 1
_BUFFER_BYTES: Final = DEFAULT_LIMITS.send_buffer_bytes
_BACKOFF = Backoff(
    first_seconds=DEFAULT_LIMITS.backoff_first_seconds, max_seconds=DEFAULT_LIMITS.backoff_max_seconds
)


class _Pipe:
    """One direction of a call: bounded for who sends, ended for who receives."""

    __slots__ = ("_on_way_bytes", "_receivers", "_senders", "ended", "items")

    def __init__(self) -> None:
        self.items: deque[bytes] = deque()
        self.ended = False
        self._on_way_bytes = 0
        self._senders = trio.lowlevel.ParkingLot()
        self._receivers = trio.lowlevel.ParkingLot()

    async def reserve(self, size_bytes: int, over: Callable[[], bool]) -> None:
        while self._on_way_bytes >= _BUFFER_BYTES and not over():
            await self._senders.park()
        self._on_way_bytes += size_bytes

    def deliver(self, payload: bytes) -> None:
        if not self.ended:
            self.items.append(payload)
            self._receivers.unpark_all()

    def end(self) -> None:
        self.ended = True
        self.wake()

    def wake(self) -> None:
        self._senders.unpark_all()
        self._receivers.unpark_all()

    async def get(self) -> bytes | None:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self.items:
            if self.ended:
                return None
            await self._receivers.park()
        payload = self.items.popleft()
        self._on_way_bytes -= len(payload)
        self._senders.unpark_all()
        return payload


class _ServerCall:
    """A call as its handler holds it."""

    def __init__(self, client: "_ClientCall", connection: Connection, request: CallRequest) -> None:
        self.path = request.path
        self.metadata = request.metadata
        self.deadline = request.deadline
        self.user_agent: str | None = USER_AGENT
        self.scope = trio.CancelScope()
        self.peer = Peer(("sim", 0))
        self.upward = _Pipe()
        self._client = client
        self._connection = connection
        self._finished = False

    async def receive(self) -> bytes | None:
        return await self.upward.get()

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._connection.send(CALLED, lambda: self._client.on_head(metadata))

    async def send(self, payload: bytes) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        downward = self._client.downward
        await downward.reserve(len(payload), lambda: self._finished or not self._connection.is_open[CALLED])
        self._connection.send(CALLED, lambda: downward.deliver(payload))

    async def finish(self, status: CallStatus, metadata: Metadata) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        told = (
            status
            if status is OK
            else CallStatus(code=status.code, message=status.message, details=status.details)
        )
        self._end(told, metadata)

    def reset(self) -> None:
        self._end(
            local(
                Unavailable("the server reset the call", reason=Reason.TIMED_OUT, outcome_unknown=True),
                Status.CANCELLED,
            ),
            new_metadata(),
        )

    def _end(self, status: CallStatus, metadata: Metadata) -> None:
        if not self._finished:
            self._finished = True
            self._connection.send(CALLED, lambda: self._client.finish(status, metadata))

    def lost(self) -> None:
        """Nobody is there any more."""
        self._finished = True
        self.upward.end()
        self._client.downward.wake()
        self.scope.cancel()


class _ClientCall:
    """A call as its caller holds it."""

    def __init__(self, channel: "SimChannel", request: CallRequest) -> None:
        self.status: CallStatus | None = None
        self.initial_metadata: Metadata | None = None
        self.trailing_metadata: Metadata | None = None
        self.peer = Peer(("sim", 0))
        self.downward = _Pipe()
        self._channel = channel
        self._request = request
        self._connection: Connection | None = None
        self._server: _ServerCall | None = None
        self._changed = trio.lowlevel.ParkingLot()

    async def enter(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()

    async def start(self) -> None:
        try:
            connection = await self._channel.connected()
        except Unavailable as error:
            self.finish(local(error), new_metadata())
            raise
        self._connection = connection
        self._server = server = _ServerCall(self, connection, self._request)
        self._channel.calls[self] = None
        connection.send(CALLER, lambda: _arrived(connection, server))

    async def send(self, payload: bytes, *, end: bool) -> bool:
        await trio.lowlevel.checkpoint_if_cancelled()
        connection, server = self._connection, self._server
        assert connection is not None and server is not None  # noqa: PT018 - started
        await server.upward.reserve(len(payload), lambda: self.status is not None)
        if self.status is not None:
            return False
        connection.send(CALLER, lambda: server.upward.deliver(payload))
        if end:
            connection.send(CALLER, server.upward.end)
        return True

    async def end(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._connection is not None and self._server is not None:
            self._connection.send(CALLER, self._server.upward.end)

    async def receive(self) -> bytes | None:
        return await self.downward.get()

    async def wait_initial_metadata(self) -> None:
        while self.initial_metadata is None and self.status is None:
            await self._changed.park()

    async def wait_status(self) -> CallStatus:
        while self.status is None:
            await self._changed.park()
        return self.status

    def cancel(self, status: CallStatus) -> None:
        if self.status is None:
            self.finish(status, new_metadata())
            if self._connection is not None and self._server is not None:
                self._connection.send(CALLER, self._server.lost)

    async def exit(self) -> None:
        self._channel.calls.pop(self, None)
        gone = Unavailable("the caller left", reason=Reason.TIMED_OUT, outcome_unknown=True)
        self.cancel(local(gone, Status.CANCELLED))

    def on_head(self, metadata: Metadata) -> None:
        if self.initial_metadata is None:
            self.initial_metadata = metadata
            self._changed.unpark_all()

    def finish(self, status: CallStatus, metadata: Metadata) -> None:
        """The end, unless it was told before."""
        if self.status is None:
            self.status = status
            self.trailing_metadata = metadata
            self.on_head(new_metadata())
            self.downward.end()
            if self._server is not None:
                self._server.upward.wake()
            self._changed.unpark_all()


class SimChannel(Channel):
    """A channel of one process to one address; it connects when a call needs it."""

    def __init__(self, network: Network, process: SimProcess, address: str, rand: Rand) -> None:
        super().__init__(DEFAULT_LIMITS)
        self.calls: dict[_ClientCall, None] = {}
        self._network = network
        self._process = process
        self._address = address
        self._rand = rand
        self._current: Connection | None = None
        self._attempt: trio.Event | None = None
        self._failures = 0
        self._failed_because = ""
        self._retry_at = float("-inf")
        self._closed = False

    def close(self) -> None:
        self._closed = True
        if self._current is not None:
            self._current.close(CALLER)
            self._lost("the channel was closed")

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(
            address=self._address,
            connected=self._current is not None,
            connections_opened=0,
            calls_in_flight=len(self.calls),
            calls_started=dict(self._started),
            sent_bytes=0,
            received_bytes=0,
        )

    async def connected(self) -> Connection:
        """The connection, made if need be. Raises Unavailable(outcome_unknown=False)."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._closed:
                raise Unavailable(f"the channel to {self._address} is closed")
            if self._current is not None:
                return self._current
            if self._attempt is None:
                if trio.current_time() < self._retry_at:
                    raise Unavailable(f"{self._address} can't be reached: {self._failed_because}")
                self._attempt = trio.Event()
                self._network.dial(self._process, self._address, self._up, self._failed)
            attempt, failures = self._attempt, self._failures
            if attempt is not None:
                await attempt.wait()
            if self._failures > failures:
                raise Unavailable(f"{self._address} can't be reached: {self._failed_because}")

    def _new_call(self, request: CallRequest) -> ClientCall:
        return _ClientCall(self, request)

    def _up(self, connection: Connection) -> None:
        if self._closed:
            connection.close(CALLER)
        else:
            connection.on_lost[CALLER] = self._lost
            self._current = connection
            self._failures = 0
        self._settle()

    def _failed(self, because: str) -> None:
        self._failures += 1
        self._failed_because = because
        self._retry_at = trio.current_time() + _BACKOFF.delay_seconds(self._failures, self._rand)
        self._settle()

    def _settle(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.set()

    def _lost(self, reason: str) -> None:
        self._current = None
        calls, self.calls = self.calls, {}
        for call in calls:
            broken = Unavailable(f"the connection to {self._address}: {reason}", outcome_unknown=True)
            call.finish(local(broken), new_metadata())


class _Served:
    """The server's side of a connection."""

    def __init__(self, process: SimProcess, server: Server) -> None:
        self.process = process
        self.server = server
        self.calls: dict[_ServerCall, None] = {}

    def lost(self, _reason: str) -> None:
        calls, self.calls = self.calls, {}
        for call in calls:
            call.lost()

    async def run(self, call: _ServerCall) -> None:
        try:
            await self.server.run_call(call)
        finally:
            self.calls.pop(call, None)


def serve(network: Network, process: SimProcess, server: Server) -> None:
    """Answers the process's address with this server."""

    def accept(connection: Connection) -> None:
        served = _Served(process, server)
        connection.on_lost[CALLED] = served.lost
        connection.served = served

    network.listen(process, accept)


def _arrived(connection: Connection, call: _ServerCall) -> None:
    served = connection.served
    assert isinstance(served, _Served)
    if served.server.draining or not served.process.spawn(served.run, call):
        call.reset()
    else:
        served.calls[call] = None


def connector(network: Network, process: SimProcess, rand: Rand) -> Connect:
    """How this process connects to addresses."""

    @asynccontextmanager
    async def connect(address: str) -> AsyncIterator[SimChannel]:
        await trio.lowlevel.checkpoint()
        channel = SimChannel(network, process, address, rand)
        try:
            yield channel
        finally:
            channel.close()

    return connect
