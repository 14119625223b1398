"""The client's end of an HTTP/2 connection: calls become streams, answers become statuses.

Owns: how a call starts and how its end is understood. Does not own: when to connect (`channel`).
Rules: 1 a call ends once; what the server said about it wins over how the stream or the connection went;
2 the outcome is known only where the server says that it never looked (REFUSED_STREAM, GOAWAY below
the stream, nothing sent).
"""

from collections.abc import Awaitable, Callable

import h2.events
import trio
from grpclib.const import Status
from h2.errors import ErrorCodes

from libs.model.errors import Invalid, KafscaleError, Overloaded, Reason, Unavailable
from libs.rpc.call import CallRequest, Metadata, Peer, new_metadata
from libs.rpc.connection import Connection, Traffic
from libs.rpc.h2_call import H2Call
from libs.rpc.headers import Received, parse_head, parse_trailers, request_headers
from libs.rpc.limits import RpcLimits
from libs.rpc.status import OK, CallStatus, local

_CONNECTIONS_TRIED_MAX = 3
_STREAM_ID_MAX = 2**31 - 3


class H2ClientCall:
    """A call as its caller holds it; it has a stream once it has started."""

    def __init__(
        self, request: CallRequest, connect: "Callable[[], Awaitable[ClientConnection]]", peer: Peer
    ) -> None:
        self.status: CallStatus | None = None
        self.initial_metadata: Metadata | None = None
        self.trailing_metadata: Metadata | None = None
        self.peer = peer
        self._request = request
        self._connect = connect
        self._stream: H2ClientStream | None = None

    async def enter(self) -> None:
        """Nothing: the call starts with its first message."""

    async def start(self) -> None:
        for _ in range(_CONNECTIONS_TRIED_MAX):
            connection = await self._connect()
            if await connection.wait_capacity():
                self._stream = connection.open(self, self._request)
                return
        raise Unavailable("the server goes away as often as it is reached", outcome_unknown=False)

    async def send(self, payload: bytes, *, end: bool) -> bool:
        return self._stream is not None and await self._stream.send_payload(payload, end=end)

    async def end(self) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._stream is not None:
            self._stream.request_end()

    async def receive(self) -> bytes | None:
        if self._stream is None:
            return None
        try:
            payload = await self._stream.receive()
        except Invalid as error:
            self.cancel(local(error))
            raise
        if payload is None:
            await self.wait_status()
        return payload

    async def wait_initial_metadata(self) -> None:
        while self._stream is not None and self.initial_metadata is None and self.status is None:
            await self._stream.wait_until_changed()

    async def wait_status(self) -> CallStatus:
        while self._stream is not None and self.status is None:
            await self._stream.wait_until_changed()
        return self.status or OK

    def cancel(self, status: CallStatus) -> None:
        self.finish(status)
        if self._stream is not None:
            self._stream.abort(ErrorCodes.CANCEL)

    async def exit(self) -> None:
        if self._stream is not None:
            self._stream.abort(ErrorCodes.CANCEL)
            self._stream.discard()

    def finish(self, status: CallStatus, metadata: Metadata | None = None) -> None:
        """The end, unless it was told before."""
        if self.status is None:
            self.status = status
            self.trailing_metadata = metadata if metadata is not None else new_metadata()
            if self._stream is not None:
                self._stream.wake()


class H2ClientStream(H2Call):
    """The stream of a call that has started."""

    def __init__(
        self, connection: "ClientConnection", stream_id: int, limits: RpcLimits, call: H2ClientCall
    ) -> None:
        super().__init__(connection, stream_id, limits)
        self.call = call

    def discard(self) -> None:
        """Nobody will take what was received."""
        self.inbox.clear()
        self.connection.give_back(self, self.held_bytes)

    def on_remote_end(self) -> None:
        if self.call.status is None:
            lost = Unavailable("the server ended the call without a status", outcome_unknown=True)
            self.call.finish(local(lost, Status.INTERNAL))
        super().on_remote_end()

    def on_response_head(self, headers: Received) -> None:
        """The head of the response, which may be its end."""
        end = parse_trailers(headers)
        head = parse_head(headers)
        self.call.initial_metadata = head.metadata
        self.reader.set_encoding(head.encoding)
        if end is not None:
            self.call.initial_metadata = new_metadata()
            self.call.finish(*end)
        elif head.refusal is not None:
            self.call.finish(head.refusal)
            self.abort(ErrorCodes.CANCEL)
        self.wake()


