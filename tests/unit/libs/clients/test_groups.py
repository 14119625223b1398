"""GroupsClient against replicas that say what the test tells them to."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
import trio
import trio.testing

from libs.clients.errors import to_proto
from libs.clients.group_types import GroupPhase, Heartbeat, JoinGroup, ListedGroup, SyncGroup
from libs.clients.groups import GroupsClient, open_groups_client
from libs.clients.rendezvous import coordinator_of
from libs.concurrency.rand import SeededRand
from libs.model.cluster import Replica
from libs.model.errors import Fenced, KafscaleError, Moved, NotFound, Reason, Unavailable
from libs.model.ids import GroupId, MemberId, ReplicaId, SessionId
from libs.rpc import Channel, Server, memory_channel
from proto.metadata_api import metadata_api_pb2 as api
from proto.metadata_api.metadata_api_grpc import GroupsBase
from proto.model.error_pb2 import Error

if TYPE_CHECKING:
    from grpclib.server import Stream

GROUP = GroupId("g")
BEAT = Heartbeat(group=GROUP, member_id=MemberId("m"), generation=1)
JOIN = JoinGroup(
    group=GROUP,
    protocol_type="consumer",
    protocols=(),
    session_timeout_ms=10_000,
    rebalance_timeout_ms=10_000,
)
NOT_MINE = Moved("not me", reason=Reason.NOT_COORDINATOR)


class Scripted(GroupsBase):
    """Answers each call with the next of `answers`: an error for the reply, one to fail with, or None."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.answers: list[KafscaleError | None] = []
        self.failures: list[KafscaleError] = []
        self.listed: list[api.ListedGroup] = []

    def _next(self, name: str) -> Error | None:
        self.calls.append(name)
        if self.failures:
            raise self.failures.pop(0)
        answer = self.answers.pop(0) if self.answers else None
        return None if answer is None else to_proto(answer)

    async def JoinGroup(self, stream: "Stream[api.JoinGroupRequest, api.JoinGroupReply]") -> None:  # noqa: N802
        await stream.recv_message()
        error = self._next("join")
        await stream.send_message(api.JoinGroupReply(error=error, member_id="m"))

    async def SyncGroup(self, stream: "Stream[api.SyncGroupRequest, api.SyncGroupReply]") -> None:  # noqa: N802
        await stream.recv_message()
        error = self._next("sync")
        await stream.send_message(api.SyncGroupReply(error=error, assignment=b"a"))

    async def Heartbeat(self, stream: "Stream[api.HeartbeatRequest, api.HeartbeatReply]") -> None:  # noqa: N802
        await stream.recv_message()
        error = self._next("heartbeat")
        await stream.send_message(api.HeartbeatReply(error=error))

    async def ListGroups(self, stream: "Stream[api.ListGroupsRequest, api.ListGroupsReply]") -> None:  # noqa: N802
        await stream.recv_message()
        self._next("list")
        await stream.send_message(api.ListGroupsReply(groups=self.listed))

    async def _never(self, stream: object) -> None:
        raise AssertionError("no test calls this")

    LeaveGroup = CommitOffsets = FetchOffsets = DescribeGroup = DeleteGroup = _never


class Fixture:
    def __init__(self, names: tuple[str, ...]) -> None:
        self.replicas = {
            ReplicaId(name): Replica(
                replica_id=ReplicaId(name), address=name, zone="", session=SessionId(UUID(int=1))
            )
            for name in names
        }
        self.services = {name: Scripted() for name in names}
        self.unreachable: set[str] = set()

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[Channel]:
        if address in self.unreachable:
            raise Unavailable(f"{address} can't be reached")
        async with memory_channel(Server([self.services[address]])) as channel:
            yield channel

    def coordinator(self, group: GroupId = GROUP) -> Scripted:
        replica_id = coordinator_of(group, self.replicas)
        assert replica_id is not None
        return self.services[replica_id]


@asynccontextmanager
async def open_fixture(*names: str) -> AsyncIterator[tuple[Fixture, GroupsClient]]:
    fixture = Fixture(names)
    async with open_groups_client(
        lambda: fixture.replicas, fixture.connect, rand=SeededRand(1), retry_seconds_max=3
    ) as client:
        yield fixture, client


