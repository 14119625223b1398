"""The stream object that a handler uses on the server's side, over any transport.

Owns: the rules of the four call kinds for handlers. Does not own: transports, what becomes of a handler's
errors (`dispatch`).
Rules: 1 a unary reply is one message; 2 the status is sent once; 3 receiving and sending may go on in
different tasks of the handler.
"""

from typing import Any, TypeVar

import grpclib.server
from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import ProtocolError

from libs.model.errors import Invalid, Reason
from libs.rpc.call import ServerCall, TrioDeadline, new_metadata
from libs.rpc.status import CallStatus

S = TypeVar("S")
R = TypeVar("R")


class ServerStream(grpclib.server.Stream[R, S]):
    """One call, as the handler receives it."""

    def __init__(self, call: ServerCall, handler: Handler, *, send_bytes_max: int) -> None:
        self._call = call
        self._cardinality: Cardinality = handler.cardinality
        self._recv_type: type[Any] = handler.request_type
        self._send_type: type[Any] = handler.reply_type
        self._send_bytes_max = send_bytes_max
        self.deadline = None if call.deadline is None else TrioDeadline(call.deadline)
        self.metadata = call.metadata
        self.user_agent = call.user_agent
        self.peer = call.peer
        self.sent_message = False
        self.finished = False
        self._sent_head = False
        self._received = False

    async def recv_message(self) -> R | None:
        """The next message; None once the client has ended its side.

        Raises Invalid for a message that can't be read or is too large.
        """
        payload = await self._call.receive()
        if payload is None:
            if not self._received and not self._cardinality.client_streaming:
                raise Invalid("a unary request ended without its message")
            return None
        self._received = True
        try:
            message: R = self._recv_type.FromString(payload)
        except DecodeError as error:
            raise Invalid(f"the request can't be parsed as {self._recv_type.DESCRIPTOR.full_name}") from error
        return message

    async def send_initial_metadata(self, *, metadata: Any = None) -> None:
        if self._sent_head:
            raise ProtocolError("the initial metadata was already sent")
        self._sent_head = True
        await self._call.send_initial_metadata(new_metadata(metadata or ()))

    async def send_message(self, message: S) -> None:
        """Sends one message, waiting while the send buffer is full. Raises Invalid(MESSAGE_TOO_LARGE)."""
        if self.finished or (self.sent_message and not self._cardinality.server_streaming):
            raise ProtocolError("the reply was already sent")
        if not isinstance(message, self._send_type):
            raise TypeError(f"{self._call.path} replies with {self._send_type!r}, not {type(message)!r}")
        payload: bytes = message.SerializeToString()
        if len(payload) > self._send_bytes_max:
            raise Invalid(
                f"a reply of {len(payload)} bytes is larger than the limit of {self._send_bytes_max}",
                reason=Reason.MESSAGE_TOO_LARGE,
            )
        self._sent_head = self.sent_message = True
        await self._call.send(payload)

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: Any = None,
    ) -> None:
        """Ends the call. Details travel by raising one of the platform's kinds instead."""
        if status_details is not None:
            raise ProtocolError("raise one of the kinds of libs.model.errors to send details")
        if status is Status.OK and not self.sent_message and not self._cardinality.server_streaming:
            raise ProtocolError("a unary reply with status OK needs its message")
        ending = CallStatus(code=status, message=status_message or "")
        await self.finish(ending, metadata)

    async def finish(self, status: CallStatus, metadata: Any = None) -> None:
        """Ends the call with `status`, unless it has ended."""
        if self.finished:
            raise ProtocolError("the status was already sent")
        self.finished = True
        await self._call.finish(status, new_metadata(metadata or ()))

    async def cancel(self) -> None:
        """Ends the call without a status."""
        self.finished = True
        self._call.reset()
