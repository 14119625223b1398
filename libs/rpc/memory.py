"""The in-memory transport: the same calls without a network.

Owns: a channel whose calls run in the caller's nursery. Does not own: the rules of calls (the streams and
the dispatcher are those of the socket transport).
Rules: 1 messages cross the codec; 2 each direction of a call holds at most `send_buffer_bytes` plus one
message, then its sender waits; 3 a handler lives inside its caller's `async with`: leaving it cancels the
handler.
"""

from collections import deque
from contextlib import AbstractAsyncContextManager

import trio
from grpclib.const import Status

from libs.model.errors import Invalid, Reason, Unavailable
from libs.rpc.call import CallRequest, ClientCall, Metadata, Peer, new_metadata
from libs.rpc.channel import Channel
from libs.rpc.connection import Traffic
from libs.rpc.headers import USER_AGENT
from libs.rpc.limits import RpcLimits
from libs.rpc.server import Server
from libs.rpc.statistics import ChannelStatistics
from libs.rpc.status import OK, CallStatus, local

_ADDRESS = "memory"
_TURNS_MAX = 64


class _Pipe:
    """One direction: messages in order, bounded by bytes."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._payloads: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._ended = False
        self._senders = trio.lowlevel.ParkingLot()
        self._receivers = trio.lowlevel.ParkingLot()
        self._turns = 0

    async def put(self, payload: bytes) -> bool:
        """Waits for room; False once the pipe has ended."""
        await self._take_turn()
        while self._buffered_bytes >= self._bytes_max and not self._ended:
            await self._senders.park()
        if self._ended:
            return False
        self._payloads.append(payload)
        self._buffered_bytes += len(payload) or 1
        if self._receivers:
            self._receivers.unpark_all()
        return True

    async def get(self) -> bytes | None:
        """The next payload; None once the pipe has ended and is empty."""
        await self._take_turn()
        while not self._payloads:
            if self._ended:
                return None
            await self._receivers.park()
        payload = self._payloads.popleft()
        self._buffered_bytes -= len(payload) or 1
        if self._senders:
            self._senders.unpark_all()
        return payload

    def end(self) -> None:
        """Nothing more is put; what is there may be taken."""
        self._ended = True
        self._senders.unpark_all()
        self._receivers.unpark_all()

    async def _take_turn(self) -> None:
        self._turns += 1
        if self._turns % _TURNS_MAX:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()


class _MemoryServerCall:
    """A call as its handler holds it."""

    def __init__(self, call: "_MemoryCall", request: CallRequest) -> None:
        self.path = request.path
        self.metadata = request.metadata
        self.deadline = request.deadline
        self.user_agent: str | None = USER_AGENT
        self.scope = trio.CancelScope()
        self.peer = Peer((_ADDRESS, 0))
        self._call = call

    async def receive(self) -> bytes | None:
        payload = await self._call.upward.get()
        limit_bytes = self._call.server_limits.receive_message_bytes_max
        if payload is not None and len(payload) > limit_bytes:
            raise _too_large(len(payload), limit_bytes)
        return payload

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._call.on_head(metadata)

    async def send(self, payload: bytes) -> None:
        self._call.on_head(new_metadata())
        await self._call.downward.put(payload)

    async def finish(self, status: CallStatus, metadata: Metadata) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        # As over the wire: what this side made of it stays here, the peer gets code, message and details.
        told = (
            status
            if status is OK
            else CallStatus(code=status.code, message=status.message, details=status.details)
        )
        self._call.finish(told, metadata)

    def reset(self) -> None:
        self._call.finish(_RESET, new_metadata())


_RESET = local(
    Unavailable("the server reset the call: CANCEL", reason=Reason.TIMED_OUT, outcome_unknown=True),
    Status.CANCELLED,
)


class _MemoryCall:
    """A call as its caller holds it, and the two pipes."""

    def __init__(
        self, channel: "MemoryChannel", server: Server, request: CallRequest, limits: RpcLimits
    ) -> None:
        self.status: CallStatus | None = None
        self.initial_metadata: Metadata | None = None
        self.trailing_metadata: Metadata | None = None
        self.peer = Peer((_ADDRESS, 0))
        self.upward = _Pipe(limits.send_buffer_bytes)
        self.downward = _Pipe(server.limits.send_buffer_bytes)
        self.server_limits = server.limits
        self._limits = limits
        self._channel = channel
        self._server = server
        self._server_call = _MemoryServerCall(self, request)
        self._nursery: trio.Nursery | None = None
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._changed = trio.lowlevel.ParkingLot()

    async def enter(self) -> None:
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()

    async def start(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._channel.closed or self._server.draining:
            refused = Unavailable("the server is gone", outcome_unknown=False)
            self.finish(local(refused), new_metadata())
            raise refused
        assert self._nursery is not None, "a call is used as a context manager"
        self._channel.calls_running.add(self)
        self._nursery.start_soon(self._server.run_call, self._server_call)

    async def send(self, payload: bytes, *, end: bool) -> bool:
        accepted = await self.upward.put(payload)
        if accepted:
            self._channel.traffic.sent_bytes += len(payload)
            if end:
                self.upward.end()
        return accepted

    async def end(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self.upward.end()

    async def receive(self) -> bytes | None:
        payload = await self.downward.get()
        if payload is not None:
            self._channel.traffic.received_bytes += len(payload)
            if len(payload) > self._limits.receive_message_bytes_max:
                error = _too_large(len(payload), self._limits.receive_message_bytes_max)
                self.cancel(local(error))
                raise error
        return payload

    async def wait_initial_metadata(self) -> None:
        while self.initial_metadata is None and self.status is None:
            await self._changed.park()

    async def wait_status(self) -> CallStatus:
        while self.status is None:
            await self._changed.park()
        return self.status

    def cancel(self, status: CallStatus) -> None:
        self.finish(status, new_metadata())
        self._server_call.scope.cancel()

    async def exit(self) -> None:
        self._channel.calls_running.discard(self)
        if self._manager is None:
            return
        if self.status is None or not self._server_call.scope.cancelled_caught:
            self._server_call.scope.cancel()
        await self._manager.__aexit__(None, None, None)

    def on_head(self, metadata: Metadata) -> None:
        """The handler sent its initial metadata."""
        if self.initial_metadata is None:
            self.initial_metadata = metadata
            self._changed.unpark_all()

    def finish(self, status: CallStatus, metadata: Metadata) -> None:
        """The end, unless it was told before."""
        if self.status is None:
            self.status = status
            self.trailing_metadata = metadata
            self.on_head(new_metadata())
            self.upward.end()
            self.downward.end()
            self._changed.unpark_all()


class MemoryChannel(Channel):
    """A channel to a server in this process. Made by `memory_channel`."""

    def __init__(self, server: Server, limits: RpcLimits) -> None:
        super().__init__(limits)
        self.closed = False
        self.calls_running: set[_MemoryCall] = set()
        self.traffic = Traffic()
        self._server = server

    def close(self) -> None:
        """Calls in flight fail, new ones are refused."""
        self.closed = True
        for call in list(self.calls_running):
            lost = Unavailable("the call was cut off: the channel was closed", outcome_unknown=True)
            call.cancel(local(lost))

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(
            address=_ADDRESS,
            connected=not self.closed,
            connections_opened=0,
            calls_in_flight=len(self.calls_running),
            calls_started=dict(self._started),
            sent_bytes=self.traffic.sent_bytes,
            received_bytes=self.traffic.received_bytes,
        )

    def _new_call(self, request: CallRequest) -> ClientCall:
        return _MemoryCall(self, self._server, request, self._limits)


def memory_channel(server: Server, *, limits: RpcLimits | None = None) -> MemoryChannel:
    """A channel to `server` without a network, `server.limits` unless told otherwise.

    Usable at once; `async with` closes it.
    """
    return MemoryChannel(server, limits if limits is not None else server.limits)


def _too_large(size_bytes: int, limit_bytes: int) -> Invalid:
    return Invalid(
        f"a message of {size_bytes} bytes is larger than the limit of {limit_bytes}",
        reason=Reason.MESSAGE_TOO_LARGE,
    )
