"""One Kafka connection: requests in, answers out in the same order.

Owns: the order of answers, what one client may have in flight, how a connection ends.
Does not own: accepting (listener.py), what requests mean (handlers).
Rules: 1 answers leave strictly in the order of requests; 2 produce requests are begun on arrival, so that
pipelining works; everything else runs in its turn, as in Kafka, by the task that writes; 3 nothing is read
that could not be kept: a frame's bytes are leased before it is read; 4 a request that can't be parsed closes
the connection with a log line that says why, and so does one who stops in the middle of a frame.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

import structlog
import trio
from kio.static.protocol import Entity

from libs.concurrency.byte_budget import ByteBudget
from libs.model.errors import Invalid, KafscaleError, Reason
from libs.telemetry.spans import span
from services.gateway.admission import Lease, lease
from services.gateway.codec import API_VERSIONS_KEY, Schema, read_body, read_header, schema_of
from services.gateway.context import Gateway
from services.gateway.framing import FrameReader
from services.gateway.handler import Handler, Request, Started
from services.gateway.tls import send_bytes_max

_RECEIVE_BYTES_MIN: Final = 16 * 1024
_AHEAD_BYTES_MAX: Final = 64 * 1024
_RECEIVE_BYTES_MAX: Final = 1024 * 1024
_SEND_BYTES_MAX: Final = 1024 * 1024
_LEFT_SECONDS: Final = 1.0
"""What a client sent before it closed its side is still worked through, so long."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    request: Request
    handler: Handler
    started: Started | None
    arrived: float


