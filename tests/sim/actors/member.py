"""Group members: the classic protocol as a Java consumer lives it.

Owns: joining, the leader's assignment, heartbeats, commits, leaving. Does not own: fetching (consumer.py).
Rules: 1 a member uses what it was assigned until it learns of a rebalance, or that it is no member any more;
2 positions begin at the committed offset, else at the log's start; 3 what was read is committed, never less.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

import trio
from kio.schema.errors import ErrorCode

from libs.model.ids import GroupId, MemberId, Partition, TopicId, TopicPartition
from tests.sim.actors.consumer import EARLIEST, Position, Reader
from tests.sim.actors.kafka import Gone, request, seconds
from tests.sim.events import (
    CommitAcked,
    CommitAsked,
    CommitFailed,
    GroupAssigned,
    GroupJoined,
    GroupRevoked,
    OffsetsAsked,
    OffsetsFetched,
)
from tests.sim.world.world import World

PROTOCOL: Final = "sim"
_JOIN_SECONDS_MAX: Final = 40.0
_NO_GENERATION: Final = -1
_NOT_A_MEMBER = {
    ErrorCode.illegal_generation,
    ErrorCode.unknown_member_id,
    ErrorCode.fenced_instance_id,
}
_REFUSED = _NOT_A_MEMBER | {
    ErrorCode.rebalance_in_progress,
    ErrorCode.unknown_topic_or_partition,
    ErrorCode.unknown_topic_id,
}
"""A commit that was answered so was certainly not done. NOT_COORDINATOR and COORDINATOR_LOAD_IN_PROGRESS only
say where or when to try again: the group may have moved while the commit was on its way to the store."""


class _Rejoin(Exception):
    """The member has to join again."""


@dataclass(slots=True)
class Group:
    """What all members of a group share as actors: what the leader gave, for the judges."""

    name: GroupId
    given: dict[tuple[int, str], frozenset[TopicPartition]] = field(default_factory=dict)


class GroupMember(Reader):
    """One member. It subscribes to all topics that there are when it joins."""

    def __init__(self, world: World, name: str, group: Group) -> None:
        super().__init__(world, name)
        self._group = group
        self._member = ""
        self._generation = _NO_GENERATION
        self._positions: list[Position] = []
        self._session_seconds = self.rand.choice((3.0, 6.0, 10.0))
        self._holds = False

    async def run(self) -> None:
        """Until the world is done."""
        while not self.world.done:
            try:
                await self._join()
                await self._live()
            except Gone:
                # The connection is gone, the membership is not: until a heartbeat says so.
                self.disconnect()
                await self.pause()
            except _Rejoin:
                self._revoke()
                await trio.sleep(0.01)
        self._revoke()
        self.disconnect()

    def _revoke(self) -> None:
        if self._holds:
            self._holds = False
            self._positions = []
            self.world.history.add(
                self.name,
                GroupRevoked(
                    group=self._group.name, member=MemberId(self._member), generation=self._generation
                ),
            )

    def _forget(self) -> None:
        """It is no member any more."""
        self._revoke()
        self._member = ""
        self._generation = _NO_GENERATION

    # Joining

    async def _join(self) -> None:
        while not self._holds and not self.world.done:
            connection = await self.connection()
            wanted = sorted(str(topic.topic_id) for topic in self.world.topics.values())
            asked = request(
                "join_group",
                group_id=self._group.name,
                session_timeout=seconds(self._session_seconds),
                rebalance_timeout=seconds(10.0),
                member_id=self._member,
                protocol_type="consumer",
                protocols=[{"name": PROTOCOL, "metadata": json.dumps(wanted).encode()}],
            )
            self.world.operation("join_group")
            answer = await connection.ask("join_group", asked, seconds_max=_JOIN_SECONDS_MAX)
            code = answer.error_code
            if code is ErrorCode.member_id_required:
                self._member = answer.member_id
            elif code is ErrorCode.none:
                self._member, self._generation = answer.member_id, answer.generation_id
                self.world.history.add(
                    self.name,
                    GroupJoined(
                        group=self._group.name, member=MemberId(self._member), generation=self._generation
                    ),
                )
                await self._sync(self._assign(answer))
            else:
                if code in _NOT_A_MEMBER:
                    self._forget()
                await self._elsewhere()

    async def _elsewhere(self) -> None:
        """Another gateway may know more."""
        if self.rand.random() < 0.5:
            self.disconnect()
        await self.pause()

    def _assign(self, joined: Any) -> list[dict[str, Any]]:
        """What the leader gives to each; nothing from the others."""
        if joined.leader != joined.member_id:
            return []
        topics = {str(topic.topic_id): topic for topic in self.world.topics.values()}
        members = sorted(member.member_id for member in joined.members)
        wanted = sorted({each for member in joined.members for each in json.loads(member.metadata)})
        places = [
            (topic_id, index)
            for topic_id in wanted
            if topic_id in topics
            for index in range(topics[topic_id].partitions)
        ]
        given: dict[str, list[tuple[str, int]]] = {member: [] for member in members}
        for number, place in enumerate(places):
            given[members[(number + joined.generation_id) % len(members)]].append(place)
        for member, partitions in given.items():
            self._group.given[joined.generation_id, member] = _partitions(partitions)
        return [
            {"member_id": member, "assignment": json.dumps(partitions).encode()}
            for member, partitions in given.items()
        ]

    async def _sync(self, assignments: list[dict[str, Any]]) -> None:
        connection = await self.connection()
        asked = request(
            "sync_group",
            group_id=self._group.name,
            generation_id=self._generation,
            member_id=self._member,
            protocol_type="consumer",
            protocol_name=PROTOCOL,
            assignments=assignments,
        )
        self.world.operation("sync_group")
        answer = await connection.ask("sync_group", asked, seconds_max=_JOIN_SECONDS_MAX)
        code = answer.error_code
        if code is not ErrorCode.none:
            if code in _NOT_A_MEMBER:
                self._forget()
            await self._elsewhere()
            return
        partitions = _partitions(json.loads(answer.assignment or b"[]"))
        self._holds = True
        self.world.history.add(
            self.name,
            GroupAssigned(
                group=self._group.name,
                member=MemberId(self._member),
                generation=self._generation,
                partitions=partitions,
                given=self._group.given.get((self._generation, self._member)),
            ),
        )
        names = {topic.topic_id: topic.name for topic in self.world.topics.values()}
        self._positions = [
            Position(tp=tp, topic=names.get(tp.topic_id, ""), offset=-1) for tp in sorted(partitions)
        ]

    # Living

    async def _live(self) -> None:
        """Reads, commits, beats, until it has to rejoin or the world is done."""
        beat_at = trio.current_time() + self._session_seconds / 3
        while self._holds and not self.world.done:
            await self.world.breathe(self.rand)
            ready = await self._readable()
            found = await self.fetch(ready, wait_ms=100) if ready else {}
            if trio.current_time() >= beat_at:
                beat_at = trio.current_time() + self._session_seconds / 3
                await self._beat()
            chance = self.rand.random()
            if chance < 0.25 and ready:
                await self._commit(ready)
            elif chance > 0.99:
                await self._leave()
            elif chance > 0.985:
                await self._crash()
            if not any(found.values()):
                await trio.sleep(self.rand.uniform(0.05, 0.5))

    async def _readable(self) -> list[Position]:
        """The positions that are known, after asking for those that are not."""
        unknown = [each for each in self._positions if each.offset < 0]
        if unknown:
            await self._begin(unknown)
        for each in self._positions:
            if each.is_out_of_range:
                offset = await self.list_offset(each, EARLIEST)
                if offset is not None:
                    each.offset, each.is_out_of_range = offset, False
        return [each for each in self._positions if each.offset >= 0 and not each.is_out_of_range]

    async def _begin(self, unknown: list[Position]) -> None:
        tps = tuple(each.tp for each in unknown)
        topics: dict[UUID, list[int]] = {}
        for tp in tps:
            topics.setdefault(tp.topic_id, []).append(tp.partition)
        asked = request(
            "offset_fetch",
            groups=[
                {
                    "group_id": self._group.name,
                    "member_epoch": -1,
                    "topics": [
                        {"topic_id": topic_id, "partition_indexes": tuple(indexes)}
                        for topic_id, indexes in topics.items()
                    ],
                }
            ],
            require_stable=True,
        )
        call = self.world.history.add(self.name, OffsetsAsked(group=self._group.name, partitions=tps))
        self.world.operation("offset_fetch")
        connection = await self.connection()
        answer = await connection.ask("offset_fetch", asked)
        (told,) = answer.groups
        if told.error_code is not ErrorCode.none:
            await self._elsewhere()
            return
        offsets = {
            TopicPartition(topic.topic_id, Partition(part.partition_index)): part.committed_offset
            for topic in told.topics
            for part in topic.partitions
            if part.error_code is ErrorCode.none
        }
        self.world.history.add(self.name, OffsetsFetched(call=call, offsets=offsets))
        for each in unknown:
            committed = offsets.get(each.tp)
            if committed is not None:
                each.offset = max(committed, 0)

    async def _beat(self) -> None:
        connection = await self.connection()
        asked = request(
            "heartbeat",
            group_id=self._group.name,
            generation_id=self._generation,
            member_id=self._member,
        )
        self.world.operation("heartbeat")
        answer = await connection.ask("heartbeat", asked)
        await self._obey(answer.error_code)

    async def _obey(self, code: ErrorCode) -> None:
        if code in _NOT_A_MEMBER:
            self._forget()
            raise _Rejoin
        if code is ErrorCode.rebalance_in_progress:
            ready = [each for each in self._positions if each.offset >= 0]
            if ready and self.rand.random() < 0.5:
                await self._commit(ready, obeys=False)
            raise _Rejoin
        if code is not ErrorCode.none:
            await self._elsewhere()

    async def _commit(self, ready: list[Position], *, obeys: bool = True) -> None:
        topics: dict[UUID, list[dict[str, Any]]] = {}
        for each in ready:
            topics.setdefault(each.tp.topic_id, []).append(
                {
                    "partition_index": each.tp.partition,
                    "committed_offset": each.offset,
                    "committed_leader_epoch": each.leader_epoch,
                    "committed_metadata": "",
                }
            )
        asked = request(
            "offset_commit",
            group_id=self._group.name,
            generation_id_or_member_epoch=self._generation,
            member_id=self._member,
            topics=[{"topic_id": topic_id, "partitions": parts} for topic_id, parts in topics.items()],
        )
        history = self.world.history
        # One event for each partition: they are answered one by one.
        calls = {
            each.tp: history.add(
                self.name,
                CommitAsked(
                    group=self._group.name,
                    member=MemberId(self._member),
                    generation=self._generation,
                    offsets={each.tp: each.offset},
                ),
            )
            for each in ready
        }
        self.world.operation("offset_commit")
        connection = await self.connection()
        answer = await connection.ask("offset_commit", asked)
        worst = ErrorCode.none
        for topic in answer.topics:
            for part in topic.partitions:
                call = calls[TopicPartition(topic.topic_id, Partition(part.partition_index))]
                if part.error_code is ErrorCode.none:
                    history.add(self.name, CommitAcked(call=call))
                    continue
                if part.error_code in _REFUSED:
                    history.add(self.name, CommitFailed(call=call, error=part.error_code.name.upper()))
                if part.error_code not in (
                    ErrorCode.unknown_topic_id,
                    ErrorCode.unknown_topic_or_partition,
                ):
                    worst = part.error_code
        if obeys and worst is not ErrorCode.none:
            await self._obey(worst)

    async def _leave(self) -> None:
        connection = await self.connection()
        asked = request(
            "leave_group", group_id=self._group.name, members=[{"member_id": self._member, "reason": "sim"}]
        )
        self.world.operation("leave_group")
        self._revoke()
        await connection.ask("leave_group", asked)
        self._forget()
        await trio.sleep(self.rand.uniform(0.1, 5.0))

    async def _crash(self) -> None:
        """Killed: it comes back as somebody new, while the group still waits for who it was."""
        self.world.fault("kill_member", self.name)
        self.disconnect()
        self._forget()
        await trio.sleep(self.rand.uniform(0.1, 5.0))


def _partitions(places: list[Any]) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition(TopicId(UUID(topic)), Partition(index)) for topic, index in places)
