"""Batches that were refused because this gateway does not know their topic, or not yet.

Owns: that no later batch of their producer overtakes them. Does not own: the memory (routing/given_up.py).
Rules: 1 a client may hear of a new topic from one gateway and produce through another, which hears of it a
moment later: between two requests that the client sent one behind the other. The second would be appended,
and the first be out of order for ever; so the second is refused until the first comes again.
"""

from collections.abc import Hashable

from services.gateway.produce import Batch, check_batch
from services.gateway.routing.given_up import GivenUp

Place = tuple[Hashable, int]
"""A topic as the client calls it, by name or id, and a partition."""


class UnknownTopics:
    """Time is Trio's, in seconds."""

    def __init__(self) -> None:
        self._refused = GivenUp()

    def refuse(self, place: Place, records: bytes | None, now: float) -> None:
        """A batch is refused. Nothing is remembered of what is no batch of an idempotent producer."""
        batch = check_batch(records)
        if batch.error is None and batch.sequence is not None:
            self._refused.expire(now)
            self._refused.note((place, batch.producer_id), batch.sequence, now)

    def holds_back(self, place: Place, batch: Batch, now: float) -> bool:
        """Whether an earlier batch of the same producer was refused and has to come again first."""
        return bool(self._refused) and self._refused.holds_back(
            (place, batch.producer_id), batch.sequence, now
        )