class _Ended(Exception):
    """The connection ends here; the reason is one of a few words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Connection:
    def __init__(
        self,
        *,
        stream: trio.abc.Stream,
        gateway: Gateway,
        handlers: Mapping[int, Handler],
        budget: ByteBudget,
        number: int,
        peer: str,
    ) -> None:
        self._stream = stream
        self._send_bytes_max = send_bytes_max(stream, _SEND_BYTES_MAX)
        self._gateway = gateway
        self._handlers = handlers
        self._budget = budget
        self._number = number
        self._peer = peer
        self._frames = FrameReader(frame_bytes_max=gateway.options.request_bytes_max)
        self._turns: deque[_Turn] = deque()
        self._unanswered = 0
        self._unanswered_bytes = 0
        self._waiters = trio.lowlevel.ParkingLot()
        self._reading = trio.CancelScope()
        self._no_more = False
        self._receive_bytes = _RECEIVE_BYTES_MIN

    @property
    def idle(self) -> bool:
        """Nothing is being asked or answered."""
        return not self._unanswered and not self._frames.mid_frame

    def refuse_more(self) -> None:
        """No more requests are taken; the connection ends when the last is answered."""
        self._no_more = True
        self._reading.cancel()

    async def run(self) -> None:
        """Serves until the client leaves or is left. Does not close the stream."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_loop)
                with self._reading:
                    await self._read_loop()
                # The client closed its side, or is to be let go: what it asked is still answered.
                if not self._no_more:
                    nursery.cancel_scope.deadline = trio.current_time() + _LEFT_SECONDS
                await self._wait(lambda: not self._unanswered)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except* _Ended as group:
            for each in _leaves(group):
                self._gateway.recorder.connection_dropped(each.reason)
        finally:
            while self._turns:
                self._turns.popleft().request.release()

    # Reading

    async def _read_loop(self) -> None:
        while not self._no_more:
            length = self._next_length()
            if length is None:
                if not await self._receive(self._gateway.options.connection_idle_seconds, "idle"):
                    return
                continue
            self._receive_bytes = min(max(length, _RECEIVE_BYTES_MIN), _AHEAD_BYTES_MAX)
            lease = await self._admit(length)
            try:
                frame = await self._frame()
                arrived = trio.current_time()
                turn = self._begin(frame, lease, arrived)
            except BaseException:
                lease.release()
                raise
            self._turns.append(turn)
            self._unanswered += 1
            self._unanswered_bytes += length
            self._signal()

    def _next_length(self) -> int | None:
        try:
            return self._frames.next_length()
        except Invalid as error:
            self._reject(error.message)

    async def _admit(self, length: int) -> Lease:
        options = self._gateway.options
        if (
            self._unanswered >= options.connection_requests_max
            or self._unanswered_bytes + length > options.connection_bytes_max
        ):
            await self._wait(
                lambda: (
                    not self._unanswered
                    or (
                        self._unanswered < options.connection_requests_max
                        and self._unanswered_bytes + length <= options.connection_bytes_max
                    )
                )
            )
        return await lease(self._budget, length)

    async def _frame(self) -> bytes:
        while True:
            frame = self._frames.next_frame()
            if frame is not None:
                return frame
            if not await self._receive(self._gateway.options.connection_stall_seconds, "stalled"):
                self._reject("it ended in the middle of a request")

    async def _receive(self, seconds: float, reason: str) -> bool:
        """False at the end of the stream."""
        mid_frame = self._frames.mid_frame
        # Beyond what is leased only a little is read: as much as the last request had.
        size = min(max(self._frames.missing_bytes, self._receive_bytes), _RECEIVE_BYTES_MAX)
        while True:
            with trio.move_on_after(seconds):
                data = await self._stream.receive_some(size)
                if not data and mid_frame:
                    self._reject("it ended in the middle of a request")
                self._frames.receive_data(bytes(data))
                return bool(data)
            # Who waits for answers is not idle.
            if mid_frame or not self._unanswered:
                log.info("connection_closed", peer=self._peer, reason=reason)
                raise _Ended(reason)

    def _begin(self, frame: bytes, lease: Lease, arrived: float) -> _Turn:
        try:
            with span("gateway.parse"):
                header, stop = read_header(frame)
                handler, schema = self._find(header.api_key, header.version)
                # An ApiVersions of a version that nobody here can read has no body.
                body = read_body(schema, frame, stop) if header.version == schema.version else None
        except Invalid as error:
            self._reject(error.message)
        request = Request(
            header=header,
            schema=schema,
            body=body,
            peer=self._peer.rpartition(":")[0] or self._peer,
            connection=self._number,
            lease=lease,
        )
        started = handler.start(self._gateway, request) if handler.start is not None else None
        return _Turn(request=request, handler=handler, started=started, arrived=arrived)

    def _find(self, api_key: int, version: int) -> tuple[Handler, Schema]:
        handler = self._handlers.get(api_key)
        if handler is None:
            raise Invalid(f"API {api_key} is not served", reason=Reason.UNSUPPORTED_VERSION)
        if version in handler.versions:
            return handler, schema_of(api_key, version)
        if api_key == API_VERSIONS_KEY:
            return handler, schema_of(api_key, 0)
        raise Invalid(
            f"version {version} of API {api_key} ({handler.name}) is not served,"
            f" {handler.versions.low} to {handler.versions.high} are",
            reason=Reason.UNSUPPORTED_VERSION,
        )

    def _reject(self, why: str) -> NoReturn:
        log.warning("request_rejected", peer=self._peer, connection=self._number, error=why)
        raise _Ended("rejected")

    # Writing

    async def _write_loop(self) -> None:
        while True:
            await self._wait(lambda: bool(self._turns))
            turn = self._turns[0]
            response = await self._answer(turn)
            sent = 0
            if response is not None:
                with span("gateway.answer"):
                    sent = await self._send(turn, response)
            self._turns.popleft()
            turn.request.release()
            self._unanswered -= 1
            self._unanswered_bytes -= turn.request.lease.size_bytes
            self._signal()
            self._gateway.recorder.request_done(
                turn.handler.name,
                seconds=trio.current_time() - turn.arrived,
                request_bytes=turn.request.lease.size_bytes,
                response_bytes=sent,
            )

    async def _answer(self, turn: _Turn) -> Entity | None:
        try:
            if turn.started is not None:
                return await turn.started.wait()
            assert turn.handler.handle is not None
            return await turn.handler.handle(self._gateway, turn.request)
        except KafscaleError as error:
            self._reject(f"{turn.handler.name}: {error.message}")

    async def _send(self, turn: _Turn, response: Entity) -> int:
        sent = 0
        for chunk in turn.request.schema.write_response(turn.request.header.correlation_id, response):
            for start in range(0, len(chunk), self._send_bytes_max):
                part = memoryview(chunk)[start : start + self._send_bytes_max]
                with trio.move_on_after(self._gateway.options.connection_stall_seconds) as patience:
                    await self._stream.send_all(part)
                if patience.cancelled_caught:
                    log.info("connection_closed", peer=self._peer, reason="slow_reader")
                    raise _Ended("slow_reader")
            sent += len(chunk)
        return sent

    # Waking each other

    def _signal(self) -> None:
        self._waiters.unpark_all()

    async def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._waiters.park()


def _leaves(group: BaseExceptionGroup[_Ended]) -> Iterator[_Ended]:
    for each in group.exceptions:
        if isinstance(each, BaseExceptionGroup):
            yield from _leaves(each)
        else:
            yield each
