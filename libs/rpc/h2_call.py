"""One call on an HTTP/2 connection: its two queues and its end.

Owns: messages received and not taken, bytes accepted and not sent, the call's end. Does not own: frames,
windows of the connection, the socket (`connection`).
Rules: 1 the receive window is returned when the application takes a message; the message that it is
waiting for is admitted piece by piece, so that one larger than the window arrives; 2 a send waits while
`send_buffer_bytes` are queued; 3 all state changes are synchronous, waiting comes before or after.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio
from h2.errors import ErrorCodes

from libs.model.errors import Invalid
from libs.rpc.framing import PREFIX_BYTES, MessageReader, prefix
from libs.rpc.headers import RawHeaders
from libs.rpc.limits import RpcLimits

if TYPE_CHECKING:
    from libs.rpc.connection import Connection
    from libs.rpc.h2_connection import Part

_JOIN_BELOW_BYTES = 4096
_TURNS_MAX = 64  # messages handed over without letting other tasks run


class H2Call:
    """The part that a client's and a server's call have in common."""

    def __init__(self, connection: Connection, stream_id: int, limits: RpcLimits) -> None:
        self.connection = connection
        self.stream_id = stream_id
        self.limits = limits
        self.inbox: deque[tuple[bytes, int]] = deque()
        self.reader = MessageReader(size_bytes_max=limits.receive_message_bytes_max)
        self.bad_input: Invalid | None = None
        self.remote_ended = False
        self.local_ended = False
        self.closed = False
        self.held_bytes = 0
        self.unreturned_bytes = 0
        self._admitted_bytes = 0
        self._receivers = trio.lowlevel.ParkingLot()
        self._senders = trio.lowlevel.ParkingLot()
        self._out: deque[Part] = deque()
        self.out_bytes = 0
        self.end_requested = False
        self.trailers: RawHeaders | None = None
        self._turns = 0

    # What the connection tells.

    def on_data(self, data: bytes | memoryview) -> None:
        """Bytes of messages arrived."""
        self.held_bytes += len(data)
        try:
            for payload, wire_bytes in self.reader.feed(data):
                self.inbox.append((payload, wire_bytes - self._admitted_bytes))
                self._admitted_bytes = 0
        except Invalid as error:
            self.fail_input(error)
            return
        if self._receivers:
            self._admit_partial()
            self._receivers.unpark_all()

    def on_remote_end(self) -> None:
        """The peer sends nothing more."""
        self.remote_ended = True
        if self.reader.partial_bytes and self.bad_input is None:
            self.fail_input(Invalid("the stream ended in the middle of a message"))
        self.wake()

    def on_closed(self) -> None:
        """The stream is over: reset, or its connection is lost."""
        self.closed = self.remote_ended = self.local_ended = True
        self._out.clear()
        self.out_bytes = 0
        self.wake()

    def fail_input(self, error: Invalid) -> None:
        """What the peer sent can't be read: nothing more of it is looked at."""
        self.bad_input = error
        self.wake()

    def wake(self) -> None:
        if self._receivers:
            self._receivers.unpark_all()
        if self._senders:
            self._senders.unpark_all()

    # What the application does.

    async def receive(self) -> bytes | None:
        """The next payload; None when there is none to come. Raises Invalid for input that can't be read."""
        await self._take_turn()
        while not self.inbox:
            if self.bad_input is not None:
                raise Invalid(self.bad_input.message, reason=self.bad_input.reason)
            if self.remote_ended:
                return None
            self._admit_partial()
            await self._receivers.park()
        payload, credit_bytes = self.inbox.popleft()
        self.connection.give_back(self, credit_bytes)
        return payload

    async def wait_until_changed(self) -> None:
        """Returns after something arrived or ended."""
        await self._receivers.park()

    async def send_payload(self, payload: bytes, *, end: bool = False) -> bool:
        """Queues one message once there is room; False when the stream takes nothing more."""
        await self._take_turn()
        while self.out_bytes >= self.limits.send_buffer_bytes and not self.local_ended:
            await self._senders.park()
        if self.local_ended or self.end_requested:
            return False
        if len(payload) < _JOIN_BELOW_BYTES:
            self._out.append(prefix(len(payload)) + payload)
        else:
            self._out.append(prefix(len(payload)))
            self._out.append(payload)
        self.out_bytes += PREFIX_BYTES + len(payload)
        self.end_requested = end
        self.connection.want_write(self)
        return True

    async def wait_flushed(self) -> None:
        """Returns when everything queued, the end included, was given to the connection."""
        while not self.local_ended:
            await self._senders.park()

    def request_end(self) -> None:
        """Ends this side after what is queued."""
        if not self.local_ended and not self.end_requested:
            self.end_requested = True
            self.connection.want_write(self)

    def abort(self, code: ErrorCodes) -> None:
        """Resets the stream now; nothing if it is over."""
        if not self.closed:
            self.connection.reset(self, code)

    # What the connection takes.

    def take_parts(self, size_bytes: int) -> list[Part]:
        """The next `size_bytes` (at most `out_bytes`) of what is queued."""
        self.out_bytes -= size_bytes
        parts: list[Part] = []
        out = self._out
        while size_bytes:
            part = out.popleft()
            if len(part) > size_bytes:
                view = memoryview(part)
                out.appendleft(view[size_bytes:])
                part = view[:size_bytes]
            parts.append(part)
            size_bytes -= len(part)
        if self._senders and self.out_bytes < self.limits.send_buffer_bytes:
            self._senders.unpark_all()
        return parts

    def on_local_end(self) -> None:
        """Everything was given to the connection."""
        self.local_ended = True
        if self._senders:
            self._senders.unpark_all()

    def _admit_partial(self) -> None:
        if not self.inbox:
            more = self.reader.partial_bytes - self._admitted_bytes
            if more > 0:
                self._admitted_bytes += more
                self.connection.give_back(self, more)

    async def _take_turn(self) -> None:
        self._turns += 1
        if self._turns % _TURNS_MAX:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
