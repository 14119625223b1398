"""A topic that changes loses nothing of it: partitions only grow, and what was acknowledged is so.

Owns: the judgement of CreatePartitions and IncrementalAlterConfigs. Does not own: what retention takes
(removal.py, no_orphan.py), records of the new partitions (the promises, as of all others).
Clauses:
1 a topic never has fewer partitions than it had, and nobody is told that it has: fewer are refused;
2 it has no partitions and no configs that nobody asked for;
3 what was acknowledged is stored by then; it is undone only by what was asked later, or whose outcome nobody
  knows yet;
4 a topic that is no more does not come back;
5 in the end every partition of every topic has an owner and can be read, and gateways tell the configs that
  are stored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from libs.model.cluster import Topic
from libs.model.ids import Partition, TopicId, TopicPartition
from tests.sim.checkers.violation import Violation
from tests.sim.events import ConfigsAcked, ConfigsAsked, GrowthAcked, GrowthAsked, TopicCreateAsked
from tests.sim.facts import TopicCommitted
from tests.sim.history import EndState, History

NAME = "topic_changes"


def check(history: History) -> list[Violation]:
    """What a change of a topic did that it must not."""
    judge = _Judge(history)
    found = [
        violation for entry, event in history.each(*_KINDS) for violation in judge.see(entry.number, event)
    ]
    return [*found, *([] if history.end is None else _at_the_end(history.end))]


_KINDS = (TopicCreateAsked, ConfigsAsked, ConfigsAcked, GrowthAsked, GrowthAcked, TopicCommitted)


@dataclass(slots=True)
class _Judge:
    """Goes through the history once, in order."""

    history: History
    acked: Mapping[int, int] = field(init=False)
    """Calls to the entries of their acknowledgements."""
    created: list[TopicCreateAsked] = field(default_factory=list)
    asked: dict[int, ConfigsAsked | GrowthAsked] = field(default_factory=dict)
    now: dict[str, Topic] = field(default_factory=dict)
    latest: dict[TopicId, tuple[int, Topic]] = field(default_factory=dict)
    """As stored last, and by which entry."""
    gone: dict[TopicId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.acked = {
            event.call: entry.number for entry, event in self.history.each(ConfigsAcked, GrowthAcked)
        }

    def see(self, entry: int, event: object) -> Iterator[Violation]:
        match event:
            case TopicCreateAsked():
                self.created.append(event)
            case ConfigsAsked() | GrowthAsked():
                self.asked[entry] = event
            case ConfigsAcked() | GrowthAcked():
                yield from self._acknowledged(entry, event.call)
            case TopicCommitted():
                yield from self._committed(entry, event)

    def _acknowledged(self, entry: int, call: int) -> Iterator[Violation]:
        asked = self.asked[call]
        since, topic = self.latest.get(asked.topic_id, (-1, None))
        if topic is None:
            return
        if isinstance(asked, GrowthAsked):
            if topic.partitions != asked.partitions and not self._others(asked, call, entry):
                told = f"{asked.partitions} partitions were acknowledged, and it has {topic.partitions}"
                yield self._violation(topic, told, call, since, entry)
        elif dict(topic.configs) != dict(asked.configs) and not self._others(asked, call, entry):
            told = f"{dict(asked.configs)} was acknowledged, and it has {dict(topic.configs)}"
            yield self._violation(topic, told, call, since, entry)

    def _others(self, asked: ConfigsAsked | GrowthAsked, call: int, entry: int) -> bool:
        """Whether another change of that kind was under way meanwhile."""
        return any(
            type(other) is type(asked) and other.topic == asked.topic and number != call and number < entry
            for number, other in self.asked.items()
            if self.acked.get(number, entry) > call
        )

    def _committed(self, entry: int, event: TopicCommitted) -> Iterator[Violation]:
        before = self.now.pop(event.name, None)
        if before is not None and (event.topic is None or event.topic.topic_id != before.topic_id):
            self.gone[before.topic_id] = entry
        topic = event.topic
        if topic is None:
            return
        self.now[event.name] = topic
        since, was = self.latest.get(topic.topic_id, (-1, None))
        self.latest[topic.topic_id] = (entry, topic)
        if topic.topic_id in self.gone:
            yield self._violation(
                topic, "it was deleted, and is there again", self.gone[topic.topic_id], entry
            )
        if was is None:
            return
        if topic.partitions < was.partitions:
            told = f"it had {was.partitions} partitions, and has {topic.partitions}"
            yield self._violation(topic, told, since, entry)
        elif topic.partitions > was.partitions and topic.partitions not in self._open_growths(topic, entry):
            told = f"it has {topic.partitions} partitions, which nobody was asking for"
            yield self._violation(topic, told, since, entry)
        if dict(topic.configs) != dict(was.configs) and dict(topic.configs) not in self._open_configs(
            topic, entry
        ):
            told = f"it has {dict(topic.configs)} after {dict(was.configs)}, which nobody was asking for"
            yield self._violation(topic, told, since, entry)

    def _open_growths(self, topic: Topic, entry: int) -> list[int]:
        return [each.partitions for each in self._open(topic, entry) if isinstance(each, GrowthAsked)]

    def _open_configs(self, topic: Topic, entry: int) -> list[dict[str, str]]:
        return [dict(each.configs) for each in self._open(topic, entry) if isinstance(each, ConfigsAsked)]

    def _open(self, topic: Topic, entry: int) -> Iterator[ConfigsAsked | GrowthAsked]:
        """What was asked of a topic of that name and not acknowledged by then."""
        for call, each in self.asked.items():
            if each.topic == topic.name and self.acked.get(call, entry) >= entry:
                yield each

    def _violation(self, topic: Topic, told: str, *evidence: int) -> Violation:
        entries = tuple(each for each in evidence if each >= 0)
        return Violation(checker=NAME, what=f"topic {topic.name} {topic.topic_id}: {told}", evidence=entries)


def _at_the_end(end: EndState) -> Iterator[Violation]:
    """Clause 5."""
    for topic in end.topics:
        problems = [] if topic.live else ["is not live"]
        for index in range(topic.partitions):
            tp = TopicPartition(topic.topic_id, Partition(index))
            if tp not in end.assignments:
                problems.append(f"has nobody for partition {index}")
            elif tp not in end.reads or end.reads[tp].error:
                why = end.reads[tp].error if tp in end.reads else "not read"
                problems.append(f"can't be read in partition {index}: {why}")
        told = end.told_configs.get(topic.topic_id)
        if told is not None and dict(told) != dict(topic.configs):
            problems.append(f"has {dict(topic.configs)}, and a gateway tells {dict(told)}")
        for problem in problems:
            yield Violation(checker=NAME, what=f"topic {topic.name} {topic.topic_id} {problem}")
