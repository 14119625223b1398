"""A state machine that is driven by hand, and requests to feed it with."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from libs.clients.group_types import (
    CommitOffsets,
    GroupProtocol,
    GroupRecord,
    Heartbeat,
    JoinGroup,
    JoinGroupReply,
    LeaveGroup,
    LeavingMember,
    LeftMember,
    MemberAssignment,
    OffsetCommit,
    SyncGroup,
    SyncGroupReply,
)
from libs.model.errors import KafscaleError
from libs.model.ids import (
    GroupId,
    MemberId,
    Offset,
    Partition,
    TopicId,
    TopicPartition,
)
from services.metadata.groups.config import GroupsConfig
from services.metadata.groups.effects import Effect, Persist, Reply, Ticket
from services.metadata.groups.state import GroupState

GROUP = GroupId("orders-readers")
TOPIC_ID = TopicId(UUID(int=7))
RANGE = (GroupProtocol(name="range", metadata=b"range-of-it"),)


def join_request(**changes: object) -> JoinGroup:
    fields: dict[str, object] = {
        "group": GROUP,
        "protocol_type": "consumer",
        "protocols": RANGE,
        "session_timeout_ms": 10_000,
        "rebalance_timeout_ms": 60_000,
        "client_id": "app",
        "client_host": "/10.0.0.9",
    }
    return JoinGroup(**(fields | changes))  # type: ignore[arg-type]


def partition(index: int) -> TopicPartition:
    return TopicPartition(TOPIC_ID, Partition(index))


def commit_of(*partitions: int, offset: int = 1, **changes: object) -> CommitOffsets:
    offsets = tuple(OffsetCommit(at=partition(each), offset=Offset(offset)) for each in partitions)
    fields: dict[str, object] = {"group": GROUP, "offsets": offsets}
    return CommitOffsets(**(fields | changes))  # type: ignore[arg-type]


class HandDriven:
    """A state machine whose effects are kept: what each ticket got, what is to be stored."""

    def __init__(self, config: GroupsConfig | None = None, *, record: GroupRecord | None = None) -> None:
        self.now = 0.0
        self.ids = 0
        self.tickets = 0
        self.replies: dict[Ticket, JoinGroupReply | SyncGroupReply | KafscaleError] = {}
        self.to_persist: list[Persist] = []
        self.auto_persist = True
        self.state = GroupState(
            GROUP,
            config=config or GroupsConfig(initial_rebalance_delay_ms=0),
            new_member_id=self._new_member_id,
            record=record,
            now=self.now,
        )

    def _new_member_id(self, prefix: str) -> MemberId:
        self.ids += 1
        return MemberId(f"{prefix}-{self.ids}")

    def take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                self.to_persist.append(effect)
                continue
            assert effect.ticket not in self.replies, "a ticket is answered once"
            self.replies[effect.ticket] = effect.reply if isinstance(effect, Reply) else effect.error
        if self.auto_persist and self.to_persist:
            self.persist()

    def persist(self) -> None:
        version = self.to_persist[-1].version
        self.to_persist.clear()
        self.take(self.state.persisted(version, self.now))

    def join(self, **changes: object) -> Ticket:
        self.tickets += 1
        ticket = Ticket(self.tickets)
        self.take(self.state.join(join_request(**changes), ticket, self.now))
        return ticket

    def sync(
        self,
        member_id: MemberId,
        generation: int,
        assignments: Mapping[MemberId, bytes] | None = None,
        **changes: str,
    ) -> Ticket:
        self.tickets += 1
        ticket = Ticket(self.tickets)
        request = SyncGroup(
            group=GROUP,
            member_id=member_id,
            generation=generation,
            assignments=tuple(
                MemberAssignment(member_id=each, assignment=assignment)
                for each, assignment in (assignments or {}).items()
            ),
            **changes,
        )
        self.take(self.state.sync(request, ticket, self.now))
        return ticket

    def heartbeat(self, member_id: MemberId, generation: int, instance_id: str | None = None) -> None:
        self.state.heartbeat(
            Heartbeat(group=GROUP, member_id=member_id, generation=generation, group_instance_id=instance_id),
            self.now,
        )

    def leave(self, *members: LeavingMember) -> tuple[LeftMember, ...]:
        answers, effects = self.state.leave(LeaveGroup(group=GROUP, members=members), self.now)
        self.take(effects)
        return answers

    def pass_time(self, seconds: float) -> None:
        """Lets time pass, acting on each deadline when it comes."""
        end = self.now + seconds
        while (deadline := self.state.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.take(self.state.tick(self.now))
        self.now = end

    def joined(self, ticket: Ticket) -> JoinGroupReply:
        reply = self.replies[ticket]
        assert isinstance(reply, JoinGroupReply), reply
        return reply

    def synced(self, ticket: Ticket) -> bytes:
        reply = self.replies[ticket]
        assert isinstance(reply, SyncGroupReply), reply
        return reply.assignment

    def refused(self, ticket: Ticket) -> str:
        reply = self.replies[ticket]
        assert isinstance(reply, KafscaleError), reply
        return reply.reason.value

    def stable(self, count: int = 2, **changes: object) -> list[MemberId]:
        """A stable group of dynamic members; the first one leads. Each got its own id as its assignment."""
        tickets = [self.join(**changes) for _ in range(count)]
        self.pass_time(0)
        replies = [self.joined(ticket) for ticket in tickets]
        ids = [reply.member_id for reply in replies]
        generation = replies[0].generation
        for follower in ids[1:]:
            self.sync(follower, generation)
        self.sync(ids[0], generation, {each: each.encode() for each in ids})
        return ids
