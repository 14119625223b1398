"""What both transports offer to the streams that generated code uses.

Owns: the two sides of one call, as interfaces, and the values that describe a call. Does not own: how a
transport does it (`h2_call`, `memory`).
Rules: 1 payloads are serialised messages; 2 a call ends exactly once, with a `CallStatus`; 3 every method
may be called from several tasks at once, so that one task sends while another receives.
"""

from dataclasses import dataclass
from typing import Any, Protocol, cast

import grpclib.protocol
import trio
from grpclib.metadata import Deadline, _Metadata
from multidict import MultiDict

from libs.rpc.status import CallStatus

Metadata = _Metadata


def new_metadata(pairs: Any = ()) -> Metadata:
    """A multi-dict of names and values (bytes where the name ends with -bin)."""
    return cast(Metadata, MultiDict(pairs))


class TrioDeadline(Deadline):
    """A deadline on Trio's clock, so that a mock clock moves it."""

    def __init__(self, at: float) -> None:
        super().__init__(_timestamp=at)

    @property
    def at(self) -> float:
        """When, as `trio.current_time()` counts."""
        return self._timestamp

    def time_remaining(self) -> float:
        return max(0.0, self._timestamp - trio.current_time())


class Peer(grpclib.protocol.Peer):
    """Who is at the other end."""

    def __init__(
        self, address: tuple[str, int] | None = None, certificate: dict[str, Any] | None = None
    ) -> None:
        self._address = address
        self._certificate = certificate

    def addr(self) -> tuple[str, int] | None:
        return self._address

    def cert(self) -> dict[str, Any] | None:
        return self._certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """What a client asks for. `deadline` is when the server should give up, on Trio's clock."""

    path: str
    metadata: Metadata
    deadline: float | None


class ClientCall(Protocol):
    """A call as its caller holds it."""

    @property
    def status(self) -> CallStatus | None:
        """How it ended; None while it runs."""
        ...

    @property
    def initial_metadata(self) -> Metadata | None: ...

    @property
    def trailing_metadata(self) -> Metadata | None: ...

    @property
    def peer(self) -> Peer: ...

    async def enter(self) -> None:
        """Called once, where the caller's `async with` begins."""
        ...

    async def start(self) -> None:
        """Sends the request's head. Raises Unavailable(outcome_unknown=False) when nobody can be reached."""
        ...

    async def send(self, payload: bytes, *, end: bool) -> bool:
        """Waits for room and sends; False when the call has ended and nobody wants it."""
        ...

    async def end(self) -> None: ...

    async def receive(self) -> bytes | None:
        """The next payload; None once the call has ended and everything was received."""
        ...

    async def wait_initial_metadata(self) -> None: ...

    async def wait_status(self) -> CallStatus: ...

    def cancel(self, status: CallStatus) -> None:
        """Ends the call with `status` on this side and tells the server; nothing if it has ended."""
        ...

    async def exit(self) -> None:
        """Called once, where the caller's `async with` ends; cancels what still runs."""
        ...


class ServerCall(Protocol):
    """A call as the server's handler holds it."""

    path: str
    metadata: Metadata
    deadline: float | None
    user_agent: str | None
    scope: trio.CancelScope

    @property
    def peer(self) -> Peer: ...

    async def receive(self) -> bytes | None:
        """The next payload; None once the caller has ended its side.

        Raises Invalid when what the caller sent can't be read.
        """
        ...

    async def send_initial_metadata(self, metadata: Metadata) -> None: ...

    async def send(self, payload: bytes) -> None:
        """Waits for room and sends."""
        ...

    async def finish(self, status: CallStatus, metadata: Metadata) -> None:
        """Ends the call and waits until the peer's window took everything."""
        ...

    def reset(self) -> None:
        """Ends the call without a status."""
        ...
