"""One HTTP/2 connection on Trio: a reader, a writer, keepalive, and the calls on it.

Owns: the socket, the h2 state, flow control of the connection, whose turn it is to be written. Does not
own: what a call means (`h2_client`, `h2_server`), when to connect (`channel`).
Rules: 1 only the writer writes to the socket, everything that is ready in one go, calls in turn; 2 the
reader never waits for an application: windows bound what it holds; it waits only for a peer that does not
read our answers; 3 however a connection ends, every call on it is told.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import h2.events
import h2.exceptions
import trio
from h2.errors import ErrorCodes

from libs.rpc.h2_call import H2Call
from libs.rpc.h2_connection import Part, TunedConnection
from libs.rpc.headers import Received
from libs.rpc.limits import CONTROL_BUFFER_BYTES, READ_CHUNK_BYTES, WRITE_CHUNK_BYTES, RpcLimits

_JOIN_BELOW_BYTES = 16 * 1024
_PING = b"kafscale"
_LOST = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
_GONE = (h2.exceptions.ProtocolError, KeyError)  # h2 knows that a stream is over before its event is handled


@dataclass(slots=True)
class Traffic:
    """Bytes through the sockets of a channel or server, since it began."""

    sent_bytes: int = 0
    received_bytes: int = 0


class Connection(ABC):
    """Runs one connection. A subclass gives meaning to heads, trailers and ends."""

    def __init__(
        self, stream: trio.abc.Stream, *, client_side: bool, limits: RpcLimits, traffic: Traffic
    ) -> None:
        self.limits = limits
        self.h2 = TunedConnection(client_side=client_side, limits=limits)
        self.calls: dict[int, H2Call] = {}
        self.lost_because: str | None = None
        self._stream = stream
        self._traffic = traffic
        self._wanting: dict[int, H2Call] = {}
        self._blocked: dict[int, H2Call] = {}
        self._wake_writer = trio.Event()
        self._written = trio.lowlevel.ParkingLot()
        self._writing = False
        self._scratch = memoryview(b"")
        self._held_bytes = 0
        self._unreturned_bytes = 0
        self._heard_at = trio.current_time()
        self._closing = False
        self._scope = trio.CancelScope()

    # What a subclass decides.

    @abstractmethod
    def _on_head(self, event: h2.events.RequestReceived | h2.events.ResponseReceived) -> None: ...

    @abstractmethod
    def _on_trailers(self, call: H2Call, headers: Received) -> None: ...

    @abstractmethod
    def _on_reset(self, call: H2Call, code: ErrorCodes | int) -> None: ...

    @abstractmethod
    def _on_lost(self, call: H2Call, because: str) -> None: ...

    @abstractmethod
    def _needs_keepalive(self) -> bool: ...

    @abstractmethod
    def _on_settings(self) -> None: ...

    @abstractmethod
    def _on_go_away(self, event: h2.events.ConnectionTerminated) -> None: ...

    @abstractmethod
    def _on_ping_ack(self, data: bytes) -> None: ...

    @abstractmethod
    def _on_call_over(self) -> None: ...

    # Running.

    async def run(self, received: bytes = b"") -> None:
        """Serves the connection until it is over; returns however it ended, with the socket closed.

        `received`: bytes of the stream that somebody has read already.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_loop, nursery.cancel_scope)
                    nursery.start_soon(self._keepalive_loop)
                    await self._read_loop(received)
                    nursery.cancel_scope.cancel()
        finally:
            because = self._lose_once("the connection was closed")
            for call in list(self.calls.values()):
                self.forget(call)
                self._on_lost(call, because)
            await self._close_stream()

    def lose(self, because: str) -> None:
        """Ends the connection at once."""
        self._lose_once(because)
        self._scope.cancel()

    def close_when_idle(self) -> None:
        """Ends the connection after its last call, everything written."""
        self._closing = True
        self._wake_writer.set()

    def _lose_once(self, because: str) -> str:
        if self.lost_because is None:
            self.lost_because = because
            self._on_settings()
        return self.lost_because

    async def _close_stream(self) -> None:
        last_words = b"".join(self.h2.take_output())
        with trio.move_on_after(self.limits.close_timeout_seconds) as scope:
            scope.shield = True  # a peer that neither reads nor says good-bye is left
            with suppress(*_LOST, trio.BusyResourceError):
                if last_words and not self._writing:  # never into the middle of a frame
                    await self._stream.send_all(last_words)
                await self._stream.aclose()
        await trio.aclose_forcefully(self._stream)

    # Reading.

    async def _read_loop(self, data: bytes | bytearray) -> None:
        try:
            while True:
                if data and not self._on_bytes(data):
                    return
                while self.h2.output_bytes > CONTROL_BUFFER_BYTES:
                    await self._written.park()
                data = await self._stream.receive_some(READ_CHUNK_BYTES)
                if not data:
                    self._lose_once("the peer closed the connection")
                    return
        except _LOST as error:
            self._lose_once(f"the connection broke: {error}")

    def _on_bytes(self, data: bytes | bytearray) -> bool:
        self._heard_at = trio.current_time()
        self._traffic.received_bytes += len(data)
        try:
            events = self.h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._lose_once(f"the peer broke HTTP/2: {error}")
            return False
        for event in events:
            self._on_event(event)
        if self.h2.output_bytes or self._closing:
            self._wake_writer.set()
        return True

    def _on_event(self, event: h2.events.Event) -> None:  # noqa: C901, PLR0912 - one flat table of events
        match event:
            case h2.events.DataReceived():
                self._on_data(event)
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                self._on_head(event)
            case h2.events.TrailersReceived(stream_id=stream_id, headers=headers):
                if call := self.calls.get(stream_id):
                    self._on_trailers(call, headers)
            case h2.events.StreamEnded(stream_id=stream_id):
                if call := self.calls.get(stream_id):
                    call.on_remote_end()
                    self._settle(call)
            case h2.events.StreamReset(stream_id=stream_id, error_code=code):
                if call := self.calls.get(stream_id):
                    self.forget(call)
                    self._on_reset(call, code if code is not None else ErrorCodes.INTERNAL_ERROR)
            case h2.events.WindowUpdated(stream_id=stream_id):
                self._unblock(stream_id)
            case h2.events.RemoteSettingsChanged():
                self._unblock(0)
                self._on_settings()
            case h2.events.ConnectionTerminated():
                self._on_go_away(event)
            case h2.events.PingAckReceived(ping_data=data):
                self._on_ping_ack(data)
            case _:
                pass

    def _on_data(self, event: h2.events.DataReceived) -> None:
        size = event.flow_controlled_length
        self._unreturned_bytes += size
        call = self.calls.get(event.stream_id)
        if call is not None:
            self._held_bytes += size
            call.held_bytes += size
            call.on_data(event.data)
            padding_bytes = size - len(event.data)
            if padding_bytes:
                self.give_back(call, padding_bytes)
        self._return_connection_window()

    # Flow control of what is received.

    def give_back(self, call: H2Call, size_bytes: int) -> None:
        """The application took `size_bytes` of a call: the peer may send as much again."""
        call.held_bytes -= size_bytes
        self._held_bytes -= size_bytes
        self._return_connection_window()
        if call.remote_ended:
            return
        call.unreturned_bytes += size_bytes
        if call.unreturned_bytes * 4 >= self.limits.stream_window_bytes:
            with suppress(*_GONE):
                self.h2.increment_flow_control_window(call.unreturned_bytes, call.stream_id)
            call.unreturned_bytes = 0
            self._wake_writer.set()

    def _return_connection_window(self) -> None:
        # Returned on arrival, so that a slow call does not stop its neighbours; up to what one connection
        # may hold.
        if self._unreturned_bytes * 4 < self.limits.connection_window_bytes:
            return
        if self._held_bytes <= self.limits.connection_buffer_bytes:
            self.h2.increment_flow_control_window(self._unreturned_bytes)
            self._unreturned_bytes = 0
            self._wake_writer.set()

    # Writing.

    def want_write(self, call: H2Call) -> None:
        """The call has something to be written."""
        if call.stream_id not in self._blocked:
            self._wanting[call.stream_id] = call
            self._wake_writer.set()

    def write_now(self, call: H2Call) -> None:
        """Hands what the windows allow to h2 at once, so that the caller need not wait for the writer."""
        if self._wanting.pop(call.stream_id, None) is not None and self._give(call, WRITE_CHUNK_BYTES):
            self._wanting[call.stream_id] = call
        self._wake_writer.set()

    def reset(self, call: H2Call, code: ErrorCodes) -> None:
        """Ends a call's stream with RST_STREAM."""
        with suppress(*_GONE):
            self.h2.reset_stream(call.stream_id, code)
        self._wake_writer.set()
        self.forget(call)

    def forget(self, call: H2Call) -> None:
        """The stream is over."""
        self._wanting.pop(call.stream_id, None)
        self._blocked.pop(call.stream_id, None)
        call.on_closed()
        if self.calls.pop(call.stream_id, None) is not None:
            self._on_call_over()
            if self._closing:
                self._wake_writer.set()

    def _settle(self, call: H2Call) -> None:
        if call.local_ended and call.remote_ended:
            self.forget(call)

    def _unblock(self, stream_id: int) -> None:
        if stream_id:
            call = self._blocked.pop(stream_id, None)
            if call is not None:
                self._wanting[stream_id] = call
        else:
            self._wanting.update(self._blocked)
            self._blocked.clear()
        if self._wanting:
            self._wake_writer.set()

    async def _write_loop(self, scope: trio.CancelScope) -> None:
        try:
            while True:
                if self._wake_writer.is_set():
                    self._wake_writer = trio.Event()
                self._pump()
                total_bytes = self.h2.output_bytes
                if total_bytes:
                    self._writing = True
                    for chunk in self._chunks(self.h2.take_output(), total_bytes):
                        await self._stream.send_all(chunk)
                    self._writing = False
                    self._traffic.sent_bytes += total_bytes
                    self._written.unpark_all()
                elif self._closing and not self.calls:
                    self._lose_once("the connection was closed after its last call")
                    break
                else:
                    await self._wake_writer.wait()
        except _LOST as error:
            self._lose_once(f"the connection broke: {error}")
        scope.cancel()

    def _pump(self) -> None:
        """Gives h2 about one chunk of what the calls want to write, each in its turn."""
        for stream_id in list(self._wanting):
            room_bytes = WRITE_CHUNK_BYTES - self.h2.output_bytes
            if room_bytes <= 0:
                return
            call = self._wanting.pop(stream_id)
            if self._give(call, room_bytes):
                self._wanting[stream_id] = call  # at the end: its turn comes again after the others'

    def _give(self, call: H2Call, room_bytes: int) -> bool:
        """Gives h2 up to `room_bytes` of one call; True when more could follow."""
        try:
            while call.out_bytes and room_bytes > 0:
                size = min(
                    call.out_bytes,
                    room_bytes,
                    self.h2.window_bytes(call.stream_id),
                    self.h2.max_outbound_frame_size,
                )
                if size <= 0:
                    self._blocked[call.stream_id] = call
                    return False
                last = size == call.out_bytes and call.end_requested
                parts = call.take_parts(size)
                self.h2.send_parts(call.stream_id, parts, size, end_stream=last)
                room_bytes -= size
                if last:
                    self._on_local_end(call)
            if call.out_bytes:
                return True
            if call.trailers is not None and not call.local_ended:
                self.h2.send_headers(call.stream_id, call.trailers, end_stream=True)
                self._on_local_end(call)
            elif call.end_requested and not call.local_ended:
                self.h2.end_stream(call.stream_id)
                self._on_local_end(call)
        except _GONE:
            pass  # the event that says so is about to be handled
        return False

    def _on_local_end(self, call: H2Call) -> None:
        call.on_local_end()
        self._settle(call)

    def _chunks(self, parts: list[Part], total_bytes: int) -> Iterator[Part]:
        # One buffer for the connection's life: a fresh one for each write costs more than the copy.
        if total_bytes <= _JOIN_BELOW_BYTES:
            yield b"".join(parts)
            return
        if not self._scratch:
            self._scratch = memoryview(bytearray(WRITE_CHUNK_BYTES))
        filled = 0
        for whole in parts:
            part = memoryview(whole)
            while part:
                taken = min(len(part), WRITE_CHUNK_BYTES - filled)
                self._scratch[filled : filled + taken] = part[:taken]
                filled += taken
                part = part[taken:]
                if filled == WRITE_CHUNK_BYTES:
                    yield self._scratch
                    filled = 0
        if filled:
            yield self._scratch[:filled]

    async def _keepalive_loop(self) -> None:
        interval, timeout = self.limits.keepalive_interval_seconds, self.limits.keepalive_timeout_seconds
        while True:
            silent = trio.current_time() - self._heard_at
            if silent < interval or not self._needs_keepalive():
                await trio.sleep(max(interval - silent, interval / 2))
                continue
            asked_at = trio.current_time()
            self.h2.ping(_PING)
            self._wake_writer.set()
            await trio.sleep(timeout)
            if self._heard_at < asked_at:
                self.lose(f"nothing was heard from the peer for {silent + timeout:.1f} s")
                return
