"""What an owner holds, as metrics.

Owns: names. Does not own: what is recorded as it happens (recorder.py).
"""

from collections.abc import Callable

from libs.telemetry.metrics import Metrics
from services.partition_owner.collection.collector import CollectionStatistics
from services.partition_owner.compaction.service import CompactionStatistics
from services.partition_owner.service import OwnerStatistics


def show_statistics(metrics: Metrics, read: Callable[[], OwnerStatistics]) -> None:
    """What the owner holds beside what it may hold, read when somebody looks."""
    metrics.gauge("kafscale_partitions", "partitions that this owner has", lambda: read().partitions)
    metrics.gauge("kafscale_buffer_bytes", "bytes taken and not durable", lambda: read().unflushed_bytes)
    metrics.gauge("kafscale_buffer_bytes_max", "bound of those bytes", lambda: read().unflushed_bytes_max)
    metrics.gauge(
        "kafscale_appends_blocked",
        "append streams not read: the buffer is full",
        lambda: read().appends_blocked,
    )
    metrics.gauge("kafscale_reply_bytes", "record bytes of replies on their way", lambda: read().reply_bytes)
    metrics.gauge("kafscale_reply_bytes_max", "bound of those bytes", lambda: read().reply_bytes_max)
    metrics.labelled_gauge(
        "kafscale_cache_bytes",
        "bytes in a cache",
        lambda: [
            ({"cache": "tail"}, read().tail_bytes),
            ({"cache": "cold"}, read().cold.used_bytes),
            ({"cache": "segment_index"}, read().segment_indexes.used_bytes),
        ],
    )
    metrics.labelled_gauge(
        "kafscale_cache_bytes_max",
        "bound of a cache",
        lambda: [
            ({"cache": "tail"}, read().tail_bytes_max),
            ({"cache": "cold"}, read().cold.bytes_max),
            ({"cache": "segment_index"}, read().segment_indexes.bytes_max),
        ],
    )
    metrics.observed_counter(
        "kafscale_cache_hits",
        "reads that a cache answered",
        lambda: [
            ({"cache": "tail"}, read().tail_hits),
            ({"cache": "cold"}, read().cold.hits),
            ({"cache": "segment_index"}, read().segment_indexes.hits),
        ],
    )
    metrics.observed_counter(
        "kafscale_cache_misses",
        "reads that a cache could not answer",
        lambda: [
            ({"cache": "tail"}, read().tail_misses),
            ({"cache": "cold"}, read().cold.misses),
            ({"cache": "segment_index"}, read().segment_indexes.misses),
        ],
    )
    metrics.gauge(
        "kafscale_metadata_snapshot_timestamp_seconds",
        "when the metadata store was last written to the bucket; 0 on owners that don't do it",
        lambda: read().archive.last_ms / 1000,
    )
    metrics.gauge(
        "kafscale_metadata_snapshot_bytes",
        "size of the last snapshot that this owner wrote",
        lambda: read().archive.last_bytes,
    )
    metrics.observed_counter(
        "kafscale_metadata_snapshots",
        "rounds that wrote a snapshot of the metadata store, or failed",
        lambda: [
            ({"outcome": "written"}, read().archive.written),
            ({"outcome": "failed"}, read().archive.failures),
        ],
    )
    metrics.observed_counter(
        "kafscale_sessions", "sessions begun by this process", lambda: [({}, read().sessions_begun)]
    )
    _show_collection(metrics, lambda: read().collection)
    _show_compaction(metrics, lambda: read().compaction)


def _show_collection(metrics: Metrics, read: Callable[[], CollectionStatistics]) -> None:
    metrics.observed_counter(
        "kafscale_collected_objects",
        "objects deleted, by the rule that allowed it",
        lambda: [({"rule": rule.value}, count) for rule, count in read().deleted.objects.items()],
    )
    metrics.observed_counter(
        "kafscale_collected_bytes",
        "bytes of those whose size was listed",
        lambda: [({"rule": rule.value}, count) for rule, count in read().deleted.bytes.items()],
    )
    metrics.gauge(
        "kafscale_collection_waiting", "dropped objects that wait to be deleted", lambda: read().waiting
    )
    metrics.gauge("kafscale_collection_waiting_max", "bound of those objects", lambda: read().waiting_max)
    metrics.gauge(
        "kafscale_collection_elected",
        "1 where this owner collects what nobody owns",
        lambda: int(read().collects_unowned),
    )
    metrics.gauge(
        "kafscale_collection_swept_timestamp_seconds",
        "Unix time at which the last walk through the bucket ended here; 0: none did",
        lambda: read().swept_at_ms / 1000,
    )


def _show_compaction(metrics: Metrics, read: Callable[[], CompactionStatistics]) -> None:
    metrics.gauge(
        "kafscale_compaction_behind_seconds",
        "age of the oldest record that is not in a segment yet",
        lambda: read().seconds_behind,
    )
    metrics.gauge(
        "kafscale_uncompacted_bytes", "bytes that are only in chain objects", lambda: read().uncompacted_bytes
    )
    metrics.gauge("kafscale_segments", "segments of this owner's partitions", lambda: read().segments)
    metrics.gauge("kafscale_segment_bytes", "bytes of those segments", lambda: read().segment_bytes)
    metrics.gauge(
        "kafscale_compaction_buffer_bytes",
        "record bytes that compaction holds in memory",
        lambda: read().buffered_bytes,
    )
    metrics.gauge(
        "kafscale_compaction_buffer_bytes_max", "bound of those bytes", lambda: read().buffered_bytes_max
    )
    metrics.observed_counter(
        "kafscale_compactions",
        "rewrites that were committed, by kind: of chains, of small segments",
        lambda: [({"kind": "chain"}, read().counts.compactions), ({"kind": "merge"}, read().counts.merges)],
    )
    metrics.observed_counter(
        "kafscale_compacted_bytes",
        "record bytes rewritten, by kind",
        lambda: [
            ({"kind": "chain"}, read().counts.compacted_bytes),
            ({"kind": "merge"}, read().counts.merged_bytes),
        ],
    )
    metrics.observed_counter(
        "kafscale_compaction_puts",
        "segments, their indexes and manifests written",
        lambda: [({}, read().puts)],
    )
    metrics.observed_counter(
        "kafscale_compaction_failures",
        "rewrites given up, to be tried again",
        lambda: [({}, read().failures)],
    )
    metrics.observed_counter(
        "kafscale_retention_deleted_bytes",
        "bytes that retention moved log starts past",
        lambda: [({}, read().retained_bytes)],
    )
