"""What clients are told about gateways: any gateway serves any partition, one address may stand for all."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain

import confluent_kafka.admin

from tests.compat.members import AiokafkaConsumer, ConfluentConsumer, KafkaPythonConsumer, Member
from tests.compat.progress import CommittedWatch, Consumed
from tests.support.background import Background, running
from tests.support.balancer import Balancer, open_balancer
from tests.support.clients import WAIT_SECONDS_MAX, create_topic, produce_all
from tests.support.control import call
from tests.support.names import unique
from tests.support.platform import Platform, open_gateway
from tests.support.raw_kafka import ask, connected, produce_v3, produce_v3_error, stored_batches
from tests.support.records import Record, encode_batch
from tools.stack.layout import OWNERS
from tools.stack.stack import HOST

PARTITIONS = 8
API_FIND_COORDINATOR = 10


def test_any_gateway_serves_any_partition(platform: Platform) -> None:
    """Whatever leader clients were told; eight partitions are spread over the three owners of a stack."""
    topic = unique("anywhere")
    create_topic(platform.bootstrap, topic, PARTITIONS)
    batch = encode_batch([Record(key=None, value=b"hello")])
    for address in platform.bootstraps:
        with connected(address) as connection:
            for partition in range(PARTITIONS):
                connection.send(produce_v3(topic.encode(), partition, batch))
                answer = connection.receive_frame()
                assert answer is not None
                assert produce_v3_error(answer) == 0
    for address in platform.bootstraps:
        for partition in range(PARTITIONS):
            assert len(stored_batches(address, topic, partition)) == len(platform.bootstraps)
    if platform.mode == "stack":
        owned = [_owned(platform, owner, topic) for owner in OWNERS]
        assert sorted(chain.from_iterable(owned)) == list(range(PARTITIONS))
        assert all(owned)


def _owned(platform: Platform, owner: str, topic: str) -> list[int]:
    status = call(platform.control(owner), "GetStatus")
    return [each["partition"] for each in status["partitions"] if each["topic"] == topic]


def test_the_cluster_is_described(platform: Platform) -> None:
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": platform.bootstrap})
    cluster = admin.describe_cluster().result(WAIT_SECONDS_MAX)
    assert cluster.cluster_id
    assert sorted(f"{node.host}:{node.port}" for node in cluster.nodes) == sorted(platform.bootstraps)
    assert cluster.controller.id in [node.id for node in cluster.nodes]


def test_every_gateway_names_the_same_coordinator(platform: Platform) -> None:
    """Clients ask any broker, again and again: one that differs would make them leave and join anew."""
    groups = [unique("coordinated") for _ in range(50)]
    answers = []
    for address in platform.bootstraps:
        answer = ask(address, API_FIND_COORDINATOR, 4, key_type=0, coordinator_keys=groups)
        answers.append([f"{each.host}:{each.port}" for each in answer.coordinators])
    assert all(each == answers[0] for each in answers)
    assert set(answers[0]) == set(platform.bootstraps)


@contextmanager
def _one_address(platform: Platform) -> Iterator[tuple[Balancer, list[str]]]:
    """Two gateways that advertise a load balancer, and their own addresses."""
    assert platform.stack is not None
    with running(open_balancer) as balanced:
        balancer = balanced.value
        settings = {
            "KAFSCALE_ADVERTISED_MODE": "service",
            "KAFSCALE_ADVERTISED_HOST": HOST,
            "KAFSCALE_ADVERTISED_PORT": str(balancer.port),
        }
        with (
            running(partial(open_gateway, platform.stack, "gateway-8", **settings)) as eighth,
            running(partial(open_gateway, platform.stack, "gateway-9", **settings)) as ninth,
        ):
            balancer.targets = [f"{HOST}:{each.value.ports.kafka}" for each in (eighth, ninth)]
            yield balancer, balancer.targets


def test_one_address_may_stand_for_all_gateways(stack: Background[Platform]) -> None:
    """Mode `service`: behind a balancer each connection meets another gateway; clients see one broker."""
    topic, group, consumed = unique("balanced"), unique("balanced"), Consumed()
    with _one_address(stack.value) as (balancer, gateways):
        address = f"{HOST}:{balancer.port}"
        create_topic(address, topic, PARTITIONS)
        for bootstrap in (address, *gateways):
            produce_all(bootstrap, topic, [(index, b"x") for index in range(PARTITIONS)])
            admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
            brokers = admin.list_topics(topic, timeout=WAIT_SECONDS_MAX).brokers
            assert [f"{each.host}:{each.port}" for each in brokers.values()] == [address]
        with (
            Member("confluent-kafka", partial(ConfluentConsumer, address, group, topic), consumed),
            Member("kafka-python", partial(KafkaPythonConsumer, gateways[0], group, topic), consumed),
            Member("aiokafka", partial(AiokafkaConsumer, gateways[1], group, topic), consumed),
            CommittedWatch(address, group, topic, PARTITIONS) as watch,
        ):
            watch.wait_committed([3] * PARTITIONS)
        assert consumed.positions == {(index, offset) for index in range(PARTITIONS) for offset in range(3)}
        assert min(balancer.taken) > 0
