"""The server's door: services on connections, and how they end.

Owns: which connections and calls exist, drain. Does not own: listeners' sockets (the caller opens them),
what handlers do.
Rules: 1 nothing that a peer sends or a handler does ends the server; 2 a connection ends with its
handlers; 3 a drain has a deadline.
"""

import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from libs.model.errors import Unavailable
from libs.rpc.call import Peer, ServerCall
from libs.rpc.connection import Traffic
from libs.rpc.dispatch import Dispatcher
from libs.rpc.h2_server import H2ServerCall, ServerConnection
from libs.rpc.limits import DEFAULT_LIMITS, RpcLimits
from libs.rpc.statistics import ServerStatistics
from libs.rpc.tls import ALPN_H2, ServerTls

if TYPE_CHECKING:
    from grpclib._typing import IServable

_log = logging.getLogger(__name__)
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError, OSError, ssl.SSLError)


class Server:
    """Serves generated services (`XBase` subclasses) on any number of connections."""

    def __init__(self, services: "Sequence[IServable]", *, limits: RpcLimits = DEFAULT_LIMITS) -> None:
        self.limits = limits
        self._dispatcher = Dispatcher(services, limits)
        self._connections: set[ServerConnection] = set()
        self._accepted = 0
        self._traffic = Traffic()
        self._draining = trio.Event()
        self._all_gone = trio.Event()

    @property
    def draining(self) -> bool:
        """Whether `drain` has begun."""
        return self._draining.is_set()

    async def wait_draining(self) -> None:
        """Returns when `drain` begins: for handlers of long streams, which should then end."""
        await self._draining.wait()

    async def serve(
        self,
        listeners: Sequence[trio.abc.Listener[Any]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serves connections of `listeners` until it is cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(
                partial(trio.serve_listeners, self.serve_connection, list(listeners), handler_nursery=nursery)
            )
            task_status.started()

    async def serve_connection(self, stream: trio.abc.Stream, *, received: bytes = b"") -> None:
        """Serves one connection to its end and closes it. Never raises for what its peer did.

        `received`: bytes that were read from the stream already, to find out that it is HTTP/2.
        """
        if self.draining or len(self._connections) >= self.limits.connections_max:
            await trio.aclose_forcefully(stream)
            return
        if isinstance(stream, trio.SSLStream) and not await self._handshake(stream):
            return
        async with trio.open_nursery() as handlers:
            connection = ServerConnection(
                stream,
                limits=self.limits,
                traffic=self._traffic,
                peer=_peer_of(stream),
                on_call=lambda call: handlers.start_soon(self._run_call, connection, call),
            )
            self._connections.add(connection)
            self._accepted += 1
            try:
                await connection.run(received)
            except Exception:  # a supervisor: one connection's bug must not end its neighbours
                _log.exception("a connection from %s failed", connection.peer.addr())
            finally:
                self._connections.discard(connection)
                if not self._connections:
                    self._all_gone.set()

    async def run_call(self, call: ServerCall) -> None:
        """Runs a call of another transport."""
        await self._dispatcher.run(call)

    async def drain(self, deadline: float) -> None:
        """Takes no new calls, lets those that run finish until `deadline` (on Trio's clock), then ends them.

        Returns when every connection is closed and no handler runs.
        """
        self._draining.set()
        self._all_gone = trio.Event()
        for connection in self._connections:
            connection.drain()
        with trio.CancelScope(deadline=deadline):
            await self._dispatcher.wait_idle()
            if self._connections:
                await self._all_gone.wait()
            return
        self._dispatcher.end_all(Unavailable("the server is shutting down", outcome_unknown=True))
        with trio.move_on_after(self.limits.close_timeout_seconds):
            await self._dispatcher.wait_idle()
            for connection in self._connections:
                connection.close_when_idle()  # what the callers are told has to be written first
            if self._connections:
                await self._all_gone.wait()
        for connection in list(self._connections):
            connection.lose("the server is shutting down")
        if self._connections:
            await self._all_gone.wait()

    def statistics(self) -> ServerStatistics:
        return ServerStatistics(
            connections=len(self._connections),
            connections_max=self.limits.connections_max,
            connections_accepted=self._accepted,
            calls_in_flight=self._dispatcher.calls_in_flight,
            calls_started=self._dispatcher.calls_started,
            sent_bytes=self._traffic.sent_bytes,
            received_bytes=self._traffic.received_bytes,
        )

    async def _run_call(self, connection: ServerConnection, call: H2ServerCall) -> None:
        try:
            await self._dispatcher.run(call)
        finally:
            connection.handlers_running -= 1

    async def _handshake(self, stream: "trio.SSLStream[Any]") -> bool:
        try:
            with trio.fail_after(self.limits.handshake_timeout_seconds):
                await stream.do_handshake()
        except (*_BROKEN, trio.TooSlowError) as error:
            _log.info("a TLS handshake failed: %s", error.__cause__ or error)
            await trio.aclose_forcefully(stream)
            return False
        if stream.selected_alpn_protocol() not in (ALPN_H2, None):
            await trio.aclose_forcefully(stream)
            return False
        return True


async def open_tcp_listeners(
    host: str, port: int, *, tls: ServerTls | None = None
) -> list[trio.abc.Listener[Any]]:
    """Listeners for `Server.serve`; port 0 takes a free one.

    Raises Invalid for TLS files that can't be used.
    """
    context = tls.context() if tls is not None else None
    listeners = await trio.open_tcp_listeners(port, host=host)
    if context is None:
        return list(listeners)
    return [trio.SSLListener(listener, context, https_compatible=True) for listener in listeners]


def _peer_of(stream: trio.abc.Stream) -> Peer:
    certificate: dict[str, Any] | None = None
    transport = stream
    if isinstance(stream, trio.SSLStream):
        certificate = stream.getpeercert()
        transport = stream.transport_stream
    address = None
    if isinstance(transport, trio.SocketStream):
        with suppress(OSError):
            name = transport.socket.getpeername()
            address = (name[0], name[1]) if isinstance(name, tuple) else None
    return Peer(address, certificate)
