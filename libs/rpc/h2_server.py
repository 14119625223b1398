"""The server's end of an HTTP/2 connection: requests become calls, calls become tasks.

Owns: what a server answers before a handler runs, refusal, drain. Does not own: what handlers do
(`dispatch`).
Rules: 1 handlers that run are bounded, even when their streams were reset (CVE-2023-44487); 2 a call that
ends early tells the client to stop sending (RST_STREAM NO_ERROR, RFC 9113 section 8.1).
"""

from collections.abc import Callable

import h2.events
import trio
from grpclib.const import Status
from h2.errors import ErrorCodes

from libs.model.errors import Invalid
from libs.rpc.call import Metadata, Peer, new_metadata
from libs.rpc.connection import Connection, Traffic
from libs.rpc.h2_call import H2Call
from libs.rpc.headers import (
    IncomingRequest,
    RawHeaders,
    Received,
    http_error,
    http_refusal,
    parse_request,
    response_headers,
    trailers,
)
from libs.rpc.limits import RpcLimits
from libs.rpc.status import CallStatus, status_of

_DRAIN_PING = b"draining"
_LAST_STREAM_ID = 2**31 - 1


class H2ServerCall(H2Call):
    """A call as its handler holds it."""

    def __init__(
        self, connection: "ServerConnection", stream_id: int, limits: RpcLimits, request: IncomingRequest
    ) -> None:
        super().__init__(connection, stream_id, limits)
        self.path = request.path
        self.metadata = request.metadata
        self.user_agent = request.user_agent
        timeout = request.timeout_seconds
        self.deadline = None if timeout is None else trio.current_time() + timeout
        self.scope = trio.CancelScope()
        self.peer = connection.peer
        self.reader.set_encoding(request.encoding)
        self._head_sent = False

    async def send_initial_metadata(self, metadata: Metadata) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._send_head(metadata)

    async def send(self, payload: bytes) -> None:
        if not self._head_sent:
            self._send_head(new_metadata())
        await self.send_payload(payload)

    async def finish(self, status: CallStatus, metadata: Metadata) -> None:
        if self.closed or self.trailers is not None:
            return
        self.trailers = trailers(status, metadata, only=not self._head_sent)
        self.connection.want_write(self)
        self.connection.write_now(self)
        await self.wait_flushed()
        if not self.closed:  # the client still sends, and nobody reads it
            self.abort(ErrorCodes.NO_ERROR)

    def reset(self) -> None:
        self.abort(ErrorCodes.CANCEL)

    def answer_head_only(self, headers: RawHeaders) -> None:
        """The whole answer in one block, without a handler."""
        self.trailers = headers
        self.connection.want_write(self)
        self.connection.write_now(self)
        self.abort(ErrorCodes.NO_ERROR)

    def _send_head(self, metadata: Metadata) -> None:
        if not self._head_sent and not self.closed:
            self._head_sent = True
            self.connection.h2.send_headers(self.stream_id, response_headers(metadata))


class ServerConnection(Connection):
    """Accepts calls and hands each to `on_call`, which starts its task."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        limits: RpcLimits,
        traffic: Traffic,
        peer: Peer,
        on_call: Callable[[H2ServerCall], None],
    ) -> None:
        super().__init__(stream, client_side=False, limits=limits, traffic=traffic)
        self.peer = peer
        self.handlers_running = 0
        self._on_call = on_call
        self._refusing = False

    def drain(self) -> None:
        """Says good-bye: the client opens no new calls, those it has opened go on, then the connection ends.

        Two GOAWAYs with a ping between them (RFC 9113 section 6.8), so that no call is lost on the way.
        """
        self.h2.go_away(last_stream_id=_LAST_STREAM_ID)
        self.h2.ping(_DRAIN_PING)
        self._wake_writer.set()

    def _on_ping_ack(self, data: bytes) -> None:
        if data == _DRAIN_PING and not self._refusing:
            self._refusing = True
            self.h2.go_away(last_stream_id=self.h2.highest_inbound_stream_id)
            self.close_when_idle()

    def _on_head(self, event: h2.events.RequestReceived | h2.events.ResponseReceived) -> None:
        refusal = http_refusal(event.headers)
        request = IncomingRequest(
            path="", metadata=new_metadata(), timeout_seconds=None, user_agent=None, encoding="identity"
        )
        answer: RawHeaders | None = None
        if refusal is not None:
            answer = http_error(refusal)
        else:
            try:
                request = parse_request(event.headers)
            except Invalid as error:
                answer = trailers(status_of(error), new_metadata(), only=True)
            else:
                if request.encoding not in ("identity", "gzip"):
                    status = CallStatus(
                        code=Status.UNIMPLEMENTED,
                        message=f"grpc-encoding {request.encoding} is not supported",
                    )
                    answer = trailers(status, new_metadata(), only=True)
        call = H2ServerCall(self, event.stream_id, self.limits, request)
        self.calls[event.stream_id] = call
        if answer is not None:
            call.answer_head_only(answer)
        elif self._refusing or self.handlers_running >= self.limits.calls_max:
            call.abort(ErrorCodes.REFUSED_STREAM)
        else:
            self.handlers_running += 1  # before its task runs: many heads arrive in one read
            self._on_call(call)

    def _on_trailers(self, call: H2Call, headers: Received) -> None:
        """A client's trailers mean nothing in gRPC; the end that they carry does."""

    def _on_reset(self, call: H2Call, code: ErrorCodes | int) -> None:  # noqa: ARG002 - an end is an end
        _cancel(call)

    def _on_lost(self, call: H2Call, because: str) -> None:  # noqa: ARG002
        _cancel(call)

    def _on_settings(self) -> None:
        """A server opens no streams."""

    def _on_go_away(self, event: h2.events.ConnectionTerminated) -> None:  # noqa: ARG002
        self.close_when_idle()

    def _on_call_over(self) -> None:
        """Nobody waits for room."""

    def _needs_keepalive(self) -> bool:
        return True


def _cancel(call: H2Call) -> None:
    if isinstance(call, H2ServerCall):
        call.scope.cancel()
