"""What may have been removed from a partition at a moment of the history, and what certainly not.

Owns: DeleteRecords and retention as the admin asked for them. Does not own: when they have to happen: they
may be late for ever.
Rules: 1 a request counts from the moment at which it was asked; 2 retention by time may take a record once
it is older than the least retention.ms that was ever asked for; by size, while what is left is at least the
least retention.bytes: counted with everything that was sent, because an unknown outcome may be in the log.
"""

from collections import defaultdict

from libs.model.ids import TopicId, TopicPartition
from libs.model.topic_configs import TOPIC_CONFIGS
from libs.segments.layout import SEGMENT_FOOTER_BYTES, SEGMENT_HEAD_BYTES
from tests.sim.checkers.story import Batch, Story
from tests.sim.events import ConfigsAsked, DeleteRecordsAsked, TopicCreateAsked, TopicCreated
from tests.sim.history import History

_FRAME_BYTES = SEGMENT_HEAD_BYTES + SEGMENT_FOOTER_BYTES
"""What is kept counts a little more than its batches: each may be a segment of its own."""


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
        self._retention_ms: defaultdict[TopicId, list[tuple[int, int]]] = defaultdict(list)
        self._retention_bytes: defaultdict[TopicId, list[tuple[int, int]]] = defaultdict(list)
        for entry, created in history.each(TopicCreated):
            asked = None if created.call < 0 else history.event(created.call)
            configs = asked.configs if isinstance(asked, TopicCreateAsked) else {}
            self._configured(created.topic_id, entry.number if asked is None else created.call, dict(configs))
        for entry, changed in history.each(ConfigsAsked):
            self._configured(changed.topic_id, entry.number, dict(changed.configs))

    def _configured(self, topic_id: TopicId, since: int, configs: dict[str, str]) -> None:
        ms = int(configs.get("retention.ms", TOPIC_CONFIGS["retention.ms"].default))
        size_bytes = int(configs.get("retention.bytes", TOPIC_CONFIGS["retention.bytes"].default))
        if ms >= 0:
            self._retention_ms[topic_id].append((since, ms))
        if size_bytes >= 0:
            self._retention_bytes[topic_id].append((since, size_bytes))

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
        bounds = [size for since, size in self._retention_bytes.get(tp.topic_id, ()) if since < entry]
        if not bounds:
            return False
        kept = {
            batch.sent.values: batch.sent.size_bytes + _FRAME_BYTES
            for batch in self._batches.get(tp, ())
            if batch.asked < entry and (batch.base_offset < 0 or batch.base_offset >= log_start)
        }
        return sum(kept.values()) >= min(bounds)

    def _too_young(self, tp: TopicPartition, deleted: int, log_start: int, entry: int) -> str:
        history = self._history
        at = history.entries[min(entry, len(history) - 1)].at
        now_ms = history.epoch_ms + at * 1000 + history.skew_ms_max
        ages = [ms for since, ms in self._retention_ms.get(tp.topic_id, ()) if since < entry]
        for batch in self._promised.get(tp, ()):
            if batch.asked >= entry or batch.base_offset < 0:
                continue
            end = batch.base_offset + len(batch.sent.values)
            if not deleted < end <= log_start:
                continue
            if not ages or self._oldest_ms(batch) + min(ages) > now_ms:
                return (
                    f"the log of {tp} begins at {log_start}: {batch.sent.values[-1]} at {end - 1} is gone,"
                    " and neither DeleteRecords nor retention could take it"
                )
        return ""

    def _oldest_ms(self, batch: Batch) -> int:
        """A batch that was sent again may be stored as it was sent first."""
        return min(each.sent.timestamp_ms for each in self._story.sends_of[batch.sent.values[-1]])
