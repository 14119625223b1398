"""How far consumer groups are behind, for the groups that commit through this gateway.

Owns: the last commit of each partition of a group, and asking owners for the high watermarks now and then.
Does not own: committed offsets (metadata). Rules: 1 bounded: the commit that is oldest makes room, and one
that was not repeated for COMMIT_SECONDS_MAX is forgotten: the group may commit elsewhere by now; 2 owners are
asked from memory they have, never on a client's way; 3 what is not known is not shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import trio

from libs.clients.group_types import OffsetCommit
from libs.clients.owner import OffsetQuery
from libs.clients.view import ClusterView
from libs.model.errors import KafscaleError
from libs.model.ids import GroupId, Offset, TopicPartition
from libs.telemetry.metrics import Labels
from services.gateway.routing.owners import OwnerLink, Owners

ASK_SECONDS = 10.0
COMMIT_SECONDS_MAX = 600.0
ROWS_MAX = 2_000
"""Partitions of groups with a metric of their own."""
_LATEST = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Commit:
    offset: Offset
    at_seconds: float


class ConsumerLag:
    """Heard of commits by the OffsetCommit handler; `run` keeps the high watermarks fresh."""

    def __init__(self, *, view: ClusterView, owners: Owners) -> None:
        self._view = view
        self._owners = owners
        self._commits: dict[tuple[GroupId, TopicPartition], _Commit] = {}
        self._watermarks: dict[TopicPartition, int] = {}

    def committed(self, group: GroupId, commits: Iterable[OffsetCommit]) -> None:
        """These offsets were stored."""
        now = trio.current_time()
        for each in commits:
            self._commits.pop((group, each.at), None)
            self._commits[group, each.at] = _Commit(offset=each.offset, at_seconds=now)
        while len(self._commits) > ROWS_MAX:
            del self._commits[next(iter(self._commits))]

    async def run(self) -> None:
        """Asks every ASK_SECONDS, as long as there is something to ask for."""
        while True:
            await trio.sleep(ASK_SECONDS)
            self._forget_old()
            legs: dict[OwnerLink, list[TopicPartition]] = {}
            for at in {at for _group, at in self._commits}:
                link = self._owners.fetch_link(at)
                if link is not None:
                    legs.setdefault(link, []).append(at)
            async with trio.open_nursery() as nursery:
                for link, partitions in legs.items():
                    nursery.start_soon(self._ask, link, partitions)

    def read(self) -> list[tuple[Labels, float]]:
        """Labels group, topic and partition; records between the commit and the high watermark."""
        rows: list[tuple[Labels, float]] = []
        for (group, at), commit in self._commits.items():
            topic, watermark = self._view.topics.get(at.topic_id), self._watermarks.get(at)
            if topic is not None and watermark is not None:
                labels = {"group": group, "topic": topic.name, "partition": str(at.partition)}
                rows.append((labels, float(max(0, watermark - commit.offset))))
        return rows

    def _forget_old(self) -> None:
        oldest = trio.current_time() - COMMIT_SECONDS_MAX
        self._commits = {
            key: commit
            for key, commit in self._commits.items()
            if commit.at_seconds >= oldest and key[1].topic_id in self._view.topics
        }
        known = {at for _group, at in self._commits}
        self._watermarks = {at: mark for at, mark in self._watermarks.items() if at in known}

    async def _ask(self, link: OwnerLink, partitions: Sequence[TopicPartition]) -> None:
        queries = [OffsetQuery(at=at, current_leader_epoch=-1, timestamp=_LATEST) for at in partitions]
        try:
            found = await link.list_offsets(queries)
        except KafscaleError:
            return  # an owner that is away is asked again; until then the last answer stands
        for at, each in zip(partitions, found, strict=True):
            if each.error is None:
                self._watermarks[at] = each.offset
