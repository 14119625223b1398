"""What may have been removed from a partition at a moment of the history, and what certainly not.

Owns: DeleteRecords and retention as the admin asked for them. Does not own: when they have to happen: they
may be late for ever.
Rules: 1 a request counts from the moment at which it was asked; 2 a retention counts until another one was
acknowledged and STALE_SECONDS are over, in which everybody has heard of it; one whose outcome nobody knows
counts for ever, and for any topic of that name; 3 retention by time may take a record once it is older than
a retention.ms that counted then; by size, while what is left is at least a retention.bytes that counted then:
counted with everything that was sent, because an unknown outcome may be in the log.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Final

from libs.model.ids import TopicId, TopicPartition
from libs.model.topic_configs import TOPIC_CONFIGS
from libs.segments.layout import SEGMENT_FOOTER_BYTES, SEGMENT_HEAD_BYTES
from tests.sim.checkers.story import Batch, Story
from tests.sim.events import ConfigsAcked, ConfigsAsked, DeleteRecordsAsked, TopicCreateAsked, TopicCreated
from tests.sim.history import History

_FRAME_BYTES = SEGMENT_HEAD_BYTES + SEGMENT_FOOTER_BYTES
"""What is kept counts a little more than its batches: each may be a segment of its own."""
STALE_SECONDS: Final = 60.0
"""How long an owner may go by configs that were changed: longer than any watch hangs behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Retention:
    """-1: no limit. It counts from entry `since` on, until `until_at` (virtual seconds)."""

    ms: int
    size_bytes: int
    since: int
    until_at: float


class Removals:
    """`why_not` says why records below a log start could not be gone by then."""

    def __init__(self, history: History, story: Story) -> None:
        self._history = history
        self._story = story
        self._batches: defaultdict[TopicPartition, list[Batch]] = defaultdict(list)
        for batch in story.batches:
            self._batches[batch.sent.tp].append(batch)
        self._promised: defaultdict[TopicPartition, list[Batch]] = defaultdict(list)
        for batch in story.promises():
            self._promised[batch.sent.tp].append(batch)
        self._deletes: defaultdict[TopicPartition, list[tuple[int, int]]] = defaultdict(list)
        for entry, event in history.each(DeleteRecordsAsked):
            self._deletes[event.tp].append((entry.number, event.before))
        self._acked_at: Mapping[int, float] | None = None
        self._retentions: defaultdict[TopicId, list[_Retention]] = defaultdict(list)
        ids_of: defaultdict[str, list[TopicId]] = defaultdict(list)
        for entry, created in history.each(TopicCreated):
            ids_of[created.topic].append(created.topic_id)
            asked = None if created.call < 0 else history.event(created.call)
            configs = asked.configs if isinstance(asked, TopicCreateAsked) else {}
            since = entry.number if asked is None else created.call
            until_at = self._until_at(created.topic_id, since)
            self._retentions[created.topic_id].append(_retention(configs, since, until_at))
        for entry, changed in history.each(ConfigsAsked):
            if entry.number in self._acked():
                until_at = self._until_at(changed.topic_id, entry.number)
                self._retentions[changed.topic_id].append(_retention(changed.configs, entry.number, until_at))
                continue
            for topic_id in {changed.topic_id, *ids_of[changed.topic]}:
                self._retentions[topic_id].append(_retention(changed.configs, entry.number, inf))

    def _acked(self) -> Mapping[int, float]:
        """When changes of configs were acknowledged, by their calls."""
        if self._acked_at is None:
            self._acked_at = {event.call: entry.at for entry, event in self._history.each(ConfigsAcked)}
        return self._acked_at

    def _until_at(self, topic_id: TopicId, since: int) -> float:
        later = [
            self._acked()[entry.number]
            for entry, changed in self._history.each(ConfigsAsked)
            if entry.number > since and changed.topic_id == topic_id and entry.number in self._acked()
        ]
        return min(later) + STALE_SECONDS if later else inf

    def _counting(self, tp: TopicPartition, entry: int) -> Iterator[_Retention]:
        for each in self._retentions.get(tp.topic_id, ()):
            if each.since < entry:
                yield each

    def why_not(self, tp: TopicPartition, log_start: int, entry: int) -> str:
        """Why the log could not begin at `log_start` just before that entry; '' where it could."""
        deleted = 0
        for since, before in self._deletes.get(tp, ()):
            if since < entry:
                deleted = max(deleted, log_start if before < 0 else before)
        if log_start <= deleted:
            return ""
        if self._is_small_enough(tp, log_start, entry):
            return ""
        return self._too_young(tp, deleted, log_start, entry)

    def _is_small_enough(self, tp: TopicPartition, log_start: int, entry: int) -> bool:
        kept = {
            batch.sent.values: (batch.asked, batch.sent.size_bytes + _FRAME_BYTES)
            for batch in self._batches.get(tp, ())
            if batch.asked < entry and (batch.base_offset < 0 or batch.base_offset >= log_start)
        }
        entries = self._history.entries
        return any(
            sum(size for asked, size in kept.values() if entries[asked].at <= each.until_at)
            >= each.size_bytes
            for each in self._counting(tp, entry)
            if each.size_bytes >= 0
        )

    def _too_young(self, tp: TopicPartition, deleted: int, log_start: int, entry: int) -> str:
        history = self._history
        at = history.entries[min(entry, len(history) - 1)].at
        now_ms = history.epoch_ms + at * 1000 + history.skew_ms_max
        ages = [
            (each.ms, history.epoch_ms + each.until_at * 1000 + history.skew_ms_max)
            for each in self._counting(tp, entry)
            if each.ms >= 0
        ]
        for batch in self._promised.get(tp, ()):
            if batch.asked >= entry or batch.base_offset < 0:
                continue
            end = batch.base_offset + len(batch.sent.values)
            if not deleted < end <= log_start:
                continue
            oldest_ms = self._oldest_ms(batch)
            if not any(oldest_ms + ms <= min(now_ms, until_ms) for ms, until_ms in ages):
                return (
                    f"the log of {tp} begins at {log_start}: {batch.sent.values[-1]} at {end - 1} is gone,"
                    " and neither DeleteRecords nor retention could take it"
                )
        return ""

    def _oldest_ms(self, batch: Batch) -> int:
        """A batch that was sent again may be stored as it was sent first."""
        return min(each.sent.timestamp_ms for each in self._story.sends_of[batch.sent.values[-1]])


def _retention(configs: Mapping[str, str], since: int, until_at: float) -> _Retention:
    ms, size_bytes = (
        int(configs.get(name, TOPIC_CONFIGS[name].default)) for name in ("retention.ms", "retention.bytes")
    )
    return _Retention(ms=ms, size_bytes=size_bytes, since=since, until_at=until_at)
