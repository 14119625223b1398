"""Which metadata replica coordinates a consumer group: rendezvous hashing over the live ones.

Owns: the choice, shared by gateways and coordinators. Does not own: who is live.
Rules: 1 only groups of a replica that left move, and a new replica takes only what becomes its own
(Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998); 2 the choice is a hint: who
serves a group is decided by the claim in the metadata store.
"""

from collections.abc import Iterable
from hashlib import blake2b

from libs.model.ids import GroupId, ReplicaId


def coordinator_of(group: GroupId, replicas: Iterable[ReplicaId]) -> ReplicaId | None:
    """The replica with the greatest hash, None where there is no replica. Same answer in every process."""
    return max(replicas, key=lambda replica: (_weight(group, replica), replica), default=None)


def _weight(group: GroupId, replica: ReplicaId) -> bytes:
    name = replica.encode()
    return blake2b(len(name).to_bytes(4, "big") + name + group.encode(), digest_size=8).digest()
