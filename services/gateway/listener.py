"""Accepts Kafka connections, up to a bound, and keeps each one's failure to itself.

Owns: which connections there are. Does not own: binding the port (libs/chassis), TLS (tls.py), one
connection's life.
Rules: 1 beyond the bound a connection is closed at once, which clients take for "try another broker"; 2 the
bound is lower where the process may not have so many sockets open, so that owners and stores can always be
reached; 3 whatever goes wrong in a connection ends that connection only.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog
import trio

from libs.chassis.open_files import open_files_max
from libs.concurrency.byte_budget import ByteBudget
from services.gateway.connection import Connection
from services.gateway.context import Gateway
from services.gateway.handler import Handler
from services.gateway.tls import HandshakeFailed, KafkaTls, say_goodbye

_REFUSALS_LOGGED_EVERY: Final = 1000
_FILES_KEPT: Final = 256
"""Of what the process may have open: for owners, metadata, the store and the control port."""

log = structlog.get_logger(__name__)


class KafkaListener:
    def __init__(
        self,
        *,
        gateway: Gateway,
        handlers: Mapping[int, Handler],
        budget: ByteBudget,
        tls: KafkaTls | None = None,
    ) -> None:
        """With `tls` clients have to speak it, without they must not."""
        self._gateway = gateway
        self._tls = tls
        self._handlers = handlers
        self._budget = budget
        self._numbers = itertools.count(1)
        self._connections: set[Connection] = set()
        self._handshakes = 0
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._gone = trio.lowlevel.ParkingLot()
        self._refused = 0
        self.connections_max = _connections_max(gateway.options.connections_max)

    @property
    def connections(self) -> int:
        return len(self._connections) + self._handshakes

    @property
    def refused(self) -> int:
        return self._refused

    async def serve(self, listeners: Sequence[trio.abc.Listener[Any]]) -> None:
        """Serves until `drain` is over, or it is cancelled."""
        with self._serving:
            async with trio.open_nursery() as nursery:
                with self._accepting:
                    await trio.serve_listeners(
                        self.serve_connection,
                        list(listeners),
                        handler_nursery=nursery,
                    )

    async def drain(self, deadline: float) -> None:
        """Accepts no more, lets what was asked be answered until `deadline` (Trio time), then closes all."""
        self._accepting.cancel()
        for each in self._connections:
            each.refuse_more()
        with trio.move_on_at(deadline):
            while self._connections:
                await self._gone.park()
        self._serving.cancel()

    async def serve_connection(self, stream: trio.abc.Stream) -> None:
        """Serves one client to its end and closes the stream. Never raises for what the client did."""
        if self.connections >= self.connections_max or self._accepting.cancel_called:
            self._refuse()
            await trio.aclose_forcefully(stream)
            return
        try:
            if self._tls is None:
                await self._serve(stream, _peer_of(stream))
            else:
                await self._serve_tls(stream, self._tls, _peer_of(stream))
        except Exception:  # the supervisor: a fault in one connection is no fault of the others
            log.exception("connection_failed", peer=_peer_of(stream))
            self._gateway.recorder.connection_dropped("failed")
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve_tls(self, stream: trio.abc.Stream, tls: KafkaTls, peer: str) -> None:
        self._handshakes += 1
        try:
            wrapped = await tls.wrap(stream)
        except HandshakeFailed as error:
            log.info("tls_handshake_failed", peer=peer, error=str(error))
            self._gateway.recorder.connection_dropped("handshake")
            return
        finally:
            self._handshakes -= 1
        if not self._accepting.cancel_called:
            await self._serve(wrapped, peer)

    async def _serve(self, stream: trio.abc.Stream, peer: str) -> None:
        connection = Connection(
            stream=stream,
            gateway=self._gateway,
            handlers=self._handlers,
            budget=self._budget,
            number=next(self._numbers),
            peer=peer,
        )
        self._connections.add(connection)
        try:
            await connection.run()
            await say_goodbye(stream)
        finally:
            self._connections.discard(connection)
            self._gone.unpark_all()

    def _refuse(self) -> None:
        self._gateway.recorder.connection_refused("too_many")
        if self._refused % _REFUSALS_LOGGED_EVERY == 0:
            log.warning(
                "connections_refused",
                connections=self.connections,
                connections_max=self.connections_max,
                refused_before=self._refused,
            )
        self._refused += 1


def _connections_max(wanted: int) -> int:
    open_files = open_files_max()
    if open_files is None or wanted + _FILES_KEPT <= open_files:
        return wanted
    allowed = max(1, open_files - _FILES_KEPT)
    log.warning(
        "connections_bound_lowered", connections_max=allowed, wanted=wanted, open_files_max=open_files
    )
    return allowed


def _peer_of(stream: trio.abc.Stream) -> str:
    """host:port, by which a line of the log finds its client."""
    if isinstance(stream, trio.SocketStream):
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:
            return "gone"
        return f"{host}:{port}"
    return "memory"
