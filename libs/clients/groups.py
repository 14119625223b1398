"""GroupsClient: consumer group calls, sent to the replica that coordinates the group.

Owns: finding the coordinator, asking again when it moved, one channel a replica. Does not own: the group
protocol; Kafka's codes (the gateway's rim).
Rules: 1 a call is sent again only where the first certainly did nothing: it was refused with
Moved(NOT_COORDINATOR, COORDINATOR_LOADING), or nobody could be reached; 2 asking again ends within
`retry_seconds_max`; 3 what then remains is raised, and the gateway tells its client to look for the
coordinator again.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import trio

from libs.clients import group_codec as codec
from libs.clients.channels import Channels, open_channels
from libs.clients.errors import from_proto, raise_from_proto
from libs.clients.group_types import (
    CommitOffsets,
    GroupDescription,
    Heartbeat,
    JoinGroup,
    JoinGroupReply,
    LeaveGroup,
    LeftMember,
    ListedGroup,
    OffsetCommit,
    SyncGroup,
    SyncGroupReply,
)
from libs.clients.rendezvous import coordinator_of
from libs.clients.watcher import Connect
from libs.concurrency.rand import Rand
from libs.concurrency.retry import Backoff
from libs.model.cluster import Replica
from libs.model.errors import KafscaleError, Moved, Reason, Unavailable
from libs.model.ids import GroupId, ReplicaId, TopicPartition
from proto.metadata_api import metadata_api_pb2 as api
from proto.metadata_api.metadata_api_grpc import GroupsStub
from proto.model.error_pb2 import Error

CALL_SECONDS_MAX = 10.0
"""For calls that are not parked."""
RETRY_SECONDS_MAX = 3.0
_BACKOFF = Backoff(first_seconds=0.02, max_seconds=0.5)
_ASK_AGAIN = (Reason.NOT_COORDINATOR, Reason.COORDINATOR_LOADING)


class _Reply(Protocol):
    @property
    def error(self) -> Error: ...


_T = TypeVar("_T", bound=_Reply)


class GroupsClient:
    """Methods raise the kinds of libs/model/errors.py.

    Beside what the group protocol says (NotFound, Fenced, Invalid, Overloaded, with Kafka's names as reasons)
    every method raises Moved(NOT_COORDINATOR, COORDINATOR_LOADING) where no replica coordinates the group in
    time, and Unavailable where none could be reached or an outcome is unknown.
    """

    def __init__(
        self,
        replicas: Callable[[], Mapping[ReplicaId, Replica]],
        channels: Channels,
        *,
        rand: Rand,
        retry_seconds_max: float = RETRY_SECONDS_MAX,
    ) -> None:
        self._replicas = replicas
        self._channels = channels
        self._rand = rand
        self._retry_seconds_max = retry_seconds_max

    async def join(self, request: JoinGroup) -> JoinGroupReply:
        """Parked until the rebalance is complete. `reply.error` is only ever Fenced(MEMBER_ID_REQUIRED)."""
        message = codec.join_message(request)
        reply = await self._ask(request.group, lambda stub: stub.JoinGroup(message), repeatable=False)
        return codec.join_reply(reply)

    async def sync(self, request: SyncGroup) -> SyncGroupReply:
        """Parked until the leader's assignment is there."""
        message = codec.sync_message(request)
        return codec.sync_reply(
            await self._ask(request.group, lambda stub: stub.SyncGroup(message), repeatable=True)
        )

    async def heartbeat(self, request: Heartbeat) -> None:
        message = codec.heartbeat_message(request)
        await self._ask(
            request.group, lambda stub: stub.Heartbeat(message, timeout=CALL_SECONDS_MAX), repeatable=True
        )

    async def leave(self, request: LeaveGroup) -> tuple[LeftMember, ...]:
        """One answer a member, in order."""
        message = codec.leave_message(request)
        reply = await self._ask(
            request.group, lambda stub: stub.LeaveGroup(message, timeout=CALL_SECONDS_MAX), repeatable=False
        )
        return tuple(codec.left_member(each) for each in reply.members)

    async def commit(self, request: CommitOffsets) -> tuple[KafscaleError | None, ...]:
        """One answer a partition, in order; None where the offset is stored.

        Not asked again where the store is away: clients do that by themselves, and their heartbeats wait.
        """
        message = codec.commit_message(request)
        reply = await self._ask(
            request.group,
            lambda stub: stub.CommitOffsets(message, timeout=CALL_SECONDS_MAX),
            repeatable=False,
        )
        return tuple(from_proto(each) for each in reply.errors)

    async def fetch_offsets(
        self, group: GroupId, partitions: Sequence[TopicPartition] | None
    ) -> dict[TopicPartition, OffsetCommit]:
        """Of these partitions, or of all (None); only those that have a committed offset. Linearizable."""
        message = api.FetchOffsetsRequest(
            group=group,
            partitions=[codec.partition_message(each) for each in partitions or ()],
            all=partitions is None,
        )
        reply = await self._ask(
            group, lambda stub: stub.FetchOffsets(message, timeout=CALL_SECONDS_MAX), repeatable=True
        )
        return {each.at: each for each in map(codec.offset, reply.offsets)}

    async def describe(self, group: GroupId) -> GroupDescription:
        """Raises NotFound(GROUP_ID_NOT_FOUND)."""
        message = api.DescribeGroupRequest(group=group)
        reply = await self._ask(
            group, lambda stub: stub.DescribeGroup(message, timeout=CALL_SECONDS_MAX), repeatable=True
        )
        return codec.description(group, reply)

    async def delete(self, group: GroupId) -> None:
        """Raises NotFound(GROUP_ID_NOT_FOUND), Invalid(NON_EMPTY_GROUP)."""
        message = api.DeleteGroupRequest(group=group)
        await self._ask(
            group, lambda stub: stub.DeleteGroup(message, timeout=CALL_SECONDS_MAX), repeatable=False
        )

    async def list_groups(self) -> tuple[ListedGroup, ...]:
        """Every group, as its coordinator sees it where that one answers, else as it was last stored.

        Raises Unavailable where no replica answers.
        """
        answers: dict[ReplicaId, tuple[ListedGroup, ...]] = {}
        failures: list[KafscaleError] = []

        async def ask(replica: Replica) -> None:
            try:
                stub = await self._stub(replica)
                reply = await stub.ListGroups(api.ListGroupsRequest(), timeout=CALL_SECONDS_MAX)
                answers[replica.replica_id] = tuple(codec.listed(each) for each in reply.groups)
            except KafscaleError as error:
                failures.append(error)

        replicas = dict(self._replicas())
        async with trio.open_nursery() as nursery:
            for replica in replicas.values():
                nursery.start_soon(ask, replica)
        if not answers:
            raise failures[0] if failures else _nobody()
        merged: dict[GroupId, ListedGroup] = {}
        for replica_id, listed in sorted(answers.items()):
            for each in listed:
                if each.group not in merged or coordinator_of(each.group, replicas) == replica_id:
                    merged[each.group] = each
        return tuple(merged[group] for group in sorted(merged))

    async def _ask(
        self, group: GroupId, send: Callable[[GroupsStub], Awaitable[_T]], *, repeatable: bool
    ) -> _T:
        """Asks the coordinator, and again while that is safe and there is time."""
        give_up_at = trio.current_time() + self._retry_seconds_max
        failures = 0
        while True:
            try:
                reply = await send(await self._stub(self._coordinator(group)))
                _raise_unless_told(reply)
                return reply
            except (Moved, Unavailable) as error:
                failures += 1
                pause_seconds = _BACKOFF.delay_seconds(failures, self._rand)
                late = trio.current_time() + pause_seconds > give_up_at
                if late or not _may_ask_again(error, repeatable=repeatable):
                    raise
            await trio.sleep(pause_seconds)

    def _coordinator(self, group: GroupId) -> Replica:
        replicas = self._replicas()
        replica_id = coordinator_of(group, replicas)
        if replica_id is None:
            raise _nobody()
        return replicas[replica_id]

    async def _stub(self, replica: Replica) -> GroupsStub:
        return GroupsStub(await self._channels.get(replica.address))


def _raise_unless_told(reply: _Reply) -> None:
    """MEMBER_ID_REQUIRED is told in the reply, beside the member id; everything else is raised."""
    if reply.error.reason != Reason.MEMBER_ID_REQUIRED.value:
        raise_from_proto(reply.error)


def _may_ask_again(error: Moved | Unavailable, *, repeatable: bool) -> bool:
    if isinstance(error, Moved):
        return error.reason in _ASK_AGAIN
    return repeatable or not error.outcome_unknown


def _nobody() -> Unavailable:
    return Unavailable("no metadata replica is known", reason=Reason.METADATA_UNAVAILABLE)


@asynccontextmanager
async def open_groups_client(
    replicas: Callable[[], Mapping[ReplicaId, Replica]],
    connect: Connect,
    *,
    rand: Rand,
    retry_seconds_max: float = RETRY_SECONDS_MAX,
) -> AsyncIterator[GroupsClient]:
    """A client with one channel a replica; `replicas` gives the live ones as last heard."""
    async with open_channels(connect) as channels:
        yield GroupsClient(replicas, channels, rand=rand, retry_seconds_max=retry_seconds_max)
