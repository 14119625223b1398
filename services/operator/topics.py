"""What is done about a KafscaleTopic. Pure.

Owns: creating, changing, adopting, refusing, letting go. Does not own: doing it (topic_control.py).
Rules: 1 of several resources that name one topic the first has it; the others only say so; 2 a topic is
known by its id: one that was made anew under the same name is another's until it is adopted, and so is one
that differs from what was announced; 3 partitions only grow; while something is refused nothing is changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from libs.model.cluster import Topic
from libs.model.ids import TopicId, TopicName
from services.operator.topic_spec import Announced, TopicResource

FINALIZER = "kafscale.io/topic"


class TopicsApi(Protocol):
    """Topics of one cluster, as the metadata service has them. Raises the kinds of libs/model/errors.py."""

    async def describe(self, name: TopicName) -> Topic | None: ...

    async def create(self, name: TopicName, *, partitions: int, configs: Mapping[str, str]) -> Topic: ...

    async def update(
        self, name: TopicName, *, topic_id: TopicId, partitions: int | None, configs: Mapping[str, str] | None
    ) -> Topic: ...

    async def delete(self, topic_id: TopicId) -> None:
        """A topic that is gone is deleted."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The finalizer first: from then on the resource can't go without being asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Announce:
    """Write into the status what is about to be created: after a crash, or an answer that never came, it is
    no other's topic, whatever the resource asks for by then.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    partitions: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """None: as it is."""

    topic_id: TopicId
    partitions: int | None
    configs: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    topic_id: TopicId


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete the topic; its resource may go after that."""

    topic_id: TopicId


@dataclass(frozen=True, slots=True, kw_only=True)
class LetGo:
    """Take the finalizer away; the topic stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The topic is what the resource says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    other: str


Decision = Claim | Announce | Create | Update | Adopt | Remove | LetGo | Settled | Refuse | Conflict


def holder(resources: Iterable[TopicResource], *, cluster: str, topic: str) -> TopicResource | None:
    """Whose the topic is: who has one already, or is getting it, else the oldest that wants it."""
    rivals = [each for each in resources if each.spec.cluster_ref == cluster and each.topic_name == topic]
    return min(
        rivals,
        key=lambda each: (not each.topic_id, each.announced is None, each.created, each.uid),
        default=None,
    )


def decide(
    resource: TopicResource,
    topic: Topic | None,
    *,
    rivals: Iterable[TopicResource],
    cluster_exists: bool = True,
) -> Decision:
    """The next single step; the same world again gives the same one.

    `rivals`: every KafscaleTopic of the namespace, this one included.
    """
    if resource.deleting:
        return _let_go(resource, topic, cluster_exists=cluster_exists)
    in_the_way = _in_the_way(resource, rivals, cluster_exists=cluster_exists)
    if in_the_way is not None:
        return in_the_way
    if FINALIZER not in resource.finalizers:
        return Claim()
    if topic is None:
        if resource.announced is None:
            return Announce()
        # Not what is asked for by now: this may be on its way already, and is changed when it is there.
        return Create(partitions=resource.announced.partitions, configs=resource.announced.configs)
    return _settle(resource, topic) if str(topic.topic_id) == resource.topic_id else _adopt(resource, topic)


def _in_the_way(
    resource: TopicResource, rivals: Iterable[TopicResource], *, cluster_exists: bool
) -> Conflict | Refuse | None:
    has_it = holder(rivals, cluster=resource.spec.cluster_ref, topic=resource.topic_name)
    if has_it is not None and has_it.uid != resource.uid:
        return Conflict(other=has_it.name)
    if cluster_exists:
        return None
    message = f"there is no KafscaleCluster {resource.spec.cluster_ref!r} in this namespace"
    return Refuse(reason="ClusterNotFound", message=message)


def _adopt(resource: TopicResource, topic: Topic) -> Decision:
    found = Announced(partitions=topic.partitions, configs=dict(topic.configs))
    if resource.spec.adopt or resource.announced == found:
        return Adopt(topic_id=topic.topic_id)
    if resource.topic_id:
        message = f"topic {topic.name!r} was deleted and made anew by somebody else; set adopt to take it"
        return Refuse(reason="Recreated", message=message)
    message = f"topic {topic.name!r} exists and was not made by this resource; set adopt to take it"
    return Refuse(reason="AlreadyExists", message=message)


def _settle(resource: TopicResource, topic: Topic) -> Decision:
    wanted = resource.spec.partitions
    if wanted < topic.partitions:
        message = f"the topic has {topic.partitions} partitions, which can't become {wanted}: they only grow"
        return Refuse(reason="PartitionsCannotShrink", message=message)
    configs = resource.spec.configs()
    more = wanted if wanted > topic.partitions else None
    other = configs if configs != dict(topic.configs) else None
    if more is None and other is None:
        return Settled()
    return Update(topic_id=topic.topic_id, partitions=more, configs=other)


def _let_go(resource: TopicResource, topic: Topic | None, *, cluster_exists: bool) -> Decision:
    if FINALIZER not in resource.finalizers:
        return Settled()
    # By its id alone: a topic that may be another's stays.
    own = topic is not None and str(topic.topic_id) == resource.topic_id
    if resource.spec.deletion_policy == "delete" and cluster_exists and own and topic is not None:
        return Remove(topic_id=topic.topic_id)
    return LetGo()
