"""What a handler of one Kafka API is, and what it is given.

Owns: the declaration of versions, the request as a handler sees it. Does not own: connections, the handlers.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from kio.static.protocol import Entity

from services.gateway.admission import Lease
from services.gateway.codec import RequestHeader, Schema
from services.gateway.context import Gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Which versions of an API are served, both ends included."""

    low: int
    high: int
    advertised_low: int | None = None
    """Where ApiVersions names a lower one than is served; None: the same."""

    def __contains__(self, version: int) -> bool:
        return self.low <= version <= self.high

    @property
    def advertised(self) -> tuple[int, int]:
        return (self.low if self.advertised_low is None else self.advertised_low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; `body` is kio's entity for the schema's API and version."""

    header: RequestHeader
    schema: Schema
    body: Any
    peer: str
    """The client's host."""
    connection: int
    """Which connection it came on, unique in this process."""
    lease: Lease
    """Its bytes, until it is answered; who needs them longer holds it."""
    also: list[Lease] = field(default_factory=list)
    """What else is released when it is answered."""

    @property
    def version(self) -> int:
        return self.header.version

    def holds(self, lease: Lease) -> None:
        """`lease` is released when the answer is sent, or the connection ends."""
        self.also.append(lease)

    def release(self) -> None:
        self.lease.release()
        for each in self.also:
            each.release()


class Started(Protocol):
    """A request that was begun when it arrived; its answer is waited for in its turn."""

    async def wait(self) -> Entity | None:
        """The answer, None where there is none to send (acks=0)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Handler:
    """An API: `handle` answers in turn; where `start` is given, it is called at once on arrival instead.

    `start` runs in the order of arrival, before earlier requests of the connection were answered, and must
    not wait: that is what makes pipelined produce requests fast while their order holds.
    """

    api_key: int
    name: str
    versions: Versions
    handle: Callable[[Gateway, Request], Awaitable[Entity | None]] | None = None
    start: Callable[[Gateway, Request], Started] | None = None