class ClientConnection(Connection):
    """Opens calls on one connection, as long as the server takes them."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        limits: RpcLimits,
        traffic: Traffic,
        scheme: str,
        authority: str,
    ) -> None:
        super().__init__(stream, client_side=True, limits=limits, traffic=traffic)
        self.going_away = False
        self._scheme = scheme
        self._authority = authority
        self._settled = trio.Event()
        self._capacity = trio.lowlevel.ParkingLot()

    @property
    def usable(self) -> bool:
        """Whether new calls may be opened."""
        ids_left = self.h2.highest_outbound_stream_id < _STREAM_ID_MAX
        return self.lost_because is None and not self.going_away and ids_left

    async def wait_ready(self) -> None:
        """Returns when the server's settings are known.

        Raises Unavailable when the connection ended instead.
        """
        await self._settled.wait()
        if self.lost_because is not None:
            raise Unavailable(f"no HTTP/2 connection: {self.lost_because}", outcome_unknown=False)

    async def wait_capacity(self) -> bool:
        """Waits until one more call may be opened; False when the connection takes none any more."""
        while self.usable and len(self.calls) >= self.h2.remote_settings.max_concurrent_streams:
            await self._capacity.park()
        return self.usable

    def open(self, call: H2ClientCall, request: CallRequest) -> H2ClientStream:
        """Opens a stream; the caller has waited for capacity and has not waited since."""
        stream_id = self.h2.get_next_available_stream_id()
        stream = H2ClientStream(self, stream_id, self.limits, call)
        headers = request_headers(request, scheme=self._scheme, authority=self._authority)
        self.h2.send_headers(stream_id, headers)
        self.calls[stream_id] = stream
        self._wake_writer.set()
        return stream

    def _on_head(self, event: h2.events.RequestReceived | h2.events.ResponseReceived) -> None:
        stream = self.calls.get(event.stream_id)
        if isinstance(stream, H2ClientStream):
            stream.on_response_head(event.headers)

    def _on_trailers(self, call: H2Call, headers: Received) -> None:
        end = parse_trailers(headers)
        if end is not None and isinstance(call, H2ClientStream):
            call.call.finish(*end)

    def _on_reset(self, call: H2Call, code: ErrorCodes | int) -> None:
        if isinstance(call, H2ClientStream):
            call.call.finish(_of_reset(code))

    def _on_lost(self, call: H2Call, because: str) -> None:
        if isinstance(call, H2ClientStream):
            call.call.finish(local(Unavailable(f"the call was cut off: {because}", outcome_unknown=True)))

    def _on_settings(self) -> None:
        self._settled.set()
        self._capacity.unpark_all()

    def _on_call_over(self) -> None:
        self._capacity.unpark(count=1)

    def _on_go_away(self, event: h2.events.ConnectionTerminated) -> None:
        self.going_away = True
        self._capacity.unpark_all()
        last_stream_id = event.last_stream_id or 0
        for stream_id, call in list(self.calls.items()):
            if stream_id > last_stream_id:
                self.forget(call)
                if isinstance(call, H2ClientStream):
                    refused = Unavailable(
                        "the server went away before it saw the call", outcome_unknown=False
                    )
                    call.call.finish(local(refused))
        self.close_when_idle()

    def _on_ping_ack(self, data: bytes) -> None:
        """Being heard is enough."""

    def _needs_keepalive(self) -> bool:
        return bool(self.calls)


def _of_reset(code: ErrorCodes | int) -> CallStatus:
    # grpc/doc/PROTOCOL-HTTP2.md, "Errors"
    name = code.name if isinstance(code, ErrorCodes) else str(code)
    message = f"the server reset the call: {name}"
    error: KafscaleError
    match code:
        case ErrorCodes.REFUSED_STREAM:
            return local(Unavailable(message, outcome_unknown=False))
        case ErrorCodes.ENHANCE_YOUR_CALM:
            return local(Overloaded(message), Status.RESOURCE_EXHAUSTED)
        case ErrorCodes.CANCEL:
            error = Unavailable(message, reason=Reason.TIMED_OUT, outcome_unknown=True)
            return local(error, Status.CANCELLED)
        case _:
            return local(Unavailable(message, outcome_unknown=True), Status.INTERNAL)
