"""confluent-kafka, kafka-python and aiokafka at their default settings, with every codec.

Eight partitions (over three owners in the stack), produced through one gateway, consumed through the other.
"""

import confluent_kafka
import pytest

from tests.compat.python_clients import CLIENTS, CODECS, PARTITIONS, WAIT_SECONDS_MAX
from tests.support.clients import create_topic
from tests.support.names import unique
from tests.support.platform import Platform
from tests.support.raw_kafka import stored_batches

RECORDS = 400


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("client", CLIENTS)
def test_what_is_produced_is_consumed_by_every_client(platform: Platform, client: str, codec: str) -> None:
    produce, consume = CLIENTS[client]
    topic = unique("codec")
    create_topic(platform.bootstrap, topic, PARTITIONS)
    values = [b"%s %d" % (codec.encode() * 20, number) for number in range(RECORDS)]
    produce(platform.bootstraps[0], topic, codec, values)
    assert sorted(consume(platform.bootstraps[-1], topic, RECORDS, unique(client))) == sorted(values)
    # A client that was not offered what it needs to compress says nothing and sends plain batches.
    stored = [
        batch
        for partition in range(PARTITIONS)
        for batch in stored_batches(platform.bootstraps[0], topic, partition)
    ]
    assert {CODECS[batch.codec] for batch in stored} == {codec}
    assert sum(batch.records for batch in stored) == RECORDS


@pytest.mark.parametrize("client", CLIENTS)
def test_a_topic_is_created_on_first_use(platform: Platform, client: str) -> None:
    produce, consume = CLIENTS[client]
    topic = unique("first-use")
    producer_settings = {"bootstrap.servers": platform.bootstrap}
    if client == "confluent-kafka":
        # librdkafka can't name a partition that it does not know yet.
        producer = confluent_kafka.Producer(producer_settings)
        producer.produce(topic, b"hello")
        assert producer.flush(WAIT_SECONDS_MAX) == 0
    else:
        produce(platform.bootstrap, topic, "none", [b"hello"])
    assert consume(platform.bootstrap, topic, 1, unique(client)) == [b"hello"]


@pytest.mark.parametrize("client", CLIENTS)
def test_a_group_goes_on_where_another_client_left_it(platform: Platform, client: str) -> None:
    """Each client commits by itself when it is closed; librdkafka goes on from there."""
    produce, consume = CLIENTS[client]
    topic, group = unique("resumed"), unique("resumed")
    create_topic(platform.bootstrap, topic, PARTITIONS)
    first, second = [b"a"] * PARTITIONS, [b"b"] * PARTITIONS
    produce(platform.bootstrap, topic, "none", first)
    assert consume(platform.bootstraps[0], topic, PARTITIONS, group) == first
    produce(platform.bootstrap, topic, "none", second)
    assert CLIENTS["confluent-kafka"][1](platform.bootstraps[-1], topic, PARTITIONS, group) == second
