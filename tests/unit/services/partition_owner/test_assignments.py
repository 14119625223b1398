"""What a session's holds follow while a partition opens."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import trio
from trio.testing import wait_all_tasks_blocked

from libs.clients.watcher import ClusterWatcher
from libs.model.cluster import Assignment, Topic
from libs.model.ids import ChainSeq, LeaderEpoch, OwnerId, TopicId, TopicPartition
from services.partition_owner.assignments import Assignments
from services.partition_owner.collection.openings import Openings
from services.partition_owner.handover import HandOver
from services.partition_owner.opening import Opener
from services.partition_owner.partition import Partition
from services.partition_owner.registry import Registry
from tests.unit.services.partition_owner.writing import SESSION, TOPIC, partition

OWNER = OwnerId("a")


class View:
    """A view and its watcher in one, that change as the test says."""

    def __init__(self, tp: TopicPartition) -> None:
        self.version = 0
        self.topics: Mapping[TopicId, Topic] = {tp.topic_id: TOPIC}
        assignment = Assignment(
            topic_id=tp.topic_id,
            partition=tp.partition,
            owner_id=OWNER,
            session=SESSION,
            leader_epoch=LeaderEpoch(3),
        )
        self.assignments = {tp: assignment}
        self._changed = trio.Event()

    @property
    def view(self) -> "View":
        return self

    async def wait_changed(self, version: int) -> int:
        while self.version == version:
            await self._changed.wait()
        return self.version

    def set_topic(self, topic: Topic) -> None:
        self.version += 1
        self.topics = {topic.topic_id: topic}
        self._changed.set()
        self._changed = trio.Event()


class HeldOpener:
    """Opens `opened` once the test says so."""

    def __init__(self, opened: Partition) -> None:
        self.opened = opened
        self.go_on = trio.Event()

    async def open(self, tp: TopicPartition, epoch: LeaderEpoch, **_: object) -> Partition:
        await self.go_on.wait()
        return self.opened


async def test_settings_that_change_while_a_partition_opens_hold_from_its_first_append() -> None:
    opened = partition()
    view, opener, registry = View(opened.tp), HeldOpener(opened), Registry()
    assignments = Assignments(
        owner_id=OWNER,
        session=SESSION,
        watcher=cast(ClusterWatcher, view),
        registry=registry,
        opener=cast(Opener, opener),
        hand_over=cast(HandOver, None),
        opening_at_once_max=1,
        openings=Openings(lambda: ChainSeq(0)),
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(assignments.run)
        await wait_all_tasks_blocked()
        view.set_topic(replace(TOPIC, configs={"message.timestamp.type": "LogAppendTime"}))
        await wait_all_tasks_blocked()
        opener.go_on.set()
        await wait_all_tasks_blocked()
        assert registry.find(opened.tp) is opened
        assert opened.log_append_time
        nursery.cancel_scope.cancel()
