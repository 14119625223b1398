"""One process on its data directory loses metadata.sqlite3: rebuilt from its objects, all goes on."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import confluent_kafka
import confluent_kafka.admin
from confluent_kafka.cimpl import NewTopic

from services.metadata.kv.sqlite import FILE
from tests.recovery.bucket_command import BucketCommand, of_directory
from tests.support.background import Background, running
from tools.stack.embedded import Embedded, open_embedded

TOPIC = "orders"
PARTITIONS = 3
GROUP = "readers"
SECONDS_MAX = 60.0


class Scene:
    """The process, and the command on its data."""

    def __init__(self, background: Background[Embedded]) -> None:
        self._background = background
        self.embedded = background.value
        self.bucket: BucketCommand = of_directory(self.embedded.data_dir)

    def stop(self, how: signal.Signals) -> None:
        self.embedded.child.send(how)
        self._background.call(self.embedded.child.wait_ended)

    def start(self) -> None:
        self._background.call(self.embedded.start)

    def lose_metadata(self) -> None:
        for path in self.embedded.data_dir.glob(f"{FILE}*"):
            path.unlink()

    def create_topic(self) -> None:
        admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": self.embedded.bootstrap})
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1, config={"retention.ms": "-1"})])[TOPIC].result(30)

    def consumer(self) -> confluent_kafka.Consumer:
        return confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.embedded.bootstrap,
                "group.id": GROUP,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )

    def commit(self, offset: int) -> int:
        """Partition 0 of the group; returns the wall time after it in ms."""
        consumer = self.consumer()
        try:
            consumer.commit(offsets=[confluent_kafka.TopicPartition(TOPIC, 0, offset)], asynchronous=False)
        finally:
            consumer.close()
        return int(time.time() * 1000)

    def committed(self) -> int:
        consumer = self.consumer()
        try:
            (found,) = consumer.committed([confluent_kafka.TopicPartition(TOPIC, 0)], timeout=SECONDS_MAX)
        finally:
            consumer.close()
        offset: int = found.offset
        return offset

    def read_all(self) -> dict[int, list[bytes]]:
        """The values of each partition, in order, each offset once."""
        consumer = self.consumer()
        found: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
        try:
            ends = {}
            for partition in found:
                place = confluent_kafka.TopicPartition(TOPIC, partition)
                first, ends[partition] = consumer.get_watermark_offsets(place, timeout=SECONDS_MAX)
                assert first == 0
            consumer.assign([confluent_kafka.TopicPartition(TOPIC, each, 0) for each in found])
            deadline = time.monotonic() + SECONDS_MAX
            while any(len(found[each]) < ends[each] for each in found) and time.monotonic() < deadline:
                for message in consumer.consume(500, timeout=0.1):
                    assert message.error() is None
                    values = found[message.partition() or 0]
                    assert message.offset() == len(values)
                    values.append(message.value() or b"")
        finally:
            consumer.close()
        return found


@contextmanager
def open_scene(tmp_path: Path) -> Iterator[Scene]:
    settings = {"KAFSCALE_SNAPSHOT_SECONDS": "0.3"}
    with running(partial(open_embedded, tmp_path / "data", **settings)) as background:
        yield Scene(background)


class Sender:
    """An idempotent producer of librdkafka that lives through all of it."""

    def __init__(self, bootstrap: str) -> None:
        self.sent: dict[int, list[bytes]] = {partition: [] for partition in range(PARTITIONS)}
        self.failed: list[str] = []
        self.acknowledged = 0
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 2}
        )

    def send(self, count: int) -> None:
        """To every partition; doesn't wait for anything."""
        for _ in range(count):
            for partition, values in self.sent.items():
                values.append(f"{partition}.{len(values)}".encode())
                self._producer.produce(TOPIC, values[-1], partition=partition, on_delivery=self._delivered)
            self._producer.poll(0.005)

    def flush(self) -> None:
        assert self._producer.flush(SECONDS_MAX) == 0
        assert not self.failed

    def _delivered(self, error: object, _message: object) -> None:
        if error is not None:
            self.failed.append(str(error))
        else:
            self.acknowledged += 1


def test_the_same_producer_goes_on_after_the_metadata_is_lost(tmp_path: Path) -> None:
    with open_scene(tmp_path) as scene:
        scene.create_topic()
        sender = Sender(scene.embedded.bootstrap)
        sender.send(100)
        sender.flush()
        committed_ms = scene.commit(7)
        scene.bucket.wait_snapshot(after_ms=committed_ms)
        sender.send(50)
        scene.stop(signal.SIGKILL)
        scene.lose_metadata()
        assert f"{TOPIC}  " in scene.bucket.done("rebuild")
        scene.start()
        sender.send(50)
        sender.flush()
        assert scene.read_all() == sender.sent
        assert scene.committed() == 7
        assert scene.bucket.run("rebuild", "--overwrite", "--yes").code == 2  # it runs
        scene.bucket.done("verify")


def test_a_clean_stop_loses_no_offset(tmp_path: Path) -> None:
    with open_scene(tmp_path) as scene:
        scene.create_topic()
        sender = Sender(scene.embedded.bootstrap)
        sender.send(10)
        sender.flush()
        scene.commit(3)
        scene.stop(signal.SIGTERM)
        scene.lose_metadata()
        scene.bucket.done("rebuild")
        scene.start()
        assert scene.committed() == 3
        assert scene.read_all() == sender.sent


def test_offsets_as_of_a_point_in_time_with_the_data_of_now(tmp_path: Path) -> None:
    with open_scene(tmp_path) as scene:
        scene.create_topic()
        sender = Sender(scene.embedded.bootstrap)
        sender.send(10)
        sender.flush()
        times = []
        for offset in (2, 5, 9):
            committed_ms = scene.commit(offset)
            times.append(scene.bucket.wait_snapshot(after_ms=committed_ms)["created_ms"])
        sender.send(10)
        sender.flush()
        scene.stop(signal.SIGKILL)
        scene.bucket.done("restore", "--at", str(times[1]), "--overwrite", "--yes")
        scene.start()
        assert scene.committed() == 5
        assert scene.read_all() == sender.sent
        assert scene.bucket.run("restore", "--at", "2001-01-01T00:00:00Z").code == 2
