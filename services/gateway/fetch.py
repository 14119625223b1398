"""Fetch: what a request may ask for, and room for its answer.

Owns: bounds of a fetch, the pause where nobody can be asked. Does not own: the wait set (routing/fetches.py),
Kafka's messages (handlers/api_01_fetch.py).
"""

from collections.abc import Sequence
from typing import Final

import trio

from libs.clients.owner import FetchedPartition, FetchPartition
from libs.concurrency.byte_budget import ByteBudget
from libs.model.errors import Moved, Unavailable
from services.gateway.admission import Lease, lease
from services.gateway.routing.fetches import FetchLimits, FetchRouter

_RESERVED_BYTES: Final = 1024 * 1024
"""What a parked fetch counts for; what it really brings counts when it is there."""
_WAIT_MS_MAX: Final = 5 * 60 * 1000
_PAUSE_SECONDS: Final = 0.1
"""An answer without data and with a partition that can't be reached is held so long: clients would spin."""


def fetch_limits(*, min_bytes: int, max_bytes: int, max_wait_ms: int, bytes_max: int) -> FetchLimits:
    """A client's wishes within what is allowed."""
    max_bytes = min(max(max_bytes, 0), bytes_max)
    return FetchLimits(
        min_bytes=min(max(min_bytes, 0), max_bytes),
        max_bytes=max_bytes,
        max_wait_ms=min(max(max_wait_ms, 0), _WAIT_MS_MAX),
    )


async def fetch_within(
    router: FetchRouter, budget: ByteBudget, partitions: Sequence[FetchPartition], limits: FetchLimits
) -> tuple[list[FetchedPartition], Lease]:
    """The answers and the room that they take, which the caller releases when they are sent."""
    wanted = sum(max(each.max_bytes, 0) for each in partitions)
    room = await lease(budget, min(_RESERVED_BYTES, limits.max_bytes, wanted))
    try:
        answers = await router.fetch(partitions, limits)
        size = sum(len(each.records) for each in answers)
        room.resize(size)
        if not size and any(isinstance(each.error, Moved | Unavailable) for each in answers):
            await trio.sleep(min(_PAUSE_SECONDS, limits.max_wait_ms / 1000))
    except BaseException:
        room.release()
        raise
    return answers, room
