"""Concurrent calls for one key share one run.

Owns: who runs and who waits. Does not own: the results; nothing is cached after the run.
Rules: 1 the run lives in a nursery of its owner, not in the caller that started it; 2 it is cancelled when
its last waiter leaves, and then a new call starts afresh; 3 an error is raised in every waiter.
"""

from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

from libs.model.errors import Unavailable

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleFlightStatistics:
    """Runs under way or waiting for a place, callers that wait for them, runs allowed at once."""

    runs: int
    waiting: int
    runs_max: int


@dataclass(slots=True, kw_only=True)
class _Flight(Generic[V]):
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    done: trio.Event = field(default_factory=trio.Event)
    waiters: int = 0
    values: list[V] = field(default_factory=list)
    error: Exception | None = None


class SingleFlight(Generic[K, V]):
    """Shares runs by key; at most `runs_max` run at once, the others wait for a place.

    `nursery` must outlive the callers' interest: when it is cancelled, waiters get Unavailable.
    """

    def __init__(self, nursery: trio.Nursery, *, runs_max: int) -> None:
        self._nursery = nursery
        self._places = trio.Semaphore(runs_max, max_value=runs_max)
        self._runs_max = runs_max
        self._flights: dict[K, _Flight[V]] = {}

    async def run(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        """The result of `call()`, or of the run for `key` that is already under way."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight()
            self._nursery.start_soon(self._fly, key, flight, call)
        flight.waiters += 1
        try:
            await flight.done.wait()
        finally:
            flight.waiters -= 1
            if flight.waiters == 0 and not flight.done.is_set():
                self._forget(key, flight)
                flight.scope.cancel()
        if flight.error is not None:
            raise flight.error
        return flight.values[0]

    def statistics(self) -> SingleFlightStatistics:
        return SingleFlightStatistics(
            runs=len(self._flights),
            waiting=sum(flight.waiters for flight in self._flights.values()),
            runs_max=self._runs_max,
        )

    async def _fly(self, key: K, flight: _Flight[V], call: Callable[[], Awaitable[V]]) -> None:
        try:
            with flight.scope:
                async with self._places:
                    flight.values.append(await call())
        except Exception as error:  # not swallowed: it is raised in every waiter
            flight.error = error
        finally:
            self._forget(key, flight)
            if not flight.values and flight.error is None:
                flight.error = Unavailable("the shared run was stopped before it had a result")
            flight.done.set()

    def _forget(self, key: K, flight: _Flight[V]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
