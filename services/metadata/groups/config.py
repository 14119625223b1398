"""Settings and bounds of the group coordinator.

Owns: defaults, in Kafka's terms where Kafka has the setting. Does not own: how they are read.
"""

from dataclasses import dataclass

from libs.model.limits import KIB, MIB, TXN_OPERATIONS_MAX, VALUE_BYTES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsConfig:
    initial_rebalance_delay_ms: int = 250
    """group.initial.rebalance.delay.ms: how long an empty group waits for more members. Kafka's 3 s is felt
    by everybody who starts one consumer; this much still gathers members that start together."""
    session_timeout_ms_min: int = 6_000
    session_timeout_ms_max: int = 1_800_000
    new_member_join_timeout_ms: int = 300_000
    """How long a new member's parked JoinGroup counts: it can't send heartbeats yet (KAFKA-7610)."""
    members_max: int = 2_000
    """group.max.size, of members and of ids that were given out and not used yet."""
    metadata_bytes_max: int = 512 * KIB
    """Of all members' protocols together: the group is one value of the store, with room for assignments."""
    groups_max: int = 10_000
    """Groups in memory; idle empty ones make room."""
    commit_linger_ms: float = 2.0
    """How long a commit waits for others to share its transaction."""
    commit_timeout_ms: int = 5_000
    """offsets.commit.timeout.ms: then the outcome of a commit is unknown to its caller."""
    commit_away_timeout_ms: int = 200
    """The same while the store is known to be away. Requests of a connection are answered in their order, so
    a member's heartbeats stand behind its commits: where these took 5 s each, again and again, the member was
    silent for longer than its session and gave up its partitions."""
    commit_partitions_max: int = 10_000
    """Of one request."""
    pending_bytes_max: int = 16 * MIB
    """Writes that wait for the store; then commits wait to get in line."""
    batch_bytes_max: int = VALUE_BYTES_MAX
    """Of one transaction with more than one write in it."""
    batch_operations_max: int = TXN_OPERATIONS_MAX - 1
    """One place is left for the write of a group's own key that settles a doubt."""
    retention_ms: int = 7 * 24 * 3600 * 1000
    """offsets.retention.minutes: so long after its last member left and its last commit a group expires."""
    expiry_every_seconds: float = 600.0
    loads_at_once_max: int = 32
    retry_seconds_min: float = 0.05
    retry_seconds_max: float = 2.0


assert GroupsConfig().metadata_bytes_max < VALUE_BYTES_MAX
