"""What a seed makes of the world: how many of each service, their settings, how the ports behave.

Owns: the draw. Rules: 1 limits are small, so that two minutes of virtual time see what takes hours otherwise:
indexes, segments, merges, collections.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple

from libs.concurrency.rand import Rand
from libs.objectstore.faulty import FaultPlan
from services.gateway.config import GatewayOptions
from services.metadata.config import MetadataOptions
from services.partition_owner import appending
from services.partition_owner.collection import sweep
from services.partition_owner.compaction import compactor
from services.partition_owner.config import OwnerOptions

EPOCH_MS = 1_700_000_000_000
SKEW_MS_MAX = 3_600_000
"""How far a clock may jump."""


class Constant(NamedTuple):
    """A module's constant, and the value that a seed gives it."""

    module: ModuleType
    name: str
    value: int


_SMALL_OWNER: dict[str, Any] = {
    "tail_cache_bytes_max": 1 << 20,
    "cold_cache_bytes_max": 1 << 20,
    "cold_block_bytes": 64 << 10,
    "put_stalled_seconds": 5.0,
    "compaction_bytes_target": 64 << 10,
    "segment_bytes_max": 64 << 10,
    "compaction_buffer_bytes_max": 1 << 20,
    "producer_expiration_ms": 600_000,  # longer than a seed, shorter than a jump of the time of day
    "snapshot_seconds": 20.0,
    "snapshots_kept": 3,
}

_TINY_BUFFERS = {"unflushed_bytes_max": 2000}
"""Smaller than the setting may be: a few batches fill it, so that its bound is met in every seed."""
COMPACTION_BUFFERS = (1 << 20, 600)
"""The second is smaller than the setting may be, and than most compactions: they wait for each other."""
_CONSTANTS: tuple[Constant, ...] = (
    Constant(compactor, "INLINE_BYTES_MAX", 200),
    Constant(sweep, "FOLDERS_AT_ONCE_MAX", 2),
    Constant(appending, "ANSWERS_MAX", 4),
)
"""What is no setting, and so large that nothing of a seed comes near it: each is small in half of the seeds.
Then compaction computes in a thread, a sweep judges a folder or two at a time, and an append stream waits for
its answers, as owners with real records, partitions and clients do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldPlan:
    owners: int
    gateways: int
    replicas: int
    metadata: MetadataOptions
    owner: OwnerOptions
    gateway: GatewayOptions
    calm: FaultPlan
    """The object store on a good day."""
    kv_seconds: tuple[float, float]
    """Each way to the metadata store and back, on a good day: where it is none, nothing comes between a read
    and the write that follows."""
    delay_steps: tuple[int, int]
    """Of the network, in its smallest steps."""
    clocks_jump: bool
    """Then no topic has a retention by time: that is as right as the clock is."""
    constants: tuple[Constant, ...]
    """Those that are small here."""

    @property
    def quiet_seconds(self) -> float:
        """How long everything takes that happens by itself once nobody does anything any more."""
        owner = self.owner
        return (
            max(owner.compaction_age_seconds, owner.compaction_behind_seconds)
            + owner.compaction_check_seconds
            + owner.retention_check_seconds
            + 2 * (owner.collection_delay_seconds + owner.collection_check_seconds)
            + 2 * owner.collection_sweep_seconds
            + 4 * self.metadata.lease_seconds
        )


def draw_plan(rand: Rand) -> WorldPlan:
    lease_seconds = rand.choice((2.0, 3.0, 6.0))
    put_seconds = rand.choice(((0.001, 0.004), (0.005, 0.03), (0.02, 0.1)))
    owner = {
        **_SMALL_OWNER,
        "compaction_age_seconds": rand.choice((1.0, 5.0, 20.0)),
        "compaction_behind_seconds": rand.choice((0.5, 3.0)),
        "compaction_merge_factor": rand.choice((2, 3, 8)),
        "compaction_check_seconds": rand.choice((0.5, 2.0)),
        "compactions_max": rand.choice((1, 4)),
        "retention_check_seconds": rand.choice((1.0, 5.0)),
        "collection_check_seconds": rand.choice((1.0, 3.0)),
        "collection_delay_seconds": rand.choice((0.0, 1.0, 10.0)),
        "collection_sweep_seconds": rand.choice((10.0, 30.0)),
        "flush_linger_ms": rand.choice((0.0, 1.0, 5.0)),
        "flush_alone_ms": rand.choice((0.0, 5.0, 30.0)),
        "flush_puts_per_second": rand.choice((5.0, 20.0, 100.0)),
        "flush_in_flight_max": rand.choice((1, 2, 4, 4)),
    }
    plan = WorldPlan(
        owners=rand.choice((2, 3, 3)),
        gateways=rand.choice((1, 2, 3)),
        replicas=rand.choice((1, 2, 3)),
        metadata=MetadataOptions(lease_seconds=lease_seconds),
        owner=OwnerOptions.model_validate(owner).model_copy(update=_TINY_BUFFERS),
        gateway=GatewayOptions(auto_create_topics=False, connections_max=100),
        calm=FaultPlan(latency_seconds=put_seconds, timeout_seconds=rand.choice((1.0, 3.0))),
        delay_steps=rand.choice(((0, 0), (0, 1), (1, 4))),
        clocks_jump=rand.random() < 0.5,
        constants=tuple(each for each in _CONSTANTS if rand.random() < 0.5),
        kv_seconds=rand.choice(((0.0, 0.0), (0.001, 0.01))),
    )
    compaction_buffer = {"compaction_buffer_bytes_max": rand.choice(COMPACTION_BUFFERS)}
    return replace(plan, owner=plan.owner.model_copy(update=compaction_buffer))


@contextmanager
def constants_of(plan: WorldPlan) -> Iterator[None]:
    """They have the plan's values inside of the block."""
    before = [(each.module, each.name, getattr(each.module, each.name)) for each in plan.constants]
    for each in plan.constants:
        setattr(each.module, each.name, each.value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
