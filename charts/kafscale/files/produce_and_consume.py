"""Produces one record through a broker's address and reads it back: what `helm test` runs in a pod.

Owns: a Kafka client of four requests (Metadata, CreateTopics, Produce, Fetch), on kio, which the services'
image has. Does not own: what is judged by it.
Rules: 1 nothing but the standard library, kio and crc32c is imported: this file is mounted alone; 2 it goes
on until it worked or the time is over: a new topic's partition is opened in a moment; 3 its last line says
what was seen, or what was wrong last; 4 with ssl:// it encrypts and does not judge the certificate, whose
authority only clients know.

`python produce_and_consume.py HOST:PORT TOPIC [SECONDS]`; ssl://HOST:PORT where brokers speak TLS.
"""

import io
import socket
import ssl
import struct
import sys
import time
import uuid
from datetime import timedelta
from typing import Any

from crc32c import crc32c
from kio.schema.create_topics.v7.request import CreatableTopic, CreateTopicsRequest
from kio.schema.create_topics.v7.response import CreateTopicsResponse
from kio.schema.fetch.v12.request import FetchPartition, FetchRequest, FetchTopic
from kio.schema.fetch.v12.response import FetchResponse
from kio.schema.metadata.v12.request import MetadataRequest, MetadataRequestTopic
from kio.schema.metadata.v12.response import MetadataResponse
from kio.schema.produce.v9.request import PartitionProduceData, ProduceRequest, TopicProduceData
from kio.schema.produce.v9.response import ProduceResponse
from kio.serial import entity_reader, entity_writer

SECONDS_MAX = 60.0
ANSWER_SECONDS_MAX = 20.0
PAUSE_SECONDS = 1.0
BYTES_MAX = 1024 * 1024
WAIT = timedelta(seconds=5)
TOPIC_ALREADY_EXISTS = 36
SSL = "ssl://"


class NotYetError(Exception):
    """What did not work, in words; it may by the next try."""


def main(arguments: list[str]) -> int:
    """0 once a record was produced and read back; 1 when the time is over."""
    bootstrap, topic = arguments[:2]
    over = time.monotonic() + (float(arguments[2]) if len(arguments) > 2 else SECONDS_MAX)
    while True:
        try:
            print(_try(bootstrap, topic))
        except (NotYetError, OSError) as error:
            print(f"not yet: {error}", flush=True)
            if time.monotonic() > over:
                return 1
            time.sleep(PAUSE_SECONDS)
        else:
            return 0


def _try(bootstrap: str, topic: str) -> str:
    leader = _leader(bootstrap, topic)
    value = uuid.uuid4().bytes
    offset = _produce(leader, topic, _batch(value))
    if value not in _fetch(leader, topic, offset):
        raise NotYetError(
            f"{leader} acknowledged offset {offset} of {topic} and gives out something else there"
        )
    return f"produced offset {offset} of {topic} at {leader} and read it back"


def _leader(bootstrap: str, topic: str) -> str:
    """The address of the broker that clients are sent to for partition 0. Creates the topic if need be."""
    asked = MetadataRequest(
        topics=(MetadataRequestTopic(topic_id=None, name=topic),),
        allow_auto_topic_creation=False,
        include_topic_authorized_operations=False,
    )
    answer: MetadataResponse = _ask(bootstrap, asked, MetadataResponse)
    if not answer.topics[0].partitions:
        _create(bootstrap, topic)
        raise NotYetError(f"{topic} was just created")
    leader_id = answer.topics[0].partitions[0].leader_id
    for broker in answer.brokers:
        if broker.node_id == leader_id:
            return f"{SSL if bootstrap.startswith(SSL) else ''}{broker.host}:{broker.port}"
    raise NotYetError(
        f"partition 0 of {topic} has no leader ({answer.topics[0].partitions[0].error_code.name})"
    )


def _create(bootstrap: str, topic: str) -> None:
    wanted = CreatableTopic(name=topic, num_partitions=1, replication_factor=-1, assignments=(), configs=())
    answer = _ask(bootstrap, CreateTopicsRequest(topics=(wanted,), timeout=WAIT), CreateTopicsResponse)
    result = answer.topics[0]
    if int(result.error_code) not in {0, TOPIC_ALREADY_EXISTS}:
        raise NotYetError(f"{topic} can't be created: {result.error_code.name} {result.error_message or ''}")


def _produce(leader: str, topic: str, batch: bytes) -> int:
    """The offset that the batch was acknowledged at, by acks=all."""
    partition = PartitionProduceData(index=0, records=batch)
    data = TopicProduceData(name=topic, partition_data=(partition,))
    answer = _ask(leader, ProduceRequest(acks=-1, timeout=WAIT, topic_data=(data,)), ProduceResponse)
    result = answer.responses[0].partition_responses[0]
    if int(result.error_code):
        raise NotYetError(f"{leader} refused the record: {result.error_code.name}")
    return int(result.base_offset)


def _fetch(leader: str, topic: str, offset: int) -> bytes:
    """The batches from `offset` on, as they are stored."""
    partition = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=BYTES_MAX)
    asked = FetchRequest(
        replica_id=-1,
        max_wait=WAIT,
        min_bytes=1,
        max_bytes=BYTES_MAX,
        topics=(FetchTopic(topic=topic, partitions=(partition,)),),
        forgotten_topics_data=(),
    )
    result = _ask(leader, asked, FetchResponse).responses[0].partitions[0]
    if int(result.error_code):
        raise NotYetError(f"{leader} does not give out offset {offset}: {result.error_code.name}")
    return bytes(result.records or b"")


def _batch(value: bytes) -> bytes:
    """A record batch v2 with one record that has this value and no key."""
    record = (
        b"\x00\x00\x00\x01" + _varint(len(value)) + value + b"\x00"
    )  # attributes, deltas, key, value, headers
    records = _varint(len(record)) + record
    now_ms = int(time.time() * 1000)
    counted = struct.pack(">hiqqqhii", 0, 0, now_ms, now_ms, -1, -1, -1, 1) + records
    after_length = struct.pack(">ibI", -1, 2, crc32c(counted)) + counted  # leader epoch, magic, CRC
    return struct.pack(">qi", 0, len(after_length)) + after_length


def _varint(number: int) -> bytes:
    """Zigzag, for numbers below 64."""
    return bytes([number << 1])


def _connect(address: str) -> socket.socket:
    host, _, port = address.removeprefix(SSL).rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS_MAX)
    if not address.startswith(SSL):
        return connection
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        return context.wrap_socket(connection, server_hostname=host)
    except OSError:
        connection.close()
        raise


def _ask(address: str, request: Any, response: Any) -> Any:
    """One request on a connection of its own."""
    written = io.BytesIO()
    header = request.__header_schema__(
        request_api_key=request.__api_key__,
        request_api_version=request.__version__,
        correlation_id=1,
        client_id="helm-test",
    )
    entity_writer(type(header))(written, header)
    entity_writer(type(request))(written, request)
    with _connect(address) as connection:
        connection.sendall(struct.pack(">i", written.tell()) + written.getvalue())
        with connection.makefile("rb") as answers:
            length = answers.read(4)
            frame = answers.read(struct.unpack(">i", length)[0]) if len(length) == 4 else b""
    if not frame:
        raise NotYetError(f"{address} closed the connection")
    at = 4 + (response.__header_schema__.__version__ >= 1)  # correlation id, and no tagged fields
    return entity_reader(response)(frame, at)[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
