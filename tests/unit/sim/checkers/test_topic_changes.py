"""The judge of topics that change finds each way to lose something of a change, and nothing else."""

from collections.abc import Mapping
from dataclasses import replace

from libs.model.cluster import Assignment, Topic
from libs.model.ids import TopicName
from tests.sim.checkers.topic_changes import check
from tests.sim.events import ConfigsAcked, ConfigsAsked, GrowthAcked, GrowthAsked
from tests.sim.facts import AssignmentCommitted, TopicCommitted
from tests.sim.history import FinalRead
from tests.unit.sim.checkers.telling import TOPIC, TP, A, Telling

NEW = {"retention.bytes": "4000"}


class Changing(Telling):
    """A topic of one partition, and what becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.created()
        self.stored(1)

    def stored(self, partitions: int, configs: Mapping[str, str] | None = None) -> None:
        topic = Topic(name=TopicName("t"), topic_id=TOPIC, partitions=partitions, configs=configs or {})
        self.add(TopicCommitted(name="t", topic=topic))

    def grows(self, partitions: int) -> int:
        return self.add(GrowthAsked(topic_id=TOPIC, topic="t", partitions=partitions))

    def configured(self, configs: Mapping[str, str]) -> int:
        return self.add(ConfigsAsked(topic_id=TOPIC, topic="t", configs=configs))

    def assignment(self) -> Assignment:
        self.owns(A, 1)
        (*_, (_, event)) = self.history.each(AssignmentCommitted)
        assert isinstance(event.assignment, Assignment)
        return event.assignment

    def problems(self) -> list[str]:
        return [each.what.partition(": ")[2] for each in check(self.history)]


def test_what_was_asked_and_is_so_is_right() -> None:
    telling = Changing()
    growth, configs = telling.grows(3), telling.configured(NEW)
    telling.stored(3)
    telling.stored(3, NEW)
    telling.add(GrowthAcked(call=growth))
    telling.add(ConfigsAcked(call=configs))
    assert telling.problems() == []


def test_partitions_never_shrink() -> None:
    telling = Changing()
    growth = telling.grows(3)
    telling.stored(3)
    telling.add(GrowthAcked(call=growth))
    telling.grows(2)
    telling.stored(2)
    assert telling.problems() == ["it had 3 partitions, and has 2"]


def test_fewer_partitions_are_not_acknowledged() -> None:
    telling = Changing()
    telling.stored(3)
    telling.add(GrowthAcked(call=telling.grows(2)))
    assert "2 partitions were acknowledged, and it has 3" in telling.problems()


def test_nobody_grows_what_nobody_asked_for() -> None:
    telling = Changing()
    telling.stored(2)
    assert telling.problems() == ["it has 2 partitions, which nobody was asking for"]


def test_an_acknowledged_change_is_stored() -> None:
    telling = Changing()
    telling.add(ConfigsAcked(call=telling.configured(NEW)))
    assert telling.problems() == [f"{NEW} was acknowledged, and it has {{}}"]


def test_a_change_that_was_acknowledged_before_does_not_come_back() -> None:
    telling = Changing()
    for configs in (NEW, {}):
        call = telling.configured(configs)
        telling.stored(1, configs)
        telling.add(ConfigsAcked(call=call))
    telling.stored(1, NEW)
    assert telling.problems() == [f"it has {NEW} after {{}}, which nobody was asking for"]


def test_what_has_an_unknown_outcome_may_come_late() -> None:
    telling = Changing()
    telling.configured(NEW)
    call = telling.configured({})
    telling.add(ConfigsAcked(call=call))
    telling.stored(1, NEW)
    assert telling.problems() == []


def test_a_deleted_topic_does_not_come_back() -> None:
    telling = Changing()
    telling.configured(NEW)
    telling.add(TopicCommitted(name="t", topic=None))
    telling.stored(1, NEW)
    assert telling.problems() == ["it was deleted, and is there again"]


def test_in_the_end_every_partition_has_an_owner_and_is_read() -> None:
    telling = Changing()
    assert ["has nobody for partition 0" in each.what for each in check(telling.end("a"))] == [True]
    assigned = {TP: telling.assignment()}
    unread = telling.end(reads={TP: FinalRead(error="nobody answers")}, assignments=assigned)
    assert ["nobody answers" in each.what for each in check(unread)] == [True]
    assert check(telling.end("a", assignments=assigned)) == []


def test_in_the_end_gateways_tell_what_is_stored() -> None:
    telling = Changing()
    history = telling.end("a", assignments={TP: telling.assignment()}, configs=NEW)
    assert history.end is not None
    history.end = replace(history.end, told_configs={TOPIC: {}})
    (violation,) = check(history)
    assert "a gateway tells {}" in violation.what
    history.end = replace(history.end, told_configs={TOPIC: NEW})
    assert check(history) == []
