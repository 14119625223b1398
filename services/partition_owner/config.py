"""The partition owner's settings (design section 9).

Owns: names, defaults and checks. Does not own: reading them (libs/chassis).
"""

from typing import ClassVar, Self

from pydantic import Field, model_validator

from libs.chassis.config import Addresses, Port, ServiceSettings
from libs.chassis.object_store import ObjectStoreOptions
from libs.chassis.topic_defaults import TopicDefaults
from libs.model.limits import (
    CHAIN_IN_FLIGHT_MAX,
    CHAIN_OBJECT_BYTES_MAX,
    CHAIN_OBJECT_BYTES_TARGET,
    FLUSH_AGE_MS_MAX,
    KIB,
    MIB,
    UNFLUSHED_BYTES_MAX,
)
from libs.segments.layout import SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX

_DAY_MS = 24 * 60 * 60 * 1000


class OwnerOptions(TopicDefaults):
    """What a partition owner can be told, alone or inside the standalone process."""

    flush_linger_ms: float = Field(
        default=1.0, ge=0, le=50, description="how long the first append waits for others to share its PUT"
    )
    flush_alone_ms: float = Field(
        default=30.0,
        ge=0,
        le=1000,
        description="how long a PUT is alone in flight before the budget may begin another",
    )
    flush_age_ms_max: int = Field(
        default=FLUSH_AGE_MS_MAX, ge=1, description="an append waits no longer while a PUT may be begun"
    )
    flush_puts_per_second: float = Field(
        default=20.0,
        ge=0,
        description="PUTs that may be begun while others are in flight; what PUTs may cost",
    )
    flush_puts_burst: float = Field(default=20.0, ge=1, description="PUTs saved up while fewer were needed")
    flush_in_flight_max: int = Field(
        default=CHAIN_IN_FLIGHT_MAX, ge=1, le=CHAIN_IN_FLIGHT_MAX, description="chain objects in flight"
    )
    object_bytes_target: int = Field(
        default=CHAIN_OBJECT_BYTES_TARGET,
        ge=64 * KIB,
        le=CHAIN_OBJECT_BYTES_MAX // 4,
        description="size at which a chain object is written at once",
    )
    unflushed_bytes_max: int = Field(
        default=UNFLUSHED_BYTES_MAX,
        ge=MIB,
        description="bytes taken and not durable, before nothing more is read",
    )
    put_stalled_seconds: float = Field(
        default=30.0,
        gt=0,
        description="a PUT in flight for so long lets the lease go, so that others take over",
    )
    tail_cache_bytes_max: int = Field(default=256 * MIB, ge=MIB, description="newest chain objects in memory")
    cold_cache_bytes_max: int = Field(
        default=128 * MIB, ge=MIB, description="blocks of older objects in memory"
    )
    segment_index_cache_bytes_max: int = Field(
        default=64 * MIB, ge=MIB, description="indexes of compacted segments in memory"
    )
    cold_block_bytes: int = Field(
        default=MIB, ge=64 * KIB, le=16 * MIB, description="size of one GET of an older object"
    )
    cold_gets_max: int = Field(default=16, ge=1, description="parallel GETs of consumers that catch up")
    tail_gets_max: int = Field(default=16, ge=1, description="parallel GETs of consumers near the end")
    read_ahead_bytes: int = Field(
        default=4 * MIB, ge=0, description="what is read ahead for a partition whose consumer catches up"
    )
    fetch_reply_bytes_max: int = Field(
        default=256 * MIB, ge=MIB, description="record bytes of fetch replies on their way, together"
    )
    footer_cache_bytes_max: int = Field(
        default=64 * MIB, ge=MIB, description="indexes and footers kept while partitions are opened"
    )
    opening_gets_max: int = Field(default=32, ge=1, description="parallel GETs while partitions are opened")
    openings_max: int = Field(default=64, ge=1, description="partitions opened at a time")
    releases_max: int = Field(default=64, ge=1, description="partitions handed over at a time")
    producer_expiration_ms: int = Field(
        default=_DAY_MS, ge=1000, description="an idempotent producer that is silent for so long is forgotten"
    )
    producers_per_partition_max: int = Field(
        default=100_000, ge=1, description="idempotent producers that a partition remembers"
    )

    compaction_age_seconds: float = Field(
        default=600.0,
        gt=0,
        description="age at which records in chain objects are rewritten into segments of their partition",
    )
    compaction_behind_seconds: float = Field(
        default=60.0,
        gt=0,
        description="the same for records in chains of earlier owners, which the next takeover would read",
    )
    compaction_bytes_target: int = Field(
        default=64 * MIB,
        ge=64 * KIB,
        description="uncompacted bytes at which a partition is rewritten at once",
    )
    segment_bytes_max: int = Field(
        default=SEGMENT_BYTES_DEFAULT,
        ge=64 * KIB,
        le=SEGMENT_BYTES_MAX // 2,
        description="size up to which segments are written and merged",
    )
    compaction_merge_factor: int = Field(
        default=8, ge=2, le=64, description="segments of about one size that are merged into one"
    )
    compactions_max: int = Field(default=8, ge=1, description="partitions compacted at a time")
    compaction_buffer_bytes_max: int = Field(
        default=256 * MIB, ge=MIB, description="record bytes that compaction holds in memory"
    )
    compaction_gets_max: int = Field(default=8, ge=1, description="parallel GETs of compaction")
    compaction_check_seconds: float = Field(
        default=5.0, gt=0, description="how often it is looked whether something is to be compacted"
    )
    retention_check_seconds: float = Field(
        default=300.0, gt=0, description="how often a partition's retention is looked at"
    )
    collection_enabled: bool = Field(
        default=True, description="whether objects that nothing can name any more are deleted"
    )
    collection_check_seconds: float = Field(
        default=60.0, gt=0, description="how often it is looked whether something may be deleted"
    )
    collection_delay_seconds: float = Field(
        default=60.0,
        ge=0,
        description="how long a deletable object stays for readers that began before; also how long a session"
        " is gone before its chain is sealed for that",
    )
    collection_sweep_seconds: float = Field(
        default=6 * 60 * 60.0, gt=0, description="time between two walks through the whole bucket for orphans"
    )
    snapshot_seconds: float = Field(
        default=300.0,
        gt=0,
        description="how often a changed metadata store goes to the bucket; what a restore may lose of it",
    )
    snapshots_kept: int = Field(default=12, ge=1, description="newest snapshots of the metadata store kept")
    snapshot_days: int = Field(
        default=7, ge=0, description="days of which the last snapshot of the metadata store is kept"
    )

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        if self.unflushed_bytes_max < self.object_bytes_target:
            raise ValueError("KAFSCALE_UNFLUSHED_BYTES_MAX must not be below KAFSCALE_OBJECT_BYTES_TARGET")
        return self


class OwnerSettings(OwnerOptions, ObjectStoreOptions, ServiceSettings):
    """Appends to and reads from the object store, for the partitions that it is assigned."""

    service: ClassVar[str] = "partition-owner"

    rpc_port: Port = Field(default=9094, description="internal RPC between the services")
    metadata_addresses: Addresses = Field(description="host:port of the metadata replicas, by commas")
    advertised_rpc_address: str = Field(
        default="", description="host:port at which gateways reach it; empty: as bound"
    )
