"""The stream object that generated stubs use on the client's side, over any transport.

Owns: the rules of the four call kinds, deadlines, the raising of errors. Does not own: transports.
Rules: 1 errors are the platform's kinds; the server's word about a call wins over symptoms of it; 2
leaving the `async with` before the end cancels the call; 3 a deadline that passes resets the call and
raises Unavailable(TIMED_OUT, outcome_unknown=True); 4 sending and receiving may go on in different tasks.
"""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, TypeVar

import grpclib.client
import trio
from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Status
from grpclib.exceptions import ProtocolError

from libs.model.errors import Invalid, KafscaleError, Reason, Unavailable
from libs.rpc.call import ClientCall, TrioDeadline
from libs.rpc.status import CallStatus, error_of, local

S = TypeVar("S")
R = TypeVar("R")
T = TypeVar("T")


class ClientStream(grpclib.client.Stream[S, R]):
    """One call. Created by `Channel.request`, used as an async context manager."""

    def __init__(
        self,
        call: ClientCall,
        path: str,
        cardinality: Cardinality,
        send_type: type[S],
        recv_type: type[R],
        *,
        deadline: TrioDeadline | None,
        send_bytes_max: int,
    ) -> None:
        self._call = call
        self._path = path
        self._cardinality = cardinality
        self._send_type = send_type
        self._recv_type = recv_type
        self._call_deadline = deadline
        self._send_bytes_max = send_bytes_max
        self._started = False
        self._opened = False
        self._opening: trio.Event | None = None
        self._ended = False
        self._received = False
        self._settled = False

    async def __aenter__(self) -> "ClientStream[S, R]":
        await self._call.enter()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        try:
            if exc_val is None and self._started and not self._settled:
                await self._finish()
        finally:
            await self._call.exit()

    async def send_request(self, *, end: bool = False) -> None:
        if self._started:
            raise ProtocolError("the request was already sent")
        if end and not self._cardinality.client_streaming:
            raise ProtocolError("a unary request needs its message before its end")
        await self._start()
        if end:
            await self.end()

    async def send_message(self, message: S, *, end: bool = False) -> None:
        """Sends one message, waiting while the send buffer is full.

        Raises what the server ended the call with; nothing when it ended it with OK and wants no more.
        Invalid(MESSAGE_TOO_LARGE) when the message is beyond the limit: nothing was sent.
        """
        if self._ended:
            raise ProtocolError("the stream was already ended")
        payload = self._encode(message)
        if not self._opened:
            await self._start()
        self._ended = end or not self._cardinality.client_streaming
        deadline, call = self._call_deadline, self._call
        if deadline is None:
            accepted = await call.send(payload, end=self._ended)
        else:
            accepted = await self._bounded(lambda: call.send(payload, end=self._ended))
        if not accepted and call.status is not None:
            self._raise(call.status)

    async def end(self) -> None:
        """Ends the client's side of a streaming request."""
        if not self._cardinality.client_streaming and not self._ended:
            raise ProtocolError("a unary request needs its message before its end")
        if not self._opened:
            await self._start()
        if not self._ended:
            self._ended = True
            await self._bounded(self._call.end)

    async def _start(self) -> None:
        # Whoever comes first, the sending or the receiving task, sends the head; the other waits for it.
        if self._opening is not None:
            await self._bounded(self._opening.wait)
            return
        self._started = True
        self._opening = trio.Event()
        try:
            await self._bounded(self._call.start)
            self._opened = True
        finally:
            self._opening.set()

    async def recv_initial_metadata(self) -> None:
        if not self._opened:
            await self._start()
        await self._bounded(self._call.wait_initial_metadata)
        self.initial_metadata = self._call.initial_metadata
        self.peer = self._call.peer

    async def recv_message(self) -> R | None:
        """The next message; None after the last one of a call that ended well.

        Raises the kind with which the call ended.
        """
        if not self._opened:
            if not self._cardinality.client_streaming and not self._started:
                raise ProtocolError("the request was not sent")
            await self._start()
        if self._call_deadline is None:
            payload = await self._call.receive()
        else:
            payload = await self._bounded(self._call.receive)
        if payload is not None:
            self._received = True
            return self._decode(payload)
        self._conclude()
        if not self._received and not self._cardinality.server_streaming:
            raise Unavailable(f"{self._path} ended well but without a reply", outcome_unknown=True)
        return None

    async def recv_trailing_metadata(self) -> None:
        await self._bounded(self._call.wait_status)
        self._conclude()

    async def cancel(self) -> None:
        """Ends the call; the server's task is cancelled."""
        cancelled = Unavailable("the call was cancelled", reason=Reason.TIMED_OUT, outcome_unknown=True)
        self._call.cancel(local(cancelled, Status.CANCELLED))
        await trio.lowlevel.checkpoint()

    async def _finish(self) -> None:
        # The body is through. A reply that it took, or could take no more of, still has a status to come.
        if self._call.status is not None or (self._ended and not self._cardinality.server_streaming):
            await self.recv_trailing_metadata()

    def _conclude(self) -> None:
        self.initial_metadata = self._call.initial_metadata
        self.trailing_metadata = self._call.trailing_metadata
        self.peer = self._call.peer
        if self._call.status is not None:
            self._settled = True
            self._raise(self._call.status)

    def _raise(self, status: CallStatus) -> None:
        error = error_of(status)
        if error is not None:
            raise error

    def _encode(self, message: Any) -> bytes:
        if not isinstance(message, self._send_type):
            raise TypeError(f"{self._path} takes {self._send_type!r}, not {type(message)!r}")
        payload: bytes = message.SerializeToString()  # type: ignore[attr-defined]
        if len(payload) > self._send_bytes_max:
            raise Invalid(
                f"a message of {len(payload)} bytes to {self._path} is larger than the limit of "
                f"{self._send_bytes_max}",
                reason=Reason.MESSAGE_TOO_LARGE,
            )
        return payload

    def _decode(self, payload: bytes) -> R:
        try:
            message: R = self._recv_type.FromString(payload)  # type: ignore[attr-defined]
        except DecodeError as error:
            unreadable = Unavailable(f"a reply of {self._path} can't be parsed", outcome_unknown=True)
            self._call.cancel(local(unreadable, Status.INTERNAL))
            raise unreadable from error
        return message

    async def _bounded(self, operation: Callable[[], Awaitable[T]]) -> T:
        if self._call_deadline is None:
            return await operation()
        with trio.CancelScope(deadline=self._call_deadline.at):
            return await operation()
        raise self._expire()

    def _expire(self) -> KafscaleError:
        late = Unavailable(
            f"the deadline of {self._path} passed", reason=Reason.TIMED_OUT, outcome_unknown=self._opened
        )
        self._call.cancel(local(late, Status.DEADLINE_EXCEEDED))
        return late
