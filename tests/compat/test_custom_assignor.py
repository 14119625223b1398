"""An assignor of a client's own: its bytes reach every member as the leader made them, and survive a kill -9
of the group's coordinator.

The bytes hold every value there is: nobody on the way may take them for text or for a message of theirs.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import aiokafka.coordinator.assignors.roundrobin
import kafka.coordinator.assignors.roundrobin
import pytest

from libs.clients.rendezvous import coordinator_of
from libs.model.ids import GroupId, ReplicaId
from tests.compat.flow import PARTITIONS, flowing
from tests.compat.members import AiokafkaConsumer, GroupConsumer, KafkaPythonConsumer, Member
from tests.compat.progress import CommittedWatch, Consumed
from tests.support.background import Background
from tests.support.names import unique
from tests.support.platform import Platform
from tests.support.raw_kafka import ask
from tools.stack.layout import METADATA

API_DESCRIBE_GROUPS = 15
EVERY_BYTE = bytes(range(256))

Received = dict[str, list[bytes]]
"""User data of each assignment, by member, as they arrived."""


def _user_data(member_id: str) -> bytes:
    return EVERY_BYTE + member_id.encode()


def _kafka_python(received: list[bytes]) -> Callable[[str, str, str], GroupConsumer]:
    class Assignor(kafka.coordinator.assignors.roundrobin.RoundRobinPartitionAssignor):  # type: ignore[misc]
        name = "of-our-own"

        @classmethod
        def assign(cls, cluster: Any, members: Any) -> Any:
            assigned = super().assign(cluster, members)
            for member_id, each in assigned.items():
                each.user_data = _user_data(member_id)
            return assigned

        @classmethod
        def on_assignment(cls, assignment: Any, generation: int) -> None:
            received.append(bytes(assignment.user_data))

    return partial(KafkaPythonConsumer, assignor=Assignor)


def _aiokafka(received: list[bytes]) -> Callable[[str, str, str], GroupConsumer]:
    class Assignor(aiokafka.coordinator.assignors.roundrobin.RoundRobinPartitionAssignor):  # type: ignore[misc]
        name = "of-our-own"

        @classmethod
        def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, Any]:
            assigned = super().assign(cluster, members)
            return {
                member_id: type(each)(each.version, each.assignment, _user_data(member_id))
                for member_id, each in assigned.items()
            }

        @classmethod
        def on_assignment(cls, assignment: Any) -> None:
            received.append(bytes(assignment.user_data))

    return partial(AiokafkaConsumer, assignor=Assignor)


CLIENTS = {"kafka-python": _kafka_python, "aiokafka": _aiokafka}


def _described(address: str, group: str) -> tuple[str, dict[str, bytes]]:
    """(state, assignment of each member) as they are stored."""
    answer = ask(address, API_DESCRIBE_GROUPS, 1, groups=[group]).groups[0]
    assert int(answer.error_code) == 0, answer.error_code
    return answer.group_state, {each.member_id: bytes(each.member_assignment) for each in answer.members}


def _user_data_of(assignment: bytes) -> bytes:
    """ConsumerProtocolAssignment: version, topics with partitions, user data."""
    version, topics = struct.unpack_from(">hi", assignment)
    assert version >= 0
    at = 6
    for _ in range(topics):
        at += 2 + struct.unpack_from(">h", assignment, at)[0]
        at += 4 + 4 * struct.unpack_from(">i", assignment, at)[0]
    size = struct.unpack_from(">i", assignment, at)[0]
    assert at + 4 + size == len(assignment)
    return assignment[at + 4 :]


@contextmanager
def _killed(stack: Background[Platform], name: str) -> Iterator[None]:
    """kill -9 now; started again at the end."""
    running = stack.value.stack
    assert running is not None
    running.kill(name)
    stack.call(running.children[name].wait_ended)
    try:
        yield
    finally:
        stack.call(partial(running.restart, name))


def _group_of(replica: str) -> str:
    """A group whose coordinator is that metadata replica."""
    names: Iterable[str] = (unique("custom") for _ in range(1000))
    replicas = [ReplicaId(name) for name in METADATA]
    return next(name for name in names if coordinator_of(GroupId(name), replicas) == replica)


@pytest.mark.parametrize("killed", METADATA)
@pytest.mark.parametrize("client", CLIENTS)
def test_its_bytes_survive_the_coordinator(stack: Background[Platform], client: str, killed: str) -> None:
    platform = stack.value
    gateways = platform.bootstraps
    topic, group, consumed = unique("custom-assignor"), _group_of(killed), Consumed()
    received: dict[str, list[bytes]] = defaultdict(list)
    with (
        flowing(platform, topic) as flow,
        CommittedWatch(gateways[1], group, topic, PARTITIONS) as watch,
        ExitStack() as members,
    ):
        for name, address in (("first", gateways[0]), ("second", gateways[1])):
            open_consumer = partial(CLIENTS[client](received[name]), address, group, topic)
            members.enter_context(Member(name, open_consumer, consumed))
        consumed.wait_more_by("first", "second")
        state, before = _described(gateways[0], group)
        assert state == "Stable"
        assert {_user_data_of(each) for each in before.values()} == {_user_data(each) for each in before}
        assert {received["first"][-1], received["second"][-1]} == {_user_data(each) for each in before}
        assignments = {name: len(each) for name, each in received.items()}

        with _killed(stack, killed):
            consumed.wait_more_by("first", "second")
            watch.wait_further()
            assert _described(gateways[1], group) == ("Stable", before)
        consumed.wait_more_by("first", "second")
        watch.wait_further()
        assert _described(gateways[0], group) == ("Stable", before)
        assert {name: len(each) for name, each in received.items()} == assignments, "a rebalance for nothing"

        ends = flow.stop()
        consumed.wait_all({(index, offset) for index, end in enumerate(ends) for offset in range(end)})
        watch.wait_committed(ends)