async def test_a_call_goes_to_the_coordinator(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fixture("a", "b", "c") as (fixture, client):
        await client.heartbeat(BEAT)
        assert fixture.coordinator().calls == ["heartbeat"]
        assert sum(len(each.calls) for each in fixture.services.values()) == 1


@pytest.mark.parametrize("reason", [Reason.NOT_COORDINATOR, Reason.COORDINATOR_LOADING])
async def test_moved_is_asked_again(autojump_clock: trio.testing.MockClock, reason: Reason) -> None:
    async with open_fixture("a") as (fixture, client):
        fixture.coordinator().answers = [Moved("x", reason=reason), Moved("x", reason=reason)]
        await client.heartbeat(BEAT)
        assert fixture.coordinator().calls == ["heartbeat"] * 3


async def test_asking_again_finds_the_new_coordinator(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fixture("a", "b") as (fixture, client):
        first = fixture.coordinator()
        first.answers = [NOT_MINE] * 1000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.heartbeat, BEAT)
            await trio.sleep(0.5)
            del fixture.replicas[next(each for each, service in fixture.services.items() if service is first)]  # type: ignore[arg-type]
        assert fixture.coordinator().calls == ["heartbeat"]


async def test_asking_again_ends(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fixture("a") as (fixture, client):
        fixture.coordinator().answers = [NOT_MINE] * 1000
        started = trio.current_time()
        with pytest.raises(Moved) as moved:
            await client.heartbeat(BEAT)
        assert moved.value.reason is Reason.NOT_COORDINATOR
        assert trio.current_time() - started <= 3


async def test_what_the_group_protocol_says_is_not_asked_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_fixture("a") as (fixture, client):
        fixture.coordinator().answers = [NotFound("who", reason=Reason.UNKNOWN_MEMBER_ID)]
        with pytest.raises(NotFound) as unknown:
            await client.heartbeat(BEAT)
        assert unknown.value.reason is Reason.UNKNOWN_MEMBER_ID
        assert fixture.coordinator().calls == ["heartbeat"]


async def test_the_required_member_id_comes_with_the_reply(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fixture("a") as (fixture, client):
        fixture.coordinator().answers = [Fenced("as m", reason=Reason.MEMBER_ID_REQUIRED)]
        reply = await client.join(JOIN)
        assert reply.member_id == "m"
        assert reply.error is not None
        assert reply.error.reason is Reason.MEMBER_ID_REQUIRED


async def test_a_replica_that_cannot_be_reached_is_tried_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_fixture("a") as (fixture, client):
        fixture.unreachable.add("a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.join, JOIN)
            await trio.sleep(0.5)
            fixture.unreachable.clear()
        assert fixture.coordinator().calls == ["join"]


@pytest.mark.parametrize(("call", "calls"), [("join", 1), ("sync", 2), ("heartbeat", 2)])
async def test_only_what_may_be_repeated_is_repeated_after_an_unknown_outcome(
    autojump_clock: trio.testing.MockClock, call: str, calls: int
) -> None:
    async with open_fixture("a") as (fixture, client):
        fixture.coordinator().failures = [Unavailable("cut off", outcome_unknown=True)]
        requests: dict[str, Callable[[], Awaitable[object]]] = {
            "join": lambda: client.join(JOIN),
            "sync": lambda: client.sync(SyncGroup(group=GROUP, member_id=MemberId("m"), generation=1)),
            "heartbeat": lambda: client.heartbeat(BEAT),
        }
        if calls == 1:
            with pytest.raises(Unavailable) as unknown:
                await requests[call]()
            assert unknown.value.outcome_unknown
        else:
            await requests[call]()
        assert fixture.coordinator().calls == [call] * calls


async def test_without_replicas_the_end_is_unavailable(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fixture() as (_, client):
        with pytest.raises(Unavailable) as unavailable:
            await client.heartbeat(BEAT)
        assert unavailable.value.reason is Reason.METADATA_UNAVAILABLE
        with pytest.raises(Unavailable):
            await client.list_groups()


async def test_a_listing_prefers_the_coordinators_word(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fixture("a", "b") as (fixture, client):
        names = [f"g{index}" for index in range(8)]
        for replica, service in fixture.services.items():
            for name in names:
                mine = coordinator_of(GroupId(name), fixture.replicas) == replica
                state = "PreparingRebalance" if mine else "Stable"
                service.listed.append(api.ListedGroup(group=name, protocol_type="consumer", state=state))
        assert await client.list_groups() == tuple(
            ListedGroup(group=GroupId(name), protocol_type="consumer", phase=GroupPhase.PREPARING_REBALANCE)
            for name in names
        )
        fixture.services["a"].failures = [Unavailable("away")]
        assert len(await client.list_groups()) == 8, "one answer is enough"


async def test_a_call_that_is_cancelled_ends_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fixture("a") as (fixture, client):
        fixture.coordinator().answers = [NOT_MINE] * 1000
        with trio.move_on_after(0.7) as scope:
            await client.heartbeat(BEAT)
        assert scope.cancelled_caught
