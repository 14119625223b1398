"""Which metadata replica coordinates a consumer group, which owner does a task for all: rendezvous hashing.

Owns: the choice, shared by gateways and coordinators, and by owners. Does not own: who is live.
Rules: 1 only groups of a replica that left move, and a new replica takes only what becomes its own
(Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998); 2 the choice is a hint: who
serves a group is decided by the claim in the metadata store, and a task for all does no harm when two do it.
"""

from collections.abc import Iterable
from hashlib import blake2b

from libs.model.ids import GroupId, OwnerId, ReplicaId


def coordinator_of(group: GroupId, replicas: Iterable[ReplicaId]) -> ReplicaId | None:
    """The replica with the greatest hash, None where there is no replica. Same answer in every process."""
    return max(replicas, key=lambda replica: (_weight(group, replica), replica), default=None)


def owner_for(task: str, owners: Iterable[OwnerId]) -> OwnerId | None:
    """The owner that does `task` for the whole cluster, None where there is no owner."""
    return max(owners, key=lambda owner: (_weight(task, owner), owner), default=None)


def _weight(what: str, candidate: str) -> bytes:
    name = candidate.encode()
    return blake2b(len(name).to_bytes(4, "big") + name + what.encode(), digest_size=8).digest()
