"""What is left when all is over: every partition read by a fresh consumer, the stores as they are.

Owns: the end state. Does not own: healing (nemesis.py), judging (checkers).
Rules: 1 it reads as any consumer would, from the log start to the high watermark, and gives a partition up
only after a long time: then it can't be read, which is a finding.
"""

from collections.abc import Iterable
from typing import Final

import trio
from kio.schema.errors import ErrorCode

from libs.model.cluster import Topic
from libs.model.ids import GroupId, Partition, SessionId, TopicPartition
from services.metadata import keys, stored
from tests.sim.actors.consumer import EARLIEST, Position, Reader
from tests.sim.actors.kafka import Gone, request
from tests.sim.events import SeenRecord
from tests.sim.history import EndState, FinalRead
from tests.sim.world.world import World

READ_SECONDS_MAX: Final = 120.0
_SET_FOR_THE_TOPIC: Final = 1
"""Kafka's DescribeConfigsResponse.ConfigSource.TOPIC_CONFIG."""


class FinalReader(Reader):
    """A consumer that nobody has seen before."""

    def __init__(self, world: World) -> None:
        super().__init__(world, "final")
        self.checks_epochs = True

    async def read(self, tp: TopicPartition, topic: str) -> FinalRead:
        """All of a partition."""
        at = Position(tp=tp, topic=topic, offset=-1)
        records: list[SeenRecord] = []
        log_start = -1
        why = "nothing was answered"
        with trio.move_on_after(READ_SECONDS_MAX):
            while True:
                try:
                    if log_start < 0:
                        found = await self.list_offset(at, EARLIEST)
                        if found is None:
                            why = "its log start is not told"
                            at.epoch_is_old = True
                            await self.refresh([at])
                            await self.pause()
                            continue
                        log_start = at.offset = found
                    at.high_watermark = -1
                    more = (await self.fetch([at], wait_ms=0))[tp]
                    if at.is_out_of_range:  # retention moved the log start meanwhile, or promise 4 is broken
                        why = f"{at.offset} is out of range"
                        at.is_out_of_range = False
                        log_start = -1
                        records.clear()
                        continue
                    records += more
                    if at.offset == at.high_watermark:
                        return FinalRead(
                            records=tuple(records), log_start=log_start, high_watermark=at.high_watermark
                        )
                    if not more:
                        why = f"no records at {at.offset} of {at.high_watermark}"
                        await self.pause()
                except Gone as gone:
                    why = str(gone)
                    self.disconnect()
                    await self.pause()
        return FinalRead(error=why)

    async def configs(self, topic: str) -> dict[str, str]:
        """What the topic has set. Raises TooSlowError where no gateway tells."""
        asked = request(
            "describe_configs",
            resources=[{"resource_type": 2, "resource_name": topic, "configuration_keys": None}],
        )
        with trio.fail_after(READ_SECONDS_MAX):
            while True:
                try:
                    connection = await self.connection()
                    answer = await connection.ask("describe_configs", asked)
                except Gone:
                    self.disconnect()
                else:
                    (told,) = answer.results
                    if told.error_code == ErrorCode.none:
                        return {
                            each.name: str(each.value)
                            for each in told.configs
                            if each.config_source == _SET_FOR_THE_TOPIC
                        }
                await self.pause()

    async def committed(self, group: GroupId) -> dict[tuple[str, TopicPartition], int]:
        """All offsets of a group."""
        asked = request(
            "offset_fetch",
            groups=[{"group_id": group, "member_epoch": -1, "topics": None}],
            require_stable=True,
        )
        with trio.fail_after(READ_SECONDS_MAX):
            while True:
                try:
                    connection = await self.connection()
                    answer = await connection.ask("offset_fetch", asked)
                except Gone:
                    self.disconnect()
                else:
                    (told,) = answer.groups
                    if told.error_code is ErrorCode.none:
                        return {
                            (group, TopicPartition(topic.topic_id, Partition(part.partition_index))): int(
                                part.committed_offset
                            )
                            for topic in told.topics
                            for part in topic.partitions
                        }
                await self.pause()


async def end_state(world: World, groups: Iterable[GroupId], *, grace_seconds: float) -> EndState:
    """The world's last word; to be called when all is well."""
    topics = topics_there(world)
    reader = FinalReader(world)
    reads = {}
    for topic in topics:
        for tp in partitions_of(topic):
            reads[tp] = await reader.read(tp, topic.name)
    told_configs = {topic.topic_id: await reader.configs(topic.name) for topic in topics}
    committed: dict[tuple[str, TopicPartition], int] = {}
    for group in groups:
        committed |= await reader.committed(group)
    reader.disconnect()
    live = {each.service.control().session for each in world.owners() if each.service is not None}
    return EndState(
        reads=reads,
        topics=topics,
        assignments={
            keys.topic_partition_of(item.key): stored.assignment(item).value
            for item in world.kv.items(keys.ASSIGNMENTS)
        },
        states={
            keys.topic_partition_of(item.key): stored.partition_state(item).value
            for item in world.kv.items(keys.PARTITIONS)
        },
        takers=frozenset(
            each.owner_id
            for each in (stored.owner(item).value for item in world.kv.items(keys.OWNERS))
            if not each.draining
        ),
        live_sessions=frozenset(each for each in live if each is not None),
        sessions=frozenset(SessionId(keys.last_id_of(item.key)) for item in world.kv.items(keys.SESSIONS)),
        bucket=world.bucket.objects(),
        committed=committed,
        told_configs=told_configs,
        collected=True,
        grace_seconds=grace_seconds,
    )


def topics_there(world: World) -> list[Topic]:
    """All topics, which the world's clients know of from now on.

    What the admin was never told is there all the same: an answer that was lost, and nobody asked again.
    """
    topics = [stored.topic(item).value for item in world.kv.items(keys.TOPICS)]
    world.topics = {topic.name: topic for topic in topics}
    return topics


def partitions_of(topic: Topic) -> list[TopicPartition]:
    """All of them."""
    return [TopicPartition(topic.topic_id, Partition(index)) for index in range(topic.partitions)]
