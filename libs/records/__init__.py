"""Record batch v2 as a view: split, validate, patch. Layer 1: bytes in, values out; only Invalid comes out of
clients' bytes, only Corrupt out of stored ones."""

from libs.records.batch import BatchView, iter_batches, split_batches, whole_batches
from libs.records.layout import Codec, TimestampType
from libs.records.patch import patch_in_place, patched, patched_bytes, with_log_append_time
from libs.records.timestamps import TimestampedOffset, find_offset_for_timestamp, greatest_timestamp
from libs.records.validate import validate_batch, validate_records, verify_stored

__all__ = [
    "BatchView",
    "Codec",
    "TimestampType",
    "TimestampedOffset",
    "find_offset_for_timestamp",
    "greatest_timestamp",
    "iter_batches",
    "patch_in_place",
    "patched",
    "patched_bytes",
    "split_batches",
    "validate_batch",
    "validate_records",
    "verify_stored",
    "whole_batches",
    "with_log_append_time",
]
