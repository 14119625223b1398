"""Chance, as something that is handed in.

Owns: every random number, UUID and nonce of the platform. Does not own: what they are used for.
Rules: 1 one seed gives one sequence, so that a simulation replays.
"""

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar
from uuid import UUID

T = TypeVar("T")


class Rand(Protocol):
    """A source of chance."""

    def random(self) -> float:
        """A float in [0, 1)."""
        ...

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""
        ...

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high], both included."""
        ...

    def choice(self, options: Sequence[T]) -> T:
        """One of `options`, which must not be empty."""
        ...

    def uuid(self) -> UUID:
        """A version 4 UUID (RFC 9562)."""
        ...

    def nonce(self, length_bytes: int) -> bytes:
        """`length_bytes` random bytes."""
        ...


class _StdRand:
    def __init__(self, source: random.Random) -> None:
        self._source = source

    def random(self) -> float:
        return self._source.random()

    def uniform(self, low: float, high: float) -> float:
        return self._source.uniform(low, high)

    def integer(self, low: int, high: int) -> int:
        return self._source.randint(low, high)

    def choice(self, options: Sequence[T]) -> T:
        return self._source.choice(options)

    def uuid(self) -> UUID:
        return UUID(bytes=self._source.randbytes(16), version=4)

    def nonce(self, length_bytes: int) -> bytes:
        return self._source.randbytes(length_bytes)


class SystemRand(_StdRand):
    """The operating system's entropy; fit for ids that must be unique across machines."""

    def __init__(self) -> None:
        super().__init__(random.SystemRandom())


class SeededRand(_StdRand):
    """One seed, one sequence: for tests and simulation only."""

    def __init__(self, seed: int | str) -> None:
        super().__init__(random.Random(seed))  # noqa: S311 - replayable on purpose, never used for secrets
