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


class Group:
    """Two members with their client's own assignor, one through each gateway."""

    def __init__(self, platform: Platform, client: str, name: str, topic: str, within: ExitStack) -> None:
        self._gateways = platform.bootstraps
        self._name = name
        self._received: dict[str, list[bytes]] = defaultdict(list)
        self._members: dict[str, bytes] = {}
        self._assignments = 0
        self.consumed = Consumed()
        self.watch = within.enter_context(CommittedWatch(self._gateways[1], name, topic, PARTITIONS))
        for member, address in zip(("first", "second"), self._gateways, strict=True):
            open_consumer = partial(CLIENTS[client](self._received[member]), address, name, topic)
            within.enter_context(Member(member, open_consumer, self.consumed))

    def goes_on(self) -> None:
        """Waits until both members consumed more, and more was committed."""
        self.consumed.wait_more_by("first", "second")
        self.watch.wait_further()

    def remember(self) -> None:
        """What the leader made is what each member got, and is kept from now on."""
        state, self._members = _described(self._gateways[0], self._name)
        assert state == "Stable"
        made = {member_id: _user_data(member_id) for member_id in self._members}
        assert {key: _user_data_of(each) for key, each in self._members.items()} == made
        assert sorted(each[-1] for each in self._received.values()) == sorted(made.values())
        self._assignments = sum(map(len, self._received.values()))

    def is_unchanged(self) -> None:
        """Same members, same bytes, and nobody was assigned anything anew."""
        assert _described(self._gateways[1], self._name) == ("Stable", self._members)
        assert sum(map(len, self._received.values())) == self._assignments


@pytest.mark.parametrize("killed", METADATA)
def test_its_bytes_survive_the_coordinator(stack: Background[Platform], killed: str) -> None:
    platform, topic = stack.value, unique("custom-assignor")
    with flowing(platform, topic) as flow, ExitStack() as within:
        groups = [Group(platform, client, _group_of(killed), topic, within) for client in CLIENTS]
        for group in groups:
            group.goes_on()
            group.remember()
        with _killed(stack, killed):
            for group in groups:
                group.goes_on()
                group.is_unchanged()
        for group in groups:
            group.goes_on()
            group.is_unchanged()
        ends = flow.stop()
        for group in groups:
            expected = {(index, offset) for index, end in enumerate(ends) for offset in range(end)}
            group.consumed.wait_all(expected)
            group.watch.wait_committed(ends)
