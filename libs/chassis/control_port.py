"""The control port: gRPC and HTTP/1 on one socket, told apart by the HTTP/2 preface.

Owns: the peek, `/metrics`, `/healthz`, `/readyz`. Does not own: the gRPC services behind it (libs/rpc).
Rules: 1 everything from outside is bounded: connections, header bytes, time.
"""

from collections.abc import Callable

import h11
import structlog
import trio

from libs.chassis.readiness import Readiness
from libs.rpc import Server
from libs.telemetry.metrics import CONTENT_TYPE, Metrics

HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113 section 3.4
CONNECTIONS_MAX = 256
IDLE_SECONDS_MAX = 75.0
_RECEIVE_BYTES = 16 * 1024
_TEXT = "text/plain; charset=utf-8"

Reply = tuple[int, str, bytes]

log = structlog.get_logger(__name__)


class ControlPort:
    def __init__(self, *, rpc: Server, readiness: Readiness, metrics: Metrics) -> None:
        self._rpc = rpc
        self._connections = trio.CapacityLimiter(CONNECTIONS_MAX)
        self._pages: dict[bytes, Callable[[], Reply]] = {
            b"/healthz": lambda: (200, _TEXT, b"ok\n"),
            b"/readyz": lambda: _readyz(readiness),
            b"/metrics": lambda: (200, CONTENT_TYPE, metrics.render()),
        }

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        try:
            self._connections.acquire_nowait()
        except trio.WouldBlock:
            log.warning("control_connection_refused", connections_max=CONNECTIONS_MAX)
            await trio.aclose_forcefully(stream)
            return
        try:
            await self._dispatch(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # the peer went away or stopped reading; nobody is left to tell
        finally:
            self._connections.release()
            await trio.aclose_forcefully(stream)

    async def _dispatch(self, stream: trio.SocketStream) -> None:
        received = b""
        with trio.move_on_after(IDLE_SECONDS_MAX) as waited:
            while len(received) < len(HTTP2_PREFACE) and HTTP2_PREFACE.startswith(received):
                chunk = await stream.receive_some(_RECEIVE_BYTES)
                if not chunk:
                    return
                received += chunk
        if waited.cancelled_caught:
            return
        if received.startswith(HTTP2_PREFACE):
            await self._rpc.serve_connection(stream, received=received)
        else:
            await self._serve_http1(stream, received)

    async def _serve_http1(self, stream: trio.SocketStream, received: bytes) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_RECEIVE_BYTES)
        connection.receive_data(received)
        while True:
            try:
                request = await _next_request(connection, stream)
            except h11.RemoteProtocolError as error:
                if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                    reply = (error.error_status_hint, _TEXT, f"{error}\n".encode())
                    await _send(connection, stream, reply, with_body=True)
                return
            if request is None:
                return
            await _send(connection, stream, self._answer(request), with_body=request.method != b"HEAD")
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return
            connection.start_next_cycle()

    def _answer(self, request: h11.Request) -> Reply:
        if request.method not in (b"GET", b"HEAD"):
            return 405, _TEXT, b"only GET and HEAD; control calls are gRPC on this same port\n"
        page = self._pages.get(request.target.partition(b"?")[0])
        if page is None:
            return 404, _TEXT, b"there are " + b", ".join(self._pages) + b"\n"
        return page()


def _readyz(readiness: Readiness) -> Reply:
    return (200 if readiness.ready else 503), _TEXT, readiness.describe().encode() + b"\n"


async def _next_request(connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """The next request with its body read and dropped; None where the peer is done or too slow."""
    request: h11.Request | None = None
    with trio.move_on_after(IDLE_SECONDS_MAX):
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive_some(_RECEIVE_BYTES))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.EndOfMessage):
                return request
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return None
    return None


async def _send(
    connection: h11.Connection, stream: trio.SocketStream, reply: Reply, *, with_body: bool
) -> None:
    status, content_type, body = reply
    headers = [("content-type", content_type), ("content-length", str(len(body)))]
    parts = [connection.send(h11.Response(status_code=status, headers=headers))]
    if with_body:
        parts.append(connection.send(h11.Data(data=body)))
    parts.append(connection.send(h11.EndOfMessage()))
    with trio.fail_after(IDLE_SECONDS_MAX):
        await stream.send_all(b"".join(part for part in parts if part))
