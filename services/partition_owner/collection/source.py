"""Asks for references, and refuses answers of another store than the one that was asked before.

Owns: the least revision and the cluster that an answer must be of. Does not own: what follows from an answer.
Rules: 1 a metadata store that went back, or was wiped, names less than is needed: once that was seen, this
process collects nothing more by its answers until it has reached what was seen before; another cluster's are
never taken.
"""

from collections.abc import Sequence

from libs.clients.metadata import MetadataClient
from libs.model.errors import Fenced, Reason
from libs.model.ids import Revision, SessionId, TopicId, TopicPartition
from libs.model.references import References


class ReferenceSource:
    """One a process: all of its sessions together."""

    def __init__(self, metadata: MetadataClient) -> None:
        self._metadata = metadata
        self._revision = Revision(0)
        self._cluster_id = ""

    async def get(
        self,
        *,
        sessions: Sequence[SessionId] = (),
        partitions: Sequence[TopicPartition] = (),
        topics: Sequence[TopicId] = (),
        collectable: bool = False,
    ) -> References:
        """See MetadataClient.get_references. Raises Fenced(GUARD_FAILED) where the store went back."""
        found = await self._metadata.get_references(
            sessions=sessions, partitions=partitions, topics=topics, collectable=collectable
        )
        self._cluster_id = self._cluster_id or found.cluster_id
        if found.cluster_id != self._cluster_id or found.revision < self._revision:
            raise Fenced(
                f"the metadata store is of cluster {found.cluster_id!r} at revision {found.revision}, it was"
                f" of {self._cluster_id!r} at {self._revision}: nothing is collected by what it says",
                reason=Reason.GUARD_FAILED,
            )
        self._revision = found.revision
        return found
