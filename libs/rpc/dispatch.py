"""A call on the server's side: finds its handler, runs it, says how it ended.

Owns: the table of methods, what becomes of a handler's errors, deadlines of handlers. Does not own:
transports.
Rules: 1 a handler's kind of error goes to the caller as it is; anything else is a bug: one log line here,
and the caller learns only that it happened; 2 a handler that is cancelled from outside sends nothing.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio
from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError

from libs.model.errors import Invalid, KafscaleError, Reason, Unavailable
from libs.rpc.call import ServerCall, new_metadata
from libs.rpc.limits import RpcLimits
from libs.rpc.server_stream import ServerStream
from libs.rpc.status import OK, CallStatus, local, status_of

if TYPE_CHECKING:
    from grpclib._typing import IServable

_log = logging.getLogger(__name__)
_FINISH_SECONDS = 1.0  # to tell a client that its deadline passed


class Dispatcher:
    """The methods of a server."""

    def __init__(self, services: "Sequence[IServable]", limits: RpcLimits) -> None:
        self._handlers: dict[str, Handler] = {}
        for service in services:
            for path, handler in service.__mapping__().items():
                assert path not in self._handlers, f"two services define {path}"
                self._handlers[path] = handler
        self._limits = limits
        self._started: Counter[str] = Counter()
        self._scopes: dict[ServerCall, None] = {}
        self._idle = trio.Event()
        self._idle.set()
        self._over: Unavailable | None = None

    @property
    def handlers(self) -> Mapping[str, Handler]:
        return self._handlers

    @property
    def calls_in_flight(self) -> int:
        return len(self._scopes)

    @property
    def calls_started(self) -> Mapping[str, int]:
        """Calls per path since the beginning."""
        return dict(self._started)

    async def wait_idle(self) -> None:
        """Returns when no handler runs."""
        await self._idle.wait()

    def end_all(self, because: Unavailable) -> None:
        """Ends every handler that runs; their callers learn `because`."""
        self._over = because
        for call in self._scopes:
            call.scope.cancel()

    async def run(self, call: ServerCall) -> None:
        """Runs one call to its end. Never raises but for cancellation from outside."""
        handler = self._handlers.get(call.path)
        if handler is None:
            unknown = Invalid(f"there is no method {call.path}", reason=Reason.UNSUPPORTED_VERSION)
            await call.finish(status_of(unknown), new_metadata())
            return
        self._started[call.path] += 1
        self._scopes[call] = None
        if self._idle.is_set():
            self._idle = trio.Event()
        try:
            await self._run_handler(call, handler)
        finally:
            del self._scopes[call]
            if not self._scopes:
                self._idle.set()

    async def _run_handler(self, call: ServerCall, handler: Handler) -> None:
        stream: ServerStream[object, object] = ServerStream(
            call, handler, send_bytes_max=self._limits.send_message_bytes_max
        )
        call.scope.deadline = float("inf") if call.deadline is None else call.deadline
        with call.scope:
            status = await self._status(call, handler, stream)
            if not stream.finished:
                await stream.finish(status)
            return
        await self._say_why(call)

    async def _say_why(self, call: ServerCall) -> None:
        status: CallStatus | None = None
        if self._over is not None:
            status = status_of(self._over)
        elif call.deadline is not None and trio.current_time() >= call.deadline:
            late = Unavailable(
                f"the deadline of {call.path} passed", reason=Reason.TIMED_OUT, outcome_unknown=True
            )
            status = CallStatus(
                code=Status.DEADLINE_EXCEEDED, message=late.message, details=status_of(late).details
            )
        with trio.move_on_after(_FINISH_SECONDS):
            if status is not None:
                await call.finish(status, new_metadata())
        call.reset()

    async def _status(
        self, call: ServerCall, handler: Handler, stream: ServerStream[object, object]
    ) -> CallStatus:
        try:
            await handler.func(stream)
        except KafscaleError as error:
            return status_of(error)
        except GRPCError as error:
            return CallStatus(code=error.status, message=error.message or "")
        except Exception as error:  # a supervisor: one call's bug must not end its neighbours
            unexpected = _single_kind(error)
            if unexpected is not None:
                return status_of(unexpected)
            _log.exception("a handler of %s failed", call.path)
            return local(Unavailable("the server failed"), Status.UNKNOWN)
        if not stream.finished and not stream.sent_message and not handler.cardinality.server_streaming:
            _log.error("the handler of %s ended without a reply", call.path)
            return local(Unavailable("the server failed"), Status.UNKNOWN)
        return OK


def _single_kind(error: Exception) -> KafscaleError | None:
    """The one kind inside a group that a handler's nursery made of it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, KafscaleError) else None
