"""The client's door: a channel that generated stubs accept, and the one that speaks HTTP/2.

Owns: what a stub call becomes, connecting, reconnecting. Does not own: one connection's life
(`connection`).
Rules: 1 one connection at a time, made when a call needs it; the attempt is shared by all who wait and is
not theirs to cancel; 2 after a failure calls fail fast until the back-off is over, with
Unavailable(outcome_unknown=False).
"""

import logging
import ssl
from abc import abstractmethod
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, TypeVar

import grpclib.client
import trio
from grpclib.const import Cardinality
from grpclib.metadata import Deadline

from libs.concurrency.rand import Rand, SystemRand
from libs.concurrency.retry import Backoff
from libs.model.errors import Unavailable
from libs.rpc.call import CallRequest, ClientCall, Peer, TrioDeadline, new_metadata
from libs.rpc.client_stream import ClientStream
from libs.rpc.connection import Traffic
from libs.rpc.dial import Connector, Dialer
from libs.rpc.h2_client import ClientConnection, H2ClientCall
from libs.rpc.limits import DEFAULT_LIMITS, RpcLimits
from libs.rpc.statistics import ChannelStatistics
from libs.rpc.tls import ClientTls

S = TypeVar("S")
R = TypeVar("R")

_log = logging.getLogger(__name__)
_GRACE_SECONDS = 0.25  # a caller's own cancel scope fires before the server gives up for it


class Channel(grpclib.client.Channel):
    """What stubs are made with: `XStub(channel)`."""

    def __init__(self, limits: RpcLimits) -> None:
        self._limits = limits
        self._started: Counter[str] = Counter()

    def __del__(self) -> None:
        """Nothing: connections belong to a nursery, not to the collector."""

    async def __aenter__(self) -> "Channel":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.close()

    def request(
        self,
        name: str,
        cardinality: Cardinality,
        request_type: type[S],
        reply_type: type[R],
        *,
        timeout: float | None = None,
        deadline: Deadline | None = None,
        metadata: Any = None,
    ) -> ClientStream[S, R]:
        """A call that is not yet sent.

        The server's deadline is the nearest of `timeout` (seconds), `deadline`, and the deadlines of the
        cancel scopes around the call.
        """
        now = trio.current_time()
        ends = [now + timeout] if timeout is not None else []
        if deadline is not None:
            ends.append(now + deadline.time_remaining())
        ours = min(ends, default=None)
        scopes = trio.current_effective_deadline() + _GRACE_SECONDS
        theirs = min(scopes, *ends) if ends else scopes
        request = CallRequest(
            path=name,
            metadata=new_metadata(metadata or ()),
            deadline=theirs if theirs != float("inf") else None,
        )
        self._started[name] += 1
        return ClientStream(
            self._new_call(request),
            name,
            cardinality,
            request_type,
            reply_type,
            deadline=None if ours is None else TrioDeadline(ours),
            send_bytes_max=self._limits.send_message_bytes_max,
        )

    @abstractmethod
    def _new_call(self, request: CallRequest) -> ClientCall: ...

    @abstractmethod
    def statistics(self) -> ChannelStatistics: ...


class SocketChannel(Channel):
    """A channel to one address. Made by `open_channel`."""

    def __init__(
        self,
        dialer: Dialer,
        *,
        nursery: trio.Nursery,
        limits: RpcLimits,
        rand: Rand,
    ) -> None:
        super().__init__(limits)
        self.address = dialer.address
        self._dialer = dialer
        self._nursery = nursery
        self._rand = rand
        self._backoff = Backoff(
            first_seconds=limits.backoff_first_seconds, max_seconds=limits.backoff_max_seconds
        )
        self._connections: set[ClientConnection] = set()
        self._current: ClientConnection | None = None
        self._attempt: trio.Event | None = None
        self._failures = 0
        self._failed_because = ""
        self._retry_at = float("-inf")
        self._opened = 0
        self._traffic = Traffic()
        self._closed = False

    def close(self) -> None:
        """Ends the connection; calls in flight fail."""
        self._closed = True
        for connection in self._connections:
            connection.lose("the channel was closed")

    def statistics(self) -> ChannelStatistics:
        return ChannelStatistics(
            address=self.address,
            connected=self._current is not None and self._current.usable,
            connections_opened=self._opened,
            calls_in_flight=sum(len(connection.calls) for connection in self._connections),
            calls_started=dict(self._started),
            sent_bytes=self._traffic.sent_bytes,
            received_bytes=self._traffic.received_bytes,
        )

    def _new_call(self, request: CallRequest) -> ClientCall:
        return H2ClientCall(request, self._connection, Peer((self._dialer.host, self._dialer.port)))

    async def _connection(self) -> ClientConnection:
        """The connection, made if need be. Raises Unavailable(outcome_unknown=False)."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            if self._closed:
                raise Unavailable(f"the channel to {self.address} is closed")
            if self._current is not None and self._current.usable:
                return self._current
            if self._attempt is None:
                if trio.current_time() < self._retry_at:
                    raise Unavailable(f"{self.address} can't be reached: {self._failed_because}")
                self._attempt = trio.Event()
                self._nursery.start_soon(self._connect, self._attempt)
            attempt, failures = self._attempt, self._failures
            await attempt.wait()
            if self._failures > failures:
                raise Unavailable(f"{self.address} can't be reached: {self._failed_because}")

    async def _connect(self, attempt: trio.Event) -> None:
        try:
            with trio.fail_after(self._limits.connect_timeout_seconds):
                stream = await self._dialer.dial()
                connection = ClientConnection(
                    stream,
                    limits=self._limits,
                    traffic=self._traffic,
                    scheme=self._dialer.scheme,
                    authority=self.address,
                )
                self._nursery.start_soon(self._run, connection)
                try:
                    await connection.wait_ready()
                except trio.Cancelled:
                    connection.lose("the server did not answer in time")
                    raise
        except trio.TooSlowError:
            self._failed(f"no connection within {self._limits.connect_timeout_seconds} s")
        except (OSError, ssl.SSLError, trio.BrokenResourceError, Unavailable) as error:
            self._failed(str(error.__cause__ or error))
        else:
            self._current = connection
            self._failures = 0
            self._opened += 1
        finally:
            self._attempt = None
            attempt.set()

    async def _run(self, connection: ClientConnection) -> None:
        self._connections.add(connection)
        if self._closed:
            connection.lose("the channel was closed")
        try:
            await connection.run()
        except Exception:  # a supervisor: calls were told, and the next one connects anew
            _log.exception("the connection to %s failed", self.address)
        finally:
            self._connections.discard(connection)

    def _failed(self, because: str) -> None:
        self._failures += 1
        self._failed_because = because
        self._retry_at = trio.current_time() + self._backoff.delay_seconds(self._failures, self._rand)


@asynccontextmanager
async def open_channel(
    address: str,
    *,
    tls: ClientTls | None = None,
    limits: RpcLimits = DEFAULT_LIMITS,
    connector: Connector = trio.open_tcp_stream,
    rand: Rand | None = None,
) -> AsyncIterator[Channel]:
    """A channel to `host:port`; nothing is connected before the first call.

    Leaving the block closes the connection; calls still in flight get Unavailable. Raises Invalid for an
    address or TLS files that can't be used.
    """
    dialer = Dialer(address, tls=tls, connector=connector)
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        channel = SocketChannel(
            dialer, nursery=nursery, limits=limits, rand=rand if rand is not None else SystemRand()
        )
        try:
            yield channel
        except Exception as error:  # carried around the nursery, which would wrap it in a group
            failure = error
        finally:
            channel.close()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
