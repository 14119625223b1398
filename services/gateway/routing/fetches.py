"""One fetch over several partition owners: one wait set for the whole request.

Owns: who is asked, adding up towards MinBytes, ending the other waits, MaxBytes over all.
Does not own: Kafka's messages (fetch.py), the streams (owners.py).
Rules: 1 an owner that has enough ends the waits at all others, which answer with what they have; 2 a fetch
that nobody waits for any more is ended at its owners; 3 whole batches only, as they are.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from libs.clients.owner import FetchCall, FetchedPartition, FetchPartition
from libs.model.errors import KafscaleError, Moved
from libs.telemetry.spans import span
from services.gateway.routing.owners import OwnerLink, Owners

_GRACE_SECONDS: Final = 5.0
"""How long an owner may take beyond the wait before its partitions are answered with an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    min_bytes: int
    max_bytes: int
    max_wait_ms: int


class _Leg:
    """The part of a fetch that one owner answers."""

    def __init__(self, link: OwnerLink) -> None:
        self.link = link
        self.stream = link.fetches
        self.places: list[int] = []
        self.partitions: list[FetchPartition] = []
        self.available_bytes = 0
        self.call: FetchCall | None = None
        self.result: list[FetchedPartition] | KafscaleError | None = None


class _Gathering:
    """What is known of one fetch so far."""

    def __init__(self, legs: Sequence[_Leg], min_bytes: int) -> None:
        self._legs = legs
        self._min_bytes = min_bytes
        self._open = len(legs)
        self.ended = False
        self.done = trio.Event()

    def on_available(self, leg: _Leg, available_bytes: int) -> None:
        leg.available_bytes = available_bytes
        if sum(each.available_bytes for each in self._legs) >= self._min_bytes:
            self.end_waits()

    def on_done(self, leg: _Leg, result: list[FetchedPartition] | KafscaleError) -> None:
        leg.result = result
        self._open -= 1
        if not self._open:
            self.done.set()
        else:
            self.end_waits()

    def end_waits(self) -> None:
        if self.ended:
            return
        self.ended = True
        for leg in self._legs:
            if leg.result is None and leg.call is not None:
                leg.stream.cancel_nowait(leg.call)


class FetchRouter:
    def __init__(self, owners: Owners) -> None:
        self._owners = owners

    async def fetch(
        self, partitions: Sequence[FetchPartition], limits: FetchLimits
    ) -> list[FetchedPartition]:
        """One answer a partition, in order; errors are inside. May take `max_wait_ms` and a little."""
        answers: list[FetchedPartition | None] = [None] * len(partitions)
        legs = self._legs(partitions, answers)
        if legs:
            gathering = _Gathering(legs, limits.min_bytes)
            # An error that is known already is answered at once, with what there is.
            wait_ms = 0 if any(answers) else limits.max_wait_ms
            try:
                with span("gateway.split"):
                    _start(legs, gathering, limits, wait_ms=wait_ms)
                with trio.move_on_after(limits.max_wait_ms / 1000 + _GRACE_SECONDS):
                    await gathering.done.wait()
            finally:
                for leg in legs:
                    if leg.call is not None and leg.result is None:
                        leg.stream.forget_nowait(leg.call)
            with span("gateway.gather"):
                for leg in legs:
                    _fill(answers, leg)
        return _within(limits.max_bytes, [each for each in answers if each is not None])

    def _legs(
        self, partitions: Sequence[FetchPartition], answers: list[FetchedPartition | None]
    ) -> list[_Leg]:
        legs: dict[OwnerLink, _Leg] = {}
        for place, partition in enumerate(partitions):
            link = self._owners.fetch_link(partition.at)
            if link is None:
                answers[place] = failed_partition(Moved(f"nobody has {partition.at} at the moment"))
                continue
            leg = legs.get(link)
            if leg is None:
                leg = legs[link] = _Leg(link)
            leg.places.append(place)
            leg.partitions.append(partition)
        return list(legs.values())


def _start(legs: list[_Leg], gathering: _Gathering, limits: FetchLimits, *, wait_ms: int) -> None:
    share = max(1, limits.max_bytes // len(legs))
    for leg in legs:
        leg.call = FetchCall(
            size=len(leg.partitions),
            on_available=functools.partial(gathering.on_available, leg),
            on_done=functools.partial(gathering.on_done, leg),
        )
        leg.stream.start_nowait(
            leg.partitions,
            leg.call,
            min_bytes=limits.min_bytes,
            max_bytes=share,
            max_wait_ms=wait_ms,
            report_available=len(legs) > 1,
        )
        if gathering.ended and leg.result is None:
            leg.stream.cancel_nowait(leg.call)


def failed_partition(error: KafscaleError) -> FetchedPartition:
    """The answer about a partition that could not be read."""
    return FetchedPartition(error=error, high_watermark=-1, log_start_offset=-1, records=b"", leader_epoch=-1)


def _fill(answers: list[FetchedPartition | None], leg: _Leg) -> None:
    result = leg.result
    if result is None:
        result = Moved(f"owner {leg.link.owner_id} does not answer")
    if isinstance(result, KafscaleError):
        for place in leg.places:
            answers[place] = failed_partition(result)
        return
    for place, fetched in zip(leg.places, result, strict=True):
        answers[place] = fetched


def _within(max_bytes: int, answers: list[FetchedPartition]) -> list[FetchedPartition]:
    """Leaves records out beyond `max_bytes`, but for the first that has any (KIP-74)."""
    total = 0
    kept: list[FetchedPartition] = []
    for each in answers:
        size = len(each.records)
        if size and total and total + size > max_bytes:
            each = FetchedPartition(  # noqa: PLW2901 - the same answer without its records
                error=each.error,
                high_watermark=each.high_watermark,
                log_start_offset=each.log_start_offset,
                records=b"",
                leader_epoch=each.leader_epoch,
            )
        else:
            total += size
        kept.append(each)
    return kept
