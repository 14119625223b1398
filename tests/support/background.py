"""Runs an async context in a Trio thread, so that blocking clients can be tested against it.

Owns: the thread. Rule: what is opened is closed at the end of the block, and its errors come out there.
"""

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Generic, TypeVar

import trio

T = TypeVar("T")
R = TypeVar("R")

OPEN_SECONDS_MAX = 180.0
CLOSE_SECONDS_MAX = 120.0


class Background(Generic[T]):
    """`value` is what the context gave; `call` runs an async function beside it and waits for its result."""

    def __init__(self, value: T, token: trio.lowlevel.TrioToken) -> None:
        self.value = value
        self._token = token

    def call(self, function: Callable[[], Awaitable[R]]) -> R:
        return trio.from_thread.run(function, trio_token=self._token)


@contextmanager
def running(open_context: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[Background[T]]:
    """The context, open in a thread of its own until the block ends."""
    opened = threading.Event()
    result: list[Background[T]] = []
    errors: list[BaseException] = []
    close: list[trio.Event] = []

    async def hold() -> None:
        closing = trio.Event()
        async with open_context() as value:
            close.append(closing)
            result.append(Background(value, trio.lowlevel.current_trio_token()))
            opened.set()
            await closing.wait()

    def run() -> None:
        try:
            trio.run(hold)
        except BaseException as error:
            errors.append(error)
        finally:
            opened.set()

    thread = threading.Thread(target=run, name="background-trio", daemon=True)
    thread.start()
    if not opened.wait(OPEN_SECONDS_MAX):
        raise TimeoutError(f"not open after {OPEN_SECONDS_MAX} s")
    if errors:
        raise errors[0]
    try:
        yield result[0]
    finally:
        # It may have ended by itself: then there is nothing to wake, and its error comes out below.
        if thread.is_alive():
            trio.from_thread.run_sync(close[0].set, trio_token=result[0]._token)
        thread.join(CLOSE_SECONDS_MAX)
        if errors:  # rather than what followed from it in the block
            raise errors[0]
    if thread.is_alive():
        raise TimeoutError(f"not closed after {CLOSE_SECONDS_MAX} s")
